"""docs/format.md is enough to read a store: a reader that uses nothing of ours, held to the bytes.

It takes the archive of a store, and makes each record out of its commit alone and each commit out
of the records alone. Both must be, byte for byte, what lies there.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
import subprocess
import zlib
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec.msgpack as messagepack
import pytest

from agent_trace_coordinator.repair.archive import restore_backup
from upgrade import FORMATS, archive_of

pytestmark = pytest.mark.integration

Fields = list[tuple[str, str]]

COMMITTER: Final = "agent-trace <coordinator@agent-trace.invalid>"
ESCAPED: Final = (
    "[\x00-\x1f\x7f-\x9f\\\\\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def nothing(*_: object) -> None:
    """Tell nobody."""


def blake(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32).digest()


def content_of(data: bytes, digest: bytes) -> bytes:
    """Return what lies in a row of `content`: as it is or packed, whichever has the digest."""
    content = data if blake(data) == digest else zlib.decompress(data)
    assert blake(content) == digest
    return content


def unescaped(text: str) -> str:
    def plain(match: re.Match[str]) -> str:
        return "\\" if match[0] == "\\\\" else chr(int(match[0][2:], 16))

    return re.sub(r"\\\\|\\x[0-9a-f]{2}|\\u[0-9a-f]{4}", plain, text)


def escaped(text: str) -> str:
    def written(match: re.Match[str]) -> str:
        code = ord(match[0])
        return "\\\\" if match[0] == "\\" else f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"

    return re.sub(ESCAPED, written, text)


@pytest.fixture(scope="module", params=FORMATS, ids=lambda each: f"format-{each}")
def format(request: pytest.FixtureRequest) -> int:
    """Each format that a program wrote."""
    return int(request.param)


@pytest.fixture(scope="module")
def store(format: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory `.agent-trace` of a store that everything has happened in."""
    root = tmp_path_factory.mktemp("format") / "s"
    restore_backup(archive_of(format), root, nothing)
    return root / ".agent-trace"


@pytest.fixture(scope="module")
def database(store: Path) -> Generator[sqlite3.Connection]:
    with closing(sqlite3.connect(store / "state.db")) as connection:
        yield connection


def git(store: Path, *arguments: str) -> bytes:
    done = subprocess.run(
        ["git", "--git-dir", store / "repo", *arguments], capture_output=True, check=True
    )
    return done.stdout


def commits(store: Path) -> list[tuple[str, str]]:
    """Return id and raw text of each commit of main, oldest first."""
    ids = git(store, "rev-list", "--reverse", "main").decode().split()
    return [(each, git(store, "cat-file", "commit", each).decode()) for each in ids]


def trailers(text: str) -> tuple[Fields, str]:
    """Return the trailers of a commit, and the writer's message."""
    _, _, message = text.partition("\n\n")
    paragraphs = message.split("\n\n")
    said = unescaped(paragraphs[1][2:]) if len(paragraphs) == 3 else ""
    lines = paragraphs[-1].removesuffix("\n").split("\n")
    return [(line.partition(": ")[0], line.partition(": ")[2]) for line in lines], said


# ---- the journal -----------------------------------------------------------------------------


def test_the_journal_is_a_chain_and_its_contents_have_their_digests(
    database: sqlite3.Connection, format: int
) -> None:
    assert database.execute("PRAGMA user_version").fetchone() == (format,)
    chain, contents = bytes(32), dict(database.execute("SELECT key, data FROM content"))
    named: dict[int, bytes] = {}
    for number, (seq, data, linked) in enumerate(
        database.execute("SELECT seq, record, chain FROM journal ORDER BY seq"), 1
    ):
        record = messagepack.decode(data)
        chain = blake(chain + data)
        assert (seq, record[0], linked) == (number, number, chain)
        # The shortest encoding of all fields, so the only one.
        assert messagepack.encode(record) == data
        if record[8][0] == "changed":
            for index, change in enumerate(record[8][1]):
                document, action, key, digest, size = (change[at] for at in (0, 1, 6, 7, 8))
                if action == "create":
                    assert document == key == 64 * seq + index
                if key:
                    named[key] = digest
                    assert len(content_of(contents[key], digest)) == size
    assert named


# ---- records out of commits ------------------------------------------------------------------


def kept_of(value: str) -> list[Any]:
    id, base, key, size, digest, type, action, path = value.split(" ", 7)
    numbers = (int(id), int(base), int(key))
    return [action, unescaped(path), type, *numbers, bytes.fromhex(digest), int(size)]


def body_of(given: Fields, message: str) -> list[Any] | None:
    """Return the body that the trailers say; None for kinds that are not read here."""
    first = dict(reversed(given))
    based_on = [
        [int(match[1]), int(match[2]), unescaped(match[3])]
        for name, value in given
        if name == "Based-On" and (match := re.fullmatch(r"(\d+)@(\d+) (.*)", value))
    ]

    def text(name: str) -> str:
        return unescaped(first.get(name, ""))

    def number(name: str) -> int:
        return int(first.get(name, "0").rpartition("-")[2])

    if first["Action"] == "open":
        pid, started = map(int, first["Process"].split())
        told = [text(name) for name in ("Program", "Model", "Host")]
        way = (text("Predecessor"), "Ephemeral" in first, text("Transport"), text("Key"))
        return ["opened", first["Kind"], *told, pid, started, *way]
    if first["Action"] == "close":
        closed = [text("Reason"), based_on, number("Looked")]
        # Format 1 did not say when it was last seen.
        return ["ended", *closed, number("Seen")] if "Seen" in first else ["closed", *closed]
    if first["Action"] == "lease":
        kind, ttl, previous, path = first["Lease"].split(" ", 3)
        return ["leased", unescaped(path), kind == "shared", int(ttl), int(previous)]
    if first["Action"] == "refuse":
        rule, code, action, attempt, path = first["Refused"].split(" ", 4)
        kept = [kept_of(value) for name, value in given if name == "Kept"]
        who = bytes.fromhex(attempt)
        why = (rule, code, text("Reason"), action, unescaped(path))
        return ["violated", *why, who, kept, text("Source")]
    if "Document" not in first:
        return None
    changes: list[list[Any]] = []
    annotations: list[list[Any]] = []
    for name, value in given:
        id, _, rest = value.partition(" ")
        if name == "Document":
            type, revision, action, path = rest.split(" ", 3)
            changes.append([int(id), action, unescaped(path), "", type, int(revision)])
        elif name == "Content":
            key, size, digest, added, removed = rest.split()
            raw = b"" if digest == "-" else bytes.fromhex(digest)
            changes[-1] += [int(key), raw, int(size), int(added), -int(removed), ""]
        elif name == "Moved-From":
            changes[-1][3] = unescaped(rest)
        elif name == "Summary":
            changes[-1][11] = unescaped(rest)
        elif name == "Tags":
            annotations.append([int(id), changes[-1][5], rest.split(), ""])
        elif name == "Description":
            annotations[-1][3] = unescaped(rest)
    origin = [number("Accepts"), text("Override"), number("Applies"), text("Source")]
    return ["changed", changes, message, *origin, based_on, annotations]


def test_a_record_is_made_again_from_its_commit_alone(
    store: Path, database: sqlite3.Connection
) -> None:
    records = dict(database.execute("SELECT seq, record FROM journal"))
    chain, read = bytes(32), set[str]()
    history = commits(store)
    assert len(history) == len(records)
    for seq, (_, text) in enumerate(history, 1):
        given, message = trailers(text)
        first = dict(reversed(given))
        body = body_of(given, message)
        if body is not None:
            read.add(first["Action"])
            record = [
                *(int(first[name]) for name in ("Seq", "Epoch", "Time")),
                first["Actor"],
                unescaped(first["Agent"]),
                unescaped(first["Session"]),
                int(first["Request"]),
                bytes.fromhex(first.get("Fingerprint", "")),
                body,
            ]
            assert messagepack.encode(record) == records[seq], text
        chain = blake(chain + records[seq])
        assert given[-1] == ("Chain", chain.hex())
    assert read >= {"open", "close", "create", "edit", "annotate", "refuse", "lease"}


# ---- commits out of records ------------------------------------------------------------------


def test_a_commits_tree_parent_and_author_follow_from_the_records(
    store: Path, database: sqlite3.Connection
) -> None:
    contents = dict(database.execute("SELECT key, data FROM content"))
    live: dict[str, bytes] = {}
    parent = ""
    rows = database.execute("SELECT record FROM journal ORDER BY seq")
    for (id, text), (data,) in zip(commits(store), rows, strict=True):
        _, _, time_ms, actor, author, _, _, _, body = messagepack.decode(data)
        if body[0] == "changed":
            for change in body[1]:
                _, action, path, previous, _, _, key, *_ = change
                live.pop(previous or path, None)
                if action not in ("delete", "untrack"):
                    live[path] = content_of(contents[key], change[7])
        listed = git(store, "ls-tree", "-r", "-z", "--format=%(objectmode) %(path)", id).decode()
        assert set(filter(None, listed.split("\0"))) == {f"100644 {path}" for path in live}
        for path, content in live.items():
            assert git(store, "cat-file", "blob", f"{id}:{path}") == content
        name = f"{author} <{author}@{actor}s.invalid>" if actor != "system" else COMMITTER
        seconds = f"{time_ms // 1000} +0000"
        head = text.partition("\n\n")[0].split("\n")[1:]
        due = [f"author {name} {seconds}", f"committer {COMMITTER} {seconds}"]
        assert head == ([f"parent {parent}"] if parent else []) + due
        parent = id


def test_the_escapes_of_the_reader_are_each_others_inverse() -> None:
    text = "a\\b\n\x7f\u200b\u2028\ufeff ü \\x41"
    assert unescaped(escaped(text)) == text and "\n" not in escaped(text)
