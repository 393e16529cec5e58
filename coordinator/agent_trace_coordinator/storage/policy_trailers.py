"""The trailers of records about rights and refused writes, and the way back.

They hold everything of the record except the refused text itself: what must not be written does not
get into a history that is kept for ever. Its digest and size are there, so that what state.db keeps
can be proven to be what was refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Protocol, assert_never

from agent_trace_coordinator.core.records import (
    Discarded,
    Kept,
    Locked,
    Repeated,
    Unlocked,
    Violated,
)
from agent_trace_protocol import Action, DocumentType, ErrorCode

__all__ = [
    "POLICY_ACTIONS",
    "PolicyBody",
    "TrailerFields",
    "parse_kept",
    "parse_policy",
    "render_kept",
    "render_policy",
]

PolicyBody = Violated | Repeated | Discarded | Unlocked | Locked

POLICY_ACTIONS: Final = frozenset(
    {Action.REFUSE, Action.REPEAT, Action.DISCARD, Action.UNLOCK, Action.LOCK}
)

_KEPT: Final = re.compile(
    r"([0-9]+) ([0-9]+) ([0-9]+) ([0-9]+) ([0-9a-f]{64}) ([a-z]+) ([a-z]+) (.*)", re.ASCII
)
_REFUSED: Final = re.compile(r"([a-z0-9-]+) ([a-z_]+) ([a-z]+) ([0-9a-f]{32}) ?(.*)", re.ASCII)
_VIOLATION: Final = re.compile(r"violation-([0-9]{1,18})", re.ASCII)
_DISCARDS: Final = re.compile(r"(?:draft-([0-9]{1,18}))? ?(?:violation-([0-9]{1,18}))?", re.ASCII)
_UNLOCKED: Final = re.compile(r"([0-9]+) ([0-9]+) ([a-z0-9._-]*)", re.ASCII)
_UNLOCKS: Final = re.compile(r"(?:[0-9]+ ?)*", re.ASCII)


class TrailerFields(Protocol):
    """The trailers of one commit, taken out one by one; see `commit`."""

    def take(self, key: str, default: str | None = None) -> str: ...
    def take_text(self, key: str) -> str: ...
    def take_number(self, key: str) -> int: ...
    def take_match(self, key: str, pattern: re.Pattern[str]) -> re.Match[str]: ...
    def take_all(self, *keys: str) -> list[tuple[str, str]]: ...
    def __contains__(self, key: str) -> bool: ...


def render_policy(body: PolicyBody, escape: Callable[[str], str]) -> tuple[Action, str, list[str]]:
    """Return the action, the subject and the trailers of a record; `escape` makes one line."""
    match body:
        case Violated():
            path = escape(body.path)
            details = [
                f"Refused: {body.rule} {body.code.value} {body.action.value} "
                f"{body.attempt.hex()} {path}\n",
                f"Reason: {escape(body.reason)}\n",
            ]
            if body.source:
                details.append(f"Source: {escape(body.source)}\n")
            details += [render_kept(kept, escape) for kept in body.kept]
            return Action.REFUSE, f"refuse {body.action.value} {path}: {body.rule}", details
        case Repeated():
            id = f"violation-{body.violation}"
            return (
                Action.REPEAT,
                f"refuse again: {id} was tried {body.count} times",
                [f"Violation: {id}\n", f"Count: {body.count}\n"],
            )
        case Discarded():
            discarded = [f"draft-{body.draft}"] if body.draft else []
            discarded += [f"violation-{body.violation}"] if body.violation else []
            return (
                Action.DISCARD,
                f"discard {' '.join(discarded)}",
                [f"Discards: {' '.join(discarded)}\n"],
            )
        case Unlocked():
            whom = f"agent {body.agent}" if body.agent else "all agents"
            return (
                Action.UNLOCK,
                f"unlock {escape(body.path)} for {escape(whom)}, {body.seconds} s",
                [
                    f"Unlock: {body.document} {body.seconds} {escape(body.agent)}\n",
                    f"Path: {escape(body.path)}\n",
                ],
            )
        case Locked():
            numbers = " ".join(map(str, body.unlocks))
            return (
                Action.LOCK,
                f"lock {escape(body.path)}: {escape(body.reason)}",
                [
                    f"Unlocks: {numbers}\n",
                    f"Path: {escape(body.path)}\n",
                    f"Reason: {escape(body.reason)}\n",
                ],
            )
        case _:
            assert_never(body)


def parse_policy(
    action: Action, fields: TrailerFields, unescape: Callable[[str], str]
) -> PolicyBody:
    """Return the record's body; raises `ValueError` if the trailers are not what is rendered."""
    if action is Action.REFUSE:
        refused = fields.take_match("Refused", _REFUSED)
        return Violated(
            rule=refused[1],
            code=ErrorCode(refused[2]),
            reason=fields.take_text("Reason"),
            action=Action(refused[3]),
            path=unescape(refused[5]),
            attempt=bytes.fromhex(refused[4]),
            kept=parse_kept(fields, unescape),
            source=fields.take_text("Source"),
        )
    if action is Action.UNLOCK:
        unlocked = fields.take_match("Unlock", _UNLOCKED)
        return Unlocked(
            document=int(unlocked[1]),
            path=fields.take_text("Path"),
            agent=unlocked[3],
            seconds=int(unlocked[2]),
        )
    if action is Action.LOCK:
        numbers = fields.take_match("Unlocks", _UNLOCKS)[0]
        return Locked(
            tuple(int(number) for number in numbers.split()),
            fields.take_text("Path"),
            fields.take_text("Reason"),
        )
    if action is Action.REPEAT:
        violation = int(fields.take_match("Violation", _VIOLATION)[1])
        return Repeated(violation, fields.take_number("Count"))
    discards = fields.take_match("Discards", _DISCARDS)
    return Discarded(draft=int(discards[1] or 0), violation=int(discards[2] or 0))


# ---- texts that were kept because they were not written -------------------------------------


def render_kept(kept: Kept, escape: Callable[[str], str]) -> str:
    """Return the trailer of one text."""
    return (
        f"Kept: {kept.document} {kept.base_revision} {kept.content_key} {kept.size} "
        f"{kept.digest.hex()} {kept.type.value} {kept.action.value} {escape(kept.path)}\n"
    )


def parse_kept(fields: TrailerFields, unescape: Callable[[str], str]) -> tuple[Kept, ...]:
    """Return the texts that a commit tells of; raises `ValueError` if one can not be read."""
    values = [value for _, value in fields.take_all("Kept")]
    found = [match for value in values if (match := _KEPT.fullmatch(value)) is not None]
    if len(found) != len(values):
        raise ValueError("a trailer Kept is not readable")
    return tuple(
        Kept(
            action=Action(kept[7]),
            path=unescape(kept[8]),
            type=DocumentType(kept[6]),
            document=int(kept[1]),
            base_revision=int(kept[2]),
            content_key=int(kept[3]),
            digest=bytes.fromhex(kept[5]),
            size=int(kept[4]),
        )
        for kept in found
    )
