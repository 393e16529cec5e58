"""A state.db that somebody deletes or replaces while it is in use: noticed, and put back.

A deleted file goes on taking writes and syncs until the last process closes it, and then all of it
is gone. So nothing is acknowledged from a file that is not in its place; and as long as it is open
everything is still in it.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from agent_trace_coordinator.errors import JournalFailed, JournalGone

from .git_recovery import sync_directory, sync_file
from .schema import connect, translate

__all__ = ["JournalPlace"]


class JournalPlace:
    """Where a state.db that is open has to lie, with its write-ahead log."""

    def __init__(self, path: Path) -> None:
        """Remember what lies there; the database is open, and has its log."""
        self._path = path
        self._names = (str(path), f"{path}-wal")
        self._files = tuple(map(_identity, self._names))

    def check(self) -> None:
        """Compare: two looks at names, microseconds. May be called from any thread.

        Raises:
            JournalGone: one of the files is not there, or is another one.
            JournalFailed: nobody can tell.
        """
        for name, known in zip(self._names, self._files, strict=True):
            try:
                there = _identity(name)
            except OSError as error:
                raise JournalFailed(f"state.db can not be looked at: {error}") from error
            if known != there:
                how = "replaced" if there else "deleted"
                raise JournalGone(f"{os.path.basename(name)} was {how} while it was in use")

    def put_back(self, open_database: sqlite3.Connection) -> str:
        """Write all that the open database holds to its place, durably, and return what was done.

        What lies there instead is kept in `damaged/`. Nobody may write meanwhile, and nothing may
        be written to the open database afterwards.

        Raises:
            OSError: the directory is gone as well, or the disk takes no writes.
            JournalFailed: the open database can not be read.
        """
        directory = self._path.parent
        new = self._path.with_name(f"{self._path.name}.back")
        new.unlink(missing_ok=True)
        try:
            with closing(connect(new, write=True)) as copy:
                open_database.backup(copy)
                copy.execute("PRAGMA journal_mode=DELETE").fetchone()
        except sqlite3.Error as error:
            raise translate(error) from error
        sync_file(new)
        kept = self._keep_found()
        # A log beside it would be taken for its own; all that was in ours is in the new file.
        for ending in ("-wal", "-shm"):
            self._path.with_name(f"{self._path.name}{ending}").unlink(missing_ok=True)
        new.replace(self._path)
        sync_directory(directory)
        return "state.db was put back as it was" + (f"; what lay there is {kept}" if kept else "")

    def _keep_found(self) -> str:
        """Give what others put in the place a second name, and return its directory's."""
        found = [
            name
            for name, known in zip(self._names, self._files, strict=True)
            if _identity(name) not in (known, None)
        ]
        if not found:
            return ""
        directory = self._path.parent / "damaged" / f"found-{time.time_ns()}"
        directory.mkdir(mode=0o700, parents=True)
        for name in found:
            os.link(name, directory / os.path.basename(name))
        sync_directory(directory)
        return str(directory)


def _identity(name: str) -> tuple[int, int] | None:
    try:
        status = os.stat(name, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino
