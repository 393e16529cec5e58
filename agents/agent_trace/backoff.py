"""The retry schedule: which attempt it is and a random number in, seconds to wait out. Pure."""

from __future__ import annotations

from typing import Final

__all__ = ["DELAY_SECONDS_MAX", "DELAY_SECONDS_MIN", "retry_delay"]

DELAY_SECONDS_MIN: Final = 0.02
"""The first delay: a coordinator that is starting needs about this long to listen."""

DELAY_SECONDS_MAX: Final = 1.0
"""The longest delay: how late an agent may notice that the coordinator is back."""

_DOUBLINGS_MAX: Final = 16


def retry_delay(attempt: int, random: float) -> float:
    """Return the seconds to wait before attempt `attempt` (from 1) after a failed one.

    The delay doubles from `DELAY_SECONDS_MIN` up to `DELAY_SECONDS_MAX`; `random`, in [0, 1),
    takes up to half of it away, so that agents which lost the same coordinator do not all come
    back in the same instant.
    """
    doublings = min(max(attempt, 1) - 1, _DOUBLINGS_MAX)
    delay: float = min(DELAY_SECONDS_MAX, DELAY_SECONDS_MIN * 2**doublings)
    return delay * (1.0 - random / 2)
