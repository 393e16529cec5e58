"""Keys on disk: the coordinator's own pair, and the list of clients that may come over TCP.

Law: the list is the truth at every moment. Whoever wants to know a key looks whether the file has
changed, so a key that was taken off it is unknown from then on, also to connections that stand. A
list that can not be read knows nobody.
"""

from __future__ import annotations

import fcntl
import logging
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from agent_trace_coordinator.errors import StoreInvalid
from agent_trace_protocol import AgentName, InvalidRequest, NotFound
from agent_trace_protocol.keys import KeyInfo

from .git_recovery import write_file

__all__ = ["KEYS_MAX", "KeyRing", "ServerKeys"]

KEYS_MAX: Final = 10_000
"""Keys of one store."""

_FILE_BYTES_MAX: Final = 4 << 20

_log = logging.getLogger("agent_trace.coordinator.keys")


class ServerKeys(msgspec.Struct, frozen=True):
    """The coordinator's pair, as 40 characters of Z85 each."""

    public: str
    secret: str


class _Listed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keys: tuple[KeyInfo, ...] = ()


class KeyRing:
    """The keys of one store."""

    def __init__(self, directory: Path) -> None:
        """`directory` is the store's own one for keys."""
        self._directory = directory
        self._list = directory / "clients.json"
        self._server = directory / "server.json"
        self._read_as: tuple[int, ...] | None = None
        self._by_public: dict[str, KeyInfo] = {}
        self._ids: frozenset[str] = frozenset()

    # ---- what the coordinator asks -----------------------------------------------------------

    def server_keys(self) -> ServerKeys | None:
        """Return the coordinator's pair; None if none was made yet.

        Raises:
            StoreInvalid: the file is not one of ours, or others can read it.
        """
        data = _read_private(self._server)
        if data is None:
            return None
        try:
            return msgspec.json.decode(data, type=ServerKeys)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise StoreInvalid(
                f"{self._server} is damaged: {error}; remove it, run agent-trace keys init, and "
                "make new keys for all clients"
            ) from error

    def find(self, public: str) -> KeyInfo | None:
        """Return what a public key is known for at this moment; None if it is not known."""
        self._refresh()
        return self._by_public.get(public)

    @property
    def ids(self) -> frozenset[str]:
        """The short names of the keys that are known at this moment."""
        self._refresh()
        return self._ids

    def _refresh(self) -> None:
        signature: tuple[int, ...] = ()
        try:
            status = os.stat(self._list, follow_symlinks=False)
            signature = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)
        except OSError:
            # There is none: then `keys` says that there are no keys, or why it can not be read.
            pass
        if signature == self._read_as:
            return
        try:
            keys = self.keys()
        except StoreInvalid as error:
            _log.error("no client is let in over TCP: %s", error)
            keys = ()
        self._by_public = {each.public: each for each in keys}
        self._ids = frozenset(each.id for each in keys)
        self._read_as = signature

    # ---- what a person does ------------------------------------------------------------------

    def keys(self) -> tuple[KeyInfo, ...]:
        """Return the keys of all clients, oldest first; raises `StoreInvalid`."""
        data = _read_private(self._list)
        if data is None:
            return ()
        try:
            return msgspec.json.decode(data, type=_Listed).keys
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise StoreInvalid(
                f"{self._list} is damaged: {error}; remove it and make new keys for all clients"
            ) from error

    def make_server_keys(self, keys: ServerKeys) -> bool:
        """Keep the coordinator's pair if there is none yet; return whether it was kept."""
        with self._locked():
            if self.server_keys() is not None:
                return False
            write_file(self._server, msgspec.json.encode(keys), mode=0o600)
            return True

    def add(self, key: KeyInfo) -> None:
        """Let a client in.

        Raises:
            InvalidRequest: the name has a key already, or there are too many.
        """
        with self._locked():
            keys = self.keys()
            if any(each.name == key.name for each in keys):
                raise InvalidRequest(
                    f"{key.name} has a key already; to replace it: agent-trace keys revoke "
                    f"{key.name}, then add it again"
                )
            if len(keys) >= KEYS_MAX:
                raise InvalidRequest(f"a store knows at most {KEYS_MAX} keys; revoke some")
            self._keep((*keys, key))

    def revoke(self, name: AgentName) -> KeyInfo:
        """Let a client in no more; it is kept out when this returns.

        Raises:
            NotFound: the name has no key.
        """
        with self._locked():
            keys = self.keys()
            found = next((each for each in keys if each.name == name), None)
            if found is None:
                raise NotFound(f"there is no key for {name}; see agent-trace keys ls")
            self._keep(tuple(each for each in keys if each is not found))
            return found

    def _keep(self, keys: tuple[KeyInfo, ...]) -> None:
        data = msgspec.json.format(msgspec.json.encode(_Listed(keys)))
        write_file(self._list, data, mode=0o600)

    @contextmanager
    def _locked(self) -> Generator[None]:
        """One change at a time, also of several processes."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._directory, flags)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _read_private(path: Path) -> bytes | None:
    """Return the bytes of a file that is ours alone; None if there is none.

    Raises:
        StoreInvalid: it is a link, belongs to somebody else, or others may read or write it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreInvalid(f"{path} can not be read: {error.strerror}") from error
    with open(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise StoreInvalid(f"{path} is not a file of ours; remove it")
        if status.st_mode & 0o077:
            raise StoreInvalid(
                f"{path} can be used by others (mode {status.st_mode & 0o777:o}): what it holds "
                "may be known to them; make new keys, or chmod 600 it if you are sure"
            )
        return file.read(_FILE_BYTES_MAX)
