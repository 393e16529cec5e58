"""The index as history asks for it: the revisions of a document, and the store as it once was.

Nothing here walks git, and nothing grows with the history of other documents.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from agent_trace_coordinator.core.apply import annotation_of, document_after
from agent_trace_coordinator.core.records import (
    Annotation,
    Change,
    Record,
    SessionOpened,
    content_key,
    split_key,
)
from agent_trace_coordinator.core.state import DocumentState
from agent_trace_coordinator.errors import CorruptStore
from agent_trace_protocol import TouchInfo

from .index import Index
from .schema import decode, indexed_change, translate

__all__ = ["TOUCHED_REVISIONS_MAX", "HistoryIndex", "PastDocument"]

TOUCHED_REVISIONS_MAX: Final = 10_000
"""Revisions of a document that are looked at to say which sessions touched it, the newest first."""

_PER_RECORD: Final = content_key(1, 0)


class PastDocument(msgspec.Struct, frozen=True):
    """A document as it was."""

    state: DocumentState
    annotation: Annotation | None


class HistoryIndex(Index):
    """A connection of its own, so that a long question keeps nobody else waiting."""

    def revisions_before(
        self, document: int, revision: int, limit: int
    ) -> list[tuple[Record, Change]]:
        """Return what made a document's revisions before one, the newest first."""
        return [
            _change_in(key, document, found, encoded)
            for key, found, encoded in self._rows(
                "SELECT change.key, revision, journal.record FROM change"
                " JOIN journal ON journal.seq = change.key / ?"
                " WHERE document = ? AND revision < ? ORDER BY revision DESC LIMIT ?",
                _PER_RECORD,
                document,
                revision,
                limit,
            )
        ]

    def last_seq_at(self, time_ms: int, last: int) -> int:
        """Return the last operation, up to `last`, that came at a time or before; 0 for none.

        Recorded times never decrease, so a few records are read however many there are.
        """
        low, high = 0, last
        while low < high:
            middle = (low + high + 1) // 2
            if self.time_of(middle) <= time_ms:
                low = middle
            else:
                high = middle - 1
        return low

    def time_of(self, seq: int) -> int:
        """Return when an operation was, UTC milliseconds; 0 for none."""
        record = self.record(seq) if seq else None
        if seq and record is None:
            raise CorruptStore(f"journal record {seq} is gone")
        return 0 if record is None else record.time_ms

    def touched_by(self, document: int) -> tuple[tuple[TouchInfo, ...], bool]:
        """Return which sessions touched a document, the last one first, and whether all of its
        revisions were looked at."""
        rows = list(
            self._rows(
                "SELECT session.id, newest.author, COUNT(*), MAX(revision), MAX(newest.key)"
                " FROM (SELECT key, revision, session, author FROM change WHERE document = ?"
                " ORDER BY revision DESC LIMIT ?) AS newest"
                " LEFT JOIN session ON session.seq = newest.session"
                " GROUP BY newest.session, CASE WHEN newest.session THEN '' ELSE author END"
                " ORDER BY MAX(newest.key) DESC",
                document,
                TOUCHED_REVISIONS_MAX,
            )
        )
        touched = tuple(self._touch(document, *row) for row in rows)
        return touched, sum(each.revisions for each in touched) < TOUCHED_REVISIONS_MAX

    def _touch(
        self, document: int, session: str | None, author: str, count: int, revision: int, key: int
    ) -> TouchInfo:
        """Return who touched a document, if the record of the last time says so as well."""
        seq, index = split_key(key)
        record = self.record(seq)
        if record is None or (record.session, record.author) != (session or "", author):
            raise CorruptStore(f"journal record {seq} is indexed as another session's")
        indexed_change(record, index, document, revision)
        return TouchInfo(record.session, record.author, count, revision, seq)

    def documents_at(self, seq: int, after: int, limit: int) -> list[PastDocument]:
        """Return the documents as of an operation, deleted ones included, by id after one."""
        rows = self._rows(
            "SELECT newest.key, newest.document, newest.revision, journal.record FROM"
            " (SELECT document, revision, MAX(key) AS key FROM change"
            " WHERE document > ? AND document < ? AND key < ? GROUP BY document"
            " ORDER BY document LIMIT ?) AS newest"
            " JOIN journal ON journal.seq = newest.key / ? ORDER BY newest.document",
            after,
            (seq + 1) * _PER_RECORD,
            (seq + 1) * _PER_RECORD,
            limit,
            _PER_RECORD,
        )
        found = [_change_in(*row) for row in rows]
        if not found:
            return []
        annotations = self._annotations_at(seq, after, found[-1][1].document)
        return [
            PastDocument(
                document_after(change, record.seq, record.time_ms, record.author),
                annotations.get(change.document),
            )
            for record, change in found
        ]

    def _annotations_at(self, seq: int, after: int, last: int) -> dict[int, Annotation]:
        rows = self._rows(
            "SELECT newest.key, journal.record FROM"
            " (SELECT MAX(key) AS key FROM change INDEXED BY change_annotated"
            " WHERE action = 'annotate' AND document > ? AND document <= ? AND key < ?"
            " GROUP BY document) AS newest JOIN journal ON journal.seq = newest.key / ?",
            after,
            last,
            (seq + 1) * _PER_RECORD,
            _PER_RECORD,
        )
        found: dict[int, Annotation] = {}
        for key, encoded in rows:
            number, index = split_key(key)
            annotation = annotation_of(decode(number, encoded), index)
            if annotation is None:
                raise CorruptStore(
                    f"journal record {number} is indexed as an annotation and is none"
                )
            found[annotation.document] = annotation
        return found

    def opened(self, session: str) -> SessionOpened | None:
        """Return what a session said of itself; None if it is not known."""
        for seq, encoded in self._rows(
            "SELECT seq, record FROM session JOIN journal USING (seq) WHERE id = ?", session
        ):
            body = decode(seq, encoded).body
            return body if isinstance(body, SessionOpened) else None
        return None

    def changed_after(self, seq: int, last: int, limit: int) -> list[Record]:
        """Return the records after `seq`, up to `last`, that changed documents, oldest first."""
        found: list[Record] = []
        # A cursor goes no further than it is asked to, so a page costs what is on it.
        for key, encoded in self._rows(
            "SELECT change.key, journal.record FROM change"
            " JOIN journal ON journal.seq = change.key / ?"
            " WHERE change.key >= ? AND change.key < ? ORDER BY change.key",
            _PER_RECORD,
            (seq + 1) * _PER_RECORD,
            (last + 1) * _PER_RECORD,
        ):
            number = split_key(key)[0]
            if found and found[-1].seq == number:
                continue
            if len(found) == limit:
                break
            found.append(decode(number, encoded))
        return found

    def _rows(self, query: str, *values: object) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._connection.execute(query, values)
        except sqlite3.Error as error:
            raise translate(error) from error


def _change_in(
    key: int, document: int, revision: int, encoded: bytes | None
) -> tuple[Record, Change]:
    seq, index = split_key(key)
    record = decode(seq, encoded)
    return record, indexed_change(record, index, document, revision)
