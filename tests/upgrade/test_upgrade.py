"""Stores of other formats: older ones are opened, what is newer is left as it is, by everything."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from agent_trace import connect_sync
from agent_trace.sync import SyncAgent
from agent_trace_coordinator.errors import StoreInvalid, StoreNewer
from agent_trace_coordinator.repair.archive import back_up, restore_backup
from agent_trace_coordinator.repair.examine import look
from agent_trace_coordinator.repair.mend import repair
from agent_trace_coordinator.storage.journal import Journal
from agent_trace_coordinator.storage.schema import SCHEMA_VERSION
from agent_trace_coordinator.storage.store import Store, create_store
from agent_trace_coordinator.storage.versions import FORMAT_VERSION, check_not_newer
from agent_trace_protocol import ErrorCode
from support.coordinator import running
from upgrade import FORMATS, archive_of

pytestmark = pytest.mark.integration


def nothing(*_: object) -> None:
    """Tell nobody."""


def agreed(*_: object) -> bool:
    """Agree to whatever a repair would do."""
    return True


# ---- older stores ----------------------------------------------------------------------------


Line = tuple[int, str, str, str]
"""What the log says of one operation."""


def told(agent: SyncAgent) -> tuple[dict[str, list[str]], list[Line]]:
    """Return what there is in a store, and its log, newest first."""
    things = {
        "documents": [
            f"{each.path} {each.type} {each.revision} {agent.read(each.path).text}"
            for each in agent.list()
        ],
        "drafts": [each.id for each in agent.drafts()],
        "violations": [each.id for each in agent.violations()],
    }
    log = agent.log(limit=500)
    return things, [(each.seq, each.author, each.action, each.summary) for each in log]


@pytest.mark.parametrize("format", FORMATS)
def test_a_store_of_each_format_is_served_and_made_again_from_its_history(
    format: int, tmp_path: Path
) -> None:
    root = tmp_path / "s"
    restore_backup(archive_of(format), root, nothing)
    again = "python -m upgrade makes the archive anew, as long as there was no release"
    assert [each.what for each in look(Store(root), nothing, served=False).findings] == [], again
    with running(root) as coordinator:
        with connect_sync(root, user="ada") as agent:
            before, log_before = told(agent)
        coordinator.end()
    assert all(before.values()) and len(log_before) > 20
    # Git alone has it all, but for texts that only wait.
    for name in os.listdir(root / ".agent-trace"):
        if name.startswith(("state.db", "search.db")):
            (root / ".agent-trace" / name).unlink()
    outcome = repair(Store(root), nothing, agreed)
    assert (outcome.healthy, outcome.losses) == (True, ())
    with running(root) as coordinator:
        with connect_sync(root, user="ada") as agent:
            after, log_after = told(agent)
    assert after == before
    # Whoever looked opened a session since.
    assert log_after[-len(log_before) :] == log_before


# ---- newer stores ----------------------------------------------------------------------------


def test_one_number_is_the_version_of_everything() -> None:
    assert SCHEMA_VERSION == FORMAT_VERSION


def newer_settings(store: Store) -> None:
    text = store.config.read_text(encoding="utf-8")
    line, next_line = (f"format_version = {version}\n" for version in (FORMAT_VERSION, 7))
    assert line in text
    store.config.write_text(text.replace(line, next_line) + "unheard_of = 1\n", encoding="utf-8")


def newer_journal(store: Store) -> None:
    with closing(sqlite3.connect(store.state_db)) as connection:
        connection.execute("PRAGMA user_version = 7")
    store.config.unlink()


def contents(root: Path) -> dict[str, bytes]:
    """Return a digest of every file, but for those that come and go with a look at the store."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).digest()
        for path in root.rglob("*")
        if path.is_file() and "run" not in path.parts
    }


@pytest.mark.parametrize("make_newer", [newer_settings, newer_journal])
def test_no_command_touches_or_judges_what_a_newer_version_wrote(
    make_newer: Callable[[Store], None], tmp_path: Path
) -> None:
    root = tmp_path / "s"
    root.mkdir()
    create_store(root)
    store = Store(root)
    Journal(store.state_db).close()
    make_newer(store)
    before = contents(root)
    works: list[Callable[[], object]] = [
        lambda: look(store, nothing, served=False),
        lambda: repair(store, nothing, agreed),
        lambda: back_up(store, tmp_path / "backup", nothing),
    ]
    for work in works:
        with pytest.raises(
            StoreNewer, match="has format 7, this program knows 2; upgrade"
        ) as raised:
            work()
        assert raised.value.code is ErrorCode.UNSUPPORTED_VERSION
    assert contents(root) == before


def test_whoever_starts_the_coordinator_of_a_newer_store_is_told_to_upgrade(tmp_path: Path) -> None:
    create_store(tmp_path)
    newer_settings(Store(tmp_path))
    before = contents(tmp_path)
    done = subprocess.run(
        [Path(sys.executable).parent / "agent-trace", "ls"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "the store has format 7, this program knows 2; upgrade agent-trace" in done.stderr
    assert contents(tmp_path) == before


def test_a_version_that_the_settings_contradict_is_damage(tmp_path: Path) -> None:
    """A flipped bit in the header of a database must not keep it from being repaired."""
    create_store(tmp_path)
    store = Store(tmp_path)
    Journal(store.state_db).close()
    for version in (0, 1, 3, 1 << 24):
        with closing(sqlite3.connect(store.state_db)) as connection:
            connection.execute(f"PRAGMA user_version = {version}")
        check_not_newer(store.config, store.state_db)
        with pytest.raises(StoreInvalid, match="damaged, or of another store"):
            Journal(store.state_db)
    assert repair(store, nothing, agreed).healthy
    Journal(store.state_db).close()
