"""The way from an older format on disk to the present one, taken at the first start.

All that changes in state.db, and the number in its header, is one transaction: before it the store
is as the older version left it, after it older versions refuse the store. The line in the settings
follows; whoever is killed between the two leaves an older number in the settings than in the
header, which is what the next start finishes. Records are never changed: their chain and their
commits are made of their bytes, so what an older format wrote is read as long as it is supported.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from typing import Final

from agent_trace_coordinator.errors import JournalFull, StoreInvalid

from .beginnings import has_journal
from .git_recovery import write_file
from .schema import connect, prepare_to_write, translate
from .store import Store
from .versions import FORMAT_VERSION, at_format, stated_format

__all__ = ["bring_up_to_date"]

_STEPS: Final[Mapping[int, tuple[str, ...]]] = {
    # Format 2 says of an ended session when it was last seen, in a kind of record that format 1 did
    # not know (`SessionEnded`). The tables are the same.
    1: (),
}
"""What is done to the tables, by the format from which it leads to the next one."""


def bring_up_to_date(store: Store) -> int:
    """Bring a store of an older format to the present one, durably; return the format it had.

    Its caller holds the store's lock. Nothing is done to a store that is up to date.

    Raises:
        StoreInvalid: settings and state.db contradict each other.
        CorruptStore: state.db is damaged.
        JournalFull: the disk takes no writes; the store is as it was, or only the line in the
            settings is missing.
        JournalFailed: the disk failed.
    """
    had = stated_format(store.config, store.state_db)
    if had == FORMAT_VERSION:
        return had
    if has_journal(store.state_db):
        try:
            _change_tables(store, had)
        except sqlite3.Error as error:
            raise translate(error) from error
    try:
        text = store.config.read_bytes().decode("utf-8")
        write_file(store.config, at_format(text, FORMAT_VERSION).encode("utf-8"))
    except OSError as error:
        raise JournalFull(f"{store.config} can not be written: {error.strerror}") from error
    return had


def _change_tables(store: Store, had: int) -> None:
    with closing(connect(store.state_db, write=True, create=False)) as connection:
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        if found == FORMAT_VERSION:
            return
        if found != had:
            raise StoreInvalid(
                f"{store.state_db} has format {found}, and the store's settings say {had}: it is "
                "damaged, or of another store; agent-trace doctor says more"
            )
        prepare_to_write(connection)
        connection.execute("BEGIN IMMEDIATE")
        try:
            for format in range(had, FORMAT_VERSION):
                for statement in _STEPS[format]:
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version={FORMAT_VERSION}")
            connection.execute("COMMIT")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        # The header, by which it is known where the settings are lost, is in the database itself.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
