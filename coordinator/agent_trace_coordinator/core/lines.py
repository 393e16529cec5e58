"""Counting what a change did, line by line, at the price the write path can pay.

Lines are compared as multisets: linear, and exact for what was typed and what was deleted. A line
that only moved counts as neither.
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
    old_lines, new_lines = set(old), set(new)
    common = old_lines & new_lines
    kept = len(common)
    if len(old_lines) < len(old) or len(new_lines) < len(new):
        # Only lines that both have, and some have more than once, are worth counting one by one.
        kept = (
            Counter(filter(common.__contains__, old)) & Counter(filter(common.__contains__, new))
        ).total()
    return len(new) - kept, len(old) - kept
