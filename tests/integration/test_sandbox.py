"""Commands and programs in a sandbox that denies them sockets, beside a coordinator outside of it.

The sandbox is a real one: a filter of the kernel that refuses the calls.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from agent_trace import connect
from agent_trace.client import connect_with
from agent_trace.config import Settings, find_identity
from agent_trace.connector import SpoolConnector
from support.coordinator import Coordinator, running
from support.sandbox import DENIED, available, sandboxed

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not available(), reason="this system has no seccomp filters"),
]

KINDS = sorted(DENIED)
AGENT_TRACE = str(Path(sys.executable).with_name("agent-trace"))


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coordinator]:
    with running(tmp_path_factory.mktemp("store")) as started:
        yield started


def run(
    kind: str, root: Path, *arguments: str, program: str = AGENT_TRACE, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        sandboxed(kind, program, *arguments),
        cwd=root,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_commands_do_the_same_as_outside(coordinator: Coordinator, kind: str) -> None:
    root = coordinator.root
    path = f"{kind}.md"
    written = run(kind, root, "write", path, "--text", "one\n", "--agent", "boxed", "--json")
    assert written.returncode == 0, written.stderr
    assert json.loads(written.stdout)["revision"] == 1
    assert (
        run(kind, root, "edit", path, "--old", "one", "--new", "two", "--agent", "boxed").returncode
        == 0
    )
    assert run(kind, root, "read", path).stdout == "two\n"
    assert (root / path).read_text(encoding="utf-8") == "two\n"
    refused = run(kind, root, "read", "nothing.md")
    assert refused.returncode == 1
    assert "nothing.md" in refused.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_a_kept_session_is_listed_as_coming_by_the_spool(
    coordinator: Coordinator, kind: str
) -> None:
    root, name = coordinator.root, f"kept-{kind}"
    assert run(kind, root, "connect", "--agent", name).returncode == 0
    listed = run(kind, root, "sessions", "--json").stdout.splitlines()
    (session,) = [each for each in map(json.loads, listed) if each["name"] == name]
    assert session["transport"] == "spool"
    assert run(kind, root, "disconnect", "--agent", name).returncode == 0


BLOCKING = """
from agent_trace import connect_sync
with connect_sync(agent="blocking") as agent:
    for count in range(20):
        agent.append("many.md", f"{count}\\n")
    print(agent.read("many.md").text, end="")
"""


def test_a_blocking_program_works_where_no_event_loop_can_be_woken_by_a_socket(
    coordinator: Coordinator,
) -> None:
    done = [run(kind, coordinator.root, "-c", BLOCKING, program=sys.executable) for kind in KINDS]
    assert [each.returncode for each in done] == [0, 0], [each.stderr for each in done]
    assert done[-1].stdout.split() == [str(each) for _ in KINDS for each in range(20)]


def test_a_store_that_nobody_serves_is_refused_at_once_with_the_name_of_the_sandbox(
    tmp_path: Path,
) -> None:
    with running(tmp_path / "store") as coordinator:
        root = coordinator.root
        for end, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 0)):
            # The same when it is killed, and when it leaves in order and takes its spool with it.
            assert coordinator.end(end) == code
            assert (root / ".agent-trace" / "run" / "spool").exists() == bool(code)
            done = run("all", root, "status", CODEX_SANDBOX="seatbelt")
            assert done.returncode == 1
            assert done.stderr == (
                "error: the sandbox of Codex (CODEX_SANDBOX=seatbelt) denies sockets, so no "
                f"coordinator can be started in it, and none is running for {root}; start one "
                "outside of the sandbox: agent-trace serve\n"
                "hint: a coordinator that runs outside of the sandbox is reached by files in "
                "the store\n"
            )
            if code:
                coordinator.start()
                assert run("all", root, "status").returncode == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_coordinator_in_a_sandbox_is_sent_outside(tmp_path: Path, kind: str) -> None:
    assert run(kind, tmp_path, "init", ".").returncode == 0
    done = run(kind, tmp_path, "serve")
    assert done.returncode == 1
    assert "start the coordinator outside of the sandbox that denies it" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_coordinator_known_by_its_address_only_is_refused_with_the_way_out(
    coordinator: Coordinator,
) -> None:
    done = run("all", coordinator.root, "--store", coordinator.endpoint, "status")
    assert done.returncode == 1
    assert "a sandbox that this command runs in denies sockets" in done.stderr
    assert "name a store on this machine by its directory" in done.stderr


async def test_requests_in_the_spool_of_a_coordinator_that_is_killed_are_carried_out_once(
    tmp_path: Path,
) -> None:
    with running(tmp_path / "store") as coordinator:
        root = coordinator.root
        settings = Settings(identity=find_identity("writer"), root=root)
        asked: list[str] = []
        with anyio.fail_after(60):
            async with connect_with(settings, SpoolConnector(root)) as agent:

                async def append(text: str) -> None:
                    asked.append(text)
                    await agent.append("log.md", f"{text}\n")

                await append("begin")
                for life in range(4):
                    await agent.ping()
                    if life % 2:
                        # It takes nothing any more, so what follows is in the spool when it dies.
                        coordinator.process.send_signal(signal.SIGSTOP)
                    async with anyio.create_task_group() as group:
                        for each in range(5):
                            group.start_soon(append, f"{life}.{each}")
                        if life % 2:
                            await wait_until_written(root, 5)
                        else:
                            await append(f"{life}.answered")
                        coordinator.end(signal.SIGKILL)
                        coordinator.start()
                text = (await agent.read("log.md")).text
        assert text.split() == asked
        async with connect(root, user="reader") as reader:
            assert len(await reader.log("log.md")) == len(asked)


async def wait_until_written(root: Path, count: int) -> None:
    spool = root / ".agent-trace" / "run" / "spool"
    while len(list(spool.glob("*/q.*"))) < count:
        await anyio.lowlevel.checkpoint()
