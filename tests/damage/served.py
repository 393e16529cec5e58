"""What a whole coordinator serves of a damaged store: the truth, or refusals."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

from agent_trace_coordinator.core.records import Change, Changed, Record
from agent_trace_protocol import Actor, Document, Log, LogPage, Opened, Read, Refused
from damage.original import Snapshot
from support.coordinator import Coordinator, Peer

__all__ = ["ask_a_coordinator"]


def ask_a_coordinator(root: Path, snapshot: Snapshot) -> Iterator[str]:
    """Start on a store, read every revision and the log, and yield what is not true.

    That it does not start and says why is an answer as well.
    """
    try:
        coordinator = Coordinator(root)
    except AssertionError as error:
        if "Traceback" in str(error):
            yield f"it ends with an error that nobody expected: {str(error)[-800:]}"
        return
    try:
        with Peer(coordinator.endpoint, "reader", Actor.USER) as peer:
            if isinstance(peer.open(), Opened):
                yield from _read_all(peer, snapshot)
    finally:
        coordinator.end(signal.SIGKILL)


def _read_all(peer: Peer, snapshot: Snapshot) -> Iterator[str]:
    history: dict[int, dict[int, tuple[Record, Change]]] = {}
    for record in snapshot.decoded:
        if isinstance(record.body, Changed):
            for change in record.body.changes:
                history.setdefault(change.document, {})[change.revision] = record, change
    for revisions in history.values():
        newest = revisions[max(revisions)][1]
        if not newest.content_key:
            continue
        for revision, (record, change) in revisions.items():
            if not change.content_key:
                continue
            reply = peer.ask(Read(newest.path, revision))
            if isinstance(reply, Refused):
                continue
            assert isinstance(reply, Document), reply
            wanted = (snapshot.contents[change.content_key], record.seq, record.author)
            if (reply.content, reply.seq, reply.author) != wanted:
                yield f"revision {revision} of {newest.path} is served as {str(reply)[:500]}"
    page = peer.ask(Log(limit=1000))
    if isinstance(page, Refused):
        return
    assert isinstance(page, LogPage), page
    # What nobody had put into git may be gone with the end of the log: then these seqs are new.
    new = min(entry.seq for entry in page.entries if entry.author == peer.name)
    told = {record.seq: record for record in snapshot.decoded if record.seq < new}
    for entry in page.entries:
        known = told.get(entry.seq)
        if known is not None and (entry.author, entry.time_ms) != (known.author, known.time_ms):
            yield f"operation {entry.seq} is told as {str(entry)[:500]}"
