"""What the generated documents are made from, as state.db has it: at the start, and what a batch
changes in the table of the statements that stand.

The rest needs no table: what came after the last record that brought the documents up to date is
fresh, so a crash between a write and what is generated from it loses nothing and doubles nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from itertools import islice
from typing import Final

from agent_trace_coordinator.core.entries import summary_of
from agent_trace_coordinator.core.generated_names import protecting_type
from agent_trace_coordinator.core.records import (
    Changed,
    Drafted,
    Record,
    SessionOpened,
    Steered,
    SteeringDropped,
    Violated,
    content_key,
)
from agent_trace_coordinator.core.state import State
from agent_trace_coordinator.core.trace_state import (
    FRESH_RECORDS_MAX,
    GENERATED,
    is_generated,
    statement_of,
)
from agent_trace_coordinator.errors import CorruptStore
from agent_trace_protocol import DocumentType

from .schema import decode

__all__ = ["Execute", "StatementRows", "load_trace"]

_LOOKED_BACK: Final = 400
"""Records before the fresh ones that are looked through for what happened lately."""

_SUMMARIES_MAX: Final = 64
"""Plans, and references, of which it is looked up what their last change did: those that changed
last. What is generated tells of a few of them."""

Execute = Callable[..., sqlite3.Cursor]
"""`execute` of a connection that sees verified records only."""


class StatementRows:
    """What the records of one batch do to the table, in their order."""

    def __init__(self) -> None:
        self._statements: list[tuple[str, int]] = []

    def take(self, record: Record) -> None:
        """Note a record of the batch."""
        body = record.body
        if isinstance(body, SteeringDropped):
            self._drop(body.statement)
        elif isinstance(body, Steered):
            self._drop(body.replaces)
            self._statements.append(("INSERT INTO statement VALUES (?)", record.seq))

    def _drop(self, seq: int) -> None:
        self._statements.append(("DELETE FROM statement WHERE seq = ?", seq))

    def write(self, connection: sqlite3.Connection) -> None:
        """Change the table, inside the batch's transaction."""
        for statement, seq in self._statements:
            connection.execute(statement, (seq,))


def load_trace(state: State, execute: Execute) -> None:
    """Enter what the trace is made from into a state that has its documents and sessions.

    Raises:
        CorruptStore: a row is not what it is indexed as.
    """
    trace = state.trace
    for seq, encoded in execute(
        "SELECT seq, record FROM statement JOIN journal USING (seq) ORDER BY seq"
    ):
        record = decode(seq, encoded)
        if not isinstance(record.body, Steered):
            raise CorruptStore(f"journal record {seq} is indexed as a statement and is none")
        trace.statements[seq] = statement_of(record, record.body)
    if not state.rules.generated:
        return
    trace.begin((path, state.documents[state.by_path[path]].type) for path in state.paths)
    _load_plans(state, execute)
    for seq, encoded in execute(
        "SELECT seq, record FROM session JOIN journal USING (seq) WHERE ended IS NULL"
    ):
        record = decode(seq, encoded)
        trace.opened[record.session] = record
    (last,) = execute("SELECT COALESCE(MAX(seq), 0) FROM journal").fetchone()
    told = _told(execute, last)
    first = max(told, last - FRESH_RECORDS_MAX)
    for seq, encoded in execute(
        "SELECT seq, record FROM journal WHERE seq > ? AND seq <= ? ORDER BY seq",
        (first - _LOOKED_BACK, first),
    ):
        record = decode(seq, encoded)
        if isinstance(record.body, (Changed, Drafted, Violated)) and not is_generated(record):
            trace.recent.append(record)
    trace.left_out = first - told
    for seq, encoded in execute(
        "SELECT seq, record FROM journal WHERE seq > ? ORDER BY seq", (first,)
    ).fetchall():
        record = decode(seq, encoded)
        if is_generated(record):
            continue
        if record.session and record.session not in trace.opened:
            _find_opening(state, execute, record.session)
        trace.keep(record)


def _load_plans(state: State, execute: Execute) -> None:
    """Enter the plans and references, in the order of their last changes, and what these did."""
    kinds = {
        DocumentType.PLAN: state.trace.plans,
        DocumentType.REFERENCE: state.trace.references,
        DocumentType.CONTEXT: state.trace.references,
    }
    for document in sorted(state.documents.values(), key=lambda each: (each.seq, each.id)):
        if document.deleted or protecting_type(document.path) is not None:
            continue
        if document.type in kinds:
            kinds[document.type][document.id] = ""
    for kind in (state.trace.plans, state.trace.references):
        for id in list(islice(reversed(kind), _SUMMARIES_MAX)):
            seq = state.documents[id].seq
            row = execute("SELECT record FROM journal WHERE seq = ?", (seq,)).fetchone()
            body = None if row is None else decode(seq, row[0]).body
            if isinstance(body, Changed):
                kind[id] = next(
                    (summary_of(each) for each in body.changes if each.document == id), ""
                )


def _told(execute: Execute, last: int) -> int:
    """Return the operation up to which the generated documents tell; 0 if they never did."""
    for seq, encoded in execute(
        "SELECT DISTINCT journal.seq, journal.record FROM change"
        " JOIN journal ON journal.seq = change.key / ?"
        " WHERE change.session = 0 AND change.key > ? ORDER BY change.key DESC",
        (content_key(1, 0), content_key(max(0, last - FRESH_RECORDS_MAX), 0)),
    ):
        record = decode(seq, encoded)
        body = record.body
        if is_generated(record) and isinstance(body, Changed) and body.source == GENERATED:
            return record.seq
    # Further back it makes no difference how far: not all of it is looked through.
    return 0


def _find_opening(state: State, execute: Execute, session: str) -> None:
    row = execute(
        "SELECT seq, record FROM session JOIN journal USING (seq) WHERE id = ?", (session,)
    ).fetchone()
    if row is None:
        return
    record = decode(row[0], row[1])
    if isinstance(record.body, SessionOpened):
        state.trace.opened[session] = record
