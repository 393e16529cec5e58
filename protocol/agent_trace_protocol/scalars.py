"""Number types of the wire, with the range outside of which a message is refused as malformed.

MessagePack carries integers up to 2**64 - 1 and any IEEE 754 double. SQLite and most languages end
at 2**63 - 1, nothing that is counted here is negative, and a duration that is not a number or has
no end would make a client wait for ever.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from .limits import DURATION_SECONDS_MAX, INTEGER_MAX

__all__ = ["Count", "Seconds"]

Count = Annotated[int, msgspec.Meta(ge=0, le=INTEGER_MAX)]
"""A number of things, a position, a time in milliseconds or an id: 0 to 2**63 - 1."""

Seconds = Annotated[float, msgspec.Meta(ge=0, le=DURATION_SECONDS_MAX)]
"""A duration: a finite number of seconds, not negative."""
