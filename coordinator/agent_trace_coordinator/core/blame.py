"""Which revision brought each line of a document.

A walk from one revision back through the ones before it: a line that the revision before had too is
older, any other line is the revision's own. Nothing is read here; whoever walks hands the contents
in, newest first, and stops when every line is found or as many were looked at as it can pay for.

A deletion has no content and is passed over, so that a restored document's lines stay their
writers'. Lines inside a change too large to be compared (`hunks.STEPS_MAX`) are its own.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from .hunks import hunks
from .lines import text_lines

__all__ = ["Blame", "LineOrigin"]


class LineOrigin(msgspec.Struct, frozen=True, gc=False):
    """Where one line comes from."""

    line: int
    """Its number in the revision that is explained, from 1."""
    text: bytes
    """With its end."""
    revision: int
    """The revision that brought it."""
    found: bool
    """Whether it is known; otherwise `revision` is the oldest one that was looked at, and had it
    too."""


class Blame:
    """The walk for one revision of a document.

        blame = Blame(revision, content)
        while not blame.done and there is an earlier revision:
            blame.look_back(earlier_revision, earlier_content)
        blame.origins(complete=there is no earlier revision)

    It costs one comparison of two texts for each revision that is looked at.
    """

    def __init__(
        self, revision: int, content: bytes, *, lines: Collection[int] | None = None
    ) -> None:
        """`lines` are the numbers of the lines to explain, from 1; all if not given.

        Numbers that the text does not have are left out.
        """
        self._texts = text_lines(content)
        self._revision = revision
        self._content = content
        self._lines = self._texts
        """The lines of the revision that was looked at last."""
        asked = range(1, len(self._texts) + 1) if lines is None else sorted(set(lines))
        # Pairs of a line's place in the revision looked at last and in the one to explain.
        self._open = [(line - 1, line) for line in asked if 0 < line <= len(self._texts)]
        self._asked = [line for _, line in self._open]
        self._found: dict[int, int] = {}

    @property
    def done(self) -> bool:
        """Whether all lines are found."""
        return not self._open

    def look_back(self, revision: int, content: bytes) -> None:
        """Take the newest earlier revision that has a content."""
        assert revision < self._revision, (revision, self._revision)
        if content != self._content:
            earlier = text_lines(content)
            self._part(earlier)
            self._content, self._lines = content, earlier
        self._revision = revision

    def _part(self, earlier: list[bytes]) -> None:
        """Part the open lines into those that `earlier` has and those that are new."""
        older: list[tuple[int, int]] = []
        position = 0
        shift = 0
        """How much further up a line stands in the earlier text, behind the changes passed."""
        changes = iter(hunks(earlier, self._lines))
        change = next(changes, None)
        while position < len(self._open):
            place, line = self._open[position]
            if change is not None and place >= (start := change.start + shift):
                if place < start + len(change.lines):
                    self._found[line] = self._revision
                    position += 1
                else:
                    shift += len(change.lines) - (change.end - change.start)
                    change = next(changes, None)
                continue
            older.append((place - shift, line))
            position += 1
        self._open = older

    def origins(self, *, complete: bool) -> tuple[LineOrigin, ...]:
        """Return the lines that were asked for, in their order.

        `complete` is whether there is no earlier revision: then what is left is from the last one.
        """
        return tuple(
            LineOrigin(
                line,
                self._texts[line - 1],
                self._found.get(line, self._revision),
                complete or line in self._found,
            )
            for line in self._asked
        )
