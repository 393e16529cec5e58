"""The mirrors of a store: plain git remotes that get a copy of the history.

Their addresses are in a file of the store; how far each one has come is in another, which the
pushing process writes and everybody else only reads.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from agent_trace_coordinator.errors import GitFailed, StoreInvalid
from agent_trace_coordinator.storage.git_recovery import read_ref, write_file
from agent_trace_coordinator.storage.mirror_push import check_address, operation_of, push
from agent_trace_coordinator.storage.store import Store
from agent_trace_protocol.upkeep import MirrorState

if TYPE_CHECKING:
    from .examine import Tell

__all__ = ["add_mirror", "mirror_states", "push_all", "remove_mirror"]

MIRRORS_MAX: Final = 8
PAUSE_SECONDS: Final = 10.0
"""After a first failure; each further one in a row doubles it."""

PAUSE_SECONDS_MAX: Final = 600.0


class _Addresses(msgspec.Struct):
    mirrors: list[str] = msgspec.field(default_factory=list[str])


def _addresses_file(store: Store) -> Path:
    return store.directory / "mirrors.json"


def _states_file(store: Store) -> Path:
    return store.run / "mirrors.json"


def _addresses(store: Store) -> list[str]:
    try:
        data = _addresses_file(store).read_bytes()
        return [check_address(each) for each in msgspec.json.decode(data, type=_Addresses).mirrors]
    except FileNotFoundError:
        return []
    except (OSError, msgspec.MsgspecError, StoreInvalid) as error:
        raise StoreInvalid(f"{_addresses_file(store)} can not be read: {error}") from error


def mirror_states(store: Store) -> list[MirrorState]:
    """Return the mirrors and how far each has come.

    Raises:
        StoreInvalid: the file of the addresses is damaged.
    """
    try:
        known = msgspec.json.decode(_states_file(store).read_bytes(), type=list[MirrorState])
    except (OSError, msgspec.MsgspecError):
        known = []
    by_url = {each.url: each for each in known}
    return [by_url.get(url) or MirrorState(url) for url in _addresses(store)]


def add_mirror(store: Store, url: str) -> None:
    """Add a mirror; raises `StoreInvalid` if it can be none, or is one already."""
    check_address(url)
    with _changing(store):
        urls = _addresses(store)
        if url in urls:
            raise StoreInvalid(f"{url} is a mirror already")
        if len(urls) >= MIRRORS_MAX:
            raise StoreInvalid(f"a store has at most {MIRRORS_MAX} mirrors; remove one first")
        _write(store, [*urls, url])


def remove_mirror(store: Store, url: str) -> None:
    """Forget a mirror; what it has stays there. Raises `StoreInvalid` if it is none."""
    with _changing(store):
        urls = _addresses(store)
        if url not in urls:
            known = f"; there are {', '.join(urls)}" if urls else ""
            raise StoreInvalid(f"{url} is no mirror of this store{known}")
        _write(store, [each for each in urls if each != url])


def _write(store: Store, urls: list[str]) -> None:
    write_file(_addresses_file(store), msgspec.json.encode(_Addresses(urls)))
    _addresses_file(store).chmod(0o600)


@contextlib.contextmanager
def _changing(store: Store, name: str = "mirrors.lock") -> Generator[None, None, None]:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(store.run / name, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def push_all(store: Store, *, now: bool, tell: Tell | None = None) -> list[MirrorState]:
    """Push to every mirror that is due, or to all if `now`; return how far each has come then.

    One process at a time; a push that is killed leaves what the remote had.
    """
    with _changing(store, "mirrors-push.lock"):
        states: list[MirrorState] = mirror_states(store)
        for index, state in enumerate(states):
            if tell is not None:
                tell(f"pushing to {state.url}", index, len(states))
            if now or state.next_ms <= time.time() * 1000:
                states[index] = _push_one(store, state)
                write_file(_states_file(store), msgspec.json.encode(states))
        return states


def _push_one(store: Store, state: MirrorState) -> MirrorState:
    tip = read_ref(store.repo, "refs/heads/main")
    if tip and tip == state.commit and not state.failures:
        return state
    try:
        commit = push(store.repo, state.url)
    except GitFailed as error:
        failures = state.failures + 1
        pause = min(PAUSE_SECONDS * 2 ** (failures - 1), PAUSE_SECONDS_MAX)
        return msgspec.structs.replace(
            state,
            failure=error.message[:500],
            failures=failures,
            next_ms=int((time.time() + pause) * 1000),
        )
    seq = operation_of(store.repo, commit) if commit else 0
    return MirrorState(state.url, seq, commit, int(time.time() * 1000) if commit else 0)
