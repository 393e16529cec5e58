"""How contents lie in state.db: as they are, or packed by zlib where they repeat themselves.

The revisions of a generated document are much the same text again and again, so those are packed;
what people and agents wrote lies as it is, for whoever has to save it with nothing but SQLite.
Which of the two a content is needs no mark: the digest on record says what it has to be.
"""

from __future__ import annotations

import zlib
from typing import Final

from agent_trace_coordinator.core.records import content_digest
from agent_trace_protocol.limits import DOCUMENT_BYTES_MAX

__all__ = ["pack", "unpack"]

_LEVEL: Final = 1
"""zlib's fastest: 9 makes a log a tenth smaller and takes four times as long."""


def pack(content: bytes) -> bytes:
    """Return a content in fewer bytes, or as it is if it does not get smaller."""
    packed = zlib.compress(content, _LEVEL)
    return packed if len(packed) < len(content) else content


def unpack(data: object, digest: bytes) -> bytes | None:
    """Return the content that has this digest; None if the data is not that of it, or not even
    bytes, as in a row whose kind was damaged."""
    if not isinstance(data, bytes):
        return None
    if content_digest(data) == digest:
        return data
    try:
        # What a damaged or forged row may unpack to is bounded.
        content = zlib.decompressobj().decompress(data, DOCUMENT_BYTES_MAX)
    except zlib.error:
        return None
    return content if content_digest(content) == digest else None
