"""What a session did in substance, made from its records alone.

A recap is never stored: the records it is made from are the journal itself, with the substance of
every change in them, so it can not be lost, however the session ended, and costs the write path
nothing. A long session is told in stretches of `STRETCH_OPERATIONS`, so each of them can be told
without reading the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from agent_trace_protocol import Action, ErrorCode, RecapPart

from .brief_text import said, show_path
from .drafts import draft_id
from .entries import summary_of
from .records import Change, Changed, Drafted, LeaseGranted, Record, Violated
from .violations import violation_id

__all__ = [
    "STRETCH_OPERATIONS",
    "operation_lines",
    "recap_lines",
    "recap_part",
    "show_change",
    "show_misfit",
]

STRETCH_OPERATIONS: Final = 100
"""Operations of a session that are told together."""

LINES_MAX: Final = 24
"""Lines of one stretch."""

SUMMARIES_MAX: Final = 3
"""Things told of one document: the last ones."""


def show_change(change: Change) -> str:
    """Return what a change did, such as `edit plan.md@4 (+1 -1): checked off "tests"`."""
    path = show_path(change.path)
    lines = f" (+{change.added} -{change.removed})" if change.added or change.removed else ""
    if change.previous_path:
        return f"move {show_path(change.previous_path)} to {path}@{change.revision}"
    if change.action in (Action.DELETE, Action.RECLASSIFY):
        return f"{change.action} {path}@{change.revision}: {summary_of(change)}"
    told = f": {change.summary}" if change.summary else ""
    return f"{change.action} {path}@{change.revision}{lines}{told}"


def operation_lines(record: Record) -> list[str]:
    """Return what one operation did, a line for each document; empty for what tells nothing."""
    body = record.body
    match body:
        case Changed():
            message = f"; message {said(body.message, 120)}" if body.message else ""
            return [f"{record.seq} {show_change(change)}{message}" for change in body.changes]
        case Drafted():
            late = body.conflict
            return [
                f"{record.seq} write to {show_path(late.path)} {show_misfit(body)}; kept as "
                f"{draft_id(record.seq)}"
            ]
        case Violated():
            return [
                f"{record.seq} {body.action} {_tried(body)} was refused ({body.rule}); kept as "
                f"{violation_id(record.seq)}"
            ]
        case LeaseGranted():
            return [f"{record.seq} took a lease on {show_path(body.path)}"]
        case _:
            return []


def show_misfit(body: Drafted) -> str:
    """Return why a write did not fit, as the end of a sentence about it."""
    if body.code is ErrorCode.STALE_LEASE:
        return "came after its lease had ended"
    if body.code is ErrorCode.LEASE_HELD:
        return "met the lease of another"
    if not body.conflict.current:
        return "came too late, there was no such document"
    return f"came too late, it was at {body.conflict.current} already"


def _tried(body: Violated) -> str:
    return show_path(body.path) if body.path else "a request"


def recap_lines(records: Sequence[Record]) -> list[str]:
    """Return what records of one session did, oldest first: a line for each document that they
    changed, in the order of the last change, then what was not carried out."""
    documents: dict[int, list[Change]] = {}
    others: list[str] = []
    for record in records:
        body = record.body
        if isinstance(body, Changed):
            for change in body.changes:
                changes = documents.pop(change.document, [])
                documents[change.document] = [*changes, change]
        elif not isinstance(body, LeaseGranted):
            others += operation_lines(record)
    return [_about(changes) for changes in documents.values()] + others


def _about(changes: list[Change]) -> str:
    last = changes[-1]
    if len(changes) == 1:
        return show_change(last)
    told = [each for each in dict.fromkeys(map(summary_of, changes)) if each][-SUMMARIES_MAX:]
    added = sum(each.added for each in changes)
    removed = sum(each.removed for each in changes)
    return (
        f"{show_path(last.path)}@{changes[0].revision} to @{last.revision}, {len(changes)} changes "
        f"(+{added} -{removed}), last: {'; '.join(told)}"
    )


def recap_part(records: Sequence[Record]) -> RecapPart:
    """Return what a stretch of records, oldest first and not empty, did."""
    lines = recap_lines(records)
    if len(lines) > LINES_MAX:
        lines = [f"{len(lines) - LINES_MAX + 1} earlier lines", *lines[1 - LINES_MAX :]]
    return RecapPart(
        first_seq=records[0].seq,
        last_seq=records[-1].seq,
        first_ms=records[0].time_ms,
        last_ms=records[-1].time_ms,
        operations=len(records),
        lines=tuple(lines),
    )
