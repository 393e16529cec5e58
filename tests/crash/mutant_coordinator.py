"""A coordinator with a planted bug, to show that the harness finds it.

    python tests/crash/mutant_coordinator.py nosync serve --store ...

Each bug replaces one thing of the product from outside, in this process only, and fails loudly when
the product does not have that thing any more.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from agent_trace_coordinator.cli import main
from agent_trace_coordinator.server import service
from agent_trace_coordinator.server.lookup import Lookup
from agent_trace_coordinator.server.runtime import Runtime
from agent_trace_coordinator.storage import git, git_process, journal, schema

__all__ = ["MUTANTS"]


def _replace(owner: Any, name: str, new: Any) -> Any:
    """Put something in the place of an attribute, and return what was there."""
    old = getattr(owner, name)
    setattr(owner, name, new)
    return old


def _peek(owner: Any, name: str) -> Any:
    """Return an attribute that is not the product's to show."""
    return getattr(owner, name)


def _nosync() -> None:
    """The journal is written, but not synced."""

    def prepare_to_write(connection: sqlite3.Connection) -> None:
        old(connection)
        connection.execute("PRAGMA synchronous=OFF")

    def append(self: journal.Journal, *batch: Any) -> None:
        # Whatever else sets it would make this a harness that finds nothing.
        (level,) = _peek(self, "_connection").execute("PRAGMA synchronous").fetchone()
        assert level == 0
        old_append(self, *batch)

    old = _replace(journal, "prepare_to_write", prepare_to_write)
    old_append = _replace(journal.Journal, "append", append)


def _earlyack() -> None:
    """Answers leave before the batch they depend on is durable."""

    def when_durable(
        self: Runtime, seq: int, peer: bytes, number: int, action: Callable[[], None], *_: object
    ) -> None:
        action()

    _replace(Runtime, "_when_durable", when_durable)


def _nodedup() -> None:
    """A request that comes again is carried out again, and nothing below forbids it."""

    def previous(self: Lookup, session: str, number: int) -> None:
        return None

    _replace(Lookup, "_previous", previous)
    # The journal's own unique index would stop the process at the first repetition.
    tables: str = _peek(schema, "_TABLES")
    assert "CREATE UNIQUE INDEX journal_request" in tables
    loose = tables.replace("CREATE UNIQUE INDEX journal_request", "CREATE INDEX journal_request")
    _replace(schema, "_TABLES", loose)


def _norestore() -> None:
    """Files are not brought up to date after a crash."""

    def restore_files(*_: object) -> list[object]:
        return []

    _replace(service, "restore_files", restore_files)


def _nocheckpoint() -> None:
    """Who waits for git is answered when the commit is on its way."""

    def checkpoint(self: git.GitHistory) -> None:
        pass

    _replace(git.GitHistory, "checkpoint", checkpoint)


def _nogitsync() -> None:
    """git syncs nothing, and nobody syncs for it."""

    def sync_nothing(self: git.GitHistory) -> None:
        pass

    _replace(git.GitHistory, "_sync_repository", sync_nothing)
    overrides: dict[str, str] = _peek(git_process, "_OVERRIDES")
    assert overrides["core.fsync"] == "all"
    overrides["core.fsync"] = "none"


def _nodirsync() -> None:
    """What git has written is synced, and the directories in which it got its names are not."""

    def sync_nothing(*paths: Path) -> None:
        pass

    _replace(git, "sync_directory", sync_nothing)
    _replace(git, "sync_directories", sync_nothing)


MUTANTS: Final[dict[str, Callable[[], None]]] = {
    "nosync": _nosync,
    "earlyack": _earlyack,
    "nodedup": _nodedup,
    "norestore": _norestore,
    "nocheckpoint": _nocheckpoint,
    "nogitsync": _nogitsync,
    "nodirsync": _nodirsync,
}
"""The planted bugs by name."""


if __name__ == "__main__":
    MUTANTS[sys.argv.pop(1)]()
    main()
