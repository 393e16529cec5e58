"""Counting what a change did, line by line, at the price the write path can pay.

Lines are compared as multisets once the common head and tail are gone: linear, and exact for what
was typed and what was deleted. A line that only moved counts as neither.
"""

from __future__ import annotations

from collections import Counter

__all__ = ["count_changes", "text_lines"]


def text_lines(text: bytes) -> list[bytes]:
    """Return a text's lines with their ends, as git and editors number them: only a newline ends a
    line, a carriage return is part of it."""
    lines = text.split(b"\n")
    last = lines.pop()
    ended = [line + b"\n" for line in lines]
    return [*ended, last] if last else ended


def count_changes(before: bytes, after: bytes) -> tuple[int, int]:
    """Return how many lines `after` has that `before` had not, and the other way round."""
    if before == after:
        return 0, 0
    old = before.splitlines()
    new = after.splitlines()
    if not old or not new:
        return len(new), len(old)
    head = 0
    for left, right in zip(old, new, strict=False):
        if left != right:
            break
        head += 1
    tail = 0
    limit = min(len(old), len(new)) - head
    while tail < limit and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    old_middle = old[head : len(old) - tail]
    new_middle = new[head : len(new) - tail]
    if not old_middle or not new_middle:
        return len(new_middle), len(old_middle)
    if set(old_middle).isdisjoint(new_middle):
        return len(new_middle), len(old_middle)
    kept = (Counter(old_middle) & Counter(new_middle)).total()
    return len(new_middle) - kept, len(old_middle) - kept
