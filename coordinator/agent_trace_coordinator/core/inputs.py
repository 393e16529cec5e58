"""What may happen to the core: a request with the facts it needs, or time passing.

Facts are looked up by the shell, pending operations first, then the index, then the disk. What a
request needs is said by `required.required_for`, so the shell never guesses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from agent_trace_protocol import (
    AcquireLease,
    Actor,
    CancelLease,
    DiscardDraft,
    DiscardViolation,
    DropStatement,
    EvictSession,
    Lock,
    RefreshDocuments,
    ReleaseLease,
    RenewLease,
    Request,
    Steer,
    Transact,
    Unlock,
)

from .records import Record

__all__ = [
    "Credential",
    "Facts",
    "FilesChanged",
    "FoundFile",
    "Now",
    "RECORDED_REQUESTS",
    "Received",
    "Refresh",
    "Required",
    "Tick",
]


RECORDED_REQUESTS: Final = (
    Transact,
    Unlock,
    Lock,
    DiscardViolation,
    DiscardDraft,
    AcquireLease,
    RenewLease,
    ReleaseLease,
    CancelLease,
    EvictSession,
    Steer,
    DropStatement,
    RefreshDocuments,
)
"""Requests that may leave a record: they need a disk that takes writes, and a repetition of one is
looked up in the journal."""


class Now(msgspec.Struct, frozen=True, gc=False):
    """One reading of the clocks."""

    monotonic: float
    """Seconds; decides everything that depends on durations."""
    wall_ms: int
    """UTC milliseconds; only ever shown."""


# Every request has one of each of these: a struct is made in a fraction of a dataclass's time.
class Required(msgspec.Struct):
    """What the core needs to know before it can decide a request."""

    contents: dict[int, bytes] = {}
    """Digests by content key."""
    revisions: set[tuple[int, int]] = set()
    """(document, revision)."""
    files: set[str] = set()
    """Paths without a document where a file may lie."""


class Facts(msgspec.Struct):
    """What the shell found."""

    contents: dict[int, bytes] = {}
    revisions: dict[tuple[int, int], bytes] = {}
    """Contents of the required revisions that exist and were not deletions."""
    files: dict[str, bytes] = {}
    """Contents of the files that lie at required paths."""
    blocked: dict[str, str] = {}
    """Why nothing may be written at a required path: a symlink or a special file is in the way."""
    previous: Record | None = None
    """The record this request's number made before, if it did."""
    session_ended: str = ""
    """Why the session is no longer open, if the index knows it as ended."""
    holder_gone: bool = False
    """The process that holds the agent's name ran on this machine and does no longer."""
    asker_hidden: bool = False
    """The process that asks says that it is on this machine, and is not to be seen from here."""
    evicted: str = ""
    """Why the session that is to be evicted has ended before, if it has."""
    takes_writes: bool = True
    """Whether the disk takes writes; if not, no record may come of the request."""


NO_FACTS = Facts()


class Credential(msgspec.Struct, frozen=True, gc=False):
    """What the key allows by which a connection was made."""

    name: str
    """The only name under which it opens sessions."""
    role: Actor
    """As what it acts at most."""
    key: str
    """The key's short name."""


class Received(msgspec.Struct):
    """A request arrived."""

    session: str
    """The id that the request's key proves."""
    number: int
    fingerprint: bytes
    request: Request
    facts: Facts
    peer: bytes = b""
    """Where it came from, for an answer that is given later."""
    credential: Credential | None = None
    """What it may do at most; None for who came by a way that only the store's owner can enter."""


@dataclass(slots=True, frozen=True)
class Tick:
    """Time passed. Comes about once a second, after everything that had arrived was handled."""

    gone: frozenset[str] = frozenset()
    """Sessions that hold a lease somebody waits for, and whose process is known to have ended."""
    revoked: frozenset[str] = frozenset()
    """Sessions that were opened by keys which are known no more."""


@dataclass(slots=True, frozen=True)
class FoundFile:
    """What was found where a document's file belongs, and was not put there by us."""

    path: str
    content: bytes | None
    """None: there is no file, or nothing that could be read."""
    problem: str = ""
    """Why it could not be read, such as a symlink; empty if it could, or nothing is there."""
    base_revision: int = 0
    """The document's revision that the file showed before; 0 if nobody knows."""
    moved_to: str = ""
    """Where the very file that lay here lies now, if that is certain; then nothing is here."""
    left_by: int = 0
    """The document that has left this path by an operation which its file did not show yet; what
    was found is a change of that document, and was taken out of the way already."""


@dataclass(slots=True, frozen=True)
class FilesChanged:
    """Files were changed past the coordinator, and stay as they are for a moment."""

    files: tuple[FoundFile, ...]
    facts: Facts
    """The current contents of their documents, and those of the base revisions."""


@dataclass(slots=True, frozen=True)
class Refresh:
    """The generated documents are to be brought up to date."""

    facts: Facts
    """What `generated.required_for_generated` names."""
