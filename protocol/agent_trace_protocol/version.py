"""The protocol version and the rule by which two sides agree on one.

Every request envelope opens with the version it is written in; the envelope itself keeps its shape
in all versions. `Open` says the range its client speaks, the coordinator answers with the highest
version both know, or with `unsupported_version`, which names both ranges.
"""

from __future__ import annotations

from typing import Final

from .errors import InvalidRequest, UnsupportedVersion

__all__ = ["PROTOCOL_VERSION", "PROTOCOL_VERSION_MIN", "negotiate"]

PROTOCOL_VERSION: Final = 1
"""The newest version this code speaks."""

PROTOCOL_VERSION_MIN: Final = 1
"""The oldest version this code speaks."""


def negotiate(peer_min: int, peer_max: int) -> int:
    """Return the highest version that both sides speak.

    Raises:
        UnsupportedVersion: the ranges do not meet; the message names both and whom to upgrade.
        InvalidRequest: the peer's range is no range.
    """
    if peer_min > peer_max:
        raise InvalidRequest(f"protocol {peer_min} to {peer_max} is not a range of versions")
    if peer_min > PROTOCOL_VERSION:
        raise UnsupportedVersion(
            f"the client speaks protocol {peer_min} to {peer_max}, this coordinator "
            f"{PROTOCOL_VERSION_MIN} to {PROTOCOL_VERSION}: the coordinator is older; "
            "upgrade and restart it"
        )
    if peer_max < PROTOCOL_VERSION_MIN:
        raise UnsupportedVersion(
            f"the client speaks protocol {peer_min} to {peer_max}, this coordinator "
            f"{PROTOCOL_VERSION_MIN} to {PROTOCOL_VERSION}: the client is older; upgrade it"
        )
    return min(peer_max, PROTOCOL_VERSION)
