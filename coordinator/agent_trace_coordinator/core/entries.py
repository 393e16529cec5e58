"""A record as the log and the events show it: one entry for each document that it changed.

Everything that is in the journal has its entries here, so nothing that happened is ever missing
from what a follower is told.
"""

from __future__ import annotations

from typing import assert_never

from agent_trace_protocol import (
    Action,
    AgentTraceError,
    ErrorCode,
    Events,
    LogEntry,
    PathPattern,
    parse_path,
    parse_pattern,
)

from .records import (
    Change,
    Changed,
    Discarded,
    Drafted,
    LeaseExtended,
    LeaseGranted,
    LeaseReleased,
    Locked,
    Record,
    RecordBody,
    Repeated,
    SessionClosed,
    SessionOpened,
    Steered,
    SteeringDropped,
    Unlocked,
    Violated,
)

__all__ = ["log_entries", "note_action", "summary_of", "wanted"]


def log_entries(record: Record) -> tuple[LogEntry, ...]:
    """Return what a record tells, in the order of its changes; the commit is not known here."""
    body = record.body
    if isinstance(body, Changed) and not body.changes:
        # What a repair puts in the place of a record that was lost.
        return (_entry(record, Action.REPAIR, "", body.message),)
    if isinstance(body, Changed):
        return tuple(
            _entry(
                record,
                change.action,
                change.path,
                summary_of(change),
                change.revision,
                change.added,
                change.removed,
                body.message,
            )
            for change in body.changes
        )
    action, path, summary = _note(body, record.seq)
    return (_entry(record, action, path, summary),)


def note_action(body: RecordBody) -> Action | None:
    """Return the action of a record that changed no document; None for one that did."""
    if isinstance(body, Changed):
        return None if body.changes else Action.REPAIR
    return _note(body, 0)[0]


def _entry(
    record: Record,
    action: Action,
    path: str,
    summary: str,
    revision: int = 0,
    added: int = 0,
    removed: int = 0,
    message: str = "",
) -> LogEntry:
    return LogEntry(
        seq=record.seq,
        time_ms=record.time_ms,
        actor=record.actor,
        author=record.author,
        session=record.session,
        action=action,
        path=path,
        revision=revision,
        added=added,
        removed=removed,
        summary=summary,
        commit="",
        message=message,
    )


def summary_of(change: Change) -> str:
    """Return one line that tells what a change did in substance."""
    if change.previous_path:
        return f"moved from {change.previous_path}"
    if change.action is Action.RECLASSIFY:
        return f"made it a {change.type} document"
    if change.action is Action.DELETE:
        return f"deleted it, {change.removed} lines"
    return change.summary or f"{change.action} +{change.added} -{change.removed}"


def _note(
    body: SessionOpened
    | SessionClosed
    | Drafted
    | LeaseGranted
    | LeaseExtended
    | LeaseReleased
    | Violated
    | Repeated
    | Discarded
    | Unlocked
    | Locked
    | Steered
    | SteeringDropped,
    seq: int,
) -> tuple[Action, str, str]:
    """Return action, path and summary of a record that changed no document."""
    match body:
        case SessionOpened():
            program = f" with {body.program}" if body.program else ""
            return Action.OPEN, "", f"connected{program}"
        case SessionClosed():
            return Action.CLOSE, "", body.reason
        case Drafted():
            late = body.conflict
            why = {
                ErrorCode.STALE_LEASE: "its lease had ended",
                ErrorCode.LEASE_HELD: "somebody else has a lease on it",
            }.get(body.code, f"it was at revision {late.current}, not {late.expected}")
            return Action.DRAFT, late.path, f"kept as draft-{seq}: {why}"
        case LeaseGranted():
            kind = "shared lease" if body.shared else "lease"
            instead = f", in the place of {body.previous}" if body.previous else ""
            return Action.LEASE, body.path, f"{kind} for {body.ttl_ms / 1000:g} s{instead}"
        case LeaseExtended():
            return (
                Action.RENEW,
                body.path,
                f"lease {body.token} lasts {body.ttl_ms / 1000:g} s from here on",
            )
        case LeaseReleased():
            return Action.RELEASE, body.path, f"lease {body.token}: {body.reason}"
        case Violated():
            return (
                Action.REFUSE,
                _safe(body.path),
                f"{body.action} not allowed: {body.rule}, kept as violation-{seq}",
            )
        case Repeated():
            return (
                Action.REPEAT,
                "",
                f"violation-{body.violation} was tried {body.count} times",
            )
        case Discarded():
            id = f"draft-{body.draft}" if body.draft else f"violation-{body.violation}"
            return Action.DISCARD, "", f"{id} was discarded"
        case Unlocked():
            whom = f"agent {body.agent}" if body.agent else "all agents"
            return Action.UNLOCK, body.path, f"unlocked for {whom}, {body.seconds} s"
        case Locked():
            return Action.LOCK, body.path, body.reason
        case Steered():
            instead = f" (in the place of update-{body.replaces})" if body.replaces else ""
            return Action.STEER, "", f"{body.text}{instead}"
        case SteeringDropped():
            return Action.UNSTEER, "", f"update-{body.statement} stands no more"
        case _:
            assert_never(body)


def _safe(path: str) -> str:
    """Return a path that somebody gave, unless it is none: then it is nobody else's business."""
    try:
        return parse_path(path)
    except AgentTraceError:
        return ""


def wanted(record: Record, request: Events) -> tuple[LogEntry, ...]:
    """Return the entries of a record that a follower asked for."""
    if request.author and record.author != request.author:
        return ()
    entries = log_entries(record)
    if request.actions:
        entries = tuple(each for each in entries if each.action in request.actions)
    if not request.path or not entries:
        return entries
    pattern = parse_pattern(request.path)
    left = (
        {change.path: change.previous_path for change in record.body.changes}
        if isinstance(record.body, Changed)
        else {}
    )
    return tuple(
        each
        for each in entries
        if each.path
        and (_concerns(pattern, each) or (left.get(each.path) and pattern.matches(left[each.path])))
    )


def _concerns(pattern: PathPattern, entry: LogEntry) -> bool:
    if entry.action in (Action.LEASE, Action.RENEW, Action.RELEASE):
        return pattern.overlaps(parse_pattern(entry.path))
    return pattern.matches(entry.path)
