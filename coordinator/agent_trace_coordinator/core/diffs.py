"""Two texts as a unified diff that `patch` and `git apply` take, and the lines a change brought.

Bounded in time by `hunks` and in size by what the caller allows; a diff that was cut says so
and is not to be applied.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from .hunks import Hunk, hunks
from .lines import text_lines

__all__ = ["CONTEXT_LINES", "Difference", "difference", "ranges_added"]

CONTEXT_LINES: Final = 3
"""Unchanged lines shown around a change, as git does."""

_NO_END: Final = "\\ No newline at end of file\n"


class Difference(msgspec.Struct, frozen=True):
    """What makes one text of another."""

    text: str
    """A unified diff without file names; empty if the texts are the same."""
    added: int
    """Lines added, also those that were left out of `text`."""
    removed: int
    """Lines removed, likewise."""
    left_out: int
    """Lines of the diff that did not fit."""


def difference(
    before: bytes, after: bytes, bytes_max: int, *, context: int = CONTEXT_LINES
) -> Difference:
    """Return the unified diff, of at most `bytes_max` bytes and cut between two lines."""
    old, new = text_lines(before), text_lines(after)
    changes = hunks(old, new)
    shown: list[str] = []
    size = left_out = 0
    for line in _rendered(old, changes, context):
        size += len(line.encode())
        if left_out or size > bytes_max:
            left_out += 1
        else:
            shown.append(line)
    return Difference(
        "".join(shown),
        sum(len(change.lines) for change in changes),
        sum(change.end - change.start for change in changes),
        left_out,
    )


def ranges_added(before: bytes, after: bytes) -> tuple[tuple[int, int], ...]:
    """Return the first and last line, from 1, of each run of lines that `before` has not."""
    old, new = text_lines(before), text_lines(after)
    ranges: list[tuple[int, int]] = []
    shift = 0
    for change in hunks(old, new):
        start = change.start + shift
        if change.lines:
            ranges.append((start + 1, start + len(change.lines)))
        shift += len(change.lines) - (change.end - change.start)
    return tuple(ranges)


def _grouped(changes: Iterable[Hunk], context: int) -> Iterator[list[Hunk]]:
    """Yield changes together whose surroundings touch."""
    group: list[Hunk] = []
    for change in changes:
        if group and change.start - group[-1].end > 2 * context:
            yield group
            group = []
        group.append(change)
    if group:
        yield group


def _rendered(old: list[bytes], changes: list[Hunk], context: int) -> Iterator[str]:
    shift = 0
    for group in _grouped(changes, context):
        start = max(0, group[0].start - context)
        end = min(len(old), group[-1].end + context)
        grown = sum(len(each.lines) - (each.end - each.start) for each in group)
        yield (
            f"@@ -{_range(start, end - start)} +{_range(start + shift, end - start + grown)} @@\n"
        )
        position = start
        for change in group:
            yield from _marked(" ", old[position : change.start])
            yield from _marked("-", old[change.start : change.end])
            yield from _marked("+", change.lines)
            position = change.end
        yield from _marked(" ", old[position:end])
        shift += grown


def _range(start: int, count: int) -> str:
    """Return a range as a unified diff counts: an empty one is named by the line before it."""
    first = start + 1 if count else start
    return str(first) if count == 1 else f"{first},{count}"


def _marked(mark: str, lines: Iterable[bytes]) -> Iterator[str]:
    for line in lines:
        text = line.decode("utf-8", "replace")
        yield f"{mark}{text}" if text.endswith("\n") else f"{mark}{text}\n{_NO_END}"
