"""The library's way to doctor, repair, backup and mirrors."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import pytest

from agent_trace import sync_upkeep, upkeep
from agent_trace_coordinator.repair.examine import is_served, look
from agent_trace_coordinator.storage.store import Store, create_store
from agent_trace_protocol import Durability, Put
from support.coordinator import Peer, running

pytestmark = pytest.mark.integration


def nothing(*_: object) -> None:
    """Tell nobody."""


def test_a_store_that_is_written_meanwhile_is_examined_without_a_false_alarm(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path / "store")
    with running(store.root) as coordinator, Peer(coordinator.endpoint).opened() as peer:
        written = threading.Event()
        leaving = threading.Event()

        def write() -> None:
            for number in itertools.count():
                peer.do(Put(f"{number % 7}.md", b"%d\n" % number))
                written.set()
                if leaving.is_set():
                    return

        writer = threading.Thread(target=write)
        writer.start()
        try:
            assert written.wait(10) and is_served(store)
            for _ in range(3):
                assert look(store, nothing, served=True).findings == []
        finally:
            leaving.set()
            writer.join()
    assert not is_served(store)


def test_a_program_can_do_what_the_command_line_can(tmp_path: Path) -> None:
    # By the blocking twin, whose functions are made from the others.
    upkeep = sync_upkeep
    root = tmp_path / "store"
    with running(root) as coordinator, Peer(coordinator.endpoint).opened() as peer:
        peer.do(Put("a.md", b"one\n"), durability=Durability.GIT)
        assert upkeep.back_up(root, tmp_path / "backup").operations == 2
        with pytest.raises(upkeep.UpkeepFailed, match="another coordinator"):
            upkeep.repair(root)
    copy = tmp_path / "copy"
    upkeep.restore_backup(tmp_path / "backup", copy)
    with pytest.raises(upkeep.UpkeepFailed, match="is not empty"):
        upkeep.restore_backup(tmp_path / "backup", copy)
    assert upkeep.doctor(copy).healthy
    (copy / ".agent-trace" / "state.db").unlink()
    assert not upkeep.repair(copy, dry_run=True).changed
    assert upkeep.repair(copy).healthy
    with pytest.raises(upkeep.UpkeepFailed, match="can be no mirror|can not be a mirror"):
        upkeep.add_mirror(copy, "--force")
    url = f"file://{tmp_path / 'absent.git'}"
    assert [each.url for each in upkeep.add_mirror(copy, url)] == [url]
    assert upkeep.push_mirrors(copy)[0].failure
    assert upkeep.mirrors(copy)[0].seq == 0
    assert upkeep.remove_mirror(copy, url) == []


async def test_on_every_event_loop(tmp_path: Path) -> None:
    assert sync_upkeep.__all__ == upkeep.__all__
    create_store(tmp_path)
    assert (await upkeep.doctor(tmp_path)).healthy
    with pytest.raises(upkeep.UpkeepFailed, match="is no mirror of this store"):
        await upkeep.remove_mirror(tmp_path, "file:///nowhere")
