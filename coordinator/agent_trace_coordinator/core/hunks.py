"""What makes one list of lines of another, in order, at a cost that is bounded by a count of steps.

Lines that both texts have once are what holds them together, so they are matched first and the gaps
between them are compared by themselves (patience diff, Bram Cohen); within a gap without such lines
the fewest changes are searched for (Myers, 1986, "An O(ND) Difference Algorithm"). Whoever writes
the texts can make this as hard as it gets, and the event loop waits for it: so both count their
steps, and a gap for which there are none left is one large change. Steps, not time: the same texts
have the same hunks everywhere and always.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from typing import Final

__all__ = ["LINES_MAX", "STEPS_MAX", "Hunk", "Steps", "hunks"]

LINES_MAX: Final = 10_000
"""Lines of either text, without their common head and tail, that are compared at all."""

STEPS_MAX: Final = 100_000
"""Lines looked at, and comparisons made, for two texts; some 30 ms."""


@dataclass(slots=True, frozen=True)
class Hunk:
    """`base[start:end]` was replaced by `lines`."""

    start: int
    end: int
    lines: list[bytes]


@dataclass(slots=True)
class Steps:
    """How much work there may still be."""

    left: int = STEPS_MAX

    def take(self, count: int) -> bool:
        """Return whether so many steps may be made, and count them."""
        self.left -= count
        return self.left >= 0


@dataclass(slots=True, frozen=True)
class _Gap:
    """Lines of the base and of the other text that stand for each other."""

    start: int
    end: int
    other_start: int
    other_end: int


_Run = tuple[int, int, int]
"""Lines that are the same: where they begin in the base and in the other text, and how many."""


def hunks(base: list[bytes], other: list[bytes], steps: Steps | None = None) -> list[Hunk]:
    """Return what makes `other` of `base`, in order; what is too large is not compared."""
    steps = steps or Steps()
    whole = _trimmed(base, other, _Gap(0, len(base), 0, len(other)))[0]
    runs: list[_Run] = []
    if max(whole.end - whole.start, whole.other_end - whole.other_start) <= LINES_MAX:
        runs = _runs(base, other, whole, steps)
    runs.append((whole.end, whole.other_end, 0))
    found: list[Hunk] = []
    position, other_position = whole.start, whole.other_start
    for start, other_start, count in runs:
        if start > position or other_start > other_position:
            found.append(Hunk(position, start, other[other_position:other_start]))
        position, other_position = start + count, other_start + count
    return found


def _trimmed(base: list[bytes], other: list[bytes], gap: _Gap) -> tuple[_Gap, list[_Run]]:
    """Return a gap without the lines that are the same at its ends, and those lines."""
    start, end, other_start, other_end = gap.start, gap.end, gap.other_start, gap.other_end
    while start < end and other_start < other_end and base[start] == other[other_start]:
        start += 1
        other_start += 1
    while start < end and other_start < other_end and base[end - 1] == other[other_end - 1]:
        end -= 1
        other_end -= 1
    return _Gap(start, end, other_start, other_end), [
        (gap.start, gap.other_start, start - gap.start),
        (end, other_end, gap.end - end),
    ]


def _runs(base: list[bytes], other: list[bytes], whole: _Gap, steps: Steps) -> list[_Run]:
    """Return the lines that are the same, in order."""
    runs: list[_Run] = []
    waiting = [whole]
    while waiting:
        # A line that is trimmed is never looked at again, so there is no need to count it.
        gap, same = _trimmed(base, other, waiting.pop())
        runs += same
        if gap.start == gap.end or gap.other_start == gap.other_end:
            continue
        if not steps.take(gap.end - gap.start + gap.other_end - gap.other_start):
            continue
        anchors = _anchors(base, other, gap)
        if not anchors:
            runs += _fewest_changes(base, other, gap, steps)
            continue
        start, other_start = gap.start, gap.other_start
        for position, other_position in anchors:
            waiting.append(_Gap(start, position, other_start, other_position))
            runs.append((position, other_position, 1))
            start, other_start = position + 1, other_position + 1
        waiting.append(_Gap(start, gap.end, other_start, gap.other_end))
    return sorted(run for run in runs if run[2])


def _anchors(base: list[bytes], other: list[bytes], gap: _Gap) -> list[tuple[int, int]]:
    """Return the lines that each text has once in a gap, as many as are in the same order."""
    counts = Counter(base[gap.start : gap.end])
    other_lines = other[gap.other_start : gap.other_end]
    other_counts = Counter(other_lines)
    places = {
        line: gap.other_start + index
        for index, line in enumerate(other_lines)
        if other_counts[line] == 1 and counts[line] == 1
    }
    if not places:
        return []
    # The longest increasing subsequence, by piles of cards.
    tops: list[int] = []
    heads: list[int] = []
    entries: list[tuple[int, int, int]] = []
    for index in range(gap.start, gap.end):
        place = places.get(base[index])
        if place is None:
            continue
        pile = bisect_left(tops, place)
        entries.append((index, place, heads[pile - 1] if pile else -1))
        if pile == len(tops):
            tops.append(place)
            heads.append(len(entries) - 1)
        else:
            tops[pile] = place
            heads[pile] = len(entries) - 1
    chain: list[tuple[int, int]] = []
    at = heads[-1]
    while at >= 0:
        index, place, at = entries[at]
        chain.append((index, place))
    chain.reverse()
    return chain


def _fewest_changes(base: list[bytes], other: list[bytes], gap: _Gap, steps: Steps) -> list[_Run]:
    """Return the lines that are the same if as little as possible is changed; none if finding that
    takes too many steps."""
    size, other_size = gap.end - gap.start, gap.other_end - gap.other_start
    furthest = {1: 0}
    trace: list[dict[int, int]] = []
    for changes in range(size + other_size + 1):
        if not steps.take(2 * changes + 1):
            return []
        trace.append(furthest.copy())
        for diagonal in range(-changes, changes + 1, 2):
            down = diagonal == -changes or (
                diagonal != changes and furthest[diagonal - 1] < furthest[diagonal + 1]
            )
            x = furthest[diagonal + 1] if down else furthest[diagonal - 1] + 1
            y = x - diagonal
            begin = x
            while x < size and y < other_size and base[gap.start + x] == other[gap.other_start + y]:
                x += 1
                y += 1
            furthest[diagonal] = x
            if x > begin and not steps.take(x - begin):
                return []
            if x >= size and y >= other_size:
                return _way_back(trace, gap)
    raise AssertionError("as many changes as there are lines are always enough")


def _way_back(trace: list[dict[int, int]], gap: _Gap) -> list[_Run]:
    runs: list[_Run] = []
    x, y = gap.end - gap.start, gap.other_end - gap.other_start
    for changes in range(len(trace) - 1, -1, -1):
        furthest = trace[changes]
        diagonal = x - y
        down = diagonal == -changes or (
            diagonal != changes and furthest[diagonal - 1] < furthest[diagonal + 1]
        )
        before = diagonal + 1 if down else diagonal - 1
        before_x = furthest[before]
        before_y = before_x - before
        begin = before_x if down else before_x + 1
        if changes == 0:
            begin = 0
        runs.append((gap.start + begin, gap.other_start + begin - diagonal, x - begin))
        x, y = before_x, before_y
    return runs
