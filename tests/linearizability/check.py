"""Checking a recorded history, object by object."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from .models import NEW_DOCUMENT, NEW_LEASE, step_document, step_lease
from .record import History
from .search import Operation, Verdict, search

__all__ = ["Outcome", "check"]

SECONDS_MAX = 60.0
"""For each object; what takes longer counts as undecided, which is a failure of the test."""

_State = TypeVar("_State", bound=Hashable)
_Asked = TypeVar("_Asked")
_Answered = TypeVar("_Answered")


@dataclass
class Outcome:
    """What the check of a history came to."""

    histories: int = 0
    unknown: int = 0
    """Operations that nobody got an answer to."""
    failures: list[str] = field(default_factory=list[str])
    undecided: list[str] = field(default_factory=list[str])


def check(history: History) -> Outcome:
    """Look for an order of the operations on each object."""
    outcome = Outcome()
    for path, operations in history.documents.items():
        verdict = search(operations, NEW_DOCUMENT, step_document, SECONDS_MAX)
        _note(outcome, path, operations, verdict)
    for path, uses in history.leases.items():
        _note(outcome, path, uses, search(uses, NEW_LEASE, step_lease, SECONDS_MAX))
    return outcome


def _note(
    outcome: Outcome,
    path: str,
    operations: Sequence[Operation[_Asked, _Answered]],
    verdict: Verdict,
) -> None:
    outcome.histories += 1
    outcome.unknown += sum(operation.returned == math.inf for operation in operations)
    if verdict.linearizable is None:
        outcome.undecided.append(path)
    elif not verdict.linearizable:
        placed = set(verdict.longest)
        stuck = [
            operation
            for place, operation in enumerate(operations)
            if place not in placed and operation.returned != math.inf
        ]
        first = min(stuck, key=lambda operation: operation.returned)
        before = operations[verdict.longest[-1]] if verdict.longest else None
        outcome.failures.append(f"{path}: {first} has no place after {before}")
