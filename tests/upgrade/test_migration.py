"""The way from format 1 to the present one: taken by the first start, or not at all."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from agent_trace import connect_sync
from agent_trace_coordinator.errors import StoreInvalid
from agent_trace_coordinator.repair.archive import back_up, restore_backup
from agent_trace_coordinator.repair.examine import look
from agent_trace_coordinator.repair.mend import repair
from agent_trace_coordinator.storage.journal import Journal
from agent_trace_coordinator.storage.store import Store, create_store, load_config
from agent_trace_coordinator.storage.upgrade import bring_up_to_date
from agent_trace_coordinator.storage.versions import FORMAT_VERSION, at_format
from support.coordinator import running
from upgrade import archive_of

from .test_upgrade import agreed, contents, nothing

pytestmark = pytest.mark.integration

CUT_SHORT: Final = Path(__file__).parent / "cut_short.py"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of format 1 that nobody may change."""
    root = tmp_path_factory.mktemp("old") / "s"
    restore_backup(archive_of(1), root, nothing)
    return root


@pytest.fixture
def old(tmp_path: Path) -> Store:
    """A store of format 1."""
    restore_backup(archive_of(1), tmp_path / "s", nothing)
    return Store(tmp_path / "s")


def formats(store: Store) -> tuple[int, int]:
    """Return what the settings and state.db say."""
    with closing(sqlite3.connect(store.state_db)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    return load_config(store).format_version, version


def journal(store: Store) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(store.state_db)) as connection:
        return connection.execute("SELECT seq, record, chain FROM journal ORDER BY seq").fetchall()


def healthy(store: Store) -> bool:
    return look(store, nothing, served=False).findings == []


# ---- before the first start ------------------------------------------------------------------


def test_looking_saving_and_repairing_leave_a_whole_store_of_an_older_format_as_it_is(
    old: Store, tmp_path: Path
) -> None:
    before = contents(old.root)
    assert healthy(old)
    checked = look(old, nothing, served=False).checked
    assert any(line.startswith("format: 1; the next start") for line in checked)
    assert not repair(old, nothing, agreed).changed
    back_up(old, tmp_path / "again.backup", nothing)
    restore_backup(tmp_path / "again.backup", tmp_path / "restored", nothing)
    assert contents(old.root) == before
    restored = Store(tmp_path / "restored")
    assert formats(restored) == formats(old) == (1, 1)
    assert journal(restored) == journal(old)


# ---- the first start -------------------------------------------------------------------------


def test_the_first_start_brings_a_store_up_to_date_and_says_so(old: Store) -> None:
    before = journal(old)
    with old.config.open("a", encoding="utf-8") as file:
        file.write("stale_seconds = 20\n")
    with running(old.root) as coordinator:
        assert any("from format 1 to format 2" in line for line in coordinator.said)
        with connect_sync(old.root, user="ada") as user:
            user.write("after.md", "written by the new version\n")
            ended = [each for each in user.sessions(ended=True) if each.ended_ms]
        coordinator.end()
    # Who ended before the upgrade left no word of when it was last seen.
    assert ended and not any(each.last_seen_ms for each in ended)
    assert formats(old) == (FORMAT_VERSION, FORMAT_VERSION)
    assert load_config(old).stale_seconds == 20
    assert journal(old)[: len(before)] == before
    assert healthy(old)
    with running(old.root) as coordinator:
        assert not any("from format" in line for line in coordinator.said)
        with connect_sync(old.root, user="ada") as user:
            (last, *_) = [each for each in user.sessions(ended=True) if each.ended_ms]
            assert last.started_ms <= last.last_seen_ms <= last.ended_ms


def test_a_store_of_an_older_format_that_was_never_started_is_begun_in_the_new_one(
    tmp_path: Path,
) -> None:
    create_store(tmp_path)
    store = Store(tmp_path)
    text = store.config.read_text(encoding="utf-8")
    store.config.write_text(at_format(text, 1), encoding="utf-8")
    assert bring_up_to_date(store) == 1
    Journal(store.state_db).close()
    assert formats(store) == (FORMAT_VERSION, FORMAT_VERSION)
    assert store.config.read_text(encoding="utf-8") == text


def test_an_upgrade_that_is_killed_anywhere_is_undone_or_finished(
    template: Path, tmp_path: Path
) -> None:
    subprocess.run([sys.executable, CUT_SHORT, template, tmp_path], check=True)
    due, seen = journal(Store(template)), dict[tuple[int, int], Store]()
    killed = sorted(tmp_path.iterdir(), key=lambda each: int(each.name))
    for store in map(Store, killed):
        found = formats(store)
        if found not in seen:
            # Whole for a doctor that comes before the next start.
            assert healthy(store)
        seen[found] = store
        if found == (1, 1):
            # The older version goes on with it as if nothing had been.
            assert journal(store) == due
        assert bring_up_to_date(store) == found[0]
        assert formats(store) == (FORMAT_VERSION, FORMAT_VERSION)
        assert journal(store) == due
    # In this order: from the transaction on the older version refuses it.
    assert list(seen) == [(1, 1), (1, 2), (2, 2)]
    assert all(healthy(store) for store in seen.values())


@pytest.mark.parametrize(
    ("size", "left"), [(0, (1, 1)), (40_000, (1, 2))], ids=["journal", "settings"]
)
def test_an_upgrade_without_room_is_undone_or_finished(
    size: int, left: tuple[int, int], old: Store, tmp_path: Path
) -> None:
    due = journal(old)
    with old.config.open("a", encoding="utf-8") as file:
        file.write("# why this is so\n" * 3000)
    store = Store(tmp_path / "full")
    subprocess.run([sys.executable, CUT_SHORT, old.root, store.root, str(size)], check=True)
    assert formats(store) == left
    bring_up_to_date(store)
    assert formats(store) == (FORMAT_VERSION, FORMAT_VERSION)
    assert journal(store) == due and healthy(store)


# ---- with damage -----------------------------------------------------------------------------


def test_a_damaged_store_of_an_older_format_is_repaired_into_the_present_one(old: Store) -> None:
    before = journal(old)
    old.state_db.write_bytes(old.state_db.read_bytes()[:20_000])
    old.config.unlink()
    outcome = repair(old, nothing, agreed)
    assert (outcome.healthy, outcome.losses) == (True, ())
    assert formats(old) == (FORMAT_VERSION, FORMAT_VERSION)
    assert journal(old) == before


def test_a_damaged_history_of_an_older_format_is_repaired_beside_its_journal(old: Store) -> None:
    before = journal(old)
    (old.repo / "HEAD").write_bytes(b"\0")
    for pack in (old.repo / "objects" / "pack").glob("*.pack"):
        pack.chmod(0o600)
        pack.write_bytes(b"PACK")
    outcome = repair(old, nothing, agreed)
    assert (outcome.healthy, outcome.losses) == (True, ())
    assert f"brought the store to format {FORMAT_VERSION}" in outcome.done
    assert formats(old) == (FORMAT_VERSION, FORMAT_VERSION)
    assert journal(old) == before


def test_settings_of_a_newer_format_than_the_journals_are_damage(old: Store) -> None:
    """No upgrade leaves them so."""
    before = journal(old)
    text = old.config.read_text(encoding="utf-8")
    old.config.write_text(at_format(text, FORMAT_VERSION), encoding="utf-8")
    with pytest.raises(StoreInvalid, match="damaged, or of another store"):
        bring_up_to_date(old)
        Journal(old.state_db)
    assert not healthy(old)
    assert repair(old, nothing, agreed).healthy
    assert journal(old) == before
