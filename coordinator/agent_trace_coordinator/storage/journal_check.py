"""Whether a state.db says one thing only, from its pages to its last derived row. Reads only.

Records must chain, contents must be what the records say, and every table that is derived from the
records must be what they add up to: it is made again beside, by the code that always makes it, and
compared row by row.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from agent_trace_coordinator.core.apply import apply_record
from agent_trace_coordinator.core.invariants import check
from agent_trace_coordinator.core.records import (
    Changed,
    content_key,
    erased_by,
    record_digests,
    split_key,
)
from agent_trace_coordinator.core.state import Rules, State
from agent_trace_coordinator.errors import CorruptStore, JournalFailed, JournalFull, StoreInvalid

from .base import Entry
from .commit_ids import CommitIds
from .index import Index
from .journal import Journal
from .salvage import is_log_cut
from .schema import commit_id, connect, foreign_objects, translate
from .versions import FORMAT_VERSION

__all__ = ["OWN_TABLES", "JournalReport", "check_journal"]

OWN_TABLES: Final = frozenset({"journal", "content", "git_commit", "lost", "meta"})
"""Tables that are not derived from the records alone; each is checked in its own way."""

ENTRIES_AT_ONCE: Final = 512


class JournalReport(msgspec.Struct):
    """What was found."""

    problems: list[str] = msgspec.field(default_factory=list[str])
    operations: int = 0
    documents: int = 0
    contents: int = 0
    lost: int = 0
    commits: list[str] = msgspec.field(default_factory=list[str])
    """The id that the commit of each operation has to have, from the first on."""
    state: State | None = None
    """What the records add up to; None if they could not all be read."""


def check_journal(
    path: Path,
    scratch: Path,
    progress: Callable[[int, int], None],
    *,
    served: bool,
    format: int = FORMAT_VERSION,
) -> JournalReport:
    """Check a state.db; `served` says whether it may be being written.

    `format` is the one that the store's settings say; with an older one it may have the present one
    too, for that is how an upgrade that was cut short leaves it.

    `scratch` is an existing directory; `progress` is told how many of how many operations were
    looked at.
    """
    report = JournalReport()
    if not path.exists():
        report.problems.append("state.db is missing")
        return report
    try:
        if not served:
            if is_log_cut(path):
                report.problems.append("a part of state.db's write-ahead log is missing or damaged")
            path = _beside(path, scratch)
        with closing(connect(path, write=False, still=not served)) as connection:
            # One moment of a journal that may be written meanwhile.
            connection.execute("BEGIN")
            if _check_file(connection, format, report):
                index = Index(path, connection)
                _check_entries(connection, index, scratch, report, progress)
    except OSError as error:
        report.problems.append(f"state.db can not be read: {error}")
    except sqlite3.Error as error:
        report.problems.append(f"state.db can not be read: {translate(error).message}")
    except (CorruptStore, JournalFailed, JournalFull, StoreInvalid) as error:
        report.problems.append(error.message)
    except (ValueError, TypeError, LookupError, AssertionError) as error:
        # Values of other types than the tables have, texts that are none, sessions nobody opened.
        report.problems.append(f"state.db contradicts itself: {type(error).__name__}: {error}")
    return report


def _beside(path: Path, scratch: Path) -> Path:
    """Return a database that can be read without a write to its directory: `path`, or a copy.

    SQLite keeps an index beside a database that has a log; that of a store that somebody killed
    stays as it is.
    """
    log = path.with_name(f"{path.name}-wal")
    if not log.exists() or not log.stat().st_size:
        return path
    copy = scratch / "copy.db"
    shutil.copyfile(path, copy)
    shutil.copyfile(log, scratch / "copy.db-wal")
    with closing(connect(copy, write=True)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        connection.execute("PRAGMA journal_mode=DELETE").fetchone()
    return copy


def _check_file(connection: sqlite3.Connection, format: int, report: JournalReport) -> bool:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in (format, FORMAT_VERSION):
        report.problems.append(f"state.db has format {version}, not {format}")
        return False
    if foreign := foreign_objects(connection):
        report.problems.append(
            f"state.db has other tables than it is made with: {foreign[0][:100]!r}"
        )
        return False
    found = [text for (text,) in connection.execute("PRAGMA integrity_check(10)")]
    if found != ["ok"]:
        report.problems += [f"SQLite: {line}" for text in found for line in text.splitlines()]
        return False
    epoch, store = (
        connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        for key in ("epoch", "store")
    )
    (some,) = connection.execute("SELECT EXISTS (SELECT 1 FROM journal)").fetchone()
    if some and (epoch is None or type(epoch[0]) is not int):
        report.problems.append("state.db does not say how many lives the coordinator had")
    if some and (store is None or type(store[0]) is not str):
        report.problems.append("state.db does not say which store it is of")
    return True


def _check_entries(
    connection: sqlite3.Connection,
    index: Index,
    scratch: Path,
    report: JournalReport,
    progress: Callable[[int, int], None],
) -> None:
    (last,) = connection.execute("SELECT COALESCE(MAX(seq), 0) FROM journal").fetchone()
    derived = scratch / "derived.db"
    derived.unlink(missing_ok=True)
    ids = CommitIds()
    state = State(epoch=0, store="", rules=Rules())
    missing: dict[int, None] = {}
    named: set[int] = set()
    known = True
    journal = Journal(derived, lasting=False)
    try:
        while report.operations < last:
            entries = list(index.entries(report.operations + 1, ENTRIES_AT_ONCE))
            if not entries or entries[0].record.seq != report.operations + 1:
                report.problems.append(
                    f"the journal goes from operation {report.operations} to "
                    f"{entries[0].record.seq if entries else last}"
                )
                return
            for entry in entries:
                lacking = _check_contents(entry, missing, named, report)
                if entry.record.seq != report.operations + 1:
                    report.problems.append(f"operation {report.operations + 1} is missing")
                    return
                report.operations += 1
                apply_record(state, entry.record, entry.chain, 0.0)
                # The texts of drafts and refusals are in no commit.
                known = known and not (lacking and isinstance(entry.record.body, Changed))
                if known:
                    report.commits.append(ids.next(entry))
            journal.append([msgspec.structs.replace(entry, contents=()) for entry in entries], [])
            progress(report.operations, last)
    finally:
        journal.close()
    report.state = state
    report.documents = len(state.by_path)
    try:
        check(state)
    except AssertionError as error:
        report.problems.append(f"the records contradict each other: {error}")
    for key in list(missing)[:10]:
        seq, _ = split_key(key)
        report.problems.append(f"the content {key} of operation {seq} is gone")
    if len(missing) > 10:
        report.problems.append(f"and {len(missing) - 10} more contents are gone")
    _check_derived(connection, derived, report)
    _check_rest(connection, named, report)


def _check_contents(
    entry: Entry, missing: dict[int, None], named: set[int], report: JournalReport
) -> bool:
    """Note which contents of an entry are missing, and which are there; return whether some are
    missing."""
    record = entry.record
    there = {key for key, _ in entry.contents}
    named |= there
    report.contents += len(there)
    report.lost += len({key for key in entry.lost if split_key(key)[0] == record.seq})
    # A move and a change of type name the content of an earlier operation.
    lacking = [
        key
        for key in record_digests(record.body)
        if key and split_key(key)[0] == record.seq and key not in there | entry.lost
    ]
    missing |= dict.fromkeys(lacking)
    if erased := erased_by(record.body):
        for key in range(content_key(erased, 0), content_key(erased + 1, 0)):
            missing.pop(key, None)
    return bool(lacking)


def _check_derived(connection: sqlite3.Connection, derived: Path, report: JournalReport) -> None:
    with closing(connect(derived, write=False)) as fresh:
        tables = [
            name
            for (name,) in fresh.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if name not in OWN_TABLES and not name.startswith("sqlite_")
        ]
        for name in tables:
            wanted = fresh.execute(f"SELECT * FROM {name} ORDER BY 1")
            found = connection.execute(f"SELECT * FROM {name} ORDER BY 1")
            if any(ours != theirs for ours, theirs in _pairs(wanted, found)):
                report.problems.append(f"the table {name} is not what the records add up to")


def _pairs(one: sqlite3.Cursor, other: sqlite3.Cursor) -> list[tuple[object, object]]:
    pairs: list[tuple[object, object]] = []
    while True:
        first, second = one.fetchmany(1000), other.fetchmany(1000)
        if first != second:
            return [(first, second)]
        if not first:
            return pairs


def _check_rest(connection: sqlite3.Connection, named: set[int], report: JournalReport) -> None:
    gone = {key for (key,) in connection.execute("SELECT key FROM lost")}
    stray = [
        key
        for (key,) in connection.execute("SELECT key FROM content")
        if key not in named and key not in gone
    ]
    if stray:
        report.problems.append(f"{len(stray)} contents belong to no record")
    for seq, id in connection.execute("SELECT seq, id FROM git_commit"):
        if seq > len(report.commits):
            if not report.problems:
                report.problems.append(f"a commit is noted for operation {seq}, which is none")
            return
        if report.commits[seq - 1] != commit_id(seq, id):
            report.problems.append(f"another commit is noted for operation {seq} than it has")
            return
