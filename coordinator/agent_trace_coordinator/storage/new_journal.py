"""A state.db made from records and contents that were proven one by one.

The rows are those that the coordinator would have written, by the same code. Nothing is in place
until everything is on the disk: a file beside, synced, then one rename.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator, Iterable
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from agent_trace_coordinator.errors import JournalFailed

from .base import Entry
from .git_recovery import sync_directory, sync_file
from .index import Index
from .journal import Journal
from .schema import (
    connect,
    prepare_to_write,
    seal_commit,
    translate,
)

__all__ = ["NewJournal", "note_commits", "replace_journal"]

ENTRIES_AT_ONCE: Final = 1024


class NewJournal:
    """First all records, then contents in any order, then `finish`."""

    def __init__(self, path: Path) -> None:
        """Begin a new database; what a killed repair left there is removed."""
        for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
            path.with_name(name).unlink(missing_ok=True)
        self._path = path
        self._journal: Journal | None = Journal(path)
        self._waiting: list[Entry] = []
        self._connection: sqlite3.Connection | None = None

    def add(self, entry: Entry) -> None:
        """Take the next record."""
        self._waiting.append(entry)
        if len(self._waiting) >= ENTRIES_AT_ONCE:
            self._write()

    def _write(self) -> None:
        assert self._journal is not None
        # Records and derived rows only: a discarded text is never looked for.
        self._journal.append(self._waiting, [])
        self._waiting = []

    def contents(self, rows: Iterable[tuple[int, bytes]]) -> None:
        """Take contents under their keys; one that is there already stays."""
        try:
            self._unsynced().executemany("INSERT OR IGNORE INTO content VALUES (?, ?)", rows)
        except sqlite3.Error as error:
            raise translate(error) from error

    def add_later(self, entries: list[Entry]) -> None:
        """Take records that were made when the contents were known, with contents of their own."""
        if not entries:
            return
        connection = self._unsynced()
        connection.execute("COMMIT")
        connection.close()
        self._connection = None
        self._journal = Journal(self._path)
        self._journal.append(entries, [])

    @contextmanager
    def reading(self) -> Generator[Index, None, None]:
        """Read what is there so far."""
        yield Index(self._path, self._unsynced())

    def finish(self, *, epoch: int, store: str, lost: Iterable[int]) -> None:
        """Note what is not in the records, and make all of it durable."""
        connection = self._unsynced()
        try:
            connection.execute("INSERT INTO meta VALUES ('epoch', ?)", (epoch,))
            connection.execute("INSERT INTO meta VALUES ('store', ?)", (store,))
            connection.executemany("INSERT INTO lost VALUES (?)", ((key,) for key in lost))
            connection.execute("COMMIT")
            # In WAL mode beside the old log the new file would read that as its own.
            connection.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.Error as error:
            raise translate(error) from error
        self.close()
        sync_file(self._path)
        sync_directory(self._path.parent)

    def close(self) -> None:
        """Close the database, finished or not."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _unsynced(self) -> sqlite3.Connection:
        """Return a connection that syncs nothing: `finish` does, once."""
        if self._connection is None:
            self._write()
            assert self._journal is not None
            self._journal.close()
            self._journal = None
            try:
                self._connection = connect(self._path, write=True)
                self._connection.execute("PRAGMA synchronous=OFF")
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                raise translate(error) from error
        return self._connection


def replace_journal(path: Path, new: Path, kept: Path) -> None:
    """Put a finished database in the place of `path`, and keep what was there in `kept`.

    At every instant either the old files are in place or the new one is; the old ones are in `kept`
    before anything is removed. An old write-ahead log beside a new database would be taken for
    its own, so it goes first; a repair that is killed there finds it in `kept`.
    """
    names = [path.name, f"{path.name}-wal"]
    for name in names:
        old = path.with_name(name)
        if old.exists() and not (kept / name).exists():
            os.link(old, kept / name)
    sync_directory(kept)
    for name in (f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)
    sync_directory(path.parent)
    if not new.exists():
        raise JournalFailed(f"{new} is gone")
    new.replace(path)
    sync_directory(path.parent)


def note_commits(path: Path, commits: list[str]) -> None:
    """Note the commits of all operations in a state.db that nobody serves."""
    try:
        with closing(connect(path, write=True)) as connection:
            prepare_to_write(connection)
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM git_commit")
            connection.executemany(
                "INSERT INTO git_commit VALUES (?, ?)",
                ((seq, seal_commit(seq, id)) for seq, id in enumerate(commits, 1)),
            )
            connection.execute("COMMIT")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise translate(error) from error
