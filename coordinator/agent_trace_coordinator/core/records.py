"""The journal's records: what happened, as plain data that never changes once written.

A record holds everything that is needed to apply it to the core's state and to make its git commit,
except document contents; those lie beside it under their *content keys*. One record is one accepted
operation, one `seq`, one commit.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from agent_trace_protocol import Action, Actor, ConflictInfo, DocumentType, SessionKind
from agent_trace_protocol.limits import OPERATIONS_MAX

__all__ = [
    "CHAIN_START",
    "Change",
    "Changed",
    "Drafted",
    "Entry",
    "Record",
    "RecordBody",
    "SessionClosed",
    "SessionOpened",
    "chain_hash",
    "content_digest",
    "content_key",
    "decode_record",
    "encode_record",
    "request_fingerprint",
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


class Changed(msgspec.Struct, frozen=True, array_like=True, tag="changed", tag_field="$"):
    """Documents changed."""

    changes: tuple[Change, ...]
    message: str = ""
    """The writer's own words, one line or empty."""
    draft: int = 0
    """The draft that this accepts; 0 if none."""


class Drafted(msgspec.Struct, frozen=True, array_like=True, tag="drafted", tag_field="$"):
    """A write came too late: its document had moved on. What it would have written is kept."""

    conflict: ConflictInfo
    """What the writer was told."""
    document: int
    """The document; 0 if there is none any more."""
    content_key: int
    """Where the text lies that the writer wanted."""
    digest: bytes
    """BLAKE2b-256 of that text."""
    size: int


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


class SessionClosed(msgspec.Struct, frozen=True, array_like=True, tag="closed", tag_field="$"):
    """A session ended."""

    reason: str
    """`closed`, `expired`, or `superseded by <session id>`, or the client's own word."""


RecordBody = Changed | Drafted | SessionOpened | SessionClosed


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
