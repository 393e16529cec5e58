"""Drafts as files in the store's `drafts` folder: the copy of their texts that outlives state.db.

git holds no text that nobody accepted: its history is for ever, and a draft may be discarded. So
the second copy of a draft is a file, synced when it is written, removed when the draft is accepted
or discarded. Its commit holds the digests, by which a text from here is proven.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from agent_trace_coordinator.core.records import Drafted, Record, content_digest

from .git_recovery import sync_directory
from .quarantine import QuarantinedText, quarantine_name, quarantined_contents

__all__ = ["DraftFiles", "draft_name", "draft_text"]

_NAME: Final = re.compile(r"draft-[0-9]+(?:-.*)?\.txt", re.DOTALL)


def draft_name(seq: int, path: str) -> str:
    """Return the name of the file that keeps the draft of record `seq`."""
    return "draft" + quarantine_name(seq, path).removeprefix("violation")


def draft_text(record: Record, body: Drafted, texts: list[QuarantinedText]) -> bytes:
    """Return what the file of a draft holds."""
    late = body.conflict
    id = f"draft-{record.seq}"
    head = (
        f"agent-trace {id}\n"
        f"path: {ascii(late.path)}\nwhy: {body.code.value}\n"
        f"revision: {late.expected}, when it was at {late.current}\n"
        f"actor: {record.actor.value} {record.author}\nsession: {record.session or 'none'}\n"
        f"time_ms: {record.time_ms}\n"
        f"show, accept or discard it: agent-trace drafts show {id}\n"
    )
    parts = [head.encode("utf-8", "backslashreplace")]
    for text in texts:
        parts.append(b"---- %d bytes for %b:\n" % (len(text.content), ascii(text.path).encode()))
        parts += [text.content, b"\n"]
    return b"".join(parts)


class DraftFiles:
    """The files of drafts. Used from one worker thread at a time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def names(self) -> frozenset[str]:
        """Return the names of the files that are there."""
        return frozenset(name for name in os.listdir(self._directory) if _NAME.fullmatch(name))

    def remove_litter(self) -> None:
        """Remove what a write that failed or was killed has left; raises `OSError`."""
        for name in os.listdir(self._directory):
            if name[:1] == "." and name.endswith(".tmp") and _NAME.fullmatch(name[1:-4]):
                (self._directory / name).unlink(missing_ok=True)

    def write(self, record: Record, texts: list[QuarantinedText]) -> str:
        """Write the file of a draft, durably, and return its name; raises `OSError`."""
        body = record.body
        assert isinstance(body, Drafted)
        name = draft_name(record.seq, body.conflict.path)
        self.write_bytes(name, draft_text(record, body, texts))
        return name

    def write_bytes(self, name: str, data: bytes) -> None:
        """Replace a file as a whole, durably; raises `OSError`."""
        temporary = self._directory / f".{name}.tmp"
        temporary.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), 0o600)
            os.fsync(file.fileno())
        temporary.replace(self._directory / name)
        sync_directory(self._directory)

    def texts(self, seq: int, digests: frozenset[bytes]) -> dict[bytes, bytes]:
        """Return the texts of a draft by their digests: those that are what was recorded.

        For whoever rebuilds a store from git, whose commits know the digests only.
        """
        found: dict[bytes, bytes] = {}
        for name in self.names():
            if re.match(rf"draft-{seq}[-.]", name):
                for text in quarantined_contents((self._directory / name).read_bytes()):
                    found[content_digest(text)] = text
        return {digest: text for digest, text in found.items() if digest in digests}

    def remove(self, seq: int) -> None:
        """Remove the file of a draft, if there is one."""
        for name in self.names():
            if re.match(rf"draft-{seq}[-.]", name):
                self.remove_file(name)

    def remove_file(self, name: str) -> None:
        """Remove the file of this name."""
        (self._directory / name).unlink(missing_ok=True)
