"""A gateway lives as long as its host, and its session over everything else."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import anyio
import pytest

from agent_trace import Action, Agent, SessionInfo, connect
from agent_trace.gateway.seats import Client, Naming
from agent_trace.naming import memorable_name
from agent_trace_protocol import AgentName, parse_agent_name
from support.coordinator import Coordinator, make_store, running
from support.mcp import COMMAND, OLD, Stage, called, refused, stdio_gateway

pytestmark = pytest.mark.integration

PATIENCE_SECONDS: Final = 20.0

NO_START: Final = {"AGENT_TRACE_NO_START": "1"}
"""A gateway in whose test the coordinator is killed must not start one that nobody ends."""


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Generator[Coordinator]:
    """One for all tests here but those in which it ends; no agent has the same name in two."""
    with running(tmp_path_factory.mktemp("store")) as coordinator:
        yield coordinator


async def session_of(user: Agent, name: str) -> SessionInfo:
    return (await user.sessions(name=name, ended=True))[0]


# ---- the host's end -----------------------------------------------------------------------------

HOST: Final = """
import subprocess, sys
gateway = subprocess.Popen(sys.argv[3:], stdin=int(sys.argv[1]), stdout=int(sys.argv[2]))
print(gateway.pid, flush=True)
gateway.wait()
"""
"""A host that starts a gateway, whose standard input somebody else holds open as well."""


class Hosted:
    """A gateway with a call under way that takes five minutes, and its host."""

    def __init__(self, root: Path) -> None:
        theirs, self.input = os.pipe()
        self.output, ours = os.pipe()
        self.host = subprocess.Popen(
            [
                *(sys.executable, "-c", HOST, str(theirs), str(ours)),
                *(*COMMAND, "--tools", "full", "--store", str(root)),
            ],
            pass_fds=(theirs, ours),
            stdout=subprocess.PIPE,
        )
        os.close(theirs)
        os.close(ours)
        assert self.host.stdout is not None
        self.gateway = int(self.host.stdout.readline())
        self._pidfd = os.pidfd_open(self.gateway)
        info = {"name": "hosted", "version": "1"}
        told = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info}
        self._ask(1, "initialize", told)
        self._line()
        self._say({"method": "notifications/initialized"})
        self._ask(2, "tools/call", {"name": "acquire_lease", "arguments": {"path": "held.md"}})
        self._line()
        waiting = {"path": "never.md", "timeout_seconds": 300}
        call = {"name": "wait_for_change", "arguments": waiting, "_meta": {"progressToken": 1}}
        self._ask(3, "tools/call", call)
        # Its first word says that it waits.
        assert json.loads(self._line())["method"] == "notifications/progress"

    def _say(self, message: dict[str, Any]) -> None:
        os.write(self.input, json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def _ask(self, id: int, method: str, params: dict[str, Any]) -> None:
        self._say({"id": id, "method": method, "params": params})

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self.output], [], [], PATIENCE_SECONDS)
            assert ready, "the gateway says nothing"
            line += os.read(self.output, 1)
        return line

    def wait_gone(self) -> None:
        """Wait until the gateway has ended."""
        ready, _, _ = select.select([self._pidfd], [], [], PATIENCE_SECONDS)
        assert ready, "the gateway is still there"

    def close(self) -> None:
        self.host.kill()
        self.host.wait(10)
        assert self.host.stdout is not None
        self.host.stdout.close()
        for descriptor in (self.input, self.output, self._pidfd):
            if descriptor >= 0:
                os.close(descriptor)


@pytest.fixture
def hosted(coordinator: Coordinator) -> Generator[Hosted]:
    hosted = Hosted(coordinator.root)
    try:
        yield hosted
    finally:
        hosted.close()


async def assert_left(root: Path) -> None:
    """Assert that the session of the gateway was ended, and with it its lease."""
    async with connect(root, user="ada", ephemeral=True) as user:
        session = await session_of(user, "hosted")
        assert (session.state, session.reason) == ("ended", "closed")
        assert (await user.leases()).leases == ()


@pytest.mark.parametrize("end", ["host", "input", "told"])
async def test_it_leaves_with_its_host_though_a_call_is_under_way(
    hosted: Hosted, coordinator: Coordinator, end: str
) -> None:
    match end:
        case "host":
            # Its standard input stays open: this test holds it.
            hosted.host.kill()
        case "input":
            os.close(hosted.input)
            hosted.input = -1
        case _:
            os.kill(hosted.gateway, signal.SIGTERM)
    hosted.wait_gone()
    await assert_left(coordinator.root)


# ---- the coordinator's end ----------------------------------------------------------------------


@pytest.fixture
def own_coordinator(tmp_path: Path) -> Generator[Coordinator]:
    with running(tmp_path) as coordinator:
        yield coordinator


async def test_a_coordinator_that_is_killed_in_mid_call_costs_only_time(
    own_coordinator: Coordinator,
) -> None:
    root = own_coordinator.root
    async with stdio_gateway(root, "--tools", "full", environment=NO_START) as client:
        await called(client, "write_file", path="before.md", content="1\n")
        begun = anyio.Event()
        waited: list[str] = []

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            begun.set()

        async def wait() -> None:
            given = {"path": "watched.md", "timeout_seconds": 60}
            result = await client.call_tool("wait_for_change", given, progress_callback=on_progress)
            waited.append(str(result))

        async def write() -> None:
            written = await called(client, "write_file", path="during.md", content="2\n")
            assert written.startswith("during.md@1 +1 -0 commit ")

        with anyio.fail_after(PATIENCE_SECONDS):
            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                await begun.wait()
                own_coordinator.end(signal.SIGKILL)
                group.start_soon(write)
                await anyio.to_thread.run_sync(own_coordinator.start)
                async with connect(root, agent="other") as other:
                    await other.write("watched.md", "3\n")
        assert "watched.md@1" in waited[0]
        listed = (await called(client, "list_documents")).splitlines()
        assert [line.split()[0] for line in listed] == ["before.md", "during.md", "watched.md"]


async def test_a_coordinator_that_comes_after_the_gateway_is_found(tmp_path: Path) -> None:
    make_store(tmp_path)
    async with stdio_gateway(tmp_path, environment=NO_START) as client:
        said = await refused(client, "list_documents")
        assert said.startswith("unavailable: ")
        with running(tmp_path):
            assert await called(client, "list_documents") == "no documents"
            # It says how one begins.
            said = await called(client, "get_resume_context")
            assert "\nNothing is written down yet.\nNext: write_file a plan (type=" in said


# ---- the session's end --------------------------------------------------------------------------


async def test_who_was_evicted_stays_out_and_is_told_so(stage: Stage) -> None:
    async with (
        connect(stage.root, user="ada") as user,
        stage.service.client(mode=OLD, name="evicted") as client,
    ):
        await called(client, "list_documents")
        await user.evict((await session_of(user, "evicted")).id, reason="enough")
        for _ in range(2):
            said = await refused(client, "list_documents")
            assert said.startswith("session_superseded: ")
            assert "evicted by ada" in said
            assert said.endswith("Next: stop, and tell the user; only a new connection begins anew")


async def test_a_session_that_expired_while_the_machine_slept_is_opened_anew(
    tmp_path: Path,
) -> None:
    make_store(tmp_path)
    with (tmp_path / ".agent-trace" / "config.toml").open("a") as file:
        file.write("\nheartbeat_seconds = 0.2\nstale_seconds = 0.5\ngrace_seconds = 0.1\n")
    with running(tmp_path):
        async with (
            connect(tmp_path, user="ada") as user,
            stdio_gateway(tmp_path) as client,
        ):
            await called(client, "list_documents")
            first = await session_of(user, "scribe")
            os.kill(first.pid, signal.SIGSTOP)
            with anyio.fail_after(PATIENCE_SECONDS):
                async for event in user.events(since=0, follow=True, actions=[Action.CLOSE]):
                    if event.session == first.id:
                        break
            os.kill(first.pid, signal.SIGCONT)
            await called(client, "write_file", path="after.md", content="awake\n")
            second = await session_of(user, "scribe")
            assert second.predecessor == first.id


# ---- names --------------------------------------------------------------------------------------


async def test_two_windows_of_one_host_are_two_agents_and_a_given_name_is_one_only(
    coordinator: Coordinator,
) -> None:
    root = coordinator.root
    async with stdio_gateway(root, name="Some Code") as first:
        await called(first, "write_file", path="windows/1.md", content="x\n")
        async with stdio_gateway(root, name="Some Code") as second:
            await called(second, "write_file", path="windows/2.md", content="x\n")
        async with stdio_gateway(root, "--agent", "some-code") as third:
            said = await refused(third, "list_documents")
            assert said.startswith("agent_busy: agent some-code is live in session ")
            assert said.endswith(
                "Next: ask the user to end that session, or to give this client another name"
            )
        listed = await called(first, "list_documents", prefix="windows/")
    assert [line.split()[-1] for line in listed.splitlines()] == ["some-code", "some-code-2"]


@pytest.mark.parametrize(
    ("given", "environment", "client", "name", "exact"),
    [
        ("planner", {"AGENT_TRACE_AGENT": "other"}, "Some Code", "planner", True),
        (None, {"AGENT_TRACE_AGENT": "other"}, "Some Code", "other", True),
        (
            None,
            {"CLAUDE_CODE_SESSION_ID": "seven"},
            "Some Code",
            memorable_name("CLAUDE_CODE_SESSION_ID=seven"),
            False,
        ),
        (None, {}, "Some Code/2 (beta)", "some-code-2-beta", False),
        (None, {}, "...", "mcp-client", False),
        (None, {}, "system", "mcp-client", False),
        (None, {}, "", "mcp-client", False),
    ],
)
def test_an_agent_is_named_by_what_is_nearest(
    given: str | None, environment: dict[str, str], client: str, name: str, exact: bool
) -> None:
    naming = Naming.find(Client(client), given, environment)
    assert (naming.wanted, naming.exact) == (name, exact)


def test_namesakes_are_numbered_within_the_length_of_names() -> None:
    assert list(Naming(AgentName("a"), True).candidates()) == ["a"]
    names = list(Naming(AgentName("x" * 64), False).candidates())
    assert names[1] == "x" * 62 + "-2"
    assert len(names) == len(set(names)) == 64
    assert all(parse_agent_name(name) for name in names)
