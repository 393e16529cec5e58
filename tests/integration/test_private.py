"""What is the owner's alone stays so, and no name of a store leads out of it."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_trace_coordinator.errors import StoreInvalid
from agent_trace_coordinator.server.endpoint import announce, check_private, mark_stopped
from agent_trace_coordinator.storage.store import create_store, open_store
from agent_trace_protocol import Put
from agent_trace_protocol.layout import EndpointInfo, StoppedInfo
from support.coordinator import Peer, running

pytestmark = pytest.mark.integration


@pytest.fixture
def short_root() -> Iterator[Path]:
    """A store whose socket lies in it: a longer path has it in a directory that others use too."""
    with tempfile.TemporaryDirectory(prefix="at-") as directory:
        yield Path(directory, "store")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_the_socket_and_its_directory_are_the_owners_alone(short_root: Path) -> None:
    root, run = short_root, short_root / ".agent-trace/run"
    with running(root) as served, Peer(served.endpoint) as peer:
        peer.opened()
        assert mode(root / ".agent-trace") == 0o700
        assert mode(run) == 0o700
        assert mode(run / "coordinator.sock") == 0o600
        assert mode(run / "endpoint.json") == 0o600
        check_private(run / "coordinator.sock")
        # And it is looked at, not only made.
        run.chmod(0o750)
        with pytest.raises(StoreInvalid, match="only you can enter"):
            check_private(run / "coordinator.sock")
        run.chmod(0o700)
        (run / "coordinator.sock").chmod(0o666)
        with pytest.raises(StoreInvalid, match="only you can use"):
            check_private(run / "coordinator.sock")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files that are another's")
def test_a_socket_in_a_directory_of_somebody_else_is_not_ours(short_root: Path) -> None:
    run = short_root / ".agent-trace/run"
    with running(short_root):
        os.chown(run, 12345, -1)
        with pytest.raises(StoreInvalid, match="only you can enter"):
            check_private(run / "coordinator.sock")


@pytest.mark.parametrize(
    "name",
    [
        *("state.db", "search.db", "manifest.toml", "repo", "run/coordinator.lock"),
        *("run/coordinator.log", "run/start.lock", "locks/agent-lock.toml", "keys/clients.json"),
        *("quarantine", "run/tmp"),
    ],
)
def test_a_link_in_the_place_of_a_file_of_the_store_is_refused(tmp_path: Path, name: str) -> None:
    root, outside = tmp_path / "store", tmp_path / "outside"
    root.mkdir()
    outside.write_bytes(b"mine")
    create_store(root)
    place = root / ".agent-trace" / name
    if place.is_dir():
        place.rmdir()
    place.symlink_to(outside)
    with pytest.raises(StoreInvalid, match=str(place)):
        open_store(root)
    assert outside.read_bytes() == b"mine"


def test_a_link_that_is_put_there_while_it_serves_is_not_followed(tmp_path: Path) -> None:
    root, outside = tmp_path / "store", tmp_path / "outside"
    outside.write_bytes(b"mine")
    with running(root) as served, Peer(served.endpoint) as peer:
        peer.opened().do(Put("plan.md", b"one\n"))
        run = root / ".agent-trace/run"
        for name in ("endpoint.tmp", "stopped.tmp", "stopped.json"):
            (run / name).unlink(missing_ok=True)
            (run / name).symlink_to(outside)
        announce(root, EndpointInfo(served.endpoint, 1, 1, "0"))
        mark_stopped(root, StoppedInfo("ann", 1))
        assert outside.read_bytes() == b"mine"
        assert not (run / "stopped.json").is_symlink()
