"""What the core has to know before it decides, and the contents that answers carry.

Pending operations come first, then the cache, then state.db: so a decision sees everything that was
accepted before it, durable or not; whether an answer may leave yet is the order law's business.
"""

from __future__ import annotations

import socket
from collections import OrderedDict
from pathlib import Path
from typing import Final

from agent_trace_coordinator.core.documents import required_for
from agent_trace_coordinator.core.inputs import NO_FACTS, Facts
from agent_trace_coordinator.core.records import Change, Changed, Entry, Record
from agent_trace_coordinator.core.state import State
from agent_trace_coordinator.storage.base import WorkTree
from agent_trace_coordinator.storage.index import Index
from agent_trace_protocol import Actor, Open, Request, Transact

__all__ = ["Lookup"]

CACHE_BYTES_MAX: Final = 64 << 20
"""Bytes of contents kept in memory: documents that are written again and again stay there."""


class Lookup:
    """The shell's eyes. Used by the event loop only."""

    def __init__(self, index: Index, tree: WorkTree) -> None:
        self._index = index
        self._tree = tree
        self._host = socket.gethostname()
        self._pending: dict[int, Entry] = {}
        """By seq: what is not durable, so not in the index."""
        self._pending_contents: dict[int, bytes] = {}
        self._pending_changes: dict[tuple[int, int], tuple[Record, Change]] = {}
        self._cache: OrderedDict[int, bytes] = OrderedDict()
        self._cache_bytes = 0

    def facts(self, state: State, session: str, number: int, request: Request) -> Facts:
        """Return what the core needs to know about a request.

        Raises:
            AgentTraceError: a path is not valid, or what is on disk is damaged.
        """
        if isinstance(request, Open):
            return self._facts_of_open(state, session, request)
        if not isinstance(request, Transact):
            return NO_FACTS
        facts = Facts()
        known = state.sessions.get(session)
        if known is None or number <= known.request_high:
            facts.previous = self._previous(session, number)
            if facts.previous is not None:
                return facts
        required = required_for(state, request.operations)
        for key, digest in required.contents.items():
            facts.contents[key] = self.content(key, digest)
        for document, revision in required.revisions:
            found = self.change(document, revision)
            if found is not None and found.content_key:
                facts.revisions[document, revision] = self.content(found.content_key, found.digest)
        for path in required.files:
            content = self._tree.read(path)
            if content is not None:
                facts.files[path] = content
        return facts

    def _facts_of_open(self, state: State, session: str, request: Open) -> Facts:
        if session in state.sessions:
            return NO_FACTS
        facts = Facts(session_ended=self._index.session_ended(session))
        holder = state.sessions.get(state.holders.get(request.name, ""))
        if request.actor is Actor.AGENT and holder is not None and holder.host == self._host:
            facts.holder_gone = not process_lives(holder.pid, holder.pid_started)
        return facts

    def _previous(self, session: str, number: int) -> Record | None:
        for entry in self._pending.values():
            if entry.record.session == session and entry.record.request == number:
                return entry.record
        return self._index.request(session, number)

    def change(self, document: int, revision: int) -> Change | None:
        """Return the change that made a document's revision, if there is such a revision."""
        found = self.record_of(document, revision)
        return None if found is None else found[1]

    def record_of(self, document: int, revision: int) -> tuple[Record, Change] | None:
        """Return the record and the change that made a document's revision."""
        return self._pending_changes.get((document, revision)) or self._index.change(
            document, revision
        )

    def content(self, key: int, digest: bytes) -> bytes:
        """Return a content; raises `CorruptStore` if it is not what was recorded."""
        content = self._pending_contents.get(key)
        if content is not None:
            return content
        content = self._cache.get(key)
        if content is not None:
            self._cache.move_to_end(key)
            return content
        content = self._index.content(key, digest)
        self._keep(key, content)
        return content

    def _keep(self, key: int, content: bytes) -> None:
        self._cache[key] = content
        self._cache_bytes += len(content)
        while self._cache_bytes > CACHE_BYTES_MAX:
            _, evicted = self._cache.popitem(last=False)
            self._cache_bytes -= len(evicted)

    def pend(self, entry: Entry) -> None:
        """Know an operation that was accepted and is not durable yet."""
        self._pending[entry.record.seq] = entry
        self._pending_contents.update(entry.contents)
        body = entry.record.body
        if isinstance(body, Changed):
            for change in body.changes:
                self._pending_changes[change.document, change.revision] = entry.record, change

    def settle(self, entry: Entry) -> None:
        """The operation is durable: from now on it is in the index."""
        del self._pending[entry.record.seq]
        for key, content in entry.contents:
            del self._pending_contents[key]
            self._keep(key, content)
        body = entry.record.body
        if isinstance(body, Changed):
            for change in body.changes:
                del self._pending_changes[change.document, change.revision]

    def forget(self) -> None:
        """Nothing that was pending became durable."""
        self._pending.clear()
        self._pending_contents.clear()
        self._pending_changes.clear()


def process_lives(pid: int, started: int) -> bool:
    """Return whether the process still runs; `started` tells it from a later one of the same pid.

    When the system can not say, the answer is yes: nobody loses a name by mistake.
    """
    if not pid or not started:
        return True
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return not Path("/proc/self/stat").exists()
    except OSError:
        return True
    fields = stat.rpartition(")")[2].split()
    # Field 3 is the state, field 22 the start time, in clock ticks since boot (proc(5)).
    return fields[0] not in ("Z", "X") and int(fields[19]) == started
