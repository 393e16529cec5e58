"""The part of the oracle that knows what people see who look on, and what they throw away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec

from agent_trace_coordinator.core.entries import log_entries
from agent_trace_coordinator.core.records import Discarded, Record
from agent_trace_protocol import (
    Actor,
    DiscardDraft,
    DiscardViolation,
    EventPage,
    Events,
    LogEntry,
    Request,
    ViolationPage,
    Violations,
)

from .model import Snapshot

__all__ = ["FollowOracle"]


@dataclass
class FollowOracle:
    """Watches followers. A page has to be all that they asked for between its two ends."""

    fail: Callable[[str], Exception]
    events_count: int = 0
    """Events that were shown."""
    discarded_count: int = 0
    """Drafts and refused writes that were thrown away."""

    def discarded(
        self, last: Snapshot, record: Record, body: Discarded, requests: Sequence[Request]
    ) -> Snapshot:
        """Return the store after something was thrown away by a session that sent `requests`
        under the record's number."""
        wanted: list[Request] = [DiscardViolation(f"violation-{body.violation}")]
        if body.draft:
            wanted = [DiscardDraft(f"draft-{body.draft}")]
        if not any(each in wanted for each in requests):
            raise self.fail(f"record {record.seq} throws away what nobody wanted to: {body}")
        if record.session not in last.sessions or record.actor is not Actor.USER:
            raise self.fail(f"record {record.seq} is not of a user's open session")
        there = body.draft in last.drafts if body.draft else body.violation in last.violations
        if not there:
            raise self.fail(f"record {record.seq} throws away what is not there: {body}")
        self.discarded_count += 1
        return replace(
            last,
            seq=record.seq,
            drafts={seq: each for seq, each in last.drafts.items() if seq != body.draft},
            violations=last.violations - {body.violation},
        )

    def check_events(self, request: Events, page: EventPage, records: Sequence[Record]) -> str:
        """Return why a page can not be what happened, as far as that is durable."""
        if not request.since <= page.cursor <= max(request.since, len(records)):
            return f"its cursor is {page.cursor}; {len(records)} is durable"
        expected = [
            entry
            for record in records[request.since : page.cursor]
            for entry in _wanted(record, request)
        ]
        if [msgspec.structs.replace(each, commit="") for each in page.events] != expected:
            return f"its events are not those of {request.since} to {page.cursor}"
        self.events_count += len(expected)
        return ""

    def check_violations(
        self, request: Violations, page: ViolationPage, snapshots: Sequence[Snapshot]
    ) -> str:
        """Return why a page can not be the newest refused writes that wait."""
        told = [each.seq for each in page.violations]
        for snapshot in snapshots:
            if sorted(snapshot.violations, reverse=True)[: request.limit] == told:
                return ""
        return "no state in between has these violations"

    def check_absence(
        self, request: DiscardViolation | DiscardDraft, snapshots: Sequence[Snapshot]
    ) -> str:
        """Return why it can not be that there was nothing to throw away."""
        kind, _, number = (
            request.draft if isinstance(request, DiscardDraft) else request.violation
        ).partition("-")
        for snapshot in snapshots:
            there = snapshot.drafts if kind == "draft" else snapshot.violations
            if int(number) not in there:
                return ""
        return "it was there all the time"


def _wanted(record: Record, request: Events) -> list[LogEntry]:
    return [
        entry
        for entry in log_entries(record)
        if request.author in ("", entry.author)
        and (not request.actions or entry.action in request.actions)
    ]
