"""What the trace asks of state.db: sessions by name, and what each of them did.

Every question goes along an index and ends at a limit, so none costs more as history grows; and
each is about the store as of a seq, however far it has gone meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from agent_trace_coordinator.core.brief_source import PastSession
from agent_trace_coordinator.core.records import Record, SessionClosed, SessionOpened
from agent_trace_coordinator.errors import CorruptStore
from agent_trace_protocol import Actor

from .index import Index
from .schema import decode

__all__ = ["OPERATIONS_COUNTED_MAX", "TraceIndex"]

OPERATIONS_COUNTED_MAX: Final = 100_000
"""Operations of one session up to which they are counted."""


class TraceIndex(Index):
    """An index with the questions of the trace. One thread has it for itself."""

    def sessions_of(self, actor: Actor, name: str, seq: int, limit: int) -> Iterator[PastSession]:
        """Yield the last sessions of an agent, user or reader as of `seq`, newest first."""
        rows = self._rows(
            "SELECT seq FROM session WHERE name = ? AND actor = ? AND seq <= ?"
            " ORDER BY seq DESC LIMIT ?",
            name,
            str(actor),
            seq,
            limit,
        )
        for (row,) in rows:
            yield self._session(row, seq)

    def session(self, id: str, seq: int) -> PastSession | None:
        """Return a session that is on record as of `seq`."""
        rows = self._rows("SELECT seq FROM session WHERE id = ? AND seq <= ?", id, seq)
        return self._session(rows[0][0], seq) if rows else None

    def _session(self, row: int, seq: int) -> PastSession:
        opened = self.record(row)
        ends = self._rows("SELECT ended FROM session WHERE seq = ? AND ended <= ?", row, seq)
        closed = self.record(ends[0][0]) if ends else None
        if opened is None or not isinstance(opened.body, SessionOpened):
            raise CorruptStore(f"journal record {row} is indexed as a session and is none")
        if closed is not None and not isinstance(closed.body, SessionClosed):
            raise CorruptStore(
                f"journal record {closed.seq} is indexed as a session's end and is none"
            )
        return PastSession(opened, closed)

    def operations(self, session: int, seq: int, limit: int, before: int = 0) -> list[Record]:
        """Return what a session did by request, newest first; `session` is the seq that began it.

        `before`: only requests with a smaller number.
        """
        return self._records(
            "SELECT seq, record FROM journal WHERE session = ? AND request IS NOT NULL"
            " AND seq <= ? AND (? = 0 OR request < ?) ORDER BY request DESC LIMIT ?",
            session,
            seq,
            before,
            before,
            limit,
        )

    def notes(self, session: int, seq: int, limit: int) -> list[Record]:
        """Return a session's records that changed no document: leases, drafts, refusals."""
        return self._records(
            "SELECT note.seq, record FROM note JOIN journal USING (seq)"
            " WHERE note.session = ? AND note.seq <= ? ORDER BY note.seq DESC LIMIT ?",
            session,
            seq,
            limit,
        )

    def count_operations(self, session: int, seq: int, limit: int) -> int:
        """Return how many operations a session did, counted up to `limit`."""
        rows = self._rows(
            "SELECT COUNT(*) FROM (SELECT 1 FROM journal WHERE session = ?"
            " AND request IS NOT NULL AND seq <= ? LIMIT ?)",
            session,
            seq,
            limit,
        )
        return rows[0][0]

    def next_grant(self, path: str, token: int, seq: int) -> Record | None:
        """Return the next lease on exactly this path or glob that was granted after `token`."""
        rows = self._rows(
            "SELECT seq FROM note WHERE path = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT 1",
            path,
            token,
            seq,
        )
        return self.record(rows[0][0]) if rows else None

    def _records(self, query: str, *values: object) -> list[Record]:
        return [decode(seq, encoded) for seq, encoded in self.rows(query, *values)]

    def _rows(self, query: str, *values: object) -> list[tuple[int, ...]]:
        return [tuple(row) for row in self.rows(query, *values)]
