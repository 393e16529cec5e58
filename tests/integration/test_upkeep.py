"""The library's way to doctor, repair, backup and mirrors."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import pytest

from agent_trace import sync_upkeep, upkeep
from agent_trace_coordinator.repair.examine import is_served, look
from agent_trace_coordinator.storage.store import Store
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


async def test_a_program_can_do_what_the_command_line_can(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with running(root) as coordinator, Peer(coordinator.endpoint).opened() as peer:
        peer.do(Put("a.md", b"one\n"), durability=Durability.GIT)
        assert (await upkeep.back_up(root, tmp_path / "backup")).operations == 2
        with pytest.raises(upkeep.UpkeepFailed, match="another coordinator"):
            await upkeep.repair(root)
    copy = tmp_path / "copy"
    await upkeep.restore_backup(tmp_path / "backup", copy)
    with pytest.raises(upkeep.UpkeepFailed, match="is not empty"):
        await upkeep.restore_backup(tmp_path / "backup", copy)
    assert (await upkeep.doctor(copy)).healthy
    (copy / ".agent-trace" / "state.db").unlink()
    assert not (await upkeep.repair(copy, dry_run=True)).changed
    assert (await upkeep.repair(copy)).healthy
    with pytest.raises(upkeep.UpkeepFailed, match="can be no mirror|can not be a mirror"):
        await upkeep.add_mirror(copy, "--force")
    url = f"file://{tmp_path / 'absent.git'}"
    assert [each.url for each in await upkeep.add_mirror(copy, url)] == [url]
    assert (await upkeep.push_mirrors(copy))[0].failure
    assert (await upkeep.mirrors(copy))[0].seq == 0
    assert await upkeep.remove_mirror(copy, url) == []


def test_the_blocking_twin_has_the_same_functions(tmp_path: Path) -> None:
    assert sync_upkeep.__all__ == upkeep.__all__
    root = tmp_path / "store"
    with running(root) as coordinator, Peer(coordinator.endpoint).opened() as peer:
        peer.do(Put("a.md", b"text\n"), durability=Durability.GIT)
        assert sync_upkeep.doctor(root).healthy
        with pytest.raises(sync_upkeep.UpkeepFailed, match="another coordinator"):
            sync_upkeep.repair(root)
