"""What survives the coordinator: the journal, its index, the commits and the files.

The simulated disk keeps the promises of `storage.journal.Journal` and nothing more: a batch is
there as a whole or not at all, a batch whose writing was cut off may be there, and two records can
not claim the same session, request or revision (the unique indexes of the real tables).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

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
from agent_trace_coordinator.storage.base import (
    CapturedFile,
    FileUpdate,
    SetAside,
    Signature,
)
from agent_trace_coordinator.storage.index import Index
from agent_trace_protocol import Action, Log, LogEntry

__all__ = ["Disk", "JournalViolation", "SetAsideFolder", "SimulatedIndex", "SimulatedTree"]

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
        self.stamps: dict[str, int] = {}
        """How often a path was written: by this a file is known again."""
        self.set_aside: dict[str, bytes] = {}
        """What lay where a document's file belongs, by the name that it was given."""
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

    def place(self, path: str, content: bytes | None) -> None:
        """Put a file there, or take it away."""
        self.stamps[path] = self.stamps.get(path, 0) + 1
        if content is None:
            self.files.pop(path, None)
        else:
            self.files[path] = content

    def restore_files(self, tree: SimulatedTree) -> None:
        """Bring the files to what the documents hold, as the start of a coordinator promises."""
        documents = self.load(0.0)
        made = {
            self.contents[change.content_key]
            for _, change in self.changes.values()
            if change.content_key
        }
        owned = {
            path
            for _, change in self.changes.values()
            for path in (change.path, change.previous_path)
        }
        for path in owned & self.files.keys() - documents.by_path.keys():
            if self.files[path] not in made:
                self.set_aside[f"left-{len(self.set_aside)}"] = self.files[path]
            self.place(path, None)
        for path, id in documents.by_path.items():
            content = self.contents[documents.documents[id].content_key]
            there = self.files.get(path)
            if there is None or (there != content and there in made):
                # Behind, or never written. What somebody else wrote is judged later.
                self.place(path, content)
            if self.files[path] == content:
                tree.accept(path, tree.signature(path))


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

    def records_after(self, seq: int, last: int, limit: int) -> list[Record]:
        return [entry.record for entry in self._disk.entries[seq : min(last, seq + limit)]]

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
        self._ours: dict[str, Signature] = {}

    def signature(self, path: str) -> Signature:
        """Return by what a file is known again; none has the inode 0."""
        content = self._disk.files.get(path)
        if content is None:
            return (0, 0, 0, 1)
        return (0, self._disk.stamps.get(path, 0) + 1, 0, len(content))

    def apply(self, updates: list[FileUpdate]) -> list[SetAside]:
        """Bring the files to the given state; return what others had put in the way."""
        kept: list[SetAside] = []
        for update in updates:
            path, disk = update.path, self._disk
            there = disk.files.get(path)
            known = self._ours.get(path), update.captured
            if there is not None and self.signature(path) not in known:
                if there != update.content:
                    name = f"aside-{len(disk.set_aside)}"
                    disk.set_aside[name] = there
                    kept.append(SetAside(path, name, len(there), True))
            disk.place(path, update.content)
            self._ours[path] = self.signature(path)
        return kept

    def capture(self, paths: list[str], files_seq: int) -> list[CapturedFile]:
        """Return what lies at these paths and is not ours."""
        return [
            CapturedFile(path, self._disk.files.get(path), "", signature, files_seq)
            for path, signature in self.foreign(paths).items()
        ]

    def foreign(self, paths: Iterable[str]) -> dict[str, Signature]:
        """Return the paths at which something else lies than what we put there, and what."""
        found = {path: self.signature(path) for path in paths}
        return {path: sign for path, sign in found.items() if sign != self._ours.get(path)}

    def accept(self, path: str, signature: Signature) -> None:
        """Take what lies at a path as ours."""
        self._ours[path] = signature

    def compare(self, expected: object) -> list[str]:
        """Not used: the start of a simulated coordinator restores files by itself."""
        raise NotImplementedError

    def read(self, path: str) -> bytes | None:
        """Return the bytes of a file, None if there is none."""
        return self._disk.files.get(path)


class SetAsideFolder:
    """Where `server.adoption` reads back what was set aside, as it reads a directory."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def __truediv__(self, name: str) -> SetAsideFile:
        return SetAsideFile(self._disk.set_aside[name])


@dataclass(frozen=True)
class SetAsideFile:
    """One file of it."""

    content: bytes

    def read_bytes(self) -> bytes:
        return self.content
