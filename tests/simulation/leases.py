"""Leases and unlocks as the oracle knows them: from the records and requests alone.

The law is written a second time, the slow way: two patterns overlap when some path of a small
universe lies in both, and the universe has a path for every way in which the patterns that are
drawn here can meet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

__all__ = [
    "LEASED",
    "Guarded",
    "ModelGrant",
    "ModelLease",
    "covers",
    "followed",
    "guard",
    "overlap",
]

LEASED: Final = ("plan.md", "plan.md", "notes/a.md", "notes/A.md", "notes/*", "*.md", "log.md")
"""What agents ask leases for; few, so that they meet."""

_UNIVERSE: Final = (
    *("plan.md", "notes/a.md", "notes/b.md", "notes/z.md", "log.md", "ref.md", "found.md"),
    *("c.md", "z.md", "api.md", "notes", "out.md", "lost/found.md"),
)


@dataclass(slots=True, frozen=True)
class ModelLease:
    """A lease that is held."""

    token: int
    session: str
    pattern: str
    shared: bool
    ttl_ms: int


@dataclass(slots=True, frozen=True)
class ModelGrant:
    """An unlock that holds."""

    seq: int
    document: int
    agent: str
    seconds: int


@dataclass(slots=True, frozen=True)
class Guarded:
    """What leases say to a write."""

    stale: bool = False
    """Its own lease is not held any more."""
    held: bool = False
    """Another one's is in the way, and leases are enforced."""


@cache
def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern.lower()).replace(r"\*", "[^/]*"))


def covers(pattern: str, path: str) -> bool:
    """Return whether a lease on a pattern covers a path."""
    return _regex(pattern).fullmatch(path.lower()) is not None


def overlap(one: str, other: str) -> bool:
    """Return whether two patterns have a path in common."""
    names = {*_UNIVERSE, one, other}
    return any(covers(one, path) and covers(other, path) for path in names if "*" not in path)


def guard(
    leases: dict[int, ModelLease],
    session: str,
    tokens: tuple[int, ...],
    path: str,
    *,
    enforced: bool,
) -> Guarded:
    """Return what leases say to a write of a session, under these tokens, to a path."""
    if any(token not in leases or leases[token].session != session for token in tokens):
        return Guarded(stale=True)
    covering = [each for each in leases.values() if covers(each.pattern, path)]
    own = [each for each in covering if each.session == session]
    if len(own) == len(covering):
        return Guarded()
    if tokens:
        return Guarded(stale=not any(each.token in tokens for each in own))
    return Guarded(held=enforced and not own)


def followed(leases: dict[int, ModelLease], path: str, new_path: str) -> dict[int, ModelLease]:
    """Return the leases after a document's move: those on its path alone go with it."""
    return {
        token: replace(each, pattern=new_path) if each.pattern.lower() == path.lower() else each
        for token, each in leases.items()
    }
