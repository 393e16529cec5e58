"""The sessions over time: a lane for each agent, its sessions as stretches, what happened as marks.

Pure. Places are fractions of the width, 0.0 at the start of the window and 1.0 at its end, for a
picture or for the columns of a terminal. What lies close together becomes one mark, so that the
size of a picture depends on its width and never on how much happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from agent_trace_protocol import Actor, LogEntry, SessionInfo

from .model import Kind, activity

__all__ = ["Lane", "Mark", "Stretch", "Tick", "Timeline", "timeline"]

LANES_MAX: Final = 24
"""Lanes that one can still read; the agents that were there last are kept."""

SLOTS: Final = 160
"""Places in which marks are told apart."""

TICKS_MAX: Final = 8

_STEPS_SECONDS: Final = (
    *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800),
    *(3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800, 2_592_000),
)
"""Distances between ticks: what divides clocks and calendars evenly."""

_MARKED: Final = (Kind.WRITE, Kind.REMOVE, Kind.CONFLICT, Kind.REFUSAL, Kind.RIGHTS)


@dataclass(frozen=True, slots=True)
class Stretch:
    """One session within the window."""

    session: SessionInfo
    start: float
    end: float
    takeover: bool
    """Whether it took over from a session that was still open."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What happened of one kind in one place."""

    at: float
    kind: Kind
    count: int
    first_seq: int
    last_seq: int
    label: str
    """What the last of it was: `edited plan.md@3`."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One agent, user, or the coordinator itself."""

    actor: Actor
    name: str
    stretches: tuple[Stretch, ...]
    """Oldest first; those of a user may overlap."""
    marks: tuple[Mark, ...]
    """From left to right."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A time on the axis."""

    at: float
    time_ms: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """The sessions of a window of time."""

    start_ms: int
    end_ms: int
    lanes: tuple[Lane, ...]
    """Agents first; within them those that were there last."""
    ticks: tuple[Tick, ...]
    hidden: int
    """Lanes that there was no room for."""


def timeline(
    sessions: Sequence[SessionInfo],
    entries: Iterable[LogEntry],
    start_ms: int,
    end_ms: int,
    *,
    offset_ms: int = 0,
    slots: int = SLOTS,
    lanes_max: int = LANES_MAX,
) -> Timeline:
    """Return the lanes of a window of time.

    Args:
        sessions: open and ended ones; those outside of the window are left out.
        entries: what happened, in any order.
        offset_ms: what local time is ahead of UTC: ticks stand at even local times.
        slots: places in which marks are told apart; a terminal's columns.
    """
    width = max(end_ms - start_ms, 1)

    def place(time_ms: int) -> float:
        return min(max((time_ms - start_ms) / width, 0.0), 1.0)

    superseded = {each.id for each in sessions if each.reason.startswith("superseded")}
    stretches: dict[tuple[Actor, str], list[Stretch]] = {}
    seen: dict[tuple[Actor, str], int] = {}
    for session in sorted(sessions, key=lambda each: (each.started_ms, each.id)):
        ended_ms = session.ended_ms or end_ms
        if session.started_ms > end_ms or ended_ms < start_ms:
            continue
        who = (session.actor, session.name)
        takeover = session.predecessor in superseded
        stretch = Stretch(session, place(session.started_ms), place(ended_ms), takeover)
        stretches.setdefault(who, []).append(stretch)
        seen[who] = max(seen.get(who, 0), ended_ms)
    marks: dict[tuple[Actor, str], dict[tuple[int, Kind], Mark]] = {}
    for entry in sorted(entries, key=lambda each: each.seq):
        each = activity(entry)
        if each.kind not in _MARKED or not start_ms <= each.time_ms <= end_ms:
            continue
        who = (each.actor, each.who)
        slot = min(int(place(each.time_ms) * slots), slots - 1)
        there = marks.setdefault(who, {})
        before = there.get((slot, each.kind))
        there[slot, each.kind] = Mark(
            at=(slot + 0.5) / slots,
            kind=each.kind,
            count=1 if before is None else before.count + 1,
            first_seq=each.seq if before is None else before.first_seq,
            last_seq=each.seq,
            label=f"{each.did} {each.what}".rstrip(),
        )
        seen[who] = max(seen.get(who, 0), each.time_ms)
    order = sorted(seen, key=lambda who: (who[0] is not Actor.AGENT, -seen[who], who[1]))
    lanes = tuple(
        Lane(
            actor,
            name,
            tuple(stretches.get((actor, name), ())),
            tuple(sorted(marks.get((actor, name), {}).values(), key=lambda mark: mark.at)),
        )
        for actor, name in order[:lanes_max]
    )
    ticks = _ticks(start_ms, end_ms, offset_ms)
    return Timeline(start_ms, end_ms, lanes, ticks, len(order) - len(lanes))


def _ticks(start_ms: int, end_ms: int, offset_ms: int) -> tuple[Tick, ...]:
    width = max(end_ms - start_ms, 1)
    step = 1_000 * next(
        (each for each in _STEPS_SECONDS if width / (1_000 * each) <= TICKS_MAX),
        _STEPS_SECONDS[-1],
    )
    count_max = 4 * TICKS_MAX
    first = -(-(start_ms + offset_ms) // step) * step - offset_ms
    times = range(first, end_ms + 1, step)[:count_max]
    return tuple(Tick((time - start_ms) / width, time) for time in times)
