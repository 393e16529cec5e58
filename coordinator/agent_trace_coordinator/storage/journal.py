"""The journal: the durable, ordered record that an operation enters before it is acknowledged.

One transaction per batch; when `append` returns, the batch survives a power cut. When it raises,
nobody knows whether the batch is on disk (`JournalFailed`: the process must end, and the next start
makes whatever is there durable before it serves) or nothing of it is (`JournalFull`).

The writing side is called from one worker thread, never two.
"""

from __future__ import annotations

import dataclasses
import logging
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from agent_trace_coordinator.core.apply import (
    annotation_of,
    document_after,
    draft_of,
    grant_of,
    session_of,
    violation_of,
)
from agent_trace_coordinator.core.entries import note_action
from agent_trace_coordinator.core.records import (
    CHAIN_START,
    Changed,
    Discarded,
    Drafted,
    LeaseGranted,
    Locked,
    Repeated,
    SessionClosed,
    SessionOpened,
    Unlocked,
    Violated,
    content_key,
    erased_by,
    split_key,
)
from agent_trace_coordinator.core.state import DocumentState, Rules, State
from agent_trace_coordinator.core.trace_state import is_generated
from agent_trace_coordinator.errors import (
    CorruptStore,
    JournalFailed,
    JournalFull,
    StoreInvalid,
)

from .base import Entry
from .git_recovery import sync_directory
from .journal_place import JournalPlace
from .lease_rows import LeaseRows, load_leases
from .packing import pack
from .schema import (
    SCHEMA_VERSION,
    check_records,
    commit_id,
    connect,
    create_tables,
    decode,
    follows,
    indexed_change,
    prepare_to_write,
    seal_commit,
    translate,
)
from .trace_rows import Execute, StatementRows, load_trace

_log = logging.getLogger("agent_trace.journal")

__all__ = ["Journal"]

VERIFY_TAIL_RECORDS: Final = 1000
"""Records whose chain is checked at every start: all that an ordinary crash can have touched."""

TIDY_RECORDS: Final = 4000
"""Records after which the write-ahead log is copied into the database. What is left of it between
two batches waits for two syncs and makes one batch late; the log has some 20 MiB by then."""

TIDY_BYTES: Final = 64 << 20
"""The same by their contents, for large documents."""

COMMITS_AT_ONCE: Final = 1000
"""Commit ids read at a time; a start looks at the newest few."""

SEQ_MAX: Final = 2**63 - 1

_CHUNKS: Final = (64, 32, 16, 8, 4, 2, 1)
"""Rows per INSERT: few different statements cover every size of batch."""


class Journal:
    """The writing side of state.db."""

    def __init__(self, path: Path, *, lasting: bool = True) -> None:
        """Open or create the database and make what it holds durable.

        Args:
            lasting: without it nothing is ever synced: for a copy that is only compared with.

        Raises:
            StoreInvalid: it was written by a newer version.
            CorruptStore: it is not a database, or its records do not chain.
            JournalFailed: the disk failed.
            JournalFull: the disk takes no writes.
        """
        self._sessions: dict[str, int] = {}
        self._path = path
        self._lasting = lasting
        self._records_since_tidy = self._bytes_since_tidy = 0
        try:
            self._connection = connect(path, write=True)
        except sqlite3.Error as error:
            raise translate(error) from error
        try:
            self._open(path)
        except sqlite3.Error as error:
            self._connection.close()
            raise translate(error) from error
        except BaseException:
            self._connection.close()
            raise

    def _open(self, path: Path) -> None:
        connection = self._connection
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        # Before anything is written: a newer version's database is left as it is.
        (made,) = connection.execute("SELECT EXISTS (SELECT 1 FROM sqlite_schema)").fetchone()
        if version != (SCHEMA_VERSION if made else 0):
            raise StoreInvalid(
                f"{path} has format {version}, and the store's settings say {SCHEMA_VERSION}: it "
                "is damaged, or of another store; agent-trace doctor says more"
            )
        if self._lasting:
            prepare_to_write(connection)
        else:
            connection.execute("PRAGMA journal_mode=MEMORY")
            connection.execute("PRAGMA synchronous=OFF")
        if not made:
            create_tables(connection)
        # After a failed sync the kernel may hold pages that are not on disk and call them clean.
        # Copying the log into the main file writes and syncs every page anew.
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise JournalFailed(
                f"{path} is being read by another program (a backup?), so it can not be made "
                "durable; start again when that has ended"
            )
        if self._lasting:
            sync_directory(path.parent)
        self._place = JournalPlace(path)

    def check_in_place(self) -> None:
        """Raise `JournalGone` if somebody took state.db away; from any thread."""
        self._place.check()

    def put_back(self) -> str:
        """Put back what was taken away, and return what was done; nothing else may follow.

        Raises:
            OSError, JournalFailed: it could not be.
        """
        return self._place.put_back(self._connection)

    def close(self) -> None:
        """Copy the log into the database and close it."""
        try:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            raise translate(error) from error
        finally:
            self._connection.close()

    # -- start-up --------------------------------------------------------------------------

    def begin_life(self) -> tuple[int, str]:
        """Count a new life of the coordinator, durably; return its epoch and the store's id."""
        try:
            self._connection.execute(
                "INSERT INTO meta VALUES ('epoch', 1)"
                " ON CONFLICT (key) DO UPDATE SET value = value + 1"
            )
            self._connection.execute(
                "INSERT INTO meta VALUES ('store', ?) ON CONFLICT (key) DO NOTHING",
                (secrets.token_hex(16),),
            )
            (store,) = self._connection.execute(
                "SELECT value FROM meta WHERE key = 'store'"
            ).fetchone()
            (epoch,) = self._connection.execute(
                "SELECT value FROM meta WHERE key = 'epoch'"
            ).fetchone()
        except sqlite3.Error as error:
            raise translate(error) from error
        assert isinstance(epoch, int) and isinstance(store, str)
        return epoch, store

    def load(self, *, epoch: int, store: str, rules: Rules, now: float) -> State:
        """Return the state that the journal's records add up to, from its index.

        Raises:
            CorruptStore: the newest records do not chain.
        """
        state = State(epoch=epoch, store=store, rules=rules)
        try:
            self._verify_tail()
            with closing(connect(self._path, write=False)) as connection:
                check_records(connection)
                execute = connection.execute
                self._load_documents(state, execute)
                self._load_annotations(state, execute)
                self._load_drafts(state, execute)
                self._load_violations(state, execute)
                self._load_unlocks(state, now, execute)
                self._load_sessions(state, now, execute)
                load_leases(state, execute, now)
                load_trace(state, execute)
            last = self._connection.execute(
                "SELECT seq, record, chain FROM journal ORDER BY seq DESC LIMIT 1"
            ).fetchone()
        except sqlite3.Error as error:
            raise translate(error) from error
        if last is not None:
            state.seq, encoded, state.chain = last
            state.time_ms = decode(state.seq, encoded).time_ms
        return state

    def _verify_tail(self) -> None:
        rows = self._connection.execute(
            "SELECT seq, record, chain FROM journal ORDER BY seq DESC LIMIT ?",
            (VERIFY_TAIL_RECORDS + 1,),
        ).fetchall()
        rows.reverse()
        previous = rows[0][2] if len(rows) > VERIFY_TAIL_RECORDS else CHAIN_START
        expected = rows[0][0] if rows else 1
        if rows and len(rows) <= VERIFY_TAIL_RECORDS and expected != 1:
            raise CorruptStore(f"the journal begins with record {expected}, not with 1")
        for seq, encoded, chain in rows[1:] if len(rows) > VERIFY_TAIL_RECORDS else rows:
            expected = seq if previous is CHAIN_START else expected + 1
            if seq != expected or not follows(previous, encoded, chain):
                raise CorruptStore(f"journal record {seq} does not match its hash chain")
            previous = chain

    def _load_documents(self, state: State, execute: Execute) -> None:
        # The first part walks an index only; it and the number of documents are what grows.
        cursor = execute(
            "SELECT change.key, change.document, revision, journal.record"
            " FROM (SELECT document, MAX(revision) AS revision FROM change GROUP BY document)"
            " JOIN change USING (document, revision)"
            " JOIN journal ON journal.seq = change.key / ?",
            (content_key(1, 0),),
        )
        last: list[DocumentState] = []
        for key, document, revision, encoded in cursor:
            seq, index = split_key(key)
            record = decode(seq, encoded)
            change = indexed_change(record, index, document, revision)
            last.append(document_after(change, seq, record.time_ms, record.author))
        # In the order in which they were made, so that of two documents deleted from one path
        # the later one is found.
        for document in sorted(last, key=lambda document: document.seq):
            state.link(document)

    def _load_annotations(self, state: State, execute: Execute) -> None:
        for key, encoded in execute(
            "SELECT change.key, journal.record FROM (SELECT document, MAX(revision) AS revision"
            " FROM change WHERE action = 'annotate' GROUP BY document)"
            " JOIN change USING (document, revision) JOIN journal ON journal.seq = change.key / ?",
            (content_key(1, 0),),
        ):
            seq, index = split_key(key)
            annotation = annotation_of(decode(seq, encoded), index)
            if annotation is None:
                raise CorruptStore(f"journal record {seq} is indexed as an annotation and is none")
            state.annotations[annotation.document] = annotation

    def _load_drafts(self, state: State, execute: Execute) -> None:
        for seq, encoded in execute(
            "SELECT seq, record FROM draft JOIN journal USING (seq) ORDER BY seq"
        ):
            record = decode(seq, encoded)
            if not isinstance(record.body, Drafted):
                raise CorruptStore(f"journal record {seq} is indexed as a draft and is none")
            state.enter_draft(draft_of(record, record.body))

    def _load_violations(self, state: State, execute: Execute) -> None:
        for seq, count, encoded in execute(
            "SELECT seq, count, record FROM violation JOIN journal USING (seq) ORDER BY seq"
        ):
            record = decode(seq, encoded)
            if not isinstance(record.body, Violated):
                raise CorruptStore(f"journal record {seq} is indexed as a violation and is none")
            violation = violation_of(record, record.body)
            state.enter_violation(dataclasses.replace(violation, count=count))

    def _load_unlocks(self, state: State, now: float, execute: Execute) -> None:
        for seq, encoded in execute(
            "SELECT seq, record FROM unlock JOIN journal USING (seq) ORDER BY seq"
        ):
            record = decode(seq, encoded)
            if not isinstance(record.body, Unlocked):
                raise CorruptStore(f"journal record {seq} is indexed as an unlock and is none")
            state.grants[seq] = grant_of(record, record.body, now)

    def _load_sessions(self, state: State, now: float, execute: Execute) -> None:
        self._sessions.clear()
        cursor = execute(
            "SELECT seq, record, (SELECT MAX(request) FROM journal AS own"
            " WHERE own.session = session.seq AND request IS NOT NULL)"
            " FROM session JOIN journal USING (seq) WHERE ended IS NULL ORDER BY seq"
        )
        for seq, encoded, high in cursor:
            record = decode(seq, encoded)
            body = record.body
            if not isinstance(body, SessionOpened):
                raise CorruptStore(f"journal record {seq} is indexed as a session and is none")
            session = session_of(record, body, now)
            session.request_high = high or 0
            state.enter_session(session)
            self._sessions[record.session] = seq
        for name, id, _ in execute(
            "SELECT name, id, MAX(seq) FROM session WHERE actor = 'agent' AND NOT ephemeral"
            " GROUP BY name"
        ).fetchall():
            state.latest[name] = id

    def known_commits(self) -> Iterator[tuple[int, str]]:
        """Yield (seq, commit id) of the records known to be in git, newest first.

        May be called from another thread than `append`, and be left before its end: a query that
        is open on the writing connection would keep `tidy` from copying the log.
        """
        before = SEQ_MAX
        while True:
            try:
                with closing(connect(self._path, write=False)) as connection:
                    rows = connection.execute(
                        "SELECT seq, id FROM git_commit WHERE seq < ? ORDER BY seq DESC LIMIT ?",
                        (before, COMMITS_AT_ONCE),
                    ).fetchall()
            except sqlite3.Error as error:
                raise translate(error) from error
            for seq, stored in rows:
                if id := commit_id(seq, stored):
                    yield seq, id
            if len(rows) < COMMITS_AT_ONCE:
                return
            before = rows[-1][0]

    def last_commit_seq(self) -> int:
        """Return the seq up to which commit ids are known; 0 if none is."""
        (seq,) = self._connection.execute("SELECT MAX(seq) FROM git_commit").fetchone()
        return seq or 0

    # -- the write path --------------------------------------------------------------------

    def append(self, entries: list[Entry], commits: list[tuple[int, str]]) -> None:
        """Make the entries durable, in order, as one transaction.

        `commits` are (seq, commit id) of earlier records that git has got meanwhile; they ride
        along. May be called with either list empty.

        Raises:
            JournalFull: nothing of the batch is on disk; the same batch may be tried again.
            JournalGone: state.db was taken away; the process must end, after `put_back`.
            JournalFailed: nobody knows; the process must end.
        """
        journal: list[tuple[int, int, int | None, bytes, bytes]] = []
        contents: list[tuple[int, bytes]] = []
        changes: list[tuple[int, int, int, int, str, str, str]] = []
        opened: list[tuple[int, str, str, str, int]] = []
        closed: list[tuple[int, str, int]] = []
        drafted: list[tuple[int]] = []
        accepted: list[tuple[int]] = []
        violated: list[tuple[int, int]] = []
        counted: list[tuple[int, int]] = []
        settled: list[tuple[int]] = []
        erased: list[tuple[int, int]] = []
        unlocked: list[tuple[int]] = []
        locked: list[tuple[int]] = []
        notes: list[tuple[int, int, str, str, str | None]] = []
        statements = StatementRows()
        leases = LeaseRows()
        for entry in entries:
            record = entry.record
            body = record.body
            if isinstance(body, SessionOpened):
                self._sessions[record.session] = record.seq
                opened.append(
                    (record.seq, record.session, record.author, record.actor, body.ephemeral)
                )
            session = self._sessions[record.session] if record.session else 0
            journal.append(
                (record.seq, session, record.request or None, entry.encoded, entry.chain)
            )
            leases.take(record, session)
            statements.take(record)
            action = note_action(body)
            if action is not None and not isinstance(body, (SessionOpened, SessionClosed)):
                path = body.path if isinstance(body, LeaseGranted) else None
                notes.append((record.seq, session, record.author, str(action), path))
            if isinstance(body, Changed):
                if is_generated(record):
                    contents.extend((key, pack(content)) for key, content in entry.contents)
                else:
                    contents.extend(entry.contents)
                base = content_key(record.seq, 0)
                for index, change in enumerate(body.changes):
                    changes.append(
                        (
                            base + index,
                            change.document,
                            change.revision,
                            session,
                            record.author,
                            change.action,
                            change.type,
                        )
                    )
                if body.draft:
                    accepted.append((body.draft,))
                if body.violation:
                    settled.append((body.violation,))
            elif isinstance(body, Drafted):
                contents.extend(entry.contents)
                drafted.append((record.seq,))
            elif isinstance(body, Violated):
                contents.extend(entry.contents)
                violated.append((record.seq, 1))
            elif isinstance(body, Repeated):
                counted.append((body.count, body.violation))
            elif isinstance(body, Discarded):
                accepted.append((body.draft,))
                settled.append((body.violation,))
                kept_by = erased_by(body)
                erased.append((content_key(kept_by, 0), content_key(kept_by + 1, 0)))
            elif isinstance(body, Unlocked):
                unlocked.append((record.seq,))
            elif isinstance(body, Locked):
                locked += [(seq,) for seq in body.unlocks]
            elif isinstance(body, SessionClosed):
                closed.append((record.seq, body.reason, session))
                del self._sessions[record.session]
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            self._insert("journal", 5, journal)
            self._insert("content", 2, contents)
            self._insert("change", 7, changes)
            if opened:
                connection.executemany(
                    "INSERT INTO session (seq, id, name, actor, ephemeral) VALUES (?, ?, ?, ?, ?)",
                    opened,
                )
            self._insert("draft", 1, drafted)
            if accepted:
                connection.executemany("DELETE FROM draft WHERE seq = ?", accepted)
            leases.write(connection)
            statements.write(connection)
            self._insert("note", 5, notes)
            self._insert("violation", 2, violated)
            self._insert("unlock", 1, unlocked)
            for statement, rows in (
                ("UPDATE violation SET count = ? WHERE seq = ?", counted),
                ("DELETE FROM violation WHERE seq = ?", settled),
                ("DELETE FROM content WHERE key >= ? AND key < ?", erased),
                ("DELETE FROM unlock WHERE seq = ?", locked),
            ):
                if rows:
                    connection.executemany(statement, rows)
            if closed:
                connection.executemany(
                    "UPDATE session SET ended = ?, reason = ? WHERE seq = ?", closed
                )
            self._insert(
                "git_commit", 2, [(seq, seal_commit(seq, id)) for seq, id in commits], "OR REPLACE "
            )
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            failure = translate(error)
            if isinstance(failure, JournalFull):
                self._roll_back()
            elif not isinstance(failure, JournalFailed):
                # A page that can not be read in the middle of a batch is one more way in which the
                # disk fails: SQLite says that the file is damaged, the next start says if it is.
                failure = JournalFailed(str(failure))
            raise failure from error
        self._place.check()
        self._records_since_tidy += len(entries)
        self._bytes_since_tidy += sum(entry.content_bytes for entry in entries)

    def _insert(
        self, table: str, columns: int, rows: Sequence[tuple[object, ...]], conflict: str = ""
    ) -> None:
        """Insert rows with few, long statements.

        Each statement gives up the interpreter lock once; with one statement per row a busy event
        loop makes the batch wait for the lock again and again.
        """
        row = "(" + ",".join("?" * columns) + ")"
        for size in _CHUNKS:
            while len(rows) >= size:
                values = ",".join([row] * size)
                self._connection.execute(
                    f"INSERT {conflict}INTO {table} VALUES {values}",
                    [value for each in rows[:size] for value in each],
                )
                rows = rows[size:]

    def _roll_back(self) -> None:
        # After SQLITE_FULL the transaction may have been rolled back already.
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                raise JournalFailed(f"the journal could not be rolled back: {error}") from error

    def probe(self) -> None:
        """Find out whether the disk takes writes again, by one small durable transaction.

        Raises:
            JournalFull: it does not.
        """
        try:
            self._connection.execute(
                "INSERT INTO meta VALUES ('probe', 1)"
                " ON CONFLICT (key) DO UPDATE SET value = value + 1"
            )
        except sqlite3.Error as error:
            raise translate(error) from error

    @property
    def tidy_due(self) -> bool:
        """Whether the write-ahead log has grown enough to be copied into the database."""
        return self._records_since_tidy >= TIDY_RECORDS or self._bytes_since_tidy >= TIDY_BYTES

    def tidy_beside(self) -> None:
        """Copy most of the write-ahead log into the database, while batches are written.

        Has a connection of its own and may be called from another thread than `append`. What it
        leaves is little, and `tidy` copies that between two batches, after which the log starts
        from its beginning again. Doing all of it between two batches would make one of them wait
        for megabytes.

        Raises:
            JournalFailed: the disk failed.
        """
        self._records_since_tidy = self._bytes_since_tidy = 0
        try:
            connection = connect(self._path, write=True, create=False)
        except sqlite3.OperationalError as error:
            # No descriptor is left, for one. The log grows until the next time.
            _log.warning("the write-ahead log can not be copied now: %s", error)
            return
        try:
            prepare_to_write(connection)
            _checkpoint(connection)
        except sqlite3.Error as error:
            raise JournalFailed(f"the write-ahead log can not be copied: {error}") from error
        finally:
            connection.close()

    def tidy(self) -> None:
        """Copy the rest of the write-ahead log; raises `JournalFailed`."""
        _checkpoint(self._connection)


def _checkpoint(connection: sqlite3.Connection) -> None:
    try:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    except sqlite3.Error as error:
        failure = translate(error)
        # On a full disk the log stays as it is; the next append says whether it can still grow.
        if not isinstance(failure, JournalFull):
            raise failure from error
