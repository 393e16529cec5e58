"""Comparing two texts line by line, at the price the write path can pay.

Lines are compared as multisets: linear, and exact for what was typed and what was deleted. A line
that only moved counts as neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

__all__ = ["Comparison", "common_ends", "compare", "text_lines"]

_STEP_BYTES: Final = 64
"""Bytes that two texts are first compared by; more and more as long as they are alike."""


class Comparison(msgspec.Struct, frozen=True):
    """What a change did, line by line."""

    new: list[bytes]
    """Lines that only the text after has, in its order."""
    old: list[bytes]
    """Lines that only the text before has, in its order."""


def text_lines(text: bytes) -> list[bytes]:
    """Return a text's lines with their ends, as git and editors number them: only a newline ends a
    line, a carriage return is part of it."""
    lines = text.split(b"\n")
    last = lines.pop()
    ended = [line + b"\n" for line in lines]
    return [*ended, last] if last else ended


def common_ends(before: bytes, after: bytes) -> tuple[int, int]:
    """Return how many bytes of whole lines two texts have in common at their beginning, and at
    their end behind that.

    Nothing is done for each line or byte in Python, so that a small change costs little in a text
    of any size.
    """
    shorter = min(len(before), len(after))
    head = before.rfind(b"\n", 0, _common_head(before, after, shorter)) + 1
    room = shorter - head
    tail = _common_tail(before, after, room)
    # Also where the whole of one text is left: the other's line may begin before that.
    line = before.find(b"\n", len(before) - tail)
    return head, 0 if line < 0 else len(before) - line - 1


def _common_head(before: bytes, after: bytes, most: int) -> int:
    position, step = 0, _STEP_BYTES
    while position < most:
        left = before[position : min(position + step, most)]
        right = after[position : min(position + step, most)]
        if left != right:
            # The first byte that differs is the highest of the two numbers' difference.
            different = int.from_bytes(left) ^ int.from_bytes(right)
            return position + len(left) - (different.bit_length() + 7) // 8
        position += len(left)
        step *= 2
    return most


def _common_tail(before: bytes, after: bytes, most: int) -> int:
    position, step = 0, _STEP_BYTES
    while position < most:
        size = min(step, most - position)
        old_end, new_end = len(before) - position, len(after) - position
        left, right = before[old_end - size : old_end], after[new_end - size : new_end]
        if left != right:
            different = int.from_bytes(left) ^ int.from_bytes(right)
            # The last byte that differs holds the lowest bit that is set.
            return position + ((different & -different).bit_length() - 1) // 8
        position += size
        step *= 2
    return most


COMPARED_LINES_MAX: Final = 50_000
"""Lines of either text, without their common ends, that are compared. With more, all of them count
as changed: it takes 10 bytes a line for that in a megabyte, and the event loop waits."""


def compare(before: bytes, after: bytes) -> Comparison:
    """Return what changed between two texts."""
    if before == after:
        return Comparison([], [])
    head, tail = common_ends(before, after)
    old = before[head : len(before) - tail].splitlines()
    new = after[head : len(after) - tail].splitlines()
    if not old or not new or max(len(old), len(new)) > COMPARED_LINES_MAX:
        return Comparison(new, old)
    common = set(old).intersection(new)
    if not common:
        return Comparison(new, old)
    new_only = [line for line in new if line not in common]
    old_only = [line for line in old if line not in common]
    if len(new) - len(new_only) == len(common) == len(old) - len(old_only):
        return Comparison(new_only, old_only)
    # Only lines that both have, and some have more than once, are worth counting one by one.
    in_old = _counted(line for line in old if line in common)
    in_new = _counted(line for line in new if line in common)
    kept = {line: min(count, in_new[line]) for line, count in in_old.items()}
    return Comparison(
        new_only if in_new == kept else _less(new, kept),
        old_only if in_old == kept else _less(old, kept),
    )


def _counted(lines: Iterable[bytes]) -> dict[bytes, int]:
    # What `Counter` does for as few lines as this mostly is takes longer.
    counts: dict[bytes, int] = {}
    for line in lines:
        counts[line] = counts.get(line, 0) + 1
    return counts


def _less(lines: list[bytes], kept: dict[bytes, int]) -> list[bytes]:
    left = kept.copy()
    found: list[bytes] = []
    for line in lines:
        count = left.get(line, 0)
        if count:
            left[line] = count - 1
        else:
            found.append(line)
    return found
