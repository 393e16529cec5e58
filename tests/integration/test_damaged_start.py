"""A coordinator whose state.db holds texts that are none, or rows that contradict each other."""

from __future__ import annotations

import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agent_trace_coordinator.repair.examine import look
from agent_trace_coordinator.repair.mend import repair
from agent_trace_coordinator.storage.store import Store, create_store
from agent_trace_protocol import AcquireLease, Actor, Append, Durability, Put, Transact, Unlock
from damage.original import copy_store
from support.coordinator import Coordinator, Peer, running

pytestmark = pytest.mark.integration

STATE = ".agent-trace/state.db"


def text_columns(path: Path) -> list[tuple[str, str]]:
    """Return the columns of text that hold something, of all tables."""
    with closing(sqlite3.connect(path)) as database:
        names = [
            name
            for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        return [
            (name, column)
            for name in names
            if not name.startswith("sqlite_")
            for _, column, kind, *_ in database.execute(f"PRAGMA table_info({name})")
            if kind == "TEXT"
            and database.execute(f"SELECT 1 FROM {name} WHERE {column} IS NOT NULL").fetchone()
        ]


def said_instead_of_serving(root: Path) -> str:
    """Start a coordinator, and return what it says if it does not serve."""
    try:
        coordinator = Coordinator(root)
    except AssertionError as error:
        return str(error)
    coordinator.end(signal.SIGKILL)
    return ""


def test_a_start_on_texts_that_are_none_says_what_helps(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with (
        running(root) as coordinator,
        Peer(coordinator.endpoint).opened() as peer,
        Peer(coordinator.endpoint, "mia", Actor.USER).opened() as mia,
    ):
        peer.do(Put("a.md", b"one\n"), Append("b.md", b"two\n"), durability=Durability.GIT)
        mia.do(Put("rules.md", b"law\n"))
        mia.ask(Unlock("rules.md", "anna", 600))
        peer.ask(AcquireLease("a.md", ttl_seconds=600.0))
        peer.ask(Transact((Put("b.md", b"late\n", if_revision=7),)))
    columns = text_columns(root / STATE)
    assert {"session", "meta", "note", "change"} <= {table for table, _ in columns}

    refused = 0
    for number, (table, column) in enumerate(columns):
        copy = tmp_path / f"copy-{number}"
        copy_store(root, copy)
        with closing(sqlite3.connect(copy / STATE)) as database:
            database.execute(
                f"UPDATE {table} SET {column} = CAST({column} || x'ff80' AS TEXT)"
                f" WHERE {column} IS NOT NULL"
            )
            database.commit()
        # What a start does not read is found by doctor.
        if said := said_instead_of_serving(copy):
            refused += 1
            assert "Traceback" not in said, (table, column, said)
            assert "error: state.db " in said
            assert "hint: see what is wrong with: agent-trace doctor" in said
    assert refused >= 3


def test_a_start_on_rows_that_contradict_each_other_says_what_helps(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with running(root) as coordinator, Peer(coordinator.endpoint).opened() as peer:
        peer.do(Put("a.md", b"one\n"), durability=Durability.GIT)
    with closing(sqlite3.connect(root / STATE)) as database:
        database.execute("UPDATE meta SET value = 7 WHERE key = 'store'")
        database.commit()
    said = said_instead_of_serving(root)
    assert "Traceback" not in said
    assert "error: state.db contradicts itself" in said
    assert "hint: see what is wrong with: agent-trace doctor" in said


def nothing(*_: object) -> None:
    """Tell nobody."""


def test_a_store_that_lost_its_journal_does_not_begin_anew(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with running(root) as coordinator, Peer(coordinator.endpoint).opened() as peer:
        peer.do(Put("a.md", b"one\n"), durability=Durability.GIT)
        assert coordinator.end() == 0
    (root / STATE).unlink()
    assert "error: state.db is missing, but git has a history" in said_instead_of_serving(root)
    # What a coordinator would make there hides from nobody that there was more.
    assert not (root / STATE).exists()
    (root / STATE).touch()
    assert "error: state.db is empty, but git has a history" in said_instead_of_serving(root)

    refs = root / ".agent-trace" / "repo" / "refs"
    refs.rename(tmp_path / "refs")
    assert "error: state.db is empty, but git has objects" in said_instead_of_serving(root)
    assert look(Store(root), nothing, served=False).journal.problems
    shutil.rmtree(root / ".agent-trace" / "repo")
    log = root / f"{STATE}-wal"
    log.write_bytes(b"what was in it")
    assert "its write-ahead log is there" in said_instead_of_serving(root)
    log.unlink()
    said = said_instead_of_serving(root)
    assert "manifest.toml lists 1 document, and git has no history either" in said
    outcome = repair(Store(root), nothing, lambda seen, losses: True)
    assert [loss.what for loss in outcome.losses] == [
        "the documents that manifest.toml lists: a.md"
    ]
    assert (root / outcome.kept_as / "manifest.toml").is_file()
    assert outcome.healthy and said_instead_of_serving(root) == ""


def test_nothing_is_wrong_with_a_store_that_was_just_made(tmp_path: Path) -> None:
    create_store(tmp_path)
    assert look(Store(tmp_path), nothing, served=False).findings == []
