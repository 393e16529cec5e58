"""Fitting a briefing into its bytes: the most important first, nothing silently left out.

Sections give lines in turn, so that no section, however much somebody wrote into it, takes the room
of another one. The first part of the text, `FIRST_BYTES`, has something of each section and stands
alone; what else there is room for follows under the same headings. What there was no room for is
counted in the last line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from agent_trace_protocol import LeftOut
from agent_trace_protocol.limits import BRIEFING_BYTES_MAX

from .quoting import quoted

__all__ = ["FIRST_BYTES", "Section", "fit", "said", "show_path", "show_time"]

FIRST_BYTES: Final = 2000
"""Bytes of the first part."""

_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/@+*")


@dataclass(slots=True)
class Section:
    """Lines about one thing, most important first."""

    title: str
    what: str
    """What is counted when lines are left out, such as `open items`."""
    lines: list[str | Callable[[], str]] = field(default_factory=list[str | Callable[[], str]])
    """Lines, or what makes one: asked only if there may be room for it."""
    missing: int = 0
    """Things there are besides the lines."""
    first: int = 1
    """Lines that it gives at its first turn: what it says if there is room for no more."""
    then: int = 1
    """Lines that it gives at its second turn; afterwards it gives them one by one."""

    def line(self, index: int) -> str:
        """Return a line."""
        line = self.lines[index]
        if not isinstance(line, str):
            line = self.lines[index] = line()
        return line


def fit(head: str, sections: Iterable[Section], budget: int) -> tuple[str, tuple[LeftOut, ...]]:
    """Return a text of at most `budget` bytes, and what it had no room for.

    `head` is shown whole; it and the last line have to be far below any budget.
    """
    shown = [each for each in sections if each.lines or each.missing]
    taken = [0] * len(shown)
    tail = _tail(_left_out(shown, taken), budget)
    room = budget - _size(head) - _size(tail)
    first = _take(shown, taken, min(room, FIRST_BYTES - _size(head)))
    text = head + _render(shown, [0] * len(shown), taken, "")
    if any(count < len(each.lines) for count, each in zip(taken, shown, strict=True)):
        between = list(taken)
        _take(shown, taken, room - first)
        text += _render(shown, between, taken, ", continued")
    left_out = _left_out(shown, taken)
    return text + _tail(left_out, budget), left_out


def _size(text: str) -> int:
    return len(text.encode())


def _take(sections: list[Section], taken: list[int], room: int) -> int:
    """Let the sections give lines in turn while there is room; return the bytes that it takes."""
    used = 0
    begun = [False] * len(sections)
    full = [False] * len(sections)
    for turn in count():
        if all(full):
            break
        for index, section in enumerate(sections):
            if full[index]:
                continue
            for _ in range((section.first, section.then, 1)[min(turn, 2)]):
                if taken[index] == len(section.lines):
                    full[index] = True
                    break
                cost = _size(section.line(taken[index])) + 1
                if not begun[index]:
                    cost += _size(f"\n## {section.title}, continued\n")
                if used + cost > room:
                    # Nothing less important takes the place of what did not fit.
                    full[index] = True
                    break
                begun[index] = True
                used += cost
                taken[index] += 1
    return used


def _render(sections: list[Section], start: list[int], end: list[int], suffix: str) -> str:
    parts: list[str] = []
    for section, first, last in zip(sections, start, end, strict=True):
        if last > first:
            parts.append(f"\n## {section.title}{suffix if first else ''}\n")
            parts += [f"{section.line(index)}\n" for index in range(first, last)]
    return "".join(parts)


def _left_out(sections: list[Section], taken: list[int]) -> tuple[LeftOut, ...]:
    counts = [
        (each.what, len(each.lines) - count + each.missing)
        for each, count in zip(sections, taken, strict=True)
    ]
    return tuple(LeftOut(what, count) for what, count in counts if count)


def _tail(left_out: tuple[LeftOut, ...], budget: int) -> str:
    if not left_out:
        return ""
    counts = ", ".join(f"{each.what} {each.count}" for each in left_out)
    more = min(4 * budget, BRIEFING_BYTES_MAX)
    return f"\nLeft out: {counts}; for more: agent-trace resume show --budget {more}\n"


# ---- text of others, and names ----------------------------------------------------------------


def said(text: str, bytes_max: int) -> str:
    """Return what somebody wrote, between quotes, in at most `bytes_max` bytes."""
    length = bytes_max - 2
    while True:
        shown = quoted(text, length)
        size = _size(shown)
        if size <= bytes_max or length <= 8:
            return shown
        length = max(8, length * bytes_max // size - 1)


def show_path(path: str) -> str:
    """Return a path so that it can not pass for more: as it is if it is plain, else quoted."""
    if len(path) <= 100 and _PLAIN.issuperset(path):
        return path
    return said(path if len(path) <= 100 else "..." + path[-97:], 160)


def show_time(time_ms: int) -> str:
    """Return a time, in UTC."""
    days, left = divmod(time_ms // 1000, 86400)
    # Days to a date of the civil calendar: eras of 400 years, years beginning with March.
    era, day = divmod(days + 719468, 146097)
    year = (day - day // 1460 + day // 36524 - day // 146096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    date = day - (153 * month + 2) // 5 + 1
    month = month + 3 if month < 10 else month - 9
    year += 400 * era + (month <= 2)
    return f"{year:04}-{month:02}-{date:02} {left // 3600:02}:{left // 60 % 60:02}:{left % 60:02}Z"
