"""The lines in which a briefing says what a plan or a user says, and that is quoted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .brief_text import said, show_path, show_time
from .digest import CheckBox, Digest
from .steering import statement_id
from .trace_state import Statement

__all__ = ["item_line", "plan_line", "plan_lines", "show_reason", "statement_line"]

QUOTE_BYTES: Final = 240
"""Bytes of one quoted text."""


def plan_lines(path: str, digest: Digest, rests: str = "") -> Iterator[str]:
    """Yield what the first plan says; `rests` says if it rests on something outdated."""
    goal, *goals = digest.goals or [None]
    if goal is not None:
        yield f"objective: {said(goal.text, QUOTE_BYTES)} ({path}:{goal.line})"
    else:
        text = digest.title or digest.description
        if text:
            yield f"objective: {said(text, QUOTE_BYTES)} ({path})"
    if digest.next_steps:
        step = digest.next_steps[0]
        yield f"next step: {said(step.text, QUOTE_BYTES)} ({path}:{step.line})"
    if digest.phase:
        yield f"phase: {said(digest.phase, QUOTE_BYTES)} ({path})"
    if rests:
        yield rests
    for line in digest.blockers[:3]:
        yield f"blocker: {said(line.text, QUOTE_BYTES)} ({path}:{line.line})"
    if digest.status:
        yield f"status: {said(digest.status, 120)} ({path})"
    for word, lines in (
        ("question", digest.questions),
        ("constraint", digest.constraints),
        ("decision", digest.decisions[::-1]),
        ("also an objective", tuple(each for each in goals if each is not None)),
        ("then", digest.next_steps[1:]),
    ):
        for line in lines[:3]:
            yield f"{word}: {said(line.text, QUOTE_BYTES)} ({path}:{line.line})"


def plan_line(path: str, digest: Digest) -> str:
    """Return what another plan says, on one line; empty if it says nothing."""
    parts: list[str] = []
    if digest.goals:
        parts.append(f"objective {said(digest.goals[0].text, 100)}")
    elif digest.title:
        parts.append(said(digest.title, 80))
    if digest.phase:
        parts.append(f"phase {said(digest.phase, 80)}")
    if digest.next_steps:
        parts.append(f"next {said(digest.next_steps[0].text, 120)}")
    if digest.blockers:
        parts.append(f"blocker {said(digest.blockers[0].text, 100)}")
    if digest.open_count or parts:
        parts.append(f"{digest.open_count} open")
    return f"also {path}: {'; '.join(parts)}" if parts else ""


def item_line(path: str, box: CheckBox) -> str:
    under = f" under {said(box.heading, 60)}" if box.heading else ""
    return f"[ ] {said(box.text, 180)} ({path}:{box.line}{under})"


def statement_line(statement: Statement, bytes_max: int) -> str:
    """Return what a user said about where things go."""
    when = show_time(statement.time_ms)
    words = said(statement.text, bytes_max)
    return f"{statement_id(statement.seq)}, {statement.author}, {when}: {words}"


def show_reason(text: str) -> str:
    """Return why something ended: the coordinator's own words as they are, others quoted."""
    if text in ("closed", "expired", "its process is gone", "taken away"):
        return text
    for begin in ("superseded by ", "stolen by ", "evicted by "):
        if text.startswith(begin):
            who, colon, why = text[len(begin) :].partition(":")
            if show_path(who) == who:
                return f"{begin}{who}" + (f": {said(why, 80)}" if colon else "")
    return said(text, 80)
