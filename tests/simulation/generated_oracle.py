"""The part of the oracle that knows what the coordinator writes by itself.

Nobody asked for it, so it is judged by what it says: only of operations before its own, which are
durable as soon as it is; of each operation of a session once, in order; and in the end of all.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from agent_trace_coordinator.core.generated_names import protecting_type
from agent_trace_coordinator.core.records import Change, Changed, Record
from agent_trace_coordinator.core.trace_state import is_generated
from agent_trace_protocol import Action, Actor

from .model import OPERATIONS_PER_SEQ, Model, ModelDocument, Snapshot

__all__ = ["GeneratedOracle"]

_ENTRY = re.compile(rb"^- ([0-9]+) ", re.MULTILINE)
_LAST = re.compile(rb"^- last: operation ([0-9]+),", re.MULTILINE)
_PART = re.compile(r"(.*?)(?:\.([0-9]+))?\.md")


@dataclass
class GeneratedOracle:
    """Watches the documents of the coordinator."""

    fail: Callable[[str], Exception]
    count: int = 0
    wanted: dict[str, list[int]] = field(default_factory=lambda: defaultdict[str, list[int]](list))
    """The operations that the log of a session has to have, by the end of its name."""
    last: int = 0
    """The last change of a session."""

    def happened(self, record: Record) -> None:
        """A record of somebody else is durable."""
        if record.session and isinstance(record.body, Changed):
            self.wanted[record.session] += [record.seq] * len(record.body.changes)
            self.last = record.seq

    def written(
        self,
        model: Model,
        last: Snapshot,
        record: Record,
        body: Changed,
        contents: dict[int, bytes],
    ) -> Snapshot:
        """Return the store after generated documents were written."""
        if (record.session, record.actor, record.author) != ("", Actor.SYSTEM, "system"):
            raise self.fail(f"record {record.seq} is generated, by {record.author}")
        assert is_generated(record)
        documents = dict(last.documents)
        live = {each.path for each in last.live()}
        for index, change in enumerate(body.changes):
            before = documents.get(change.document)
            own = change.document == record.seq * OPERATIONS_PER_SEQ + index
            made = own and change.action is Action.CREATE and change.path not in live
            if before is None and not made:
                raise self.fail(f"record {record.seq} generates {change} for nothing")
            self._judge(record, change, before, contents[change.content_key])
            after = ModelDocument(
                change.document,
                change.path,
                change.type,
                1 if before is None else before.revision + 1,
                contents[change.content_key],
                record.seq,
                record.time_ms,
                record.author,
            )
            if change.revision != after.revision:
                raise self.fail(f"record {record.seq} makes revision {change.revision} of {before}")
            documents[after.id] = after
            model.made[after.id, after.revision] = after
            self.count += 1
        return replace(last, seq=record.seq, documents=documents)

    def _judge(
        self, record: Record, change: Change, before: ModelDocument | None, content: bytes
    ) -> None:
        path = change.path
        if protecting_type(path) is not change.type:
            raise self.fail(f"record {record.seq} generates {path}, which is not ours")
        if before is not None and (before.path, before.type, before.deleted) != (
            path,
            change.type,
            False,
        ):
            raise self.fail(f"record {record.seq} generates {path} for {before}")
        seqs = [int(seq) for seq in _ENTRY.findall(content)] if path.startswith("logs/") else []
        told = [int(seq) for seq in _LAST.findall(content)] if not seqs else []
        if any(seq >= record.seq for seq in seqs + told):
            raise self.fail(f"record {record.seq} tells in {path} of what had not happened")
        if path.startswith("logs/"):
            if before is not None and not content.startswith(before.content):
                raise self.fail(f"record {record.seq} changes what {path} had said")
            if seqs != sorted(seqs):
                raise self.fail(f"record {record.seq} has {path} say {seqs}")

    def check_end(self, last: Snapshot) -> None:
        """Everything is told, once and in order, whatever died in between."""
        told: dict[str, list[int]] = defaultdict(list)
        live = {each.path: each.content for each in last.live()}
        for path in sorted((path for path in live if path.startswith("logs/")), key=_by_part):
            told[path] += [int(seq) for seq in _ENTRY.findall(live[path])]
        for session, seqs in self.wanted.items():
            changes = set(seqs)
            found = [
                [seq for seq in each if seq in changes]
                for each in _logs(told).values()
                if changes.intersection(each)
            ]
            if found != [seqs]:
                raise self.fail(f"the changes {seqs} of session {session} are told as {found}")
        summary = live.get("running_summary.md", b"")
        said = _LAST.search(summary)
        if self.wanted and (said is None or int(said[1]) < self.last):
            raise self.fail(f"the summary tells of {said}, and operation {self.last} happened")


def _by_part(path: str) -> tuple[str, int]:
    found = _PART.fullmatch(path)
    return (path, 1) if found is None else (found[1], int(found[2] or 1))


def _logs(told: dict[str, list[int]]) -> dict[str, list[int]]:
    """Return what logs tell, their parts put together."""
    logs: dict[str, list[int]] = defaultdict(list)
    for path, seqs in told.items():
        logs[_by_part(path)[0]] += seqs
    return logs
