"""What is fuzzed: a function of bytes for each, that fails when a promise is broken."""

from __future__ import annotations

import os.path
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent_trace.scanning import guess_type, read_description, read_tags
from agent_trace_coordinator.core.digest import digest_of
from agent_trace_coordinator.core.merge import merge
from agent_trace_coordinator.core.sections import edit_section
from agent_trace_coordinator.errors import StoreInvalid
from agent_trace_coordinator.storage.commit import render_message
from agent_trace_coordinator.storage.escaping import ForeignCommit
from agent_trace_coordinator.storage.store import DEFAULT_CONFIG, parse_config
from agent_trace_coordinator.storage.trailers import parse_trailers
from agent_trace_protocol import (
    InvalidPath,
    InvalidRequest,
    MalformedMessage,
    NoMatch,
    SectionMode,
    TooLarge,
    encode,
    parse_agent_name,
    parse_path,
    parse_tag,
)
from agent_trace_protocol.limits import REASON_LENGTH_MAX
from agent_trace_protocol.paths import fold_path
from agent_trace_protocol.patterns import parse_pattern
from agent_trace_protocol.spool import pack, unpack
from simulation.world import living_in
from support.messages import DECODERS, KINDS, SAMPLES

__all__ = ["TARGETS", "Target"]


@dataclass(frozen=True, slots=True)
class Target:
    """Something that reads bytes of anybody."""

    name: str
    check: Callable[[bytes], None]
    """Raises if a promise is broken."""
    seeds: Callable[[], Iterable[bytes]]
    """Good inputs to begin with."""
    worth: int = 1
    """Its share of the time of all: by how much there is in it that is ours."""


def _text(data: bytes) -> str:
    # Lone surrogates too: a file's name or an argument may hold them.
    return data.decode("utf-8", "surrogateescape")


def _frames(data: bytes) -> None:
    """Any bytes are a message or one of two errors, and a message is encoded as it was."""
    if not data:
        return
    decode = DECODERS[KINDS[data[0] % len(KINDS)]]
    try:
        message = decode(data[1:])
    except (MalformedMessage, TooLarge) as error:
        assert len(error.message) < REASON_LENGTH_MAX + 100
        assert error.message.isprintable()
    else:
        assert decode(encode(message)) == message


def _frame_seeds() -> Iterable[bytes]:
    for sample in SAMPLES:
        yield bytes([KINDS.index(sample.kind)]) + encode(sample.message)


def _paths(data: bytes) -> None:
    """What is a path stays inside, is its own canonical form, and matches itself."""
    text = _text(data)
    try:
        pattern = parse_pattern(text)
    except InvalidPath:
        pattern = None
    try:
        path = parse_path(text)
    except InvalidPath:
        return
    assert parse_path(path) == path
    assert os.path.normpath(path) == path
    assert not os.path.isabs(path)
    for segment in path.split("/"):
        assert segment not in {"", ".", ".."}
        folded = fold_path(segment)
        assert not folded.startswith(".git") and folded != ".agent-trace"
    assert "\0" not in path and "\\" not in path
    assert path.encode("utf-8").decode("utf-8") == path
    folded = fold_path(path)
    assert fold_path(folded) == folded
    assert folded.count("/") == path.count("/")
    if pattern is not None and not pattern.is_glob:
        assert pattern.matches(path)


def _names(data: bytes) -> None:
    """A name or a tag is what it was, and holds nothing that another format takes for structure."""
    text = _text(data)
    for parse in (parse_agent_name, parse_tag):
        try:
            name = parse(text)
        except InvalidRequest as error:
            assert error.message.isprintable()
            continue
        assert parse(name) == name
        assert name.isprintable() and not set(name) & set("\\<>\"'")
        assert parse is parse_tag or "/" not in name


def _markdown(data: bytes) -> None:
    """Any text can be summed up, edited by its sections, and merged; no change is made up."""
    digest_of(data)
    text = data.decode("utf-8", "replace")
    read_tags(text)
    read_description(text)
    guess_type("notes/a.md", text)
    base, _, rest = data.partition(b"\0")
    ours, _, theirs = rest.partition(b"\0")
    assert merge(base, ours, base) == ours
    assert merge(base, base, theirs) == theirs
    merge(base, ours, theirs)
    heading = text.partition("\n")[0]
    for mode in SectionMode:
        try:
            edited = edit_section(data, "a.md", heading, b"new\n", mode)
        except NoMatch:
            continue
        assert b"new\n" in edited


def _configuration(data: bytes) -> None:
    """Any file is settings or `StoreInvalid`, which names the file."""
    try:
        parse_config(data, Path("config.toml"))
    except StoreInvalid as error:
        assert "config.toml" in error.message


def _trailers(data: bytes) -> None:
    """Any message of a commit is foreign, or says a record that is rendered to the same."""
    message = data.decode("utf-8", "replace")
    try:
        found = parse_trailers(message)
    except ForeignCommit:
        return
    assert parse_trailers(render_message(found.record, found.chain)) == found


def _trailer_seeds() -> Iterable[bytes]:
    """The commits of a whole simulated store, and of another one."""
    for seed in (3, 7):
        with living_in(seed, form="whole") as world:
            world.run()
        for entry in world.disk.entries:
            yield render_message(entry.record, entry.chain).encode()


def _spool(data: bytes) -> None:
    """Any file of the spool is frames or one of two errors."""
    try:
        frames = unpack(data)
    except (MalformedMessage, TooLarge):
        return
    assert unpack(pack(frames)) == frames
    for frame in frames:
        for decode in DECODERS.values():
            try:
                decode(frame)
            except (MalformedMessage, TooLarge):
                continue


def _spool_seeds() -> Iterable[bytes]:
    return (pack([encode(sample.message)] * 2) for sample in SAMPLES)


_PATHS: Final = (
    *(b"plan.md", b"notes/a b.md", "caf\u00e9/\u00fc.md".encode(), b"a/../b", b".git/config"),
    *(b"NUL.txt", b"notes/**/*.md", b"a?c[x]", "\u2105".encode(), b"x" * 250, b"a\\b", b"c:d"),
)

_TEXTS: Final = (
    b"---\ntype: plan\ntags: [a, b]\ndescription: What\n---\n# Plan\n\n## Next\n- [ ] a\n- [x] b\n",
    b"a\nb\nc\n\0a\nB\nc\n\0a\nb\nc\nd\n",
    b"# T\n```sh\n# no heading\n```\n<!-- gone -->\nStatus: done\n",
    "# \u00dcber\r\ntext\r\n".encode(),
)

_NAMES: Final = (b"planner", b"claude-code.2", b"system", b"a_b", b"-x", b"needs review")

TARGETS: Final = {
    target.name: target
    for target in (
        Target("frames", _frames, _frame_seeds, 3),
        Target("paths", _paths, lambda: _PATHS, 2),
        Target("names", _names, lambda: _NAMES),
        Target("markdown", _markdown, lambda: _TEXTS, 3),
        Target(
            "configuration",
            _configuration,
            lambda: (DEFAULT_CONFIG.encode(), DEFAULT_CONFIG.replace("\n# ", "\n").encode()),
        ),
        Target("trailers", _trailers, _trailer_seeds, 3),
        Target("spool", _spool, _spool_seeds),
    )
}
"""By name."""
