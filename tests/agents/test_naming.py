"""An agent that was given no name gets one from its host, always the same."""

from __future__ import annotations

import pytest

from agent_trace.config import AGENT_VARIABLE, find_identity
from agent_trace.naming import HOST_VARIABLES, host_agent_name, memorable_name
from agent_trace_protocol import Actor, parse_agent_name


def test_one_session_of_a_host_is_one_agent_and_two_are_two() -> None:
    names = {host_agent_name({HOST_VARIABLES[0]: f"session-{number}"}) for number in range(500)}
    assert len(names) > 495
    assert None not in names
    for name in names:
        assert name is not None and parse_agent_name(name) == name
    again = host_agent_name({HOST_VARIABLES[0]: "session-7", "TERM": "xterm"})
    assert again == host_agent_name({HOST_VARIABLES[0]: "session-7"})


def test_a_name_never_changes_between_versions() -> None:
    # Sessions of one agent would fall apart into two agents.
    assert memorable_name("CLAUDE_CODE_SESSION_ID=abc") == "noble-poplar-791"


@pytest.mark.parametrize("environment", [{}, {HOST_VARIABLES[0]: ""}, {"CLAUDECODE": "1"}])
def test_without_a_session_of_a_host_there_is_no_name(environment: dict[str, str]) -> None:
    assert host_agent_name(environment) is None


@pytest.mark.parametrize("value", ["../../x", "a\nSeq: 1", "\udcff", "x" * 100_000])
def test_whatever_a_host_says_becomes_a_name(value: str) -> None:
    name = host_agent_name({HOST_VARIABLES[1]: value})
    assert name is not None and parse_agent_name(name) == name


def test_a_named_agent_comes_before_the_hosts_and_a_person_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(AGENT_VARIABLE, raising=False)
    assert find_identity().actor is Actor.USER
    monkeypatch.setenv(HOST_VARIABLES[0], "abc")
    assert find_identity().actor is Actor.AGENT
    assert find_identity(user="mia").actor is Actor.USER
    monkeypatch.setenv(AGENT_VARIABLE, "planner")
    assert find_identity().name == "planner"
