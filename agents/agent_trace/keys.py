"""Keys for clients on other machines: made and revoked at the store, kept where they are used.

At the store: whoever owns it makes a key for a name and gets a join string, once. On the other
machine: `join` keeps it in the user's own configuration, and from then on `connect` to that address
finds it by the name that acts.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from agent_trace_protocol import Actor, InvalidRequest
from agent_trace_protocol.keys import JoinInfo, decode_join, parse_tcp_address

from .config import find_target
from .errors import KeyMissing, KeysNotChanged
from .launch import coordinator_command, read_endpoint, told

__all__ = [
    "AddedKey",
    "KnownKey",
    "add_key",
    "find_key",
    "joined",
    "join",
    "list_keys",
    "make_keys",
    "revoke_key",
]

_FILE_BYTES_MAX: Final = 4096
_ANYWHERE: Final = ("tcp://0.0.0.0:", "tcp://[::]:")
_T = TypeVar("_T")


class KnownKey(msgspec.Struct, frozen=True):
    """A client's key, as the store knows it."""

    name: str
    role: Actor
    """As what it may act at most."""
    key: str
    """The key's short name, as records and listings show it."""
    created_ms: int


class AddedKey(KnownKey, frozen=True):
    """A key that was made just now."""

    address: str
    join: str
    """What `join` takes on the other machine. It holds the secret, and is shown only here."""


class _Made(msgspec.Struct, frozen=True):
    public: str


@dataclass(frozen=True, slots=True)
class Joined:
    """A key that was stored on this machine."""

    address: str
    name: str
    role: Actor
    path: Path


# ---- at the store ----------------------------------------------------------------------------


def make_keys(store: str | os.PathLike[str] | None = None) -> str:
    """Make the coordinator's key pair if there is none; return its public key.

    Raises:
        StoreNotFound: the directory is in no store.
        KeysNotChanged: it can not be done; the message says why.
    """
    return _administer(_root(store), _Made, "init").public


def add_key(
    name: str,
    role: Actor = Actor.AGENT,
    *,
    store: str | os.PathLike[str] | None = None,
    address: str = "",
) -> AddedKey:
    """Make a key by which a client may act as `name`, and as `role` at most.

    Args:
        address: where the client finds the coordinator (`tcp://HOST:PORT`), if that is not where it
            says that it listens.

    Raises:
        KeysNotChanged: the name has a key already, or no address is known.
    """
    root = _root(store)
    if not address:
        info = read_endpoint(root)
        address = info.tcp if info is not None else ""
    if not address or address.startswith(_ANYWHERE):
        raise KeysNotChanged(
            "nobody knows yet where the client will find the coordinator; name it with "
            "--address tcp://HOST:PORT, or start it first: agent-trace serve --listen "
            "tcp://127.0.0.1:7117"
        )
    return _administer(root, AddedKey, "add", name, f"--role={role}", f"--address={address}")


def list_keys(store: str | os.PathLike[str] | None = None) -> list[KnownKey]:
    """Return the keys of a store's clients, oldest first."""
    return _administer(_root(store), list[KnownKey], "ls")


def revoke_key(name: str, *, store: str | os.PathLike[str] | None = None) -> KnownKey:
    """Let a client in no more; it can read and change nothing from then on.

    Raises:
        KeysNotChanged: the name has no key.
    """
    return _administer(_root(store), KnownKey, "revoke", name)


def _root(store: str | os.PathLike[str] | None) -> Path:
    root, endpoint = find_target(store)
    if root is None:
        raise InvalidRequest(
            f"{endpoint} is an address; keys are made and revoked where the store is"
        )
    return root


def _administer(root: Path, kind: type[_T], action: str, name: str = "", *options: str) -> _T:
    # What a user typed comes behind `--`, so that none of it is taken for an option.
    operands = [str(root), name] if name else [str(root)]
    command = coordinator_command("keys", action, *options, "--", *operands)
    try:
        done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise KeysNotChanged(f"the coordinator's keys command can not be run: {error}") from error
    if done.returncode != 0:
        message, hint = told(done.stderr.decode("utf-8", "replace").strip().splitlines()[-8:])
        failure = KeysNotChanged(message or f"keys {action} ended with exit code {done.returncode}")
        if hint:
            failure.add_note(hint)
        raise failure
    return msgspec.json.decode(done.stdout, type=kind)


# ---- on the client's machine -----------------------------------------------------------------


def join(text: str) -> Joined:
    """Keep the key of a join string, for the eyes of this user only.

    Raises:
        InvalidRequest: it is no join string, or not all of one.
    """
    info = decode_join(text)
    directory = _directory()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise InvalidRequest(f"{directory} is not a directory of yours; remove it")
    if status.st_mode & 0o077:
        directory.chmod(0o700)
    path = directory / _file_name(info.address, info.name)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, flags, 0o600), "wb") as file:
        file.write(msgspec.json.encode(_Stored.of(info)))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    return Joined(info.address, info.name, info.role, path)


def joined() -> list[Joined]:
    """Return what this user has joined on this machine."""
    try:
        paths = sorted(_directory().glob("*.json"))
    except OSError:
        return []
    found = [(path, _read(path)) for path in paths]
    return [Joined(each.address, each.name, each.role, path) for path, each in found if each]


def find_key(address: str, name: str) -> JoinInfo:
    """Return the key by which `name` connects to a coordinator's address.

    Raises:
        KeyMissing: there is none; the message says how to get one, and who has one.
    """
    host, port = parse_tcp_address(address)
    info = _read(_directory() / _file_name(f"tcp://{host}:{port}", name))
    if info is not None and info.name == name:
        return info
    others = [each for each in joined() if parse_tcp_address(each.address) == (host, port)]
    if others:
        names = ", ".join(f"{each.name} ({each.role})" for each in others)
        raise KeyMissing(
            f"{name} has no key for {address}; there is one for {names}: act under that name "
            "(--agent NAME, AGENT_TRACE_AGENT, agent=...)"
        )
    raise KeyMissing(
        f"{name} has no key for {address}; whoever owns the store makes one (agent-trace keys add "
        f"{name}), and agent-trace keys join STRING keeps it here"
    )


class _Stored(msgspec.Struct, frozen=True):
    """A join string's contents as a file, with names that a person can read."""

    address: str
    server: str
    secret: str
    name: str
    role: Actor

    @classmethod
    def of(cls, info: JoinInfo) -> _Stored:
        return cls(info.address, info.server, info.secret, info.name, info.role)


def _directory() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME", "")
    # The standard says that a relative one is to be ignored.
    root = Path(base) if os.path.isabs(base) else Path.home() / ".config"
    return root / "agent-trace" / "keys"


def _file_name(address: str, name: str) -> str:
    host, port = parse_tcp_address(address)
    return f"{re.sub(r'[^A-Za-z0-9.-]', '_', host)}~{port}~{name}.json"


def _read(path: Path) -> JoinInfo | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with open(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077:
            raise KeyMissing(
                f"{path} can be used by others: have another key made (agent-trace keys revoke, "
                "then add), or chmod 600 it if you are sure that nobody has read it"
            )
        data = file.read(_FILE_BYTES_MAX)
    try:
        stored = msgspec.json.decode(data, type=_Stored)
        return JoinInfo(stored.address, stored.server, stored.secret, stored.name, stored.role)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise KeyMissing(f"{path} is damaged ({error}); join again") from error
