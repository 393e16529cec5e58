"""What the asker itself did: its last sessions, and the lines in which a briefing tells of them.

The one-shots of a name, such as commands that an agent runs one by one, are told as one stretch:
each of them is a session of its own and says little.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from .brief_source import PastSession, Source
from .brief_text import Section, show_time
from .recap import operation_lines, recap_lines
from .records import Drafted, LeaseGranted, Record, Violated
from .sight import Sight

__all__ = ["Stretch", "earlier", "own_stretches", "what_you_did"]

STRETCHES_MAX: Final = 8
"""Stretches of the asker that are looked at."""

SESSIONS_MAX: Final = 32
"""Sessions of the asker that are looked at: more than stretches if there are one-shots."""

LAST_OPERATIONS: Final = 48
"""Operations of the last stretch that are looked at."""

EARLIER_OPERATIONS: Final = 4
"""Operations of a stretch that are looked at once enough are told."""

OPERATIONS_MAX: Final = LAST_OPERATIONS + (STRETCHES_MAX - 1) * EARLIER_OPERATIONS
"""Operations of the asker that are looked at, over all of these sessions."""

TOLD_MAX: Final = 12
"""Operations that are told one by one."""

COUNTED_MAX: Final = 250


@dataclass(slots=True)
class Stretch:
    """A session of the asker, or its one-shots that no other session came between."""

    one_shot: bool
    sessions: list[PastSession] = field(default_factory=list[PastSession])
    """Newest first; one if they are no one-shots."""
    operations: list[Record] = field(default_factory=list[Record])
    """Newest first."""


def own_stretches(sight: Sight, source: Source) -> list[Stretch]:
    """Return what the asker did, newest first."""
    found: list[Stretch] = []
    count = 0
    for session in source.sessions_of(sight.actor, sight.name, sight.seq, SESSIONS_MAX):
        if not (session.one_shot and found and found[-1].one_shot):
            if len(found) == STRETCHES_MAX:
                break
            found.append(Stretch(session.one_shot))
        # The last one is told in full, of those before it the end, but as much as there is room.
        limit = max(EARLIER_OPERATIONS, TOLD_MAX - count) if count else LAST_OPERATIONS
        limit = min(limit, OPERATIONS_MAX - count)
        operations = source.operations(session.opened.seq, sight.seq, limit) if limit else []
        count += len(operations)
        found[-1].sessions.append(session)
        found[-1].operations += operations
    return found


def what_you_did(
    sight: Sight,
    source: Source,
    own: list[Stretch],
    since: int,
    show_reason: Callable[[str], str],
) -> tuple[Section, list[Stretch]]:
    """Return what the asker did last, and the stretches that are told by that.

    `since`: of an asker who wants to know only what is new, which it is not told of its present
    session.
    """
    section = Section("What you did last", "operations of yours", first=2, then=2)
    told: list[Stretch] = []
    room = TOLD_MAX
    for stretch in own:
        operations = stretch.operations
        if since:
            new = [each for each in operations if each.seq > since]
            operations = [each for each in new if each.session != sight.session]
        if not operations:
            continue
        if room <= 0:
            break
        told.append(stretch)
        count = len(stretch.operations)
        if not stretch.one_shot and len(told) == 1:
            begun = stretch.sessions[0].opened.seq
            count = source.count_operations(begun, sight.seq, COUNTED_MAX)
        section.lines.append(_head(stretch, count, show_reason))
        for record in operations[:room]:
            if not _is_told_elsewhere(sight, record):
                section.lines += operation_lines(record)
        before = [each for each in operations[room:] if not _is_told_elsewhere(sight, each)]
        section.lines += [f"before: {each}" for each in recap_lines(before[::-1])[::-1]]
        room -= len(operations)
        if not since:
            section.missing += max(0, count - len(operations))
    return section, told


def _head(stretch: Stretch, count: int, show_reason: Callable[[str], str]) -> str:
    counted = f"{count} or more" if count == COUNTED_MAX else str(count)
    if stretch.one_shot:
        oldest, newest = stretch.operations[-1], stretch.operations[0]
        times = dict.fromkeys(show_time(each.time_ms) for each in (oldest, newest))
        return f"single commands, {' to '.join(times)}; operations: {counted}"
    session = stretch.sessions[0]
    end = "open"
    if session.closed is not None:
        end = f"ended {show_time(session.closed.time_ms)}"
        if session.reason != "closed":
            end += f" ({show_reason(session.reason)})"
    begun = show_time(session.opened.time_ms)
    return f"session {session.id}, begun {begun}, {end}; operations: {counted}"


def _is_told_elsewhere(sight: Sight, record: Record) -> bool:
    """Return whether a briefing tells of a record where it tells what happened, or what is now."""
    match record.body:
        case LeaseGranted():
            return True
        case Drafted():
            return any(each.seq == record.seq for each in sight.drafts)
        case Violated():
            return any(each.seq == record.seq for each in sight.violations)
        case _:
            return False


def earlier(own: list[Stretch], told: list[Stretch], show_reason: Callable[[str], str]) -> Section:
    """Return a line for each stretch of which nothing is told yet."""
    section = Section("Earlier", "earlier sessions")
    for stretch in own:
        if stretch in told:
            continue
        lines = [each for record in stretch.operations for each in operation_lines(record)]
        if not lines:
            continue
        name = "single commands" if stretch.one_shot else f"session {stretch.sessions[0].id}"
        reason = "" if stretch.one_shot else stretch.sessions[0].reason
        end = f" ({show_reason(reason)})" if reason and reason != "closed" else ""
        section.lines.append(f"{name}{end}: {lines[0]}")
    return section
