"""What the core has to know before it decides, and the contents that answers carry.

Pending operations come first, then the cache, then state.db: so a decision sees everything that was
accepted before it, durable or not; whether an answer may leave yet is the order law's business.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from agent_trace_coordinator.core.generated import is_rendered, required_for_generated
from agent_trace_coordinator.core.inputs import (
    NO_FACTS,
    RECORDED_REQUESTS,
    Facts,
    FoundFile,
    Required,
)
from agent_trace_coordinator.core.lease_queue import sessions_waited_for
from agent_trace_coordinator.core.records import (
    Change,
    Changed,
    Entry,
    Record,
    SessionClosed,
    content_digest,
)
from agent_trace_coordinator.core.required import required_for
from agent_trace_coordinator.core.state import DocumentState, SessionEntry, State
from agent_trace_coordinator.core.trace_state import is_generated
from agent_trace_coordinator.storage.base import (
    CapturedFile,
    WorkTree,
)
from agent_trace_coordinator.storage.index import Index
from agent_trace_protocol import (
    Action,
    Actor,
    EvictSession,
    InvalidPath,
    Open,
    Read,
    RefreshDocuments,
    Request,
    SessionKind,
    Transact,
    Unavailable,
    parse_path,
)

from .content_cache import ContentCache

__all__ = ["Lookup"]

CACHE_BYTES_MAX: Final = 64 << 20
"""Bytes of contents kept in memory: documents that are written again and again stay there."""

GENERATED_CACHE_BYTES_MAX: Final = 4 << 20
"""The same of what the coordinator writes itself. The newest part of each session's log is written
again and again; the full ones would fill the memory of a busy store, and nobody asks for them."""


class Lookup:
    """The shell's eyes. Used by the event loop only."""

    def __init__(self, index: Index, tree: WorkTree, *, files_seq: Callable[[], int]) -> None:
        """`files_seq` returns the last operation that the files in `tree` show."""
        self._index = index
        self._tree = tree
        self._files_seq = files_seq
        self._host = socket.gethostname()
        self._pending: dict[int, Entry] = {}
        """By seq: what is not durable, so not in the index."""
        self._pending_contents: dict[int, bytes] = {}
        self._pending_changes: dict[tuple[int, int], tuple[Record, Change]] = {}
        self._vacated: dict[str, int] = {}
        """Paths that documents have left lately, and the operation by which they did: our own file
        lies there until the files show that operation."""
        self._cache = ContentCache(CACHE_BYTES_MAX)
        self._generated_cache = ContentCache(min(CACHE_BYTES_MAX, GENERATED_CACHE_BYTES_MAX))

    def facts(self, state: State, session: str, number: int, request: Request) -> Facts:
        """Return what the core needs to know about a request.

        Raises:
            AgentTraceError: a path is not valid, what is on disk is damaged, or the files of the
                store can not be looked at.
        """
        if isinstance(request, Open):
            return self._facts_of_open(state, session, request)
        ended = "" if session in state.sessions else self._session_ended(session)
        if isinstance(request, Read) and not request.revision and not ended:
            path = parse_path(request.path)
            if is_rendered(state, path):
                return self.facts_of_generated(state, path)
        if isinstance(request, EvictSession) and request.session not in state.sessions:
            evicted = self._session_ended(request.session)
            return Facts(session_ended=ended, evicted=evicted)
        if not isinstance(request, RECORDED_REQUESTS):
            return Facts(session_ended=ended) if ended else NO_FACTS
        facts = Facts(session_ended=ended)
        known = state.sessions.get(session)
        if known is None or number <= known.request_high:
            facts.previous = self._previous(session, number)
            if facts.previous is not None:
                return facts
        if isinstance(request, RefreshDocuments) and not ended:
            return self.facts_of_generated(state)
        if not isinstance(request, Transact):
            return facts
        # What is there is about to be replaced: it is kept no longer than it is here anyway.
        self._find(required_for(state, request.operations), facts, keep=False)
        return facts

    def facts_of_generated(self, state: State, path: str = "") -> Facts:
        """Return what the core needs to write the generated documents, or to read one of them."""
        facts = Facts()
        self._find(required_for_generated(state, path), facts)
        return facts

    def _find(self, required: Required, facts: Facts, *, keep: bool = True) -> None:
        for key, digest in required.contents.items():
            facts.contents[key] = self.content(key, digest, keep=keep)
        for document, revision in required.revisions:
            found = self.change(document, revision)
            if found is not None and found.content_key:
                facts.revisions[document, revision] = self.content(found.content_key, found.digest)
        for path in required.files:
            try:
                content = None if self._is_vacated(path) else self._tree.read(path)
            except InvalidPath as error:
                facts.blocked[path] = error.message
                continue
            except OSError as error:
                raise Unavailable(
                    f"the files of the store can not be looked at: {error}; nothing was done"
                ) from error
            if content is not None:
                facts.files[path] = content

    def facts_of_files(
        self, state: State, found: list[CapturedFile], adopted: dict[str, int]
    ) -> tuple[tuple[FoundFile, ...], Facts]:
        """Return files that were changed past us as the core takes them, and what it must know.

        A file's base is the newest revision that the files had shown when it was changed; or what
        was taken from the file itself last, by an operation that `adopted` names by path.
        """
        facts = Facts()
        files: list[FoundFile] = []
        for captured in found:
            document = state.document_at(captured.path)
            left_by = 0
            if document is None:
                document = self._left_by(state, captured.path)
                left_by = 0 if document is None else document.id
            if document is None:
                continue
            nothing = captured.content is None and not captured.problem
            if nothing and (left_by or document.seq > captured.files_seq):
                # Its file was not there yet, or is elsewhere by now: that is no deletion.
                continue
            if not document.deleted:
                facts.contents[document.content_key] = self.content(
                    document.content_key, document.digest
                )
            revision = document.revision
            change: Change | None = None
            while revision > 0:
                record = self.record_of(document.id, revision)
                if record is None or record[0].seq <= max(
                    captured.files_seq, adopted.get(captured.path, 0)
                ):
                    change = None if record is None else record[1]
                    break
                revision -= 1
            if change is None and captured.content is not None:
                # What was added was a file before it was a document: then it shows revision 1.
                first = self.record_of(document.id, 1)
                if first is not None and first[1].digest == content_digest(captured.content):
                    revision, change = 1, first[1]
            if change is not None and change.content_key:
                base = self.content(change.content_key, change.digest)
                facts.revisions[document.id, revision] = base
            files.append(
                FoundFile(
                    captured.path,
                    captured.content,
                    captured.problem,
                    revision,
                    captured.moved_to,
                    left_by,
                )
            )
        return tuple(files), facts

    def _left_by(self, state: State, path: str) -> DocumentState | None:
        """Return the document that has left a path, where the files may not show that yet."""
        seq = self._vacated.get(path)
        if seq is None:
            return None
        entry = self._pending.get(seq)
        record = self._index.record(seq) if entry is None else entry.record
        if record is None or not isinstance(record.body, Changed):
            return None
        for change in reversed(record.body.changes):
            left = change.path if change.action is Action.DELETE else change.previous_path
            if left == path:
                return state.documents.get(change.document)
        return None

    def _is_vacated(self, path: str) -> bool:
        """Return whether what lies at a path, or below it, is about to be removed by ourselves."""
        if self._vacated:
            shown = self._files_seq()
            self._vacated = {each: seq for each, seq in self._vacated.items() if seq > shown}
        below = f"{path}/"
        return any(each == path or each.startswith(below) for each in self._vacated)

    def _facts_of_open(self, state: State, session: str, request: Open) -> Facts:
        if session in state.sessions:
            return NO_FACTS
        facts = Facts(
            session_ended=self._session_ended(session),
            asker_hidden=request.host == self._host
            and not process_lives(request.pid, request.pid_started),
        )
        holder = state.sessions.get(state.holders.get(request.name, ""))
        if request.actor is Actor.AGENT and holder is not None:
            facts.holder_gone = self._is_gone(holder)
        return facts

    def gone_sessions(self, state: State) -> frozenset[str]:
        """Return the sessions that hold what somebody waits for, and whose process has ended."""
        if not state.waiters:
            return frozenset()
        return frozenset(
            id for id in sessions_waited_for(state) if self._is_gone(state.sessions[id])
        )

    def _is_gone(self, session: SessionEntry) -> bool:
        # A session of the command line has no process between two commands, and what comes over TCP
        # may be on a machine, or in a container, that only has our name.
        return (
            not session.key
            and session.kind is not SessionKind.CLI
            and session.host == self._host
            and not process_lives(session.pid, session.pid_started)
        )

    def _session_ended(self, session: str) -> str:
        for entry in self._pending.values():
            body = entry.record.body
            if isinstance(body, SessionClosed) and entry.record.session == session:
                return body.reason
        return self._index.session_ended(session)

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

    def commit(self, seq: int) -> str:
        """Return the commit id of an operation; empty if state.db does not know it yet."""
        return self._index.commit(seq)

    def content(self, key: int, digest: bytes, *, keep: bool = True) -> bytes:
        """Return a content, and keep it in memory for whoever asks next.

        Raises:
            CorruptStore: it is not what was recorded.
        """
        for known in (self._pending_contents, self._cache, self._generated_cache):
            content = known.get(key)
            if content is not None:
                return content
        content = self._index.content(key, digest)
        if keep:
            self._cache.keep(key, content)
        return content

    def pend(self, entry: Entry) -> None:
        """Know an operation that was accepted and is not durable yet."""
        self._pending[entry.record.seq] = entry
        self._pending_contents.update(entry.contents)
        body = entry.record.body
        if isinstance(body, Changed):
            for change in body.changes:
                self._pending_changes[change.document, change.revision] = entry.record, change
                left = change.path if change.action is Action.DELETE else change.previous_path
                if left:
                    self._vacated[left] = entry.record.seq

    def settle(self, entry: Entry) -> None:
        """The operation is durable: from now on it is in the index."""
        record = entry.record
        del self._pending[record.seq]
        contents = {key: self._pending_contents.pop(key) for key, _ in entry.contents}
        if isinstance(record.body, Changed):
            cache = self._generated_cache if is_generated(record) else self._cache
            for change in record.body.changes:
                del self._pending_changes[change.document, change.revision]
                key = change.content_key
                cache.replace(change.document, key, contents.get(key))
        else:
            for key, content in contents.items():
                self._cache.keep(key, content)

    def forget(self) -> None:
        """Nothing that was pending became durable."""
        self._vacated = {
            path: seq for path, seq in self._vacated.items() if seq not in self._pending
        }
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
