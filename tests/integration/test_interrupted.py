"""Ctrl-C at any moment of a backup, of its way back and of a repair: nothing is lost or left."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from agent_trace_coordinator.cli_repair import COMMANDS
from agent_trace_coordinator.repair.archive import back_up, restore_backup
from agent_trace_coordinator.repair.examine import look
from agent_trace_coordinator.repair.mend import repair
from agent_trace_coordinator.storage.store import Store
from agent_trace_protocol import Append, Durability, Put
from damage.original import copy_store, take_snapshot
from support.coordinator import Peer, running

pytestmark = pytest.mark.integration

MOMENTS = (1, 2, 5, 13, 34)
"""The how manieth call that changes a directory or syncs is where Ctrl-C arrives."""


def nothing(*_: object) -> None:
    """Tell nobody."""


def agreed(*_: object) -> bool:
    """Go on, whatever is wrong."""
    return True


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that nobody serves any more."""
    root = tmp_path_factory.mktemp("interrupted") / "store"
    with running(root) as coordinator, Peer(coordinator.endpoint).opened() as peer:
        peer.do(Put("a.md", b"one\n"), Put("b/c.md", b"x" * 9000))
        peer.do(Append("a.md", b"two\n"), durability=Durability.GIT)
        assert coordinator.end() == 0
    return root


def interrupted(at: int, work: Callable[[], object]) -> bool:
    """Do some work in a process that Ctrl-C ends at the `at`-th call; return whether it came to
    that."""
    child = os.fork()
    if not child:
        code = 1
        try:
            code = _interrupted_here(at, work)
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 130), code
    return code == 130


def _interrupted_here(at: int, work: Callable[[], object]) -> int:
    left = at

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
            return function(*arguments, **named)

        return call

    for name in ("rename", "replace", "link", "unlink", "fsync", "mkdir", "rmdir"):
        setattr(os, name, counted(getattr(os, name)))
    try:
        work()
    except KeyboardInterrupt:
        return 130
    return 0


def test_a_backup_that_is_interrupted_leaves_nothing_and_can_be_made_again(
    root: Path, tmp_path: Path
) -> None:
    reached = 0
    for at in MOMENTS:
        if not interrupted(at, lambda: back_up(Store(root), tmp_path / "backup", nothing)):
            break
        reached += 1
        # What has its name is whole.
        if (tmp_path / "backup").exists():
            restore_backup(tmp_path / "backup", tmp_path / "copy", nothing)
            shutil.rmtree(tmp_path / "copy")
            (tmp_path / "backup").unlink()
        back_up(Store(root), tmp_path / "backup", nothing)
        assert os.listdir(tmp_path) == ["backup"]
        (tmp_path / "backup").unlink()
    assert reached >= 3
    assert look(Store(root), nothing, served=False).findings == []


def test_a_backup_is_put_in_place_as_a_whole_or_not_at_all(root: Path, tmp_path: Path) -> None:
    back_up(Store(root), tmp_path / "backup", nothing)
    copy = tmp_path / "copy"
    wanted = take_snapshot(root)
    for at in MOMENTS:
        came = interrupted(at, lambda: restore_backup(tmp_path / "backup", copy, nothing))
        if not copy.exists():
            assert came
            restore_backup(tmp_path / "backup", copy, nothing)
        assert take_snapshot(copy) == wanted
        shutil.rmtree(copy)
        assert os.listdir(tmp_path) == ["backup"]


def test_a_repair_that_is_interrupted_can_be_run_again(root: Path, tmp_path: Path) -> None:
    wanted = take_snapshot(root)
    for at in MOMENTS:
        copy = tmp_path / str(at)
        copy_store(root, copy)
        (copy / ".agent-trace" / "state.db").unlink()
        shutil.rmtree(copy / ".agent-trace" / "repo" / "refs")
        mend = partial(repair, Store(copy), nothing, agreed)
        assert interrupted(at, mend)
        assert mend().healthy, at
        found = take_snapshot(copy)
        assert (found.records, found.contents, found.commits, found.files) == (
            wanted.records,
            wanted.contents,
            wanted.commits,
            wanted.files,
        )


def test_a_command_that_is_interrupted_says_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("agent_trace_coordinator.repair.examine.look", interrupt)
    doctor = next(each for each in COMMANDS if each.name == "doctor")
    result = CliRunner().invoke(doctor, ["--store", str(root)])
    assert result.exit_code == 130
    assert "interrupted; nothing is lost" in result.stderr
