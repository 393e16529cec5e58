"""Sessions that a process holds, with the real command line, library and coordinator."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from typing import IO, Any

import anyio
import pytest

from agent_trace import LeaseHeld, SessionSuperseded, StaleLease, connect, connect_sync
from agent_trace_protocol import Action, SessionState
from support.coordinator import Coordinator, running

pytestmark = pytest.mark.integration

COMMAND = [sys.executable, "-m", "agent_trace"]


@pytest.fixture
def coordinator(tmp_path: Path) -> Generator[Coordinator]:
    with running(tmp_path / "store") as coordinator:
        yield coordinator


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments, "--store", str(root)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def told(root: Path, *arguments: str) -> Any:
    done = run(root, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def first_line(stream: IO[str] | None) -> Any:
    assert stream is not None
    return json.loads(stream.readline())


def hold(root: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "--agent", "ann", "connect", "--hold", "--json", "--store", str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def state_of(root: Path, session: str) -> tuple[str, str]:
    info = told(root, "sessions", "show", session[:10])["session"]
    return info["state"], info["reason"]


@pytest.mark.parametrize("how", ["stdin", "interrupt", "terminate"])
def test_a_held_session_ends_with_its_command_and_its_leases_with_it(
    coordinator: Coordinator, how: str
) -> None:
    root = coordinator.root
    with hold(root) as process:
        session = first_line(process.stdout)["session"]
        # Commands of the same agent are part of it.
        lease = told(root, "--agent", "ann", "lease", "acquire", "plans/*", "--ttl", "1h")
        assert lease["session"] == session
        assert run(root, "--agent", "ben", "lease", "acquire", "plans/a.md").returncode == 1
        if how == "stdin":
            assert process.stdin is not None
            process.stdin.close()
            process.stdin = None
        else:
            process.send_signal(signal.SIGINT if how == "interrupt" else signal.SIGTERM)
        assert process.wait(10) == 0
        assert process.stderr is not None and "the session has ended" in process.stderr.read()
    assert state_of(root, session) == ("ended", "closed")
    assert told(root, "lease", "ls") == {"leases": [], "waiters": [], "more": False}
    assert told(root, "--agent", "ben", "lease", "acquire", "plans/a.md")["holder"] == "ben"


def test_a_held_session_ends_when_what_started_it_is_killed(coordinator: Coordinator) -> None:
    root = coordinator.root
    script = "import subprocess, sys\nheld = subprocess.Popen(sys.argv[1:], stdin=0)\nheld.wait()\n"
    command = [*COMMAND, "--agent", "ann", "connect", "--hold", "--json", "--store", str(root)]
    with subprocess.Popen(
        [sys.executable, "-c", script, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as host:
        session = first_line(host.stdout)["session"]
        host.kill()
        # The held command has the same standard error: it ends when that command has ended.
        assert host.stderr is not None
        assert "the process that started it has ended" in host.stderr.read()
    assert state_of(root, session) == ("ended", "closed")


def test_an_evicted_holder_is_told_and_ends(coordinator: Coordinator) -> None:
    root = coordinator.root
    with hold(root) as process:
        session = first_line(process.stdout)["session"]
        evicted = told(root, "sessions", "evict", session[:8], "-m", "it hangs")
        assert evicted == {"session": session, "name": "ann", "evicted": True}
        assert process.wait(10) == 1
        assert process.stderr is not None
        assert "it hangs" in json.loads(process.stderr.read().splitlines()[-1])["error"]["message"]
    state, reason = state_of(root, session)
    assert state == "ended" and reason.endswith(": it hangs")
    refused = run(root, "--agent", "ann", "sessions", "evict", session)
    assert refused.returncode == 1


def test_a_killed_agent_is_followed_one_moment_later_by_the_same_name(
    coordinator: Coordinator,
) -> None:
    root = coordinator.root
    with hold(root) as process:
        first = first_line(process.stdout)["session"]
        told(root, "--agent", "ann", "lease", "acquire", "a.md", "--ttl", "1h")
        process.kill()
        process.wait(10)

    async def main() -> None:
        # Without --takeover: the process that held the name is gone.
        async with connect(root, agent="ann") as agent:
            assert agent.predecessor == first
            [lease] = agent.inherited
            assert lease.path == "a.md"
            written = await agent.write("a.md", "by the successor\n")
            assert written.seq > lease.token

    anyio.run(main)


def test_leases_and_followers_outlive_the_coordinator(coordinator: Coordinator) -> None:
    root = coordinator.root

    async def main() -> None:
        seen: list[int] = []
        async with connect(root, agent="ann") as ann, connect(root, agent="ben") as ben:
            finished = anyio.Event()

            async def follow() -> None:
                async for event in ben.events(0, follow=True, actions=[Action.APPEND]):
                    seen.append(event.revision)
                    if event.revision == 40:
                        finished.set()
                        return

            with anyio.fail_after(30):
                async with anyio.create_task_group() as group:
                    group.start_soon(follow)
                    await ann.write("notes.md", "0\n")
                    async with ann.lease("notes.md"):
                        for number in range(2, 41):
                            if number in (10, 25):
                                coordinator.end(signal.SIGKILL)
                                coordinator.start()
                            await ann.append("notes.md", f"{number}\n")
                        with pytest.raises(LeaseHeld):
                            await ben.acquire("notes.md")
                    async with ben.lease("notes.md"):
                        pass
                    await finished.wait()
        assert seen == list(range(2, 41))

    anyio.run(main)


def test_an_agent_that_is_taken_over_is_told_and_its_successor_writes(
    coordinator: Coordinator,
) -> None:
    root = coordinator.root

    async def main() -> None:
        async with connect(root, agent="ann") as old:
            async with old.lease("a.md"):
                await old.write("a.md", "old\n")
                async with connect(root, agent="ann", takeover=True) as new:
                    assert new.predecessor == old.session_id
                    [inherited] = new.inherited
                    await new.write("a.md", "new\n")
                    with pytest.raises(SessionSuperseded):
                        await old.write("a.md", "late\n")
                    with anyio.fail_after(5), pytest.raises(SessionSuperseded):
                        await old.wait_ended()
                    assert (await new.read("a.md")).text == "new\n"
                    listed = await new.sessions(name="ann", ended=True)
                    assert [each.state for each in listed] == [
                        SessionState.LIVE,
                        SessionState.ENDED,
                    ]
                    assert listed[0].leases == 1
                    await new.release(inherited.token)
                    with pytest.raises(StaleLease):
                        await new.release(inherited.token)

    anyio.run(main)


def test_the_blocking_twin_holds_leases_and_follows(coordinator: Coordinator) -> None:
    root = coordinator.root
    with connect_sync(root, agent="ann") as ann, connect_sync(root, user="mia") as mia:
        start = ann.seq
        told: list[str] = []

        def follow() -> None:
            for event in mia.events(start, follow=True, path="plans/**"):
                told.append(event.action.value)
                if event.action is Action.RELEASE:
                    return

        follower = threading.Thread(target=follow)
        follower.start()
        with ann.lease("plans/*.md") as lease:
            written = mia.write("plans/a.md", "across\n")
            assert [each.token for each in written.warnings] == [lease.token]
            assert ann.renew(lease, ttl_seconds=60).ttl_seconds == 60
        follower.join(10)
        assert not follower.is_alive()
        assert told == ["lease", "create", "renew", "release"]


def test_a_command_that_an_agent_host_runs_is_that_agents(coordinator: Coordinator) -> None:
    names: list[str] = []
    for session in ("one", "one", "two"):
        done = subprocess.run(
            [*COMMAND, "write", "a.md", "--text", session, "--store", str(coordinator.root)],
            capture_output=True,
            timeout=30,
            check=True,
            env={**os.environ, "CLAUDE_CODE_SESSION_ID": session},
        )
        assert done.returncode == 0
    listed = run(coordinator.root, "log", "a.md", "--json").stdout.splitlines()
    names = [json.loads(line)["author"] for line in listed]
    assert names[1] == names[2] != names[0]


def test_wait_returns_with_the_cursor_that_the_next_wait_needs(coordinator: Coordinator) -> None:
    root = coordinator.root
    first = told(root, "write", "plans/a.md", "--text", "one")["seq"]
    told(root, "write", "other.md", "--text", "one")
    second = told(root, "write", "plans/b.md", "--text", "one")["seq"]
    page = told(root, "wait", "plans/*", "--since", str(first))
    assert [each["seq"] for each in page["events"]] == [second]
    nothing = run(root, "wait", "plans/*", "--since", str(page["cursor"]), "--timeout", "300ms")
    assert nothing.returncode == 1 and "nothing changed" in nothing.stderr
    with subprocess.Popen(
        [*COMMAND, "wait", "plans/*", "--json", "--store", str(root), "--since", str(second)],
        stdout=subprocess.PIPE,
        text=True,
    ) as waiting:
        third = told(root, "write", "plans/a.md", "--text", "two")["seq"]
        assert [each["seq"] for each in first_line(waiting.stdout)["events"]] == [third]
        assert waiting.wait(10) == 0
