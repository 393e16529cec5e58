"""The journal's records: what happened, as plain data that never changes once written.

A record holds everything that is needed to apply it to the core's state and to make its git commit,
except document contents; those lie beside it under their *content keys*. One record is one accepted
operation, one `seq`, one commit.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from agent_trace_protocol import Action, Actor, DocumentType, SessionKind
from agent_trace_protocol.limits import OPERATIONS_MAX

__all__ = [
    "CHAIN_START",
    "Change",
    "Changed",
    "Record",
    "RecordBody",
    "SessionClosed",
    "SessionOpened",
    "chain_hash",
    "content_digest",
    "content_key",
    "decode_record",
    "encode_record",
]

CHAIN_START: Final = bytes(32)
"""The chain hash before the first record."""


def content_digest(content: bytes) -> bytes:
    """Return the BLAKE2b-256 by which a content is checked whenever it is read."""
    return hashlib.blake2b(content, digest_size=32).digest()


def content_key(seq: int, index: int) -> int:
    """Return the key of the content that change `index` of operation `seq` brought.

    Also the id of the document, if the change creates one: unique, deterministic, ever growing.
    """
    return seq * OPERATIONS_MAX + index


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


class SessionClosed(msgspec.Struct, frozen=True, array_like=True, tag="closed", tag_field="$"):
    """A session ended."""

    reason: str
    """`closed`, `expired`, or `superseded by <session id>`, or the client's own word."""


RecordBody = Changed | SessionOpened | SessionClosed


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
    """Digest of the request's bytes: a reused number with other content is noticed. May be empty."""
    body: RecordBody


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
