"""Finding the store, and who acts."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_trace.config import find_identity, find_target
from agent_trace.errors import StoreNotFound
from agent_trace.store import find_store
from agent_trace_protocol import Actor, InvalidRequest
from agent_trace_protocol.layout import CONFIG_FILE


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction] - pytest uses it
    monkeypatch.delenv("AGENT_TRACE_AGENT", raising=False)
    monkeypatch.delenv("AGENT_TRACE_STORE", raising=False)


def _make(root: Path) -> Path:
    (root / CONFIG_FILE).parent.mkdir(parents=True)
    (root / CONFIG_FILE).touch()
    return root.resolve()


def test_the_store_is_found_from_any_directory_in_it(tmp_path: Path) -> None:
    root = _make(tmp_path / "store")
    inner = root / "a" / "b"
    inner.mkdir(parents=True)
    for start in (root, inner, root / ".agent-trace", root / CONFIG_FILE):
        assert find_store(start) == root


def test_the_nearest_store_counts(tmp_path: Path) -> None:
    outer = _make(tmp_path / "outer")
    inner = _make(outer / "inner")
    assert find_store(inner / ".agent-trace") == inner
    assert find_store(outer) == outer


def test_a_store_inside_the_private_directory_is_none(tmp_path: Path) -> None:
    root = _make(tmp_path / "store")
    hidden = root / ".agent-trace" / "quarantine"
    _make(hidden)
    assert find_store(hidden) == root


def test_the_current_directory_is_where_the_search_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = _make(tmp_path / "store")
    monkeypatch.chdir(root)
    assert find_store() == root


def test_a_half_made_store_is_none(tmp_path: Path) -> None:
    (tmp_path / ".agent-trace").mkdir()
    with pytest.raises(StoreNotFound, match="run agent-trace init"):
        find_store(tmp_path)


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound, match="nowhere does not exist"):
        find_store(tmp_path / "nowhere")


def test_a_path_with_a_nul_is_no_store() -> None:
    with pytest.raises(StoreNotFound):
        find_store("a\0b")


def test_an_argument_goes_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, other = _make(tmp_path / "named"), _make(tmp_path / "other")
    monkeypatch.setenv("AGENT_TRACE_STORE", str(other))
    assert find_target(named) == (named, "")
    assert find_target() == (other, "")
    assert find_target("tcp://127.0.0.1:5") == (None, "tcp://127.0.0.1:5")


def test_who_acts_is_the_argument_then_the_environment_then_the_login_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOGNAME", "Änn Smith")
    assert find_identity().actor is Actor.USER
    assert find_identity().name == "nn-smith"
    monkeypatch.setenv("AGENT_TRACE_AGENT", "planner")
    assert (find_identity().actor, find_identity().name) == (Actor.AGENT, "planner")
    assert find_identity("coder").name == "coder"
    assert find_identity(user="ann").actor is Actor.USER


@pytest.mark.parametrize("login", ["", "...", "system", "ÄÖ"])
def test_a_login_name_of_which_nothing_is_left_becomes_user(
    monkeypatch: pytest.MonkeyPatch, login: str
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: login)
    assert find_identity().name == "user"


def test_a_user_without_an_entry_anywhere_becomes_user(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert find_identity().name == "user"


def test_one_can_not_be_agent_and_user_at_once() -> None:
    with pytest.raises(InvalidRequest, match="not both"):
        find_identity("a", "b")


@pytest.mark.parametrize("name", ["", "Ann", "a b", "../x", "system", "x" * 65, "a\n"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest):
        find_identity(name)
