"""Sessions that outlive one command: their keys, one file per name, for the owner's eyes only.

The file is locked for the length of a command. Commands of one agent so take turns, and two of
them never use the same request number.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from agent_trace.config import Identity
from agent_trace_protocol import Actor, SessionKey
from agent_trace_protocol.layout import SESSIONS_DIRECTORY
from agent_trace_protocol.limits import SESSION_KEY_BYTES

__all__ = ["KeptFile", "open_kept"]

_FILE_BYTES_MAX: Final = 1 << 20

LEASES_KEPT_MAX: Final = 100
"""Leases of a session that its file names, the newest: it stays below its limit whatever their
paths are."""


class _Kept(msgspec.Struct, frozen=True):
    key: bytes
    leases: dict[int, str] = {}
    """What the session's commands hold to: the path or glob of each token."""


class KeptFile:
    """The locked file of one name."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @property
    def key(self) -> SessionKey | None:
        """The kept key; None if there is none, or none that can be read."""
        kept = self._read()
        return SessionKey(kept.key) if kept is not None else None

    @property
    def leases(self) -> dict[int, str]:
        """The leases that the session's commands hold to: the path or glob of each token."""
        kept = self._read()
        return kept.leases if kept is not None else {}

    def keep(self, key: SessionKey) -> None:
        """Write the key down, before it is used: a crash must not leave a session without one."""
        self._write(_Kept(key))

    def hold_to(self, leases: Mapping[int, str]) -> None:
        """Write down what the next command is to hold to."""
        kept = self._read()
        newest = {token: leases[token] for token in sorted(leases)[-LEASES_KEPT_MAX:]}
        if kept is not None and kept.leases != newest:
            self._write(_Kept(kept.key, newest))

    def _read(self) -> _Kept | None:
        data = os.pread(self._descriptor, _FILE_BYTES_MAX, 0)
        try:
            kept = msgspec.json.decode(data, type=_Kept)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None
        return kept if len(kept.key) == SESSION_KEY_BYTES else None

    def _write(self, kept: _Kept) -> None:
        # In one piece over what is there: a process that is killed must not leave half a key.
        size = os.fstat(self._descriptor).st_size
        os.pwrite(self._descriptor, msgspec.json.encode(kept).ljust(size), 0)
        os.fsync(self._descriptor)

    def remove(self) -> None:
        """Forget the key."""
        with suppress(FileNotFoundError):
            self._path.unlink()


@contextmanager
def open_kept(
    root: Path, identity: Identity, *, create: bool = False
) -> Generator[KeptFile | None, None, None]:
    """Lock and yield the file of this name; None if there is none and `create` is not set.

    Waits for as long as another command of the same name runs.
    """
    directory = root / SESSIONS_DIRECTORY
    # No name starts with these, so an agent, a user and a reader of one name keep apart.
    prefix = {Actor.AGENT: "", Actor.READER: "~~"}.get(identity.actor, "~")
    path = directory / f"{prefix}{identity.name}.json"
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    if create:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags |= os.O_CREAT
    while True:
        try:
            descriptor = os.open(path, flags, 0o600)
        except FileNotFoundError:
            yield None
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Whoever held the lock before may have removed the file; then another one counts.
            if os.fstat(descriptor).st_nlink == 0:
                continue
            yield KeptFile(path, descriptor)
            return
        finally:
            os.close(descriptor)
