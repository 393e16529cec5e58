"""The full-text index: what documents say now, and what each change of them said, in search.db.

Everything in it comes from state.db, so it is made anew whenever it is missing, damaged, of another
store or ahead of it; it shares no lock and no transaction with the journal. The coordinator's own
documents are left out: they only quote the others.

Called from one worker thread, never two.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from agent_trace_coordinator.core.entries import log_entries
from agent_trace_coordinator.core.generated_names import protecting_type
from agent_trace_coordinator.core.lines import compare
from agent_trace_coordinator.core.quoting import cut, visible
from agent_trace_coordinator.core.records import (
    Change,
    Changed,
    Drafted,
    Entry,
    Record,
    Steered,
    Violated,
    content_key,
)
from agent_trace_coordinator.core.search_query import match_expression
from agent_trace_coordinator.errors import CorruptStore
from agent_trace_protocol import Action, DocumentType, InvalidRequest, LogEntry, Search, SearchHit

from .index import Index

__all__ = ["SearchIndex"]

_LAYOUT: Final = 1

CHUNK_RECORDS: Final = 200
"""Records that are taken into the index at once."""

HISTORY_BYTES_MAX: Final = 4 << 10
"""Bytes of what one change added, and of what it removed, that can be found."""

QUERY_SECONDS_MAX: Final = 2.0
"""How long one query may take; no honest one takes a tenth of it."""

SNIPPET_TOKENS: Final = 24
SNIPPET_LENGTH_MAX: Final = 320
"""Characters of a snippet."""

_STEPS: Final = 20_000
"""Steps of SQLite's machine between two looks at the clock."""

_TABLES: Final = f"""
CREATE TABLE entry (
    id INTEGER PRIMARY KEY,       -- twice a document's id, or twice a change's key and one
    current INTEGER NOT NULL,
    path TEXT NOT NULL,
    type TEXT NOT NULL,
    revision INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    author TEXT NOT NULL,
    action TEXT NOT NULL
) STRICT;
CREATE VIRTUAL TABLE body USING fts5(path, text, tokenize='unicode61 remove_diacritics 2');
CREATE TABLE place (seq INTEGER NOT NULL, chain BLOB NOT NULL) STRICT;
INSERT INTO place VALUES (0, x'');
PRAGMA user_version={_LAYOUT};
"""

SNIPPET_BYTES_MAX: Final = 8 << 10
"""Bytes of a text in which the best place is looked for: FTS5 compares all places with all others,
and in a document of 1 MiB that repeats a word that takes minutes, and nothing interrupts it."""

_SIZE: Final = "SELECT length(CAST(text AS BLOB)) FROM body WHERE rowid = ?"

_SNIPPET: Final = (
    f"SELECT snippet(body, -1, '[', ']', '...', {SNIPPET_TOKENS}) FROM body"
    " WHERE body MATCH ? AND rowid = ?"
)

TEXT_LENGTH_MAX: Final = 64 << 10
"""Characters of a longer text in which the first place is looked for."""

_TEXT: Final = f"SELECT substr(text, 1, {TEXT_LENGTH_MAX}) FROM body WHERE rowid = ?"

_PHRASE: Final = re.compile(r'"([^"]*)"( \*)?')
_BLANKS: Final = re.compile(r"\s+")


class SearchIndex:
    """One connection to search.db, and the reading side of state.db that it is made from."""

    def __init__(self, path: Path, index: Index) -> None:
        self._path = path
        self._index = index
        self._connection: sqlite3.Connection | None = None
        self.seq = 0
        """The last operation that can be found."""

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # -- keeping up ------------------------------------------------------------------------

    def catch_up(self, last: int, until: Callable[[], bool]) -> None:
        """Take in what happened up to operation `last`, or as much of it as `until` lets.

        A full or failing disk leaves the index as it was; so do damaged contents of state.db, for
        they are what a read has to complain about.
        """
        try:
            self._open(last)
            while self.seq < last and not until():
                self._take(last)
        except CorruptStore:
            return
        except sqlite3.DatabaseError as error:
            self._give_up(error)

    def _give_up(self, error: sqlite3.DatabaseError) -> None:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        self.close()
        self.seq = 0
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
            # Made anew the next time: nothing in it is lost.
            self._remove()

    def _remove(self) -> None:
        for end in ("", "-wal", "-shm"):
            with suppress(OSError):
                self._path.with_name(self._path.name + end).unlink(missing_ok=True)

    def _open(self, last: int) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        connection = self._connect()
        (layout,) = connection.execute("PRAGMA user_version").fetchone()
        if layout == _LAYOUT:
            seq, chain = connection.execute("SELECT seq, chain FROM place").fetchone()
            if seq <= last and chain == self._index.chain(seq):
                self._connection, self.seq = connection, seq
                return connection
        # Nothing yet, another layout, another store, or one of another day.
        connection.close()
        self._remove()
        self._connection, self.seq = self._connect(), 0
        self._connection.executescript(f"BEGIN;{_TABLES}COMMIT;")
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            # A power cut may take the newest of it: it is made from the journal again.
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA trusted_schema=OFF")
            connection.execute("PRAGMA secure_delete=ON")
        except BaseException:
            connection.close()
            raise
        return connection

    def _take(self, last: int) -> None:
        connection = self._connection
        assert connection is not None
        entries = list(self._index.entries(self.seq + 1, min(CHUNK_RECORDS, last - self.seq)))
        if not entries:
            self.seq = last
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            newest: dict[int, tuple[Record, Change, bytes | None]] = {}
            for entry in entries:
                for row in self._history(entry, newest):
                    self._insert(connection, *row)
            for document, (record, change, content) in newest.items():
                self._replace(connection, document, record, change, content)
            seq, chain = entries[-1].record.seq, entries[-1].chain
            connection.execute("UPDATE place SET seq = ?, chain = ?", (seq, chain))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self.seq = seq

    def _history(
        self, entry: Entry, newest: dict[int, tuple[Record, Change, bytes | None]]
    ) -> Iterator[tuple[int, LogEntry, DocumentType | None, str]]:
        """Yield what an operation said; note the present state of its documents in `newest`."""
        record, body = entry.record, entry.record.body
        told = log_entries(record)
        if isinstance(body, (Drafted, Violated, Steered)):
            yield 2 * content_key(record.seq, 0) + 1, told[0], None, told[0].summary
            return
        if not isinstance(body, Changed):
            return
        contents = dict(entry.contents)
        for number, change in enumerate(body.changes):
            if protecting_type(change.path) is not None:
                continue
            after = contents.get(change.content_key)
            gone = not change.content_key
            if after is None and not gone:
                after = self._index.content(change.content_key, change.digest)
            newest.pop(change.document, None)
            newest[change.document] = record, change, None if gone else after
            before = self._before(change)
            changed = compare(before, after or b"")
            text = "\n".join(
                (
                    body.message,
                    told[number].summary,
                    _text(changed.new),
                    _text(changed.old),
                )
            )
            key = 2 * content_key(record.seq, number) + 1
            yield key, told[number], change.type, text

    def _before(self, change: Change) -> bytes:
        if change.revision == 1:
            return b""
        found = self._index.change(change.document, change.revision - 1)
        if found is None or not found[1].content_key:
            return b""
        return self._index.content(found[1].content_key, found[1].digest)

    def _insert(
        self,
        connection: sqlite3.Connection,
        key: int,
        entry: LogEntry,
        type: DocumentType | None,
        text: str,
        *,
        current: bool = False,
    ) -> None:
        connection.execute(
            "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(key, current, entry.path, "" if type is None else type.value, entry.revision),
                *(entry.seq, entry.time_ms, entry.author, entry.action.value),
            ),
        )
        connection.execute(
            "INSERT INTO body (rowid, path, text) VALUES (?, ?, ?)", (key, entry.path, text)
        )

    def _replace(
        self,
        connection: sqlite3.Connection,
        document: int,
        record: Record,
        change: Change,
        content: bytes | None,
    ) -> None:
        key = 2 * document
        if connection.execute("DELETE FROM entry WHERE id = ?", (key,)).rowcount:
            connection.execute("DELETE FROM body WHERE rowid = ?", (key,))
        if content is None:
            return
        entry = next(
            each for each in log_entries(record) if each.path == change.path and each.revision
        )
        text = content.decode("utf-8", "replace")
        self._insert(connection, key, entry, change.type, text, current=True)

    # -- searching -------------------------------------------------------------------------

    def search(self, request: Search) -> tuple[tuple[SearchHit, ...], bool]:
        """Return what matches a query, the best first, and whether there is more.

        Raises:
            InvalidRequest: the query can not be understood, or takes too long.
        """
        expression = match_expression(request.query)
        connection = self._connection
        if connection is None:
            return (), False
        given: list[tuple[str, object]] = [
            ("entry.type = ?", request.type.value if request.type else ""),
            ("entry.author = ?", request.author),
            ("entry.time_ms >= ?", request.since_ms),
            ("entry.time_ms < ?", request.until_ms),
            ("entry.current = ?", 0 if request.history else 1),
        ]
        conditions = [(sql, value) for sql, value in given if value]
        where = "".join(f" AND {sql}" for sql, _ in conditions)
        # Smaller is better. What a document says now counts for more than what it once said.
        query = (
            "SELECT entry.path, type, revision, seq, time_ms, author, action, current, entry.id"
            " FROM body JOIN entry ON entry.id = body.rowid"
            f" WHERE body MATCH ?{where}"
            " ORDER BY bm25(body, 4.0, 1.0) * (1 + current), seq DESC LIMIT ?"
        )
        values = [expression, *(value for _, value in conditions), request.limit + 1]
        end = time.monotonic() + QUERY_SECONDS_MAX
        connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
        try:
            rows = connection.execute(query, values).fetchall()
            more = len(rows) > request.limit
            # Made for what is shown only: each takes another walk through its text.
            snippets = [_snippet(connection, expression, row[-1]) for row in rows[: request.limit]]
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_INTERRUPT:
                self._give_up(error)
                raise InvalidRequest(
                    "the search index was damaged and is made anew; ask again"
                ) from error
            raise InvalidRequest(
                f"the query took more than {QUERY_SECONDS_MAX:g} s; use longer words, or more"
            ) from error
        except sqlite3.DatabaseError as error:
            self._give_up(error)
            raise InvalidRequest(
                "the search index was damaged and is made anew; ask again"
            ) from error
        finally:
            connection.set_progress_handler(None, 0)
        return tuple(map(_hit, rows, snippets)), more


def _snippet(connection: sqlite3.Connection, expression: str, id: int) -> str:
    """Return what is shown of a match."""

    def ask(query: str, *values: object) -> Any:
        return connection.execute(query, values).fetchone()[0]

    if ask(_SIZE, id) <= SNIPPET_BYTES_MAX:
        return str(ask(_SNIPPET, expression, id))
    text = str(ask(_TEXT, id))
    wanted = _places(expression)
    found = wanted.search(text)
    # What stands further down, or is written with other accents: then it is the beginning.
    begin = 0 if found is None else max(0, found.start() - SNIPPET_LENGTH_MAX // 4)
    shown = wanted.sub(r"[\g<0>]", text[begin : begin + SNIPPET_LENGTH_MAX])
    return f"...{shown}" if begin else shown


def _places(expression: str) -> re.Pattern[str]:
    """Return what finds the first of a query's phrases, about as SQLite does, in one walk."""
    phrases = [
        r"\W+".join(map(re.escape, re.findall(r"\w+", phrase))) + ("" if star else r"\b")
        for phrase, star in _PHRASE.findall(expression.partition(" NOT ")[0])
    ]
    return re.compile(rf"\b(?:{'|'.join(phrases)})", re.IGNORECASE)


def _text(lines: list[bytes]) -> str:
    return b"\n".join(lines)[:HISTORY_BYTES_MAX].decode("utf-8", "replace")


def _hit(row: tuple[str, str, int, int, int, str, str, int, int], snippet: str) -> SearchHit:
    path, type, revision, seq, time_ms, author, action, current, _ = row
    return SearchHit(
        path=path,
        type=DocumentType(type) if type else None,
        revision=revision,
        seq=seq,
        time_ms=time_ms,
        author=author,
        action=Action(action),
        current=bool(current),
        snippet=cut(visible(_BLANKS.sub(" ", snippet)), SNIPPET_LENGTH_MAX),
    )
