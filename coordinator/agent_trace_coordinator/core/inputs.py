"""What may happen to the core: a request with the facts it needs, or time passing.

Facts are looked up by the shell, pending operations first, then the index, then the disk. What a
request needs is said by `documents.required`, so the shell never guesses.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from agent_trace_protocol import Request

from .records import Record

__all__ = ["Facts", "Now", "Received", "Required", "Tick"]


@dataclass(slots=True, frozen=True)
class Now:
    """One reading of the clocks."""

    monotonic: float
    """Seconds; decides everything that depends on durations."""
    wall_ms: int
    """UTC milliseconds; only ever shown."""


@dataclass(slots=True)
class Required:
    """What the core needs to know before it can decide a request."""

    contents: dict[int, bytes] = field(default_factory=dict[int, bytes])
    """Digests by content key."""
    revisions: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])
    """(document, revision)."""
    files: set[str] = field(default_factory=set[str])
    """Paths without a document where a file may lie."""


@dataclass(slots=True)
class Facts:
    """What the shell found."""

    contents: dict[int, bytes] = field(default_factory=dict[int, bytes])
    revisions: dict[tuple[int, int], bytes] = field(default_factory=dict[tuple[int, int], bytes])
    """Contents of the required revisions that exist and were not deletions."""
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """Contents of the files that lie at required paths."""
    previous: Record | None = None
    """The record this request's number made before, if it did."""
    session_ended: str = ""
    """Why the session is no longer open, if the index knows it as ended."""
    holder_gone: bool = False
    """The process that holds the agent's name ran on this machine and does no longer."""


NO_FACTS = Facts()


@dataclass(slots=True)
class Received:
    """A request arrived."""

    session: str
    """The id that the request's key proves."""
    number: int
    fingerprint: bytes
    request: Request
    facts: Facts


@dataclass(slots=True, frozen=True)
class Tick:
    """Time passed. Comes about once a second, after everything that had arrived was handled."""
