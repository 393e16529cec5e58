"""Backups: made of a store that is served, verified before anything is put in place."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from agent_trace_coordinator.errors import CorruptStore, StoreInvalid
from agent_trace_coordinator.repair.archive import back_up, restore_backup
from agent_trace_coordinator.repair.examine import look
from agent_trace_coordinator.storage.store import Store, create_store
from agent_trace_protocol import Document, Durability, Put, Read
from damage.original import take_snapshot
from support.coordinator import Peer, running
from support.namespaces import own_mounts

pytestmark = pytest.mark.integration


def nothing(*_: object) -> None:
    """Tell nobody."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of a store that is served, with writes after it."""
    place = tmp_path_factory.mktemp("backup")
    with running(place / "store") as coordinator, Peer(coordinator.endpoint).opened() as peer:
        peer.do(Put("a.md", b"in git\n"), Put("b/c.md", b"x" * 20_000), durability=Durability.GIT)
        peer.do(Put("a.md", b"perhaps not in git yet\n"))
        report = back_up(Store(place / "store"), place / "backup", nothing)
        assert report.operations == 3
        peer.do(Put("a.md", b"after the backup\n"))
    return place / "backup"


def test_what_was_backed_up_is_served_again(archive: Path, tmp_path: Path) -> None:
    assert archive.stat().st_mode & 0o777 == 0o600
    root = tmp_path / "restored"
    restore_backup(archive, root, nothing)

    assert (root / "a.md").read_bytes() == b"perhaps not in git yet\n"
    assert look(Store(root), nothing, served=False).findings == []
    snapshot = take_snapshot(root)
    assert len(snapshot.commits) == len(snapshot.records) == 3
    with running(root) as coordinator, Peer(coordinator.endpoint, "ben").opened() as peer:
        document = peer.ask(Read("b/c.md"))
        assert isinstance(document, Document)
        assert document.content == b"x" * 20_000
        assert peer.do(Put("a.md", b"goes on\n")).results[0].revision == 3


def test_a_store_in_which_nothing_was_written_has_nothing_to_back_up(tmp_path: Path) -> None:
    create_store(tmp_path)
    with pytest.raises(StoreInvalid, match="nothing was written"):
        back_up(Store(tmp_path), tmp_path / "backup", nothing)


def test_nothing_is_overwritten(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreInvalid, match="is there already"):
        back_up(Store(tmp_path), archive, nothing)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.md").touch()
    with pytest.raises(StoreInvalid, match="is not empty"):
        restore_backup(archive, tmp_path / "full", nothing)
    assert os.listdir(tmp_path / "full") == ["mine.md"]


@pytest.mark.parametrize("seed", range(12))
def test_of_a_damaged_backup_nothing_is_put_in_place(
    archive: Path, tmp_path: Path, seed: int
) -> None:
    random = Random(seed)
    data = bytearray(archive.read_bytes())
    if seed % 3 == 0:
        del data[random.randrange(len(data)) :]
    else:
        # Past the header of gzip, of which some bits mean nothing.
        data[random.randrange(10, len(data))] ^= 1 << random.randrange(8)
    damaged = tmp_path / "damaged"
    damaged.write_bytes(data)
    try:
        restore_backup(damaged, tmp_path / "restored", nothing)
    except (CorruptStore, StoreInvalid):
        assert os.listdir(tmp_path) == ["damaged"]
    else:
        # The bit was in what nothing is made of, such as the padding behind the last file.
        assert (tmp_path / "restored" / "a.md").read_bytes() == b"perhaps not in git yet\n"
        assert look(Store(tmp_path / "restored"), nothing, served=False).findings == []


def test_the_commands_say_what_they_did(archive: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "agent_trace_coordinator", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    root = str(tmp_path / "restored")
    done = run("restore-backup", str(archive), root)
    assert (done.returncode, done.stdout) == (
        0,
        f"{root}: 3 operations, 2 documents, all verified\n",
    )
    again = run("restore-backup", str(archive), root)
    assert again.returncode == 1 and "is not empty" in again.stderr
    none = run("restore-backup", __file__, str(tmp_path / "other"))
    assert none.returncode == 1
    assert none.stderr.endswith("hint: nothing was put in place; take another backup\n")
    healthy = run("doctor", "--store", root)
    assert (healthy.returncode, healthy.stdout.splitlines()[-1]) == (0, "nothing is wrong")
    (tmp_path / "restored" / ".agent-trace" / "state.db").unlink()
    assert run("doctor", "--store", root, "--json").returncode == 1
    unasked = run("repair", "--store", root)
    assert unasked.returncode == 1 and "nothing was changed" in unasked.stderr
    assert run("repair", "--store", root, "--yes").returncode == 0
    assert run("doctor", "--store", root).returncode == 0


def test_what_was_set_aside_under_a_name_that_is_no_text_is_backed_up_too(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with running(root) as coordinator, Peer(coordinator.endpoint).opened() as peer:
        peer.do(Put("a.md", b"text\n"), durability=Durability.GIT)
        aside = root / ".agent-trace" / "quarantine" / "17-ab-d.md"
        aside.mkdir(mode=0o700)
        odd = os.fsencode(aside) + b"/\xff%ff"
        with open(odd, "wb") as file:
            file.write(b"kept\n")
        os.chmod(odd, 0o644)
        # As it was, in a directory that nobody else can enter.
        assert look(Store(root), nothing, served=True).findings == []
        back_up(Store(root), tmp_path / "backup", nothing)
    restore_backup(tmp_path / "backup", tmp_path / "restored", nothing)
    with open(odd.replace(b"/store/", b"/restored/"), "rb") as file:
        assert file.read() == b"kept\n"


def test_a_state_db_with_a_trigger_of_somebody_else_is_neither_healthy_nor_backed_up(
    archive: Path, tmp_path: Path
) -> None:
    root = tmp_path / "store"
    restore_backup(archive, root, nothing)
    with closing(sqlite3.connect(root / ".agent-trace" / "state.db")) as connection:
        connection.execute(
            "CREATE TRIGGER loss AFTER INSERT ON journal BEGIN DELETE FROM journal; END"
        )
    findings = look(Store(root), nothing, served=False).findings
    assert "'loss'" in findings[0].what
    with pytest.raises(CorruptStore, match="'loss'"):
        back_up(Store(root), tmp_path / "backup", nothing)


def forged(
    archive: Path,
    made: Path,
    change: Callable[[list[dict[str, object]]], object],
    without: str = "",
) -> Path:
    """Make a copy of a backup, with other members in its manifest and one file less."""
    with tarfile.open(archive) as whole, tarfile.open(made, "w:gz", compresslevel=1) as copy:
        for entry in whole:
            content = whole.extractfile(entry)
            assert content is not None
            data = content.read()
            if entry.name == "manifest.json":
                manifest = json.loads(data)
                change(manifest["members"])
                data = json.dumps(manifest).encode()
                entry.size = len(data)
            if entry.name != without:
                copy.addfile(entry, io.BytesIO(data))
    return made


def test_it_is_restored_into_a_volume_which_nothing_can_be_renamed_to(
    archive: Path, tmp_path: Path
) -> None:
    volume = tmp_path / "volume"
    (volume / ".agent-trace.restoring" / "of a killed one").mkdir(parents=True)
    script = """
        python="$3"
        mount --bind "$1" "$1" || exit
        trace() { "$python" -m agent_trace_coordinator "$@"; }
        trace restore-backup "$2" "$1" && trace doctor --store "$1" || exit
        ! trace restore-backup "$2" "$1"
    """
    command = ("sh", "-c", script, "sh", str(volume), str(archive), sys.executable)
    done = subprocess.run(own_mounts(*command), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "nothing is wrong"), done.stderr
    assert "is not empty" in done.stderr
    assert (volume / "a.md").read_bytes() == b"perhaps not in git yet\n"
    assert sorted(each.name for each in volume.iterdir()) == [".agent-trace", "a.md", "b"]


def test_a_backup_without_settings_is_not_restored_as_half_a_store(
    archive: Path, tmp_path: Path
) -> None:
    def forget(members: list[dict[str, object]]) -> None:
        members[:] = [each for each in members if each["name"] != "config.toml"]

    without = forged(archive, tmp_path / "without", forget, "config.toml")
    with pytest.raises(CorruptStore, match="lacks config.toml"):
        restore_backup(without, tmp_path / "restored", nothing)
    assert not (tmp_path / "restored").exists()


@pytest.mark.parametrize(
    ("member", "said"),
    [
        ({"name": "drafts/big", "size": 1 << 60}, "bytes, and only [0-9]+ are free"),
        ({"name": "drafts/less", "size": -1}, "contradicts itself"),
        ({"name": "state.db", "size": 1}, "contradicts itself"),
        ({"name": "drafts/../../out", "size": 1}, "nothing of a store"),
        ({"name": "drafts/", "size": 1}, "nothing of a store"),
        ({"name": "drafts/%2e%2e/x", "size": 1}, "nothing of a store"),
        ({"name": "repo/hooks/post-commit", "size": 1}, "nothing of a store"),
        ({"name": "/etc/passwd", "size": 1}, "nothing of a store"),
    ],
)
def test_what_may_not_be_unpacked_is_refused_before_anything_is(
    archive: Path, tmp_path: Path, member: dict[str, object], said: str
) -> None:
    hostile = forged(
        archive, tmp_path / "hostile", lambda members: members.append({**member, "digest": ""})
    )
    told: list[str] = []

    def tell(what: str, done: int, of: int) -> None:
        told.append(what)

    with pytest.raises((CorruptStore, StoreInvalid), match=said):
        restore_backup(hostile, tmp_path / "restored", tell)
    assert told == [] and os.listdir(tmp_path) == ["hostile"]
