"""Making state.db, and then the git directory, again from what is proven."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from agent_trace_coordinator.core.records import (
    Change,
    Changed,
    Drafted,
    Entry,
    Record,
    Violated,
    content_key,
    erased_by,
    record_digests,
    split_key,
)
from agent_trace_coordinator.storage.git import GitHistory
from agent_trace_coordinator.storage.index import Index
from agent_trace_coordinator.storage.new_journal import NewJournal
from agent_trace_protocol.upkeep import Loss

from .amend import amend
from .examine import Tell
from .findings import ranges
from .settle import Proven, settle
from .sources import Sources

__all__ = ["Rebuilt", "rebuild_git", "rebuild_journal"]

CONTENTS_AT_ONCE: Final = 256
COMMITS_AT_ONCE: Final = 256


class Rebuilt(msgspec.Struct):
    """What a new state.db holds."""

    operations: int
    losses: list[Loss]
    done: list[str]
    """What there is to say about it, one line each."""


def rebuild_journal(path: Path, sources: Sources, tell: Tell) -> Rebuilt:
    """Make a whole state.db at `path` from everything that is proven; nothing else is touched."""
    settled = settle(sources.journal, sources.git)
    records = settled.records
    wanted = _wanted(records)
    holes = frozenset(settled.lost)
    # Their documents came into being in an operation that is lost: no commit brings their text.
    orphans = {key for key in wanted if split_key(key)[0] in holes}
    new = NewJournal(path)
    try:
        for done, (record, encoded, chain) in enumerate(records):
            new.add(Entry(record, encoded, chain, ()))
            if done % 1024 == 0:
                tell("writing records", done, len(records))
        tell("writing records", len(records), len(records))
        missing = dict(wanted)
        batch: list[tuple[int, bytes]] = []
        for key, data in sources.contents(wanted, _paths(records)):
            del missing[key]
            batch.append((key, data))
            if len(batch) >= CONTENTS_AT_ONCE:
                new.contents(batch)
                batch = []
        new.contents(batch)
        with new.reading() as index:
            added = list(
                amend(
                    records,
                    missing,
                    orphans,
                    lambda change: index.content(change.content_key, change.digest),
                )
            )
        new.add_later([entry for entry, _ in added])
        last_epoch = records[-1][0].epoch if records else 0
        new.finish(
            epoch=max(sources.epoch, last_epoch),
            store=sources.store_id or secrets.token_hex(16),
            lost=sorted(missing.keys() | orphans),
        )
    finally:
        new.close()
    done_lines = [f"made state.db again: {len(records)} operations, {len(wanted)} contents"]
    if settled.from_git:
        done_lines.append(f"took operations {ranges(settled.from_git)} from git")
    if records and not sources.store_id:
        done_lines.append("gave the store a new id: the old one was in state.db only")
    if settled.lost:
        done_lines.append(
            f"made the hash chain and the commits anew from operation {settled.lost[0]} on"
        )
    done_lines += [line for _, line in added]
    losses = [*_lost_operations(settled.lost), *_lost_contents(records, missing)]
    return Rebuilt(len(records) + len(added), losses, done_lines)


def rebuild_git(root: Path, state_db: Path, tell: Tell) -> str:
    """Make the whole history in `root`/.agent-trace/repo, and return where the branch stands."""
    history = GitHistory(root)
    with closing(Index(state_db)) as index:
        last = index.last_seq()
        try:
            seq = history.start()
            while entries := list(index.entries(seq + 1, COMMITS_AT_ONCE)):
                history.commit(entries)
                seq = entries[-1].record.seq
                tell("making commits", seq, last)
            history.checkpoint()
            history.maintain()
            return history.statistics().head
        finally:
            history.close()


def _wanted(records: Sequence[Proven]) -> dict[int, bytes]:
    """Return the digests of all contents that are to be there, by key."""
    wanted: dict[int, bytes] = {}
    for record, _, _ in records:
        wanted |= {key: digest for key, digest in record_digests(record.body).items() if key}
        if erased := erased_by(record.body):
            for key in range(content_key(erased, 0), content_key(erased + 1, 0)):
                wanted.pop(key, None)
    return wanted


def _paths(records: Sequence[Proven]) -> dict[bytes, str]:
    """Return at which path a content may lie as a file, by its digest."""
    return {change.digest: change.path for _, change in _changes(records) if change.digest}


def _changes(records: Sequence[Proven]) -> Iterator[tuple[Record, Change]]:
    for record, _, _ in records:
        if isinstance(record.body, Changed):
            for change in record.body.changes:
                yield record, change


def _lost_operations(lost: Sequence[int]) -> list[Loss]:
    if not lost:
        return []
    noun = "operation" if len(lost) == 1 else "operations"
    return [Loss(f"{noun} {ranges(lost)}: no copy of the record is left", tuple(lost))]


def _lost_contents(records: Sequence[Proven], missing: dict[int, bytes]) -> Iterator[Loss]:
    """Yield what the contents were that were found nowhere."""
    told: set[int] = set()
    for record, change in _changes(records):
        key = change.content_key
        if key in missing and key not in told:
            told.add(key)
            what = f"the text of {change.path}@{change.revision} (operation {record.seq})"
            yield Loss(what, (record.seq,), change.path, change.revision)
    accepted = {record.body.draft for record, _, _ in records if isinstance(record.body, Changed)}
    applied = {
        record.body.violation for record, _, _ in records if isinstance(record.body, Changed)
    }
    for record, _, _ in records:
        body = record.body
        gone = [key for key in record_digests(body) if key in missing]
        if isinstance(body, Drafted) and gone:
            settled = ", which was accepted" if record.seq in accepted else ""
            path = body.conflict.path
            yield Loss(f"the text of draft-{record.seq} for {path}{settled}", (record.seq,), path)
        elif isinstance(body, Violated) and gone:
            settled = ", which was applied" if record.seq in applied else ""
            yield Loss(
                f"the text of violation-{record.seq} for {body.path}{settled}",
                (record.seq,),
                body.path,
            )
