"""The table of the leases that are held: what a batch changes in it, and what it says at the start.

A lease's row is made by the record that grants it and goes with the record that ends it. Its path
is in the row as well, because it follows a document that is moved.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from agent_trace_coordinator.core.apply import lease_of
from agent_trace_coordinator.core.records import (
    Changed,
    LeaseExtended,
    LeaseGranted,
    LeaseReleased,
    Record,
    SessionClosed,
)
from agent_trace_coordinator.core.state import State
from agent_trace_coordinator.errors import CorruptStore
from agent_trace_protocol import fold_path, parse_pattern

from .schema import decode

__all__ = ["LeaseRows", "load_leases"]

_GRANT = "INSERT INTO lease (token, session, path, folded, ttl_ms) VALUES (?, ?, ?, ?, ?)"
_MOVE = "UPDATE lease SET path = ?, folded = ? WHERE folded = ? AND token < ?"
_EXTEND = "UPDATE lease SET ttl_ms = ? WHERE token = ?"
_END = "DELETE FROM lease WHERE token = ?"
_END_ALL = "DELETE FROM lease WHERE session = ?"


class LeaseRows:
    """What the records of one batch do to the table, in their order."""

    def __init__(self) -> None:
        self._statements: list[tuple[str, tuple[object, ...]]] = []

    def take(self, record: Record, session: int) -> None:
        """Note a record of the batch; `session` is the row of the session that it names."""
        body = record.body
        add = self._statements.append
        if isinstance(body, LeaseGranted):
            if body.previous:
                add((_END, (body.previous,)))
            folded = parse_pattern(body.path).folded or None
            add((_GRANT, (record.seq, session, body.path, folded, body.ttl_ms)))
        elif isinstance(body, LeaseExtended):
            add((_EXTEND, (body.ttl_ms, body.token)))
        elif isinstance(body, LeaseReleased):
            add((_END, (body.token,)))
        elif isinstance(body, SessionClosed):
            add((_END_ALL, (session,)))
        elif isinstance(body, Changed):
            for change in body.changes:
                if change.previous_path:
                    before, after = fold_path(change.previous_path), fold_path(change.path)
                    add((_MOVE, (change.path, after, before, record.seq)))

    def write(self, connection: sqlite3.Connection) -> None:
        """Change the table, inside the batch's transaction."""
        for statement, values in self._statements:
            connection.execute(statement, values)


def load_leases(state: State, execute: Callable[[str], sqlite3.Cursor], now: float) -> None:
    """Enter the leases that are held into a state that has its sessions.

    Raises:
        CorruptStore: a row is not that of a grant.
    """
    for token, path, ttl_ms, encoded in execute(
        "SELECT token, path, ttl_ms, record FROM lease JOIN journal ON seq = token ORDER BY token"
    ):
        record = decode(token, encoded)
        if not isinstance(record.body, LeaseGranted):
            raise CorruptStore(f"journal record {token} is indexed as a lease and is none")
        lease = lease_of(record, record.body, now)
        lease.pattern = parse_pattern(path)
        lease.ttl_ms = ttl_ms
        state.leases.enter(lease)
