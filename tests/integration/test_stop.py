"""A coordinator that a user has stopped stays so, and leaves nothing where others would trip."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import anyio
import pytest

from agent_trace import ConnectionLost, CoordinatorStopped, connect
from agent_trace.client import connect_with
from agent_trace.config import Identity, Settings
from agent_trace.connector import StoreConnector
from agent_trace.launch import listening, read_stopped
from agent_trace_protocol import Actor
from agent_trace_protocol.ids import parse_agent_name
from agent_trace_protocol.layout import STOPPED_FILE
from support.coordinator import running

pytestmark = [pytest.mark.integration, pytest.mark.anyio]


def stop(root: Path) -> None:
    command = [sys.executable, "-m", "agent_trace", "stop", "--store", str(root)]
    subprocess.run(command, check=True, capture_output=True, timeout=30, stdin=subprocess.DEVNULL)


async def test_what_a_user_has_stopped_only_a_user_starts_again(tmp_path: Path) -> None:
    root = tmp_path / "store"
    settings = Settings(
        identity=Identity(Actor.AGENT, parse_agent_name("planner")),
        root=root,
        reconnect_seconds=0.2,
    )
    with running(root) as coordinator, anyio.fail_after(60):
        async with connect_with(settings) as agent:
            await agent.write("a.md", "one\n")
            await anyio.to_thread.run_sync(stop, root)
            assert await anyio.to_thread.run_sync(coordinator.process.wait) == 0
            # Who was connected waits for it, and is told who stopped it.
            with pytest.raises(ConnectionLost, match="has stopped the coordinator"):
                await agent.write("a.md", "two\n")
        with pytest.raises(CoordinatorStopped, match="agent-trace serve"):
            async with connect(root, agent="planner"):
                pass
        assert listening(root) is None
        try:
            async with connect(root, user="ann") as user:
                assert (await user.read("a.md")).text == "one\n"
                assert read_stopped(root) is None
                async with connect(root, agent="coder") as agent:
                    await agent.write("a.md", "three\n")
        finally:
            await anyio.to_thread.run_sync(stop, root)


async def test_a_coordinator_that_was_stopped_is_gone_with_all_that_it_writes(
    tmp_path: Path,
) -> None:
    root = tmp_path / "store"
    with running(root) as coordinator:
        for number in range(3):
            if number:
                coordinator.start()
            async with connect(root, user="ann") as user:
                await user.write(f"{number}.md", "one\n")
            await anyio.to_thread.run_sync(stop, root)
            # Not `wait`: it has ended before `stop` did.
            assert coordinator.process.poll() == 0
            coordinator.end()
    shutil.rmtree(root)


@pytest.mark.parametrize(
    "text", ["", "{", '{"by": "ann", "time_ms": 1}', '{"by": "ann", "time_ms": 9000000000000}']
)
async def test_a_stop_of_long_ago_or_a_damaged_note_keeps_nobody_out(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / STOPPED_FILE).parent.mkdir(parents=True)
    (tmp_path / STOPPED_FILE).write_text(text, encoding="utf-8")
    assert read_stopped(tmp_path) is None


async def test_without_starting_a_stop_is_told_too(tmp_path: Path) -> None:
    connector = StoreConnector(tmp_path, autostart=False)
    with pytest.raises(ConnectionLost, match="no coordinator is running"):
        await connector.connect()


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    # A short path: what is far from deep stores has to fit into a socket's address.
    directory = Path(tempfile.mkdtemp(prefix="at-"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    yield directory
    shutil.rmtree(directory)


def sockets(runtime: Path) -> int:
    return len(list((runtime / "agent-trace").glob("*.sock")))


def test_a_start_removes_the_sockets_of_killed_coordinators_of_other_stores(
    tmp_path: Path, runtime: Path
) -> None:
    deep = tmp_path / ("deep" * 20)
    with running(deep / "one") as one, running(deep / "two") as two:
        assert sockets(runtime) == 2
        one.end(signal.SIGKILL)
        shutil.rmtree(deep / "one")
        two.end(signal.SIGKILL)
        assert sockets(runtime) == 2
        two.start()
        with running(deep / "three") as three:
            # That of the store that is gone has gone with it; the two that serve have theirs.
            assert sockets(runtime) == 2
            assert listening(deep / "two") is not None
            two.end(signal.SIGKILL)
            three.end(signal.SIGKILL)
        assert sockets(runtime) == 2
        # Any start does it, also that of a store whose own socket lies in the store.
        with running(runtime / "near"):
            assert sockets(runtime) == 0
            assert not list((runtime / "agent-trace").iterdir())
