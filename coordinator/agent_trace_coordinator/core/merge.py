"""Showing and joining two changes of one text, line by line.

A conflict has to teach: it shows what the other writer changed, and offers the text in which both
changes stand when they touch different lines. Costs are bounded: texts that differ in too much are
shown and treated as one large change, so that they conflict.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .hunks import Hunk, Steps, hunks
from .lines import common_ends

__all__ = ["merge", "show_changes"]

CONTEXT_LINES: Final = 2
"""Unchanged lines shown around a change."""


def _collide(left: Hunk, right: Hunk) -> bool:
    if left.start == left.end or right.start == right.end:
        # Something inserted where the other changed, or inserted too: nobody knows the order.
        return left.start <= right.end and right.start <= left.end
    return left.start < right.end and right.start < left.end


def merge(base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
    """Return the text in which both changes of `base` stand, or None if they touch the same lines.

    A change that both made alike stands once.
    """
    if ours == theirs or theirs == base:
        return ours
    if ours == base:
        return theirs
    # What all three have at their ends needs no comparing, whatever its size.
    heads, tails = zip(common_ends(base, ours), common_ends(base, theirs), strict=True)
    head, tail = min(heads), min(tails)
    lines = _lines_between(base, head, tail)
    steps = Steps()
    left = hunks(lines, _lines_between(ours, head, tail), steps)
    right = hunks(lines, _lines_between(theirs, head, tail), steps)
    joined = _joined(left, right)
    if joined is None:
        return None
    result: list[bytes] = []
    position = 0
    for hunk in joined:
        result += lines[position : hunk.start]
        result += hunk.lines
        position = hunk.end
    result += lines[position:]
    # A last line without its end must not run into a line that the other change put behind it.
    for index, line in enumerate(result[:-1]):
        if not line.endswith((b"\n", b"\r")):
            result[index] = line + b"\n"
    return base[:head] + b"".join(result) + base[len(base) - tail :]


def _lines_between(text: bytes, head: int, tail: int) -> list[bytes]:
    return text[head : len(text) - tail].splitlines(keepends=True)


def _joined(left: list[Hunk], right: list[Hunk]) -> list[Hunk] | None:
    """Return both changes in their order, what both made alike once; None if two of them touch.

    Both are in order and none touches another of its own, so each is held against few.
    """
    joined: list[Hunk] = []
    mine = theirs = 0
    while mine < len(left) or theirs < len(right):
        if mine == len(left) or theirs == len(right):
            joined += left[mine:] + right[theirs:]
            break
        one, other = left[mine], right[theirs]
        if one == other:
            joined.append(one)
            mine += 1
            theirs += 1
        elif _collide(one, other):
            return None
        elif (one.start, one.end) < (other.start, other.end):
            joined.append(one)
            mine += 1
        else:
            joined.append(other)
            theirs += 1
    return joined


def show_changes(before: bytes, after: bytes, bytes_max: int) -> str:
    """Return a unified diff of at most `bytes_max` bytes; its end counts what does not fit."""
    old = before.splitlines(keepends=True)
    new = after.splitlines(keepends=True)
    shown: list[str] = []
    size = left_out = shift = 0
    # Room for the line that counts what was left out.
    room = bytes_max - 40
    for hunk in hunks(old, new):
        start = max(0, hunk.start - CONTEXT_LINES)
        end = min(len(old), hunk.end + CONTEXT_LINES)
        count = 1 + end - start + len(hunk.lines)
        for index, line in enumerate(_render(old, hunk, start, end, shift)):
            # What does not fit is counted, and not made.
            size += len(line.encode()) + 1
            if size > room:
                left_out += count - index
                break
            shown.append(line)
        shift += len(hunk.lines) - (hunk.end - hunk.start)
    if left_out:
        shown.append(f"... {left_out} more lines of the diff")
    return "\n".join(shown)


def _render(old: list[bytes], hunk: Hunk, start: int, end: int, shift: int) -> Iterator[str]:
    removed = hunk.end - hunk.start
    count = end - start
    yield f"@@ -{start + 1},{count} +{start + 1 + shift},{count - removed + len(hunk.lines)} @@"
    for mark, lines in (
        (" ", old[start : hunk.start]),
        ("-", old[hunk.start : hunk.end]),
        ("+", hunk.lines),
        (" ", old[hunk.end : end]),
    ):
        for line in lines:
            yield mark + _text(line)


def _text(line: bytes) -> str:
    return line.rstrip(b"\r\n").decode("utf-8", "replace")
