"""What a person does who looks on: follows the events, and decides about what was kept."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from agent_trace_protocol import (
    Action,
    DiscardDraft,
    DiscardViolation,
    EventPage,
    Events,
    ViolationPage,
    Violations,
)

from .leasework import Task

__all__ = ["Place", "discard_draft", "discard_violation", "follow"]


class Place:
    """How far somebody has followed the events; it outlives their sessions."""

    def __init__(self) -> None:
        self.cursor = 0


def follow(random: Random, place: Place) -> Task:
    """Go on where the events were left, page by page; sometimes begin anew."""
    if random.random() < 0.1:
        place.cursor = 0
    author = random.choice(("", "", "", "planner"))
    actions = random.choice(((), (), (Action.PUT, Action.EDIT, Action.OPEN)))
    for _ in range(random.randrange(1, 7)):
        outcome = yield Events(
            place.cursor,
            limit=random.choice((1, 3, 100)),
            wait_seconds=random.choice((0.0, 0.3, 4.0)),
            author=author,
            actions=actions,
        )
        if not isinstance(outcome, EventPage):
            return
        place.cursor = outcome.cursor
        yield random.choice((0.001, 0.2))


def discard_violation(random: Random) -> Task:
    """Throw away the text of a refused write; sometimes of one that is not there."""
    outcome = yield Violations(limit=random.choice((2, 50)))
    if not isinstance(outcome, ViolationPage) or not outcome.violations:
        return
    number = random.choice(outcome.violations).seq
    if random.random() < 0.1:
        number += 1
    yield random.choice((0.001, 1.0))
    for _ in range(random.choice((1, 1, 2))):
        yield DiscardViolation(f"violation-{number}")


def discard_draft(random: Random, board: Sequence[str]) -> Task:
    """Throw away a draft that an agent was offered, and may be accepting."""
    if board:
        yield DiscardDraft(random.choice(board))
