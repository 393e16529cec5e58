"""The reading side of state.db: lookups for the core, contents, and history.

Every content that leaves here was compared with its recorded hash.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from agent_trace_coordinator.core.entries import log_entries
from agent_trace_coordinator.core.records import (
    CHAIN_START,
    Change,
    Changed,
    Record,
    SessionClosed,
    SessionEnded,
    SessionOpened,
    content_key,
    record_digests,
    split_key,
)
from agent_trace_coordinator.errors import CorruptStore
from agent_trace_protocol import (
    Action,
    Log,
    LogEntry,
    SessionInfo,
    Sessions,
    SessionState,
)

from .base import Entry
from .packing import unpack
from .schema import (
    check_records,
    commit_id,
    connect,
    decode,
    follows,
    indexed_change,
    translate,
)

__all__ = ["Index"]

_PER_RECORD = content_key(1, 0)


class Index:
    """One read-only connection. Each thread that reads has its own."""

    def __init__(self, path: Path, connection: sqlite3.Connection | None = None) -> None:
        """Read through a connection of its own, which sees verified records only, or through one
        that is given."""
        try:
            self._connection = connection or connect(path, write=False)
            if connection is None:
                check_records(self._connection)
        except sqlite3.Error as error:
            raise translate(error) from error

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def last_seq(self) -> int:
        """Return the last operation; 0 if there is none."""
        row = self._one("SELECT MAX(seq) FROM journal")
        return row[0] if row is not None and isinstance(row[0], int) else 0

    def content(self, key: int, digest: bytes) -> bytes:
        """Return the content under a key.

        Raises:
            CorruptStore: it is gone, or is not what was recorded.
        """
        row = self._one("SELECT data FROM content WHERE key = ?", key)
        data = None if row is None else row[0]
        content = unpack(data, digest)
        if content is None:
            what = f"the content {key} (operation {key // _PER_RECORD})"
            if self._one("SELECT key FROM lost WHERE key = ?", key) is not None:
                raise CorruptStore(f"{what} was lost: no repair found it anywhere")
            raise CorruptStore(
                f"{what} is damaged; what can be verified can still be read; "
                "stop the coordinator and run `agent-trace repair`"
            )
        return content

    def change(self, document: int, revision: int) -> tuple[Record, Change] | None:
        """Return the record and the change that made a document's revision."""
        row = self._one(
            "SELECT key FROM change WHERE document = ? AND revision = ?", document, revision
        )
        if row is None:
            return None
        assert isinstance(row[0], int)
        seq, index = split_key(row[0])
        record = self.record(seq)
        if record is None:
            raise CorruptStore(f"journal record {seq} is gone")
        return record, indexed_change(record, index, document, revision)

    def record(self, seq: int) -> Record | None:
        """Return the record of an operation."""
        row = self._one("SELECT record FROM journal WHERE seq = ?", seq)
        if row is None:
            return None
        assert row[0] is None or isinstance(row[0], bytes)
        return decode(seq, row[0])

    def chain(self, seq: int) -> bytes:
        """Return the chain hash up to an operation; empty if there is none."""
        row = self._one("SELECT chain FROM journal WHERE seq = ?", seq)
        return b"" if row is None or not isinstance(row[0], bytes) else row[0]

    def request(self, session: str, number: int) -> Record | None:
        """Return the record that a request made, if it made one."""
        row = self._one(
            "SELECT journal.seq FROM journal JOIN session ON session.seq = journal.session"
            " WHERE session.id = ? AND journal.request = ?",
            session,
            number,
        )
        if row is None:
            return None
        assert isinstance(row[0], int)
        record = self.record(row[0])
        if record is None or (record.session, record.request) != (session, number):
            # Whoever asks again would be given the answer to something else.
            raise CorruptStore(f"journal record {row[0]} is indexed as another request")
        return record

    def waits_as_draft(self, seq: int) -> bool:
        """Return whether a record's draft was neither accepted nor discarded."""
        return self._one("SELECT 1 FROM draft WHERE seq = ?", seq) is not None

    def waits_as_violation(self, seq: int) -> bool:
        """Return whether a record's refused write was neither applied nor discarded."""
        return self._one("SELECT 1 FROM violation WHERE seq = ?", seq) is not None

    def session_ended(self, id: str) -> str:
        """Return why a session ended; empty if it did not, or is unknown."""
        row = self._one("SELECT reason FROM session WHERE id = ? AND ended IS NOT NULL", id)
        return "" if row is None else str(row[0])

    def commit(self, seq: int) -> str:
        """Return the commit id of an operation; empty if it is not known to be in git."""
        row = self._one("SELECT id FROM git_commit WHERE seq = ?", seq)
        return "" if row is None else commit_id(seq, row[0])

    def digests(self, document: int) -> frozenset[bytes]:
        """Return the hashes of all contents a document ever had."""
        try:
            rows = self._connection.execute(
                "SELECT change.key, journal.record FROM change"
                " JOIN journal ON journal.seq = change.key / ? WHERE change.document = ?",
                (_PER_RECORD, document),
            ).fetchall()
        except sqlite3.Error as error:
            raise translate(error) from error
        found: set[bytes] = set()
        for key, encoded in rows:
            seq, index = split_key(key)
            body = decode(seq, encoded).body
            if isinstance(body, Changed):
                found.add(body.changes[index].digest)
        return frozenset(found)

    def vacated(self) -> Iterator[tuple[str, int, int, bool]]:
        """Yield every path that a document has left, the document, when, in milliseconds, and
        whether it left its file there; in the order in which they did.

        Grows with the deletions and moves of the store's whole life.
        """
        try:
            cursor = self._connection.execute(
                "SELECT change.key, journal.record FROM change"
                " JOIN journal ON journal.seq = change.key / ? WHERE action IN (?, ?, ?)"
                " ORDER BY change.key",
                (_PER_RECORD, Action.DELETE, Action.MOVE, Action.UNTRACK),
            )
            for key, encoded in cursor:
                seq, index = split_key(key)
                record = decode(seq, encoded)
                body = record.body
                if not isinstance(body, Changed) or index >= len(body.changes):
                    raise CorruptStore(f"journal record {seq} is indexed as a change and is none")
                change = body.changes[index]
                path = change.previous_path or change.path
                untracked = change.action is Action.UNTRACK
                yield path, change.document, record.time_ms, untracked
        except sqlite3.Error as error:
            raise translate(error) from error

    def log(self, request: Log, document: int) -> tuple[list[LogEntry], bool]:
        """Return the entries that a log request asks for, newest first, and whether more follow."""
        # One query per table, each along an index and cut at the limit, then merged.
        keys = self._keys(
            "change",
            "key",
            request,
            [
                ("document = ?", document),
                ("author = ?", request.author),
                ("key < ?", request.before * _PER_RECORD),
                ("key >= ?", request.after and (request.after + 1) * _PER_RECORD),
                ("action = ?", str(request.action or "")),
                ("type = ?", str(request.type or "")),
                ("session = (SELECT seq FROM session WHERE id = ?)", request.session),
            ],
            # The index of one document's revisions is in this order too; by key, all the changes of
            # others would be gone through.
            order="revision" if document else "key",
        )
        if document or request.type is not None:
            keys.sort(reverse=True)
            return self._entries(keys, request.limit, document), len(keys) > request.limit
        for action, column in ((Action.OPEN, "seq"), (Action.CLOSE, "ended")):
            if request.action not in (None, action):
                continue
            ids = [
                (f"{column} < ?", request.before),
                (f"{column} > ?", request.after),
                ("name = ?", request.author),
                ("id = ?", request.session),
            ]
            seqs = self._keys("session", column, request, ids)
            keys += [seq * _PER_RECORD for seq in seqs]
        noted = [
            ("seq < ?", request.before),
            ("seq > ?", request.after),
            ("author = ?", request.author),
            ("action = ?", str(request.action or "")),
            ("session = (SELECT seq FROM session WHERE id = ?)", request.session),
        ]
        keys += [seq * _PER_RECORD for seq in self._keys("note", "seq", request, noted)]
        keys.sort(reverse=True)
        return self._entries(keys, request.limit), len(keys) > request.limit

    def _keys(
        self,
        table: str,
        column: str,
        request: Log,
        conditions: Sequence[tuple[str, object]],
        *,
        order: str = "",
    ) -> list[int]:
        """Return the newest keys of a table that meet the conditions whose value is given."""
        given = [(sql, value) for sql, value in conditions if value]
        where = " AND ".join([f"{column} IS NOT NULL", *(sql for sql, _ in given)])
        query = (
            f"SELECT {column} FROM {table} WHERE {where} ORDER BY {order or column} DESC LIMIT ?"
        )
        try:
            cursor = self._connection.execute(
                query, [*(value for _, value in given), request.limit + 1]
            )
            return [key for (key,) in cursor]
        except sqlite3.Error as error:
            raise translate(error) from error

    def _entries(self, keys: list[int], limit: int, document: int = 0) -> list[LogEntry]:
        """Return the entries of sorted keys, which are all different; those of one document, if it
        is given."""
        found: list[LogEntry] = []
        for key, newer in zip(keys[:limit], [0, *keys], strict=False):
            seq, index = split_key(key)
            record = self.record(seq)
            if record is None:
                raise CorruptStore(f"journal record {seq} is gone")
            entries = log_entries(record)
            theirs = not document or (
                isinstance(record.body, Changed)
                and index < len(record.body.changes)
                and record.body.changes[index].document == document
            )
            if key == newer or index >= len(entries) or not theirs:
                raise CorruptStore(f"journal record {seq} is indexed as something that it is not")
            found.append(msgspec.structs.replace(entries[index], commit=self.commit(seq)))
        return found

    def records_after(self, seq: int, last: int, limit: int) -> list[Record]:
        """Return the records after `seq`, up to `last`, oldest first, at most `limit`."""
        try:
            return [
                decode(found, encoded)
                for found, encoded in self._connection.execute(
                    "SELECT seq, record FROM journal WHERE seq > ? AND seq <= ? ORDER BY seq"
                    " LIMIT ?",
                    (seq, last, limit),
                )
            ]
        except sqlite3.Error as error:
            raise translate(error) from error

    def ended_sessions(self, request: Sessions, limit: int) -> list[SessionInfo]:
        """Return sessions that have ended, the last one first."""
        query = (
            "SELECT session.seq, opened.record, session.ended, closed.record FROM session"
            " JOIN journal AS opened ON opened.seq = session.seq"
            " JOIN journal AS closed ON closed.seq = session.ended"
            " WHERE ended IS NOT NULL AND (? = '' OR name = ?) AND substr(id, 1, ?) = ?"
            " ORDER BY ended DESC LIMIT ?"
        )
        values = (request.name, request.name, len(request.id), request.id, limit)
        try:
            rows = self._connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise translate(error) from error
        return [
            _ended_session(decode(seq, opened), decode(ended, closed))
            for seq, opened, ended, closed in rows
        ]

    def entries(self, first: int, limit: int | None = None) -> Iterator[Entry]:
        """Yield the entries from seq `first` on, with their contents, verified.

        Raises:
            CorruptStore: a record or a content does not match its hash.
        """
        try:
            previous = CHAIN_START
            gone = frozenset(key for (key,) in self._connection.execute("SELECT key FROM lost"))
            if first > 1:
                row = self._connection.execute(
                    "SELECT chain FROM journal WHERE seq = ?", (first - 1,)
                ).fetchone()
                if row is None:
                    return
                previous = row[0]
            cursor = self._connection.execute(
                # Past the check of single records, because the whole chain is checked here.
                "SELECT seq, record, chain FROM main.journal WHERE seq >= ? ORDER BY seq LIMIT ?",
                (first, -1 if limit is None else limit),
            )
            for seq, encoded, chain in cursor:
                if not follows(previous, encoded, chain):
                    raise CorruptStore(f"journal record {seq} does not match its hash chain")
                previous = chain
                record = decode(seq, encoded)
                contents: list[tuple[int, bytes]] = []
                digests = record_digests(record.body)
                if digests:
                    for key, data in self._connection.execute(
                        "SELECT key, data FROM content WHERE key >= ? AND key < ? ORDER BY key",
                        (seq * _PER_RECORD, (seq + 1) * _PER_RECORD),
                    ):
                        content = unpack(data, digests.get(key, b""))
                        if content is None:
                            raise CorruptStore(f"content {key} does not match its hash")
                        contents.append((key, content))
                    if isinstance(record.body, Changed):
                        # Texts that were refused may be discarded; these are there, or were lost.
                        own = {key for key in digests if split_key(key)[0] == seq}
                        left = own - gone - {key for key, _ in contents}
                        if left:
                            raise CorruptStore(f"content {min(left)} is not there")
                yield Entry(record, encoded, chain, tuple(contents), gone & digests.keys())
        except sqlite3.Error as error:
            raise translate(error) from error

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows that a query finds."""
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise translate(error) from error

    def _one(self, query: str, *values: object) -> tuple[object, ...] | None:
        try:
            row: tuple[object, ...] | None = self._connection.execute(query, values).fetchone()
        except sqlite3.Error as error:
            raise translate(error) from error
        return row


def _ended_session(opened: Record, closed: Record) -> SessionInfo:
    begin, end = opened.body, closed.body
    if not isinstance(begin, SessionOpened) or not isinstance(end, SessionClosed):
        raise CorruptStore(f"journal record {opened.seq} is indexed as a session and is none")
    return SessionInfo(
        id=opened.session,
        actor=opened.actor,
        name=opened.author,
        kind=begin.kind,
        state=SessionState.ENDED,
        started_ms=opened.time_ms,
        idle_seconds=0.0,
        program=begin.program,
        host=begin.host,
        pid=begin.pid,
        predecessor=begin.predecessor,
        model=begin.model,
        transport=begin.transport,
        last_seen_ms=end.seen_ms if isinstance(end, SessionEnded) else 0,
        ended_ms=closed.time_ms,
        reason=end.reason,
    )
