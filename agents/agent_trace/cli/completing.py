"""What a shell completes in the place of an argument: documents, names and ids of the store.

It is read from the store's readable mirrors, which the coordinator keeps within a second of the
truth: no session is opened, no coordinator is started, and nothing is said whatever is wrong. A
key press must cost no more than the start of the program.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import click
import msgspec
from click.shell_completion import CompletionItem

from agent_trace.config import find_target
from agent_trace_protocol import AgentTraceError, DocumentType
from agent_trace_protocol.layout import STORE_DIRECTORY

from .face import ROOTED, Face

__all__ = [
    "AGENT",
    "AUTHOR",
    "DOCUMENT",
    "DRAFT",
    "FILE_OR_TYPE",
    "LEASE",
    "OPEN_SESSION",
    "SESSION",
    "VARIABLE",
    "VIOLATION",
]

BYTES_MAX: Final = 32 << 20
"""Bytes of a mirror that are read: some hundred thousand documents."""

_MANIFEST: Final = "manifest.toml"
_SESSIONS: Final = "locks/agent-lock.toml"

_LOG: Final = re.compile(r"logs/(.+)-([a-z2-7]{26}|commands)(?:\.[0-9]{1,9})?\.md")
"""The path of a session's log: the agent's name, and the session's id; one log has all sessions of
an agent's single commands."""

_KEPT: Final = re.compile(r"((?:draft|violation)-[0-9]+)(?:-(.*))?\.txt")
"""The name of a file that keeps the text of a draft, or of a refused write."""

VARIABLE: Final = "_AGENT_TRACE_COMPLETE"
"""By which a shell's script asks for completions; click makes the name from the program's."""

Found = Iterable[tuple[str, str]]
"""Values, each with what it is."""


class _Text(click.ParamType[str]):
    """A text for which a shell gets proposals. Whether it fits is said by who takes it."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return what was typed, as it was typed."""
        return value


class _Completed(_Text):
    """Something of the store."""

    def __init__(self, find: Callable[[Face, str], Found]) -> None:
        self._find = find

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return what begins like what was typed."""
        try:
            found = dict(self._find(ctx.find_root().ensure_object(Face), incomplete))
        except (AgentTraceError, OSError, ValueError, LookupError):
            return []
        return [
            CompletionItem(_typed(value), help=about or None)
            for value, about in sorted(found.items())
            if value.startswith(incomplete)
        ]


def _typed(value: str) -> str:
    """Return a value as the shell wants it: bash, unlike the others, puts it in as it is."""
    if os.environ.get(VARIABLE) != "bash_complete":
        return value
    return re.sub(r"([^\w@%+=:,./~-])", r"\\\1", value)


def _mirror(face: Face, name: str) -> str:
    root, _ = find_target(face.store)
    if root is None:
        return ""
    with open(root / STORE_DIRECTORY / name, "rb") as file:
        data = file.read(BYTES_MAX)
    if len(data) == BYTES_MAX:
        # What is cut off is a table too.
        data = data[: data.rfind(b"\n[[") + 1]
    return data.decode("utf-8", "replace")


def _tables(text: str) -> Iterator[dict[str, str]]:
    """Yield the tables of a mirror: their kind as `""`, and of their values those that are texts.

    Each line is a JSON value; a reader of any TOML would take a second for ten thousand documents.
    """
    table: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("[["):
            if table:
                yield table
            table = {"": line.strip("[]")}
        elif table:
            key, _, value = line.partition(" = ")
            table[key] = msgspec.json.decode(value, type=str) if value[:1] == '"' else value
    if table:
        yield table


def _documents(face: Face, incomplete: str) -> Found:
    for table in _tables(_mirror(face, _MANIFEST)):
        path = table["path"]
        if incomplete.startswith(ROOTED):
            yield ROOTED + path, table["type"]
        else:
            here = "./" if incomplete.startswith("./") else ""
            yield here + face.path_here(path), table["type"]


def _sessions(face: Face) -> Iterator[dict[str, str]]:
    return (each for each in _tables(_mirror(face, _SESSIONS)) if each[""] == "session")


def _logs(face: Face) -> Iterator[tuple[str, str]]:
    for table in _tables(_mirror(face, _MANIFEST)):
        if match := _LOG.fullmatch(table["path"]):
            yield match[1], match[2]


def _agents(face: Face, _: str) -> Found:
    yield from ((agent, "") for agent, _ in _logs(face))
    yield from ((each["name"], "") for each in _sessions(face) if each["actor"] == "agent")


def _authors(face: Face, _: str) -> Found:
    yield from ((agent, "") for agent, _ in _logs(face))
    yield from ((each["name"], "") for each in _sessions(face))


def _open_sessions(face: Face, _: str) -> Found:
    return ((each["id"], f"{each['actor']} {each['name']}") for each in _sessions(face))


def _all_sessions(face: Face, _: str) -> Found:
    yield from ((id, f"agent {agent}") for agent, id in _logs(face) if id != "commands")
    yield from _open_sessions(face, "")


def _leases(face: Face, _: str) -> Found:
    for table in _tables(_mirror(face, _SESSIONS)):
        if table[""] == "lease":
            yield table["token"], f"{table['path']}, {table['holder']}"
            yield face.path_here(table["path"]), table["holder"]


def _kept(directory: str) -> Callable[[Face, str], Found]:
    def find(face: Face, _: str) -> Found:
        root, _ = find_target(face.store)
        if root is not None:
            for name in os.listdir(root / STORE_DIRECTORY / directory):
                if match := _KEPT.fullmatch(name):
                    yield match[1], match[2] or ""

    return find


class _FileOrType(_Text):
    """A document's type, or a file."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the types that begin so; if none does, the shell looks for files."""
        fitting = [each.value for each in DocumentType if each.value.startswith(incomplete)]
        if incomplete and fitting:
            return [CompletionItem(each) for each in fitting]
        return [CompletionItem(incomplete, type="file")]


DOCUMENT: Final = _Completed(_documents)
AGENT: Final = _Completed(_agents)
AUTHOR: Final = _Completed(_authors)
SESSION: Final = _Completed(_all_sessions)
OPEN_SESSION: Final = _Completed(_open_sessions)
LEASE: Final = _Completed(_leases)
DRAFT: Final = _Completed(_kept("drafts"))
VIOLATION: Final = _Completed(_kept("quarantine"))
FILE_OR_TYPE: Final = _FileOrType()
