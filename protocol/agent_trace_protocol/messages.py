"""The shape of every request and of every reply: a tagged array."""

from __future__ import annotations

import msgspec

__all__ = ["ReplyMessage", "RequestMessage"]


class RequestMessage(
    msgspec.Struct,
    frozen=True,
    array_like=True,
    tag=True,
    # Never on the wire (arrays have no names); it only must not be the name of a field.
    tag_field="$",
    forbid_unknown_fields=True,
):
    """Shape of all requests and operations: a tagged array that takes nothing extra."""


class ReplyMessage(msgspec.Struct, frozen=True, array_like=True, tag=True, tag_field="$"):
    """Shape of all replies."""
