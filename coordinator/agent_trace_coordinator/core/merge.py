"""Showing and joining two changes of one text, line by line.

A conflict has to teach: it shows what the other writer changed, and offers the text in which both
changes stand when they touch different lines. Costs are bounded: texts that differ in too much are
shown and treated as one large change.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final

__all__ = ["Hunk", "hunks", "merge", "show_changes"]

COMPARED_CELLS_MAX: Final = 1_000_000
"""Lines of one text times lines of the other, after their common head and tail are gone, that are
compared in detail: about 0.1 s at worst."""

CONTEXT_LINES: Final = 2
"""Unchanged lines shown around a change."""


@dataclass(slots=True, frozen=True)
class Hunk:
    """`base[start:end]` was replaced by `lines`."""

    start: int
    end: int
    lines: list[bytes]


def hunks(base: list[bytes], other: list[bytes]) -> list[Hunk]:
    """Return what makes `other` of `base`, in order; too large a change is not compared."""
    head = 0
    for left, right in zip(base, other, strict=False):
        if left != right:
            break
        head += 1
    tail = 0
    while tail < min(len(base), len(other)) - head and base[-1 - tail] == other[-1 - tail]:
        tail += 1
    old, new = base[head : len(base) - tail], other[head : len(other) - tail]
    if not old and not new:
        return []
    if not old or not new or len(old) * len(new) > COMPARED_CELLS_MAX:
        return [Hunk(head, head + len(old), new)]
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    return [
        Hunk(head + a_start, head + a_end, new[b_start:b_end])
        for tag, a_start, a_end, b_start, b_end in matcher.get_opcodes()
        if tag != "equal"
    ]


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
    lines = base.splitlines(keepends=True)
    left = hunks(lines, ours.splitlines(keepends=True))
    right = hunks(lines, theirs.splitlines(keepends=True))
    joined = list(left)
    for hunk in right:
        if hunk in left:
            continue
        if any(_collide(hunk, other) for other in left):
            return None
        joined.append(hunk)
    joined.sort(key=lambda hunk: (hunk.start, hunk.end))
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
    return b"".join(result)


def show_changes(before: bytes, after: bytes, bytes_max: int) -> str:
    """Return a unified diff of at most `bytes_max` bytes; its end counts what does not fit."""
    old = before.splitlines(keepends=True)
    new = after.splitlines(keepends=True)
    shown: list[str] = []
    size = left_out = shift = 0
    # Room for the line that counts what was left out.
    room = bytes_max - 40
    for hunk in hunks(old, new):
        for line in _render(old, hunk, shift):
            size += len(line.encode()) + 1
            if size > room:
                left_out += 1
            else:
                shown.append(line)
        shift += len(hunk.lines) - (hunk.end - hunk.start)
    if left_out:
        shown.append(f"... {left_out} more lines of the diff")
    return "\n".join(shown)


def _render(old: list[bytes], hunk: Hunk, shift: int) -> list[str]:
    start = max(0, hunk.start - CONTEXT_LINES)
    end = min(len(old), hunk.end + CONTEXT_LINES)
    removed = hunk.end - hunk.start
    count = end - start
    header = f"@@ -{start + 1},{count} +{start + 1 + shift},{count - removed + len(hunk.lines)} @@"
    return [
        header,
        *(" " + _text(line) for line in old[start : hunk.start]),
        *("-" + _text(line) for line in old[hunk.start : hunk.end]),
        *("+" + _text(line) for line in hunk.lines),
        *(" " + _text(line) for line in old[hunk.end : end]),
    ]


def _text(line: bytes) -> str:
    return line.rstrip(b"\r\n").decode("utf-8", "replace")
