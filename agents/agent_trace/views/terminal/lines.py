"""What the view writes, line by line: rows made of what the client library returns.

Pure: `now_ms` is an argument. Everything in a row is data: control characters are replaced here, at
the one place where pieces are made, and nothing after it reads markup.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from rich.cells import cell_len, chop_cells

from agent_trace.views.model import Activity, Kind, Tone, Worker, activity, by_type
from agent_trace.wording import counted, shown, span
from agent_trace_protocol import (
    DocumentInfo,
    DraftInfo,
    LeaseInfo,
    LogEntry,
    ViolationInfo,
    WaiterInfo,
)

__all__ = [
    "LINES_MAX",
    "Look",
    "Piece",
    "Row",
    "activity_rows",
    "diff_rows",
    "document_rows",
    "entry_key",
    "fact_rows",
    "history_rows",
    "lease_rows",
    "moment",
    "piece",
    "session_rows",
    "text_rows",
    "waiting_rows",
    "wrapped",
]

LINES_MAX: Final = 20_000
"""Lines of one text that are shown: more is read elsewhere."""

DOCUMENTS_MAX: Final = 1_000
"""Documents of one type that are listed: nobody goes through more by hand."""

COLUMNS_MAX: Final = 2_000
"""Characters of one line that are shown."""


class Look(StrEnum):
    """How a piece of text looks; what colours that means is for the widget to say."""

    PLAIN = "plain"
    STRONG = "strong"
    QUIET = "quiet"
    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"
    ADDED = "added"
    REMOVED = "removed"
    HEAD = "head"


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text with one look. Made by `piece`."""

    text: str
    look: Look


@dataclass(frozen=True, slots=True)
class Row:
    """One line: what stands on the left, cut if there is no room, and what stands on the right."""

    left: tuple[Piece, ...]
    right: tuple[Piece, ...] = ()
    key: str = ""
    """What the line is about, for a line that can be chosen; empty for others."""


_LOOKS: Final = {
    Tone.GOOD: Look.GOOD,
    Tone.QUIET: Look.QUIET,
    Tone.WARNING: Look.WARNING,
    Tone.BAD: Look.BAD,
}

_KINDS: Final = {
    Kind.WRITE: Look.GOOD,
    Kind.REMOVE: Look.WARNING,
    Kind.CONFLICT: Look.WARNING,
    Kind.REFUSAL: Look.BAD,
    Kind.SESSION: Look.QUIET,
    Kind.LEASE: Look.HEAD,
    Kind.RIGHTS: Look.HEAD,
    Kind.STEERING: Look.HEAD,
}


def piece(text: str, look: Look = Look.PLAIN) -> Piece:
    """Return foreign text as a piece of a line: it can steer nothing, and it is bounded."""
    if len(text) > COLUMNS_MAX:
        text = text[: COLUMNS_MAX - 3] + "..."
    return Piece(shown(text.expandtabs(4)), look)


def moment(time_ms: int) -> str:
    """Return a time of the wire in the reader's time zone, to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_ms / 1000))


def _ago(time_ms: int, now_ms: int) -> str:
    return span((now_ms - time_ms) / 1000)


def wrapped(rows: Iterable[Row], width: int) -> tuple[Row, ...]:
    """Return the rows with those that are too wide for so many cells continued on the next line.

    Lines that can be chosen are one line each, and are cut instead.
    """
    made: list[Row] = []
    for row in rows:
        whole = row.key or row.right or width < 1
        if whole or sum(cell_len(each.text) for each in row.left) <= width:
            made.append(row)
        else:
            made += (Row(line) for line in _broken(row.left, width))
    return tuple(made)


def _broken(pieces: Iterable[Piece], width: int) -> Iterator[tuple[Piece, ...]]:
    """Yield lines, each as many pieces as fit: broken after a space where there is one."""
    line: list[Piece] = []
    room = width
    for each in pieces:
        text = each.text
        while cell_len(text) > room:
            head = chop_cells(text, room)[0] if room else ""
            at = head.rfind(" ") + 1
            if at > len(head) // 2:
                head = head[:at]
            if not head and not line:
                # Not even one character fits; it is shown cut.
                head = text[:1]
            yield (*line, Piece(head, each.look))
            text, line, room = text[len(head) :], [], width
        if text:
            line.append(Piece(text, each.look))
            room -= cell_len(text)
    if line:
        yield tuple(line)


# ---- lists ---------------------------------------------------------------------------------------


def document_rows(
    documents: Iterable[DocumentInfo], now_ms: int, wanted: str = ""
) -> tuple[Row, ...]:
    """Return the documents by their type, each type ordered by path.

    Args:
        wanted: only paths and descriptions that hold this text, in any case.
    """
    text = wanted.casefold()
    found = [
        each
        for each in documents
        if not text or text in each.path.casefold() or text in each.description.casefold()
    ]
    found.sort(key=lambda each: each.path)
    rows: list[Row] = []
    for type, those in by_type(found).items():
        rows.append(Row((piece(type.value, Look.HEAD),), (piece(str(len(those)), Look.QUIET),)))
        for each in those[:DOCUMENTS_MAX]:
            left = [piece(f"  {each.path}")]
            if each.description:
                left.append(piece(f"  {each.description}", Look.QUIET))
            right = piece(
                f"@{each.revision} {each.author} {_ago(each.time_ms, now_ms)}", Look.QUIET
            )
            rows.append(Row(tuple(left), (right,), each.path))
        if len(those) > DOCUMENTS_MAX:
            more = f"  ... {len(those) - DOCUMENTS_MAX} more; find them with /"
            rows.append(Row((piece(more, Look.QUIET),)))
    return tuple(rows)


def activity_rows(entries: Iterable[LogEntry], now_ms: int) -> tuple[Row, ...]:
    """Return what happened, in the order in which it came."""
    return tuple(_activity_row(activity(entry), now_ms, entry_key(entry)) for entry in entries)


def _activity_row(each: Activity, now_ms: int, key: str) -> Row:
    did = each.detail if each.kind is Kind.SESSION and each.detail else each.did
    left = [piece(each.who, Look.STRONG), piece(f" {did} ", _KINDS[each.kind])]
    left.append(piece(each.what))
    if each.detail and did is each.did:
        left.append(piece(f"  {each.detail}", Look.QUIET))
    if each.message:
        left.append(piece(f'  "{each.message}"', Look.QUIET))
    lines = f"+{each.added} -{each.removed}  " if each.revision else ""
    right = piece(f"{lines}{_ago(each.time_ms, now_ms)}", Look.QUIET)
    return Row(tuple(left), (right,), key)


def entry_key(entry: LogEntry) -> str:
    """Return the key of an entry's row."""
    return f"{entry.seq}:{entry.path}"


def session_rows(workers: Iterable[Worker]) -> tuple[Row, ...]:
    """Return the open sessions: who, whether a heartbeat came, and what each does."""
    rows: list[Row] = []
    for worker in workers:
        session = worker.session
        left = [
            piece(f"{session.state.value:<6}", _LOOKS[worker.tone]),
            piece(f"{session.actor.value} "),
            piece(session.name, Look.STRONG),
        ]
        if worker.last is not None:
            left.append(piece(f"  {worker.last.did} {worker.last.what}"))
        if worker.leases:
            left.append(piece(f"  {counted(len(worker.leases), 'lease')}", Look.HEAD))
        left.append(piece(f"  {session.program} {session.model}".rstrip(), Look.QUIET))
        right = piece(f"heartbeat {span(session.idle_seconds)} ago", Look.QUIET)
        rows.append(Row(tuple(left), (right,), session.id))
    return tuple(rows)


def lease_rows(leases: Iterable[LeaseInfo], waiters: Iterable[WaiterInfo]) -> tuple[Row, ...]:
    """Return the leases that are held, and behind them who waits for one."""
    rows: list[Row] = []
    for lease in leases:
        held = (
            piece(lease.path),
            piece("  held by ", Look.QUIET),
            piece(lease.holder, Look.STRONG),
            piece(" shared" if lease.shared else "", Look.QUIET),
        )
        right = piece(f"#{lease.token}  {span(lease.left_seconds)} left", Look.QUIET)
        rows.append(Row(held, (right,), str(lease.token)))
    for waiter in waiters:
        waiting = (
            piece(waiter.path),
            piece("  waited for by ", Look.WARNING),
            piece(waiter.name, Look.STRONG),
            piece(f"  {waiter.deadlock}" if waiter.deadlock else "", Look.BAD),
        )
        rows.append(Row(waiting, (piece(f"{span(waiter.left_seconds)} left", Look.QUIET),)))
    return tuple(rows)


def waiting_rows(
    violations: Sequence[ViolationInfo], drafts: Sequence[DraftInfo], now_ms: int
) -> tuple[Row, ...]:
    """Return what waits for a decision: refused writes, then drafts, each newest first."""
    rows: list[Row] = []
    if violations:
        rows.append(Row((piece("refused writes", Look.HEAD),), (_quiet(str(len(violations))),)))
    for each in violations:
        left = (
            piece(f"  {each.author}", Look.STRONG),
            piece(" tried to ", Look.BAD),
            piece(f"{each.action.value} {each.path}"),
            piece(f"  {each.rule}", Look.QUIET),
            piece(f"  {each.count} times" if each.count > 1 else "", Look.WARNING),
        )
        right = _quiet(f"{each.id}  {_ago(each.time_ms, now_ms)}")
        rows.append(Row(left, (right,), each.id))
    if drafts:
        rows.append(Row((piece("drafts", Look.HEAD),), (_quiet(str(len(drafts))),)))
    for draft in drafts:
        merges = piece("  merges", Look.GOOD) if draft.merges else piece("  overlaps", Look.WARNING)
        late = (
            piece(f"  {draft.author}", Look.STRONG),
            piece(" wrote ", Look.WARNING),
            piece(f"{draft.path} for @{draft.base_revision}, now @{draft.current}"),
            merges,
        )
        right = _quiet(f"{draft.id}  {_ago(draft.time_ms, now_ms)}")
        rows.append(Row(late, (right,), draft.id))
    return tuple(rows)


def _quiet(text: str) -> Piece:
    return piece(text, Look.QUIET)


# ---- one thing -----------------------------------------------------------------------------------


def text_rows(text: str, look: Look = Look.PLAIN) -> tuple[Row, ...]:
    """Return a text line by line, as far as it is shown."""
    lines = text.split("\n", LINES_MAX)
    if lines and not lines[-1]:
        del lines[-1]
    left_out = lines[LINES_MAX:]
    rows = [Row((piece(line.rstrip("\r"), look),)) for line in lines[:LINES_MAX]]
    if left_out:
        rows.append(Row((piece(f"... only {LINES_MAX} lines are shown here", Look.WARNING),)))
    return tuple(rows)


def diff_rows(diff: str) -> tuple[Row, ...]:
    """Return a unified diff line by line."""
    looks = {"+": Look.ADDED, "-": Look.REMOVED, "@": Look.HEAD, "\\": Look.QUIET}
    rows: list[Row] = []
    for row in text_rows(diff):
        text = row.left[0].text
        rows.append(Row((Piece(text, looks.get(text[:1], row.left[0].look)),)))
    return tuple(rows)


def history_rows(entries: Iterable[LogEntry], now_ms: int) -> tuple[Row, ...]:
    """Return a document's entries; those that made a revision can be chosen."""
    rows: list[Row] = []
    for entry in entries:
        each = activity(entry)
        left = [
            piece(f"@{each.revision:<4} " if each.revision else "      ", Look.HEAD),
            piece(each.who, Look.STRONG),
            piece(f" {each.did}", _KINDS[each.kind]),
            piece(f"  {each.detail}" if each.detail else "", Look.QUIET),
            piece(f'  "{each.message}"' if each.message else "", Look.QUIET),
        ]
        right = _quiet(f"+{each.added} -{each.removed}  {_ago(each.time_ms, now_ms)}")
        rows.append(Row(tuple(left), (right,), str(each.revision) if each.revision else ""))
    return tuple(rows)


def fact_rows(*facts: tuple[str, str]) -> tuple[Row, ...]:
    """Return names with what they are, without those that are nothing."""
    width = max((len(name) for name, _ in facts), default=0)
    return tuple(
        Row((_quiet(f"{name:<{width}}  "), piece(value))) for name, value in facts if value
    )
