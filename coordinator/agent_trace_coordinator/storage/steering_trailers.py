"""The trailers of records about steering, and the way back. They hold everything of the record."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from agent_trace_coordinator.core.records import Steered, SteeringDropped
from agent_trace_protocol import Action

from .policy_trailers import TrailerFields

__all__ = ["STEERING_ACTIONS", "SteeringBody", "parse_steering", "render_steering"]

SteeringBody = Steered | SteeringDropped

STEERING_ACTIONS: Final = frozenset({Action.STEER, Action.UNSTEER})

_STATEMENT: Final = re.compile(r"update-([0-9]{1,18})", re.ASCII)


def render_steering(
    body: SteeringBody, escape: Callable[[str], str]
) -> tuple[Action, str, list[str]]:
    """Return the action, the subject and the trailers of a record; `escape` makes one line."""
    if isinstance(body, SteeringDropped):
        id = f"update-{body.statement}"
        return Action.UNSTEER, f"drop {id}", [f"Statement: {id}\n"]
    text = escape(body.text)
    details = [f"Says: {text}\n"]
    if body.replaces:
        details.append(f"Replaces: update-{body.replaces}\n")
    return Action.STEER, f"steer: {text}", details


def parse_steering(
    action: Action, fields: TrailerFields, unescape: Callable[[str], str]
) -> SteeringBody:
    """Return the record's body; raises `ValueError` if the trailers are not what is rendered."""
    if action is Action.UNSTEER:
        return SteeringDropped(int(fields.take_match("Statement", _STATEMENT)[1]))
    text = fields.take_text("Says")
    replaces = fields.take("Replaces", "")
    found = _STATEMENT.fullmatch(replaces)
    if replaces and found is None:
        raise ValueError(f"the trailer Replaces can not be {replaces!r}")
    return Steered(text, 0 if found is None else int(found[1]))
