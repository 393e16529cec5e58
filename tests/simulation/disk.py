"""What survives the coordinator: the journal, its index, the commits and the files.

The simulated disk keeps the promises of `storage.journal.Journal` and nothing more: a batch is
there as a whole or not at all, a batch whose writing was cut off may be there, and two records can
not claim the same session, request or revision (the unique indexes of the real tables).
"""

from __future__ import annotations

from agent_trace_coordinator.core.apply import apply_record
from agent_trace_coordinator.core.records import (
    CHAIN_START,
    Change,
    Changed,
    Entry,
    Record,
    SessionClosed,
    SessionOpened,
    chain_hash,
    content_digest,
    decode_record,
)
from agent_trace_coordinator.core.state import Rules, State
from agent_trace_coordinator.errors import CorruptStore
from agent_trace_coordinator.storage.base import FileUpdate, SetAside
from agent_trace_coordinator.storage.index import Index
from agent_trace_protocol import Action, Log, LogEntry

__all__ = ["Disk", "JournalViolation", "SimulatedIndex", "SimulatedTree"]

FOREIGN_FILES = {"found.md": b"# Found\nkept by hand\n", "lost/found.md": b"left behind\n"}
"""Files that lie in the store's directory from the start and are no documents."""


class JournalViolation(AssertionError):
    """The real journal would have refused the batch, and the coordinator would have died of it."""


class Disk:
    """Everything durable."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.epoch = 0
        self.entries: list[Entry] = []
        self.contents: dict[int, bytes] = {}
        self.requests: dict[tuple[str, int], Record] = {}
        self.changes: dict[tuple[int, int], tuple[Record, Change]] = {}
        self.opened: set[str] = set()
        self.ended: dict[str, str] = {}
        self.commits: dict[int, str] = {}
        self.files: dict[str, bytes] = dict(FOREIGN_FILES)
        self.full = False
        self.was_full_at = -1.0
        """When the disk last took no writes; negative: it always did."""

    @property
    def seq(self) -> int:
        """The last durable operation."""
        return len(self.entries)

    def write(self, batch: list[Entry]) -> None:
        """Make a batch durable, as one transaction.

        Raises:
            JournalViolation: the batch breaks what the real journal's tables enforce.
        """
        for entry in batch:
            record = entry.record
            if record.seq != self.seq + 1:
                raise JournalViolation(f"record {record.seq} follows record {self.seq}")
            self._index(record)
            for key, content in entry.contents:
                if key in self.contents:
                    raise JournalViolation(f"content {key} is written twice")
                self.contents[key] = content
            self.entries.append(entry)

    def _index(self, record: Record) -> None:
        body = record.body
        if isinstance(body, SessionOpened):
            if record.session in self.opened:
                raise JournalViolation(f"session {record.session} is opened twice")
            self.opened.add(record.session)
        if record.session and (record.session not in self.opened or record.session in self.ended):
            raise JournalViolation(f"record {record.seq} is of session {record.session}, not open")
        if record.request:
            identity = (record.session, record.request)
            if identity in self.requests:
                raise JournalViolation(f"request {identity} is carried out twice")
            self.requests[identity] = record
        if isinstance(body, SessionClosed):
            self.ended[record.session] = body.reason
        elif isinstance(body, Changed):
            for change in body.changes:
                made = (change.document, change.revision)
                if made in self.changes:
                    raise JournalViolation(f"revision {made} is made twice")
                self.changes[made] = (record, change)

    def load(self, now: float) -> State:
        """Return the state that the durable records add up to, each decoded and verified anew."""
        state = State(epoch=self.epoch, store="simulated", rules=self.rules)
        chain = CHAIN_START
        for entry in self.entries:
            chain = chain_hash(chain, entry.encoded)
            if chain != entry.chain:
                raise JournalViolation(f"record {entry.record.seq} does not match its hash chain")
            apply_record(state, decode_record(entry.encoded), chain, now)
        return state

    def restore_files(self) -> None:
        """Bring the files to what the documents hold, as the start of a coordinator promises."""
        documents = self.load(0.0)
        foreign = {path: text for path, text in FOREIGN_FILES.items() if path in self.files}
        owned = {
            path
            for _, change in self.changes.values()
            for path in (change.path, change.previous_path)
        }
        self.files = {path: text for path, text in foreign.items() if path not in owned}
        for path, id in documents.by_path.items():
            self.files[path] = self.contents[documents.documents[id].content_key]


class SimulatedIndex(Index):
    """The reading side of the simulated disk: it sees what is durable and nothing else."""

    def __init__(self, disk: Disk) -> None:
        # The production constructor opens a database; there is none.
        self._disk = disk

    def content(self, key: int, digest: bytes) -> bytes:
        content = self._disk.contents.get(key)
        if content is None or content_digest(content) != digest:
            raise CorruptStore(f"content {key} is not what was recorded")
        return content

    def change(self, document: int, revision: int) -> tuple[Record, Change] | None:
        return self._disk.changes.get((document, revision))

    def record(self, seq: int) -> Record | None:
        return self._disk.entries[seq - 1].record if 1 <= seq <= self._disk.seq else None

    def request(self, session: str, number: int) -> Record | None:
        return self._disk.requests.get((session, number))

    def session_ended(self, id: str) -> str:
        return self._disk.ended.get(id, "")

    def commit(self, seq: int) -> str:
        return self._disk.commits.get(seq, "")

    def log(self, request: Log, document: int) -> tuple[list[LogEntry], bool]:
        found: list[LogEntry] = []
        for entry in reversed(self._disk.entries):
            record = entry.record
            if record.seq >= request.before:
                continue
            for change in reversed(_shown(record)):
                if document and (change is None or change.document != document):
                    continue
                if len(found) == request.limit:
                    return found, True
                found.append(self._entry_of(record, change))
        return found, False

    def _entry_of(self, record: Record, change: Change | None) -> LogEntry:
        closes = isinstance(record.body, SessionClosed)
        return LogEntry(
            seq=record.seq,
            time_ms=record.time_ms,
            actor=record.actor,
            author=record.author,
            session=record.session,
            action=change.action if change else Action.CLOSE if closes else Action.OPEN,
            path=change.path if change else "",
            revision=change.revision if change else 0,
            added=change.added if change else 0,
            removed=change.removed if change else 0,
            summary="",
            commit=self.commit(record.seq),
        )


def _shown(record: Record) -> tuple[Change | None, ...]:
    """Return what a log shows of a record: its changes, or the record itself."""
    if isinstance(record.body, Changed):
        return record.body.changes
    return (None,) if isinstance(record.body, (SessionOpened, SessionClosed)) else ()


class SimulatedTree:
    """The store's directory; files appear and vanish when the file stage gets round to it."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def apply(self, updates: list[FileUpdate]) -> list[SetAside]:
        """Bring the files to the given state."""
        for update in updates:
            if update.content is None:
                self._disk.files.pop(update.path, None)
            else:
                self._disk.files[update.path] = update.content
        return []

    def compare(self, expected: object) -> list[str]:
        """Not used: the start of a simulated coordinator restores files by itself."""
        raise NotImplementedError

    def read(self, path: str) -> bytes | None:
        """Return the bytes of a file, None if there is none."""
        return self._disk.files.get(path)
