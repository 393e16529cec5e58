"""Numbers of operations as a report names them."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["ranges"]


def ranges(numbers: Iterable[int]) -> str:
    """Return numbers for people: `3, 7-9`."""
    parts: list[str] = []
    ordered = sorted(set(numbers))
    start = 0
    for index, number in enumerate(ordered):
        if index + 1 == len(ordered) or ordered[index + 1] != number + 1:
            first = ordered[start]
            parts.append(str(first) if first == number else f"{first}-{number}")
            start = index + 1
    return ", ".join(parts)
