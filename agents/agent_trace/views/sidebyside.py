"""A unified diff as two columns, with the words that differ within lines. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest
from typing import Final

__all__ = ["Change", "Piece", "Row", "Side", "side_by_side"]

WORDS_MAX: Final = 400
"""Words of a line up to which the differing ones are found: comparing costs their square."""

LIKENESS_MIN: Final = 0.4
"""Lines that have less in common are shown as different as a whole."""

_HUNK: Final = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@")
_WORDS: Final = re.compile(r"\w+|\s+|[^\w\s]")


class Change(StrEnum):
    """What a row shows."""

    SAME = "same"
    CHANGED = "changed"
    ADDED = "added"
    REMOVED = "removed"
    GAP = "gap"
    """Lines between were left out."""
    NOTE = "note"
    """The diff's own words, such as that there is no line end at the end."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a line."""

    text: str
    differs: bool


@dataclass(frozen=True, slots=True)
class Side:
    """A line of one of the two texts."""

    number: int
    """From 1."""
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the two columns."""

    change: Change
    old: Side | None = None
    new: Side | None = None
    note: str = ""


def side_by_side(diff: str) -> tuple[Row, ...]:
    """Return the rows of a unified diff without the lines that name files.

    Lines that are no part of one become notes, so that nothing is left out.
    """
    return tuple(_rows(diff.removesuffix("\n").split("\n") if diff else ()))


def _rows(lines: Sequence[str]) -> Iterator[Row]:
    old = new = 0
    removed: list[str] = []
    added: list[str] = []
    notes: list[str] = []

    def flush() -> Iterator[Row]:
        nonlocal old, new
        for before, after in zip_longest(removed, added):
            left, right = _pieces(before, after)
            if before is not None:
                old += 1
            if after is not None:
                new += 1
            change = (
                Change.ADDED
                if before is None
                else Change.REMOVED
                if after is None
                else Change.CHANGED
            )
            yield Row(
                change,
                Side(old, left) if before is not None else None,
                Side(new, right) if after is not None else None,
            )
        yield from (Row(Change.NOTE, note=note) for note in notes)
        for emptied in (removed, added, notes):
            emptied.clear()

    for line in lines:
        sign, text = line[:1], line[1:]
        if sign == "-" and not added:
            removed.append(text)
        elif sign == "+":
            added.append(text)
        elif sign == "\\" and (removed or added):
            # That a line has no end stands between the lines that belong beside each other.
            notes.append(text.strip())
        else:
            yield from flush()
            hunk = _HUNK.match(line)
            if hunk:
                old, new = max(int(hunk[1]) - 1, 0), max(int(hunk[2]) - 1, 0)
                yield Row(Change.GAP, note=line)
            elif sign == "-":
                removed.append(text)
            elif sign == " " or not line:
                old, new = old + 1, new + 1
                same = (Piece(text, False),)
                yield Row(Change.SAME, Side(old, same), Side(new, same))
            else:
                yield Row(Change.NOTE, note=line.strip("\\ "))
    yield from flush()


def _pieces(before: str | None, after: str | None) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """Return two lines, one of which may be missing, as pieces that differ or not."""
    whole = (
        () if before is None else (Piece(before, False),),
        () if after is None else (Piece(after, False),),
    )
    if before is None or after is None:
        return whole
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    if max(len(old), len(new)) > WORDS_MAX:
        return whole
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    if matcher.ratio() < LIKENESS_MIN:
        return whole
    left: list[Piece] = []
    right: list[Piece] = []
    for tag, i, j, k, m in matcher.get_opcodes():
        differs = tag != "equal"
        if j > i:
            left.append(Piece("".join(old[i:j]), differs))
        if m > k:
            right.append(Piece("".join(new[k:m]), differs))
    return tuple(left), tuple(right)
