"""The first frame of a message: who speaks, which request it is, how long the asker will wait.

Its shape is the same in every version of the protocol, so that two sides that share no version can
still tell each other so.
"""

from __future__ import annotations

import msgspec

from .scalars import Count

__all__ = ["ReplyEnvelope", "RequestEnvelope"]


class RequestEnvelope(msgspec.Struct, frozen=True, array_like=True):
    """In front of a request."""

    version: Count
    """The protocol version the body is written in."""
    key: bytes
    """The session's secret, 16 bytes; see `ids`."""
    number: Count
    """Counts this session's requests from 1. With the session it identifies the request for ever:
    repeating it returns the first answer."""
    budget_ms: Count = 0
    """Milliseconds the client will wait; 0 for no bound."""
    trace: str = ""
    """W3C trace context of the caller, or empty."""


class ReplyEnvelope(msgspec.Struct, frozen=True, array_like=True):
    """In front of a reply."""

    version: Count
    number: Count
    """The request this answers."""
    seq: Count
    """The last durable operation when this was sent; never decreases for a client."""
    epoch: Count
    """The coordinator's life that answered."""
