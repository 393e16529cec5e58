"""The blocking twin, against a coordinator behind a real socket."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from agent_trace import Agent, NotFound, RequestTimedOut, SyncAgent, connect_sync
from agent_trace.testing import accept_all
from agent_trace_protocol import Ping, Reply, Request
from support.coordinator import running
from support.serving import serving


def _never_pong(request: Request) -> Reply | None:
    return None if isinstance(request, Ping) else accept_all(request)


def test_the_twin_writes_and_raises_like_the_original(tmp_path: Path) -> None:
    with (
        serving(tmp_path / "s", _never_pong) as endpoint,
        connect_sync(endpoint, agent="ann") as agent,
    ):
        assert agent.name == "ann"
        assert len(agent.session_id) == 26
        assert agent.document_bytes_max == 1000
        assert str(agent.write("plan.md", "text")) == "plan.md@1"
        assert agent.seq == 1
        with pytest.raises(NotFound):
            agent.read("plan.md")


def test_a_call_that_takes_too_long_says_so(tmp_path: Path) -> None:
    with (
        serving(tmp_path / "s", _never_pong) as endpoint,
        connect_sync(endpoint, agent="ann", call_seconds_max=0.05) as agent,
    ):
        with pytest.raises(RequestTimedOut, match=r"0\.05 s"):
            agent.ping()
        assert str(agent.write("plan.md", "text")) == "plan.md@1"


def test_what_the_block_raises_comes_out_as_itself(tmp_path: Path) -> None:
    with serving(tmp_path / "s", _never_pong) as endpoint, pytest.raises(KeyError, match="mine"):
        with connect_sync(endpoint, agent="ann"):
            raise KeyError("mine")


def test_the_twin_has_every_method_with_its_signature_and_documentation() -> None:
    for name, method in inspect.getmembers(Agent, inspect.iscoroutinefunction):
        if name.startswith("_"):
            continue
        twin = getattr(SyncAgent, name)
        assert twin.__doc__ == method.__doc__, name
        assert inspect.signature(twin) == inspect.signature(method), name
        assert not inspect.iscoroutinefunction(twin), name
    for name, method in inspect.getmembers(Agent, inspect.isasyncgenfunction):
        twin = getattr(SyncAgent, name)
        assert list(inspect.signature(twin).parameters) == [*inspect.signature(method).parameters]
        assert not inspect.isasyncgenfunction(twin), name


@pytest.mark.integration
@pytest.mark.parametrize("ending", ["raise SystemError('by chance')", "del opened, agent", "pass"])
def test_a_program_that_never_closes_its_session_ends_all_the_same(
    ending: str, tmp_path: Path
) -> None:
    """Entered by hand, as in a notebook, and left open until the interpreter ends."""
    program = (
        "import sys\n"
        "from agent_trace import connect_sync\n"
        "opened = connect_sync(sys.argv[1], agent='planner')\n"
        "agent = opened.__enter__()\n"
        "agent.write('a.md', 'one')\n"
        f"{ending}\n"
    )
    with running(tmp_path / "s") as coordinator:
        done = subprocess.run(
            [sys.executable, "-c", program, str(coordinator.root)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        failed = "raise" in ending
        assert (done.returncode, "by chance" in done.stderr) == (int(failed), failed)
        with connect_sync(coordinator.root, user="ada") as ada:
            # It said farewell.
            assert [each.name for each in ada.sessions()] == ["ada"]
