"""The coordinator's own commands, when they can not do what they are asked."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agent_trace_coordinator.cli import main
from agent_trace_coordinator.storage import store as store_module
from agent_trace_coordinator.storage.lock import StoreLock
from agent_trace_coordinator.storage.store import create_store, open_store


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_serve_outside_of_a_store_says_how_to_get_one(tmp_path: Path) -> None:
    result = _run("serve", "--store", str(tmp_path))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"error: {tmp_path} is not in a store; make one with agent-trace init, or name one with "
        "--store DIR\n"
    )


def test_a_second_serve_is_told_that_there_is_nothing_to_do(tmp_path: Path) -> None:
    create_store(tmp_path)
    with StoreLock(open_store(tmp_path).lock):
        result = _run("serve", "--store", str(tmp_path))
    assert result.exit_code == 3
    first, last = result.stderr.splitlines()
    assert first.startswith("error: ")
    assert last.startswith("hint: there is nothing to do")


def test_of_a_damaged_journal_it_is_said_what_looks_at_it_and_what_mends_it(tmp_path: Path) -> None:
    create_store(tmp_path)
    open_store(tmp_path).state_db.write_bytes(b"no database" * 1000)
    result = _run("serve", "--store", str(tmp_path))
    assert result.exit_code == 1
    assert "agent-trace doctor" in result.stderr and "agent-trace repair" in result.stderr


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.EACCES, "choose a directory that you can write to"),
        (errno.EROFS, "choose a directory on a file system that can be written"),
        (errno.ENOSPC, "free space on the disk"),
    ],
)
def test_init_says_what_helps_against_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, hint: str
) -> None:
    def fail(path: Path, data: bytes) -> None:
        raise OSError(number, "no", str(path))

    monkeypatch.setattr(store_module, "write_file", fail)
    result = _run("init", str(tmp_path / "new"))
    assert result.exit_code == 1
    assert result.stderr == (
        f"error: {tmp_path}/new can not be made a store: no "
        f"({tmp_path}/new/.agent-trace/config.toml)\nhint: {hint}\n"
    )


def test_a_store_in_a_store_is_refused_with_the_way_to_allow_it(tmp_path: Path) -> None:
    create_store(tmp_path)
    result = _run("init", str(tmp_path / "inner"))
    assert result.stderr.startswith(f"error: {tmp_path}/inner lies inside the store {tmp_path}\n")
    assert result.stderr.endswith("agent-trace init --nested\n")
    assert _run("init", str(tmp_path / "inner"), "--nested").exit_code == 0
