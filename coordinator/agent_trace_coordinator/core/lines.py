"""Comparing two texts line by line, at the price the write path can pay.

Lines are compared as multisets: linear, and exact for what was typed and what was deleted. A line
that only moved counts as neither.
"""

from __future__ import annotations

from collections import Counter

import msgspec

__all__ = ["Comparison", "compare", "text_lines"]


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


def compare(before: bytes, after: bytes) -> Comparison:
    """Return what changed between two texts."""
    if before == after:
        return Comparison([], [])
    old = before.splitlines()
    new = after.splitlines()
    if not old or not new:
        return Comparison(new, old)
    old_lines, new_lines = set(old), set(new)
    common = old_lines & new_lines
    if not common:
        return Comparison(new, old)
    if len(old_lines) == len(old) and len(new_lines) == len(new):
        return Comparison(
            [line for line in new if line not in common],
            [line for line in old if line not in common],
        )
    # Only lines that both have, and some have more than once, are worth counting one by one.
    has = common.__contains__
    in_old, in_new = Counter(filter(has, old)), Counter(filter(has, new))
    kept = in_old & in_new
    return Comparison(_less(new, in_new, kept), _less(old, in_old, kept))


def _less(lines: list[bytes], there: Counter[bytes], kept: Counter[bytes]) -> list[bytes]:
    if there == kept:
        return [line for line in lines if line not in kept]
    left = kept.copy()
    found: list[bytes] = []
    for line in lines:
        count = left.get(line, 0)
        if count:
            left[line] = count - 1
        else:
            found.append(line)
    return found
