"""The blocking twin, against a coordinator behind a real socket."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from agent_trace import Agent, NotFound, RequestTimedOut, SyncAgent, connect_sync
from agent_trace.testing import accept_all
from agent_trace_protocol import Ping, Reply, Request
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
