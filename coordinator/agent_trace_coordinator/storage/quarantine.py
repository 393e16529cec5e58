"""Refused writes as readable files, one each, in the store's quarantine, for their owner only.

A copy for people: what counts is in state.db, and a missing file is made again from there. A file
opens with what is known of the attempt, then follows each text, byte for byte, behind a line that
says how long it is.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Final

import msgspec

from agent_trace_coordinator.core.records import Record, Violated

__all__ = [
    "Quarantine",
    "QuarantinedText",
    "quarantine_name",
    "quarantine_text",
    "quarantined_contents",
]

_TEXT: Final = re.compile(rb"^---- ([0-9]{1,10}) bytes for [^\n]*:\n", re.MULTILINE)
_NAME: Final = re.compile(r"violation-[0-9]+(?:-.*)?\.txt", re.DOTALL)

NAME_LENGTH_MAX: Final = 60
"""Characters of a document's name in the name of a file."""


class QuarantinedText(msgspec.Struct, frozen=True):
    """One text of a refused write."""

    path: str
    content: bytes


def quarantine_name(seq: int, path: str) -> str:
    """Return the name of the file that keeps the refused write of record `seq`."""
    last = re.sub(r"[^A-Za-z0-9._-]+", "_", path.rpartition("/")[2])[-NAME_LENGTH_MAX:]
    return f"violation-{seq}-{last}.txt" if last.strip("._") else f"violation-{seq}.txt"


def quarantine_text(record: Record, body: Violated, texts: list[QuarantinedText]) -> bytes:
    """Return what the file of a refused write holds."""
    head = (
        f"agent-trace violation-{record.seq}\n"
        f"path: {ascii(body.path)}\naction: {body.action.value}\nrule: {body.rule}\n"
        f"actor: {record.actor.value} {record.author}\nsession: {record.session or 'none'}\n"
        f"time_ms: {record.time_ms}\nreason: {ascii(body.reason)}\n"
        f"show, apply or discard it: agent-trace violations show violation-{record.seq}\n"
    )
    parts = [head.encode("utf-8", "backslashreplace")]
    for text in texts:
        parts.append(b"---- %d bytes for %b:\n" % (len(text.content), ascii(text.path).encode()))
        parts += [text.content, b"\n"]
    return b"".join(parts)


def quarantined_contents(data: bytes) -> list[bytes]:
    """Return the texts in a file of the quarantine, as far as it can be read."""
    contents: list[bytes] = []
    match = _TEXT.search(data)
    while match is not None:
        end = match.end() + int(match[1])
        contents.append(data[match.end() : end])
        match = _TEXT.match(data, end + 1)
    return contents


class Quarantine:
    """The files of refused writes. Used from one worker thread at a time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def names(self) -> frozenset[str]:
        """Return the names of the files that are there."""
        return frozenset(name for name in os.listdir(self._directory) if _NAME.fullmatch(name))

    def write(self, record: Record, texts: list[QuarantinedText]) -> str:
        """Write the file of a refused write, and return its name; raises `OSError`."""
        body = record.body
        assert isinstance(body, Violated)
        name = quarantine_name(record.seq, body.path)
        self.write_bytes(name, quarantine_text(record, body, texts))
        return name

    def write_bytes(self, name: str, data: bytes) -> None:
        """Replace a file as a whole; raises `OSError`."""
        temporary = self._directory / f".{name}.tmp"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), 0o600)
        os.replace(temporary, self._directory / name)

    def remove(self, seq: int) -> None:
        """Remove the file of a refused write, if there is one."""
        for name in self.names():
            if re.match(rf"violation-{seq}[-.]", name):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._directory / name)

    def remove_set_aside(self, name: str) -> None:
        """Remove what was set aside under this name, once it is kept otherwise."""
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            os.unlink(self._directory / name)
