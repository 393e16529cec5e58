"""The journal's records: what happened, as plain data that never changes once written.

A record holds everything that is needed to apply it to the core's state and to make its git commit,
except document contents; those lie beside it under their *content keys*. One record is one accepted
operation, one `seq`, one commit.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from agent_trace_protocol import (
    Action,
    Actor,
    ConflictInfo,
    DocumentType,
    ErrorCode,
    LeaseRefusal,
    SessionKind,
)
from agent_trace_protocol.limits import OPERATIONS_MAX

__all__ = [
    "BasedOn",
    "CHAIN_START",
    "Annotation",
    "Change",
    "Changed",
    "Discarded",
    "Drafted",
    "Entry",
    "Kept",
    "LeaseExtended",
    "LeaseGranted",
    "LeaseReleased",
    "Locked",
    "Record",
    "RecordBody",
    "Repeated",
    "SessionClosed",
    "SessionEnded",
    "SessionOpened",
    "Steered",
    "SteeringDropped",
    "Unlocked",
    "Violated",
    "chain_hash",
    "content_digest",
    "content_key",
    "decode_record",
    "encode_record",
    "erased_by",
    "request_fingerprint",
    "record_digests",
    "split_key",
]

CHAIN_START: Final = bytes(32)
"""The chain hash before the first record."""


def content_digest(content: bytes) -> bytes:
    """Return the BLAKE2b-256 by which a content is checked whenever it is read."""
    return hashlib.blake2b(content, digest_size=32).digest()


def request_fingerprint(body: bytes) -> bytes:
    """Return the digest by which a repeated request is told from a reused number."""
    return hashlib.blake2b(body, digest_size=8).digest()


def content_key(seq: int, index: int) -> int:
    """Return the key of the content that change `index` of operation `seq` brought.

    Also the id of the document, if the change creates one: unique, deterministic, ever growing.
    """
    return seq * OPERATIONS_MAX + index


def split_key(key: int) -> tuple[int, int]:
    """Return the seq and the index that make a content key."""
    return divmod(key, OPERATIONS_MAX)


class Change(msgspec.Struct, frozen=True, array_like=True):
    """One document's part of an operation."""

    document: int
    action: Action
    path: str
    """The path after the change; for a deletion the path that was deleted."""
    previous_path: str
    """The path before a move; empty otherwise."""
    type: DocumentType
    revision: int
    content_key: int
    """Where the content after the change lies; 0 for a deletion."""
    digest: bytes
    """BLAKE2b-256 of that content; empty for a deletion."""
    size: int
    """Bytes of that content."""
    added: int
    """Lines added."""
    removed: int
    """Lines removed."""
    summary: str = ""
    """What it did in substance, made from the real difference; see `substance`."""


class BasedOn(msgspec.Struct, frozen=True, array_like=True):
    """A revision that a session had read."""

    document: int
    revision: int
    path: str
    """Where the document was then."""


class Annotation(msgspec.Struct, frozen=True, array_like=True):
    """What stands beside a document since one of its revisions, until the next annotation."""

    document: int
    revision: int
    """The revision that it was made with."""
    tags: tuple[str, ...]
    """Sorted, each once."""
    description: str


class Changed(msgspec.Struct, frozen=True, array_like=True, tag="changed", tag_field="$"):
    """Documents changed."""

    changes: tuple[Change, ...]
    message: str = ""
    """The writer's own words, one line or empty."""
    draft: int = 0
    """The draft that this accepts; 0 if none."""
    override: str = ""
    """The rules that a user's confirmation or an unlock overrode, divided by blanks."""
    violation: int = 0
    """The refused write that this applies; 0 if none."""
    source: str = ""
    """`file` if the change was made past the coordinator, in the file itself; `generated` if the
    coordinator wrote its own documents (`trace_state`)."""
    based_on: tuple[BasedOn, ...] = ()
    """What the session had read since its last record that says so."""
    annotations: tuple[Annotation, ...] = ()
    """One for each change that is an annotation, in their order."""


class SessionOpened(msgspec.Struct, frozen=True, array_like=True, tag="opened", tag_field="$"):
    """A session began."""

    kind: SessionKind
    program: str
    model: str
    host: str
    pid: int
    pid_started: int
    predecessor: str
    """The session of the same agent this one follows; empty if there was none."""
    ephemeral: bool = False
    """It does not hold its agent's name."""
    transport: str = ""
    """By what its client is connected."""
    key: str = ""
    """The short name of the key by which it was opened; empty if it came by a local way."""


class SessionClosed(msgspec.Struct, frozen=True, array_like=True, tag="closed", tag_field="$"):
    """A session ended."""

    reason: str
    """`closed`, `expired`, or `superseded by <session id>`, or the client's own word."""
    based_on: tuple[BasedOn, ...] = ()
    """What it had read since its last change."""
    looked: int = 0
    """The operation as of which it was briefed last; 0 if it never was."""


class SessionEnded(SessionClosed, frozen=True, array_like=True, tag="ended", tag_field="$"):
    """A session ended: what is written of it since format 2; `closed` is only read."""

    seen_ms: int = 0
    """When it gave its last sign of life, UTC milliseconds; 0 if it gave none to the coordinator
    that ended it."""


class LeaseGranted(msgspec.Struct, frozen=True, array_like=True, tag="leased", tag_field="$"):
    """A session got a lease. The record's seq is the fencing token."""

    path: str
    """A path, or a glob."""
    shared: bool
    ttl_ms: int
    previous: int = 0
    """The token of the lease that this one takes the place of: the session's own in another form,
    or its predecessor's."""


class LeaseExtended(msgspec.Struct, frozen=True, array_like=True, tag="extended", tag_field="$"):
    """A lease got another duration. That it was renewed is in no record: time is not kept."""

    token: int
    path: str
    ttl_ms: int


class LeaseReleased(msgspec.Struct, frozen=True, array_like=True, tag="released", tag_field="$"):
    """A lease ended before its session did; with a session all of its leases end."""

    token: int
    path: str
    reason: str
    """`released`, `expired`, `cancelled`, `its process is gone`, or `stolen by <name>`."""


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """One text of a write that was not done: what its document would have become, if that could be
    known."""

    action: Action
    path: str
    type: DocumentType
    """The type of the document, or of the one that it would have created."""
    document: int
    """0 if there was no document."""
    base_revision: int
    """The revision that it changes; 0 if there was no document."""
    content_key: int
    """Where the text lies; 0 if it was not kept."""
    digest: bytes
    """BLAKE2b-256 of the text."""
    size: int


class Drafted(msgspec.Struct, frozen=True, array_like=True, tag="drafted", tag_field="$"):
    """A write did not fit any more: its document had moved on, or a lease was in the way. What it
    would have written is kept."""

    code: ErrorCode
    """`conflict`, `stale_lease` or `lease_held`."""
    conflict: ConflictInfo
    """What the writer was told."""
    attempt: bytes
    """Digest over who wanted to write what: the same again is the same draft."""
    kept: tuple[Kept, ...]
    """Each text with the revision that its writer had seen."""
    lease: LeaseRefusal | None = None
    """What the writer was told of the lease, if it was for one that the write did not fit."""


class Violated(msgspec.Struct, frozen=True, array_like=True, tag="violated", tag_field="$"):
    """A write was not allowed. What it brought is kept."""

    rule: str
    code: ErrorCode
    reason: str
    """What the writer was told."""
    action: Action
    path: str
    """As it was given; cut if it was longer than any path."""
    attempt: bytes
    """Digest over who tried what: the same attempt again is counted, not recorded again."""
    kept: tuple[Kept, ...]
    source: str = ""
    """`file` if a file was changed past the coordinator."""


class Repeated(msgspec.Struct, frozen=True, array_like=True, tag="repeated", tag_field="$"):
    """A refused write was tried again and again."""

    violation: int
    count: int
    """Attempts so far: a power of two, so that any number of them makes few records."""


class Discarded(msgspec.Struct, frozen=True, array_like=True, tag="discarded", tag_field="$"):
    """Somebody threw away what was kept: of a refused write, or of one that did not fit."""

    violation: int = 0
    draft: int = 0


class Unlocked(msgspec.Struct, frozen=True, array_like=True, tag="unlocked", tag_field="$"):
    """A user let agents write a protected document for a while."""

    document: int
    path: str
    agent: str
    """Empty: every agent."""
    seconds: int


class Locked(msgspec.Struct, frozen=True, array_like=True, tag="locked", tag_field="$"):
    """Unlocks ended."""

    unlocks: tuple[int, ...]
    """The records that granted them."""
    path: str
    reason: str
    """`locked` by a user, or `expired`."""


class Steered(msgspec.Struct, frozen=True, array_like=True, tag="steered", tag_field="$"):
    """A user said where things go."""

    text: str
    replaces: int = 0
    """The statement that this supersedes; 0 if none."""


class SteeringDropped(msgspec.Struct, frozen=True, array_like=True, tag="unsteered", tag_field="$"):
    """What a user had said stands no more."""

    statement: int


RecordBody = (
    Changed
    | Drafted
    | SessionOpened
    | SessionClosed
    | SessionEnded
    | Violated
    | Repeated
    | Discarded
    | Unlocked
    | Locked
    | LeaseGranted
    | LeaseExtended
    | LeaseReleased
    | Steered
    | SteeringDropped
)


class Record(msgspec.Struct, frozen=True, array_like=True):
    """One entry of the journal."""

    seq: int
    epoch: int
    """The coordinator's life that accepted it."""
    time_ms: int
    """UTC milliseconds; never smaller than the record before it."""
    actor: Actor
    author: str
    """The agent's or user's name."""
    session: str
    request: int
    """The request's number within its session; 0 if the coordinator itself decided it."""
    fingerprint: bytes
    """Digest of the request's bytes, so that a reused number with other content is noticed."""
    body: RecordBody


class Entry(msgspec.Struct, frozen=True):
    """A record on its way to the disk, with what lies beside it."""

    record: Record
    encoded: bytes
    """The record's one encoding."""
    chain: bytes
    """The chain hash up to and including this record."""
    contents: tuple[tuple[int, bytes], ...]
    """New contents by content key: one for each change that brought one."""
    lost: frozenset[int] = frozenset()
    """Keys of contents that a repair found to be gone; see the table `lost`."""

    @property
    def content_bytes(self) -> int:
        """Bytes of the contents."""
        if len(self.contents) == 1:
            return len(self.contents[0][1])
        return sum(len(content) for _, content in self.contents)


def record_digests(body: RecordBody) -> dict[int, bytes]:
    """Return the digests of the contents that a record names, by content key."""
    match body:
        case Changed():
            return {change.content_key: change.digest for change in body.changes}
        case Drafted() | Violated():
            return {kept.content_key: kept.digest for kept in body.kept}
        case _:
            return {}


def erased_by(body: RecordBody) -> int:
    """Return the operation whose kept texts a record throws away; 0 if it does not do that."""
    return (body.draft or body.violation) if isinstance(body, Discarded) else 0


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Record)


def encode_record(record: Record) -> bytes:
    """Return the one encoding of a record; the chain is computed over it."""
    return _encoder.encode(record)


def decode_record(data: bytes) -> Record:
    """Return the record in `data`; raises `msgspec.MsgspecError` if it is not one."""
    return _decoder.decode(data)


def chain_hash(previous: bytes, encoded: bytes) -> bytes:
    """Return the chain hash of a record: over the hash before it and its own encoding."""
    return hashlib.blake2b(previous + encoded, digest_size=32).digest()
