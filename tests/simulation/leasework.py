"""What simulated agents do with leases and unlocks: take, use, renew, keep too long, steal."""

from __future__ import annotations

from collections.abc import Callable, Generator
from random import Random
from typing import Final

from agent_trace_protocol import (
    AcquireLease,
    AgentTraceError,
    Append,
    Document,
    DocumentType,
    Durability,
    Leased,
    Leases,
    Lock,
    Put,
    Read,
    ReleaseLease,
    RenewLease,
    Reply,
    Request,
    StaleLease,
    Transact,
    Unlock,
)

from .leases import LEASED, covers

__all__ = ["Task", "ask_leases", "rights", "under_lease", "write_protected"]

Task = Generator[Request | float, Reply | AgentTraceError, None]
"""Yields requests, and is sent their answers; or yields seconds, and is woken after them."""

PROTECTED: Final = "api.md"
"""A document that only its owner may write."""

WRITTEN: Final = ("plan.md", "notes/a.md", "notes/b.md", "log.md")


def under_lease(random: Random, line: Callable[[], bytes], *, steals: bool) -> Task:
    """Take a lease, write under it for a while, and sometimes for too long."""
    pattern = random.choice(LEASED)
    outcome = yield AcquireLease(
        pattern,
        shared=random.random() < 0.3,
        ttl_seconds=random.choice((1.0, 3.0, 12.0)),
        wait_seconds=random.choice((0.0, 0.0, 2.0, 15.0)),
        steal=steals and random.random() < 0.5,
    )
    if not isinstance(outcome, Leased):
        return
    token = outcome.lease.token
    path = random.choice([each for each in WRITTEN if covers(pattern, each)])
    for _ in range(random.randrange(1, 5)):
        operation = random.choice((Put(path, line()), Append(path, line())))
        durability = Durability.GIT if random.random() < 0.2 else Durability.JOURNAL
        outcome = yield Transact((operation,), durability, leases=(token,))
        if isinstance(outcome, StaleLease) and random.random() < 0.7:
            # Some do not listen, and try again with the token that is worth nothing.
            return
        yield random.choice((0.01, 0.5, 1.5, 5.0))
        if random.random() < 0.3:
            yield RenewLease(token, random.choice((0.0, 2.0)))
    if random.random() < 0.8:
        yield ReleaseLease(token)


def rights(random: Random, line: Callable[[], bytes]) -> Task:
    """Let agents write a protected document for a while, as a user does."""
    yield Transact((Put(PROTECTED, line(), type=DocumentType.REFERENCE),))
    yield Unlock(PROTECTED, random.choice(("", "", "planner", "coder")), random.choice((1, 4, 20)))
    yield random.choice((0.5, 3.0, 10.0))
    if random.random() < 0.4:
        yield Lock(PROTECTED)


def write_protected(random: Random, line: Callable[[], bytes]) -> Task:
    """Write what only an unlock allows, again and again, whether or not it holds."""
    for _ in range(4):
        outcome = yield Read(PROTECTED)
        if not isinstance(outcome, Document):
            return
        yield Transact((random.choice((Append, Put))(PROTECTED, line()),))
        yield random.choice((0.2, 1.0, 4.0))


def ask_leases() -> Task:
    """Look at who holds what."""
    yield Leases()
