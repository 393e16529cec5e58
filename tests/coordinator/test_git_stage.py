"""The git committer when git fails: what it logs, and that it goes on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import count
from types import SimpleNamespace

import anyio
import msgspec
import pytest

from agent_trace_coordinator.core.records import Record, SessionClosed
from agent_trace_coordinator.errors import GitFailed
from agent_trace_coordinator.server import git_stage
from agent_trace_coordinator.server.git_stage import GitStage
from agent_trace_coordinator.storage.base import Entry
from agent_trace_coordinator.storage.index import Index
from agent_trace_protocol import Actor

ENTRY = Entry(
    Record(1, 1, 0, Actor.AGENT, "planner", "session", 1, b"", SessionClosed("closed")),
    b"",
    b"",
    (),
)


class _Rows(Index):
    """An index that holds one record and no database."""

    def __init__(self) -> None:
        pass

    def entries(self, first: int, limit: int | None = None) -> Iterator[Entry]:
        return iter([ENTRY] if first == 1 else [])


class _Failing:
    """A history that fails to commit, then to start again, as often as it is told."""

    def __init__(self, commits: int, starts: int) -> None:
        self.commits_left, self.starts_left = commits, starts

    def start(self) -> int:
        if self.starts_left:
            self.starts_left -= 1
            raise GitFailed("no git")
        return 0

    def commit(self, entries: list[Entry]) -> list[tuple[int, str]]:
        if self.commits_left:
            self.commits_left -= 1
            raise GitFailed("fast-import ended:\nfatal: no space")
        return [(entry.record.seq, "c0ffee") for entry in entries]

    def checkpoint(self) -> None:
        pass

    def missing(self) -> str:
        return ""

    def maintain(self) -> str:
        return ""

    def close(self) -> None:
        pass


async def _follow(history: _Failing) -> None:
    """Let a stage follow one record until git has it."""
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            stage = GitStage(
                history,
                _Rows(),
                0,
                on_committed=lambda commits: None,
                on_progress=lambda: tasks.cancel_scope.cancel() if stage.git_seq else None,
            )
            stage.add([ENTRY])
            stage.want(1)
            await stage.run()


@pytest.fixture(autouse=True)
def _at_once(  # pyright: ignore[reportUnusedFunction] - pytest uses it
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(git_stage, "RETRY_SECONDS", 0)


async def test_a_restart_of_git_is_one_line_of_the_log_with_the_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "agent_trace.coordinator.git")
    await _follow(_Failing(1, 0))
    assert [(each.levelname, each.getMessage(), each.exc_info) for each in caplog.records] == [
        (
            "WARNING",
            "git failed; the journal has everything, trying again: fast-import ended: fatal: no "
            "space",
            None,
        )
    ]


class _Forgetful(_Failing):
    """A history that had a commit durably, and after a failure has none."""

    def commit(self, entries: list[Entry]) -> list[tuple[int, str]]:
        assert self.at == entries[0].record.seq - 1, "commits follow on each other"
        if not entries[1:] and entries[0].record.seq == 2 and self.commits_left:
            self.commits_left, self.at = 0, 0
            raise GitFailed("the repository is damaged")
        self.at = entries[-1].record.seq
        return super().commit(entries)

    at = 0


async def test_a_commit_that_git_has_lost_is_not_shown_until_it_is_made_again() -> None:
    second = msgspec.structs.replace(ENTRY, record=msgspec.structs.replace(ENTRY.record, seq=2))
    shown: list[int] = []

    class Rows(_Rows):
        def entries(self, first: int, limit: int | None = None) -> Iterator[Entry]:
            return iter([ENTRY, second][first - 1 :])

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            history = _Forgetful(0, 0)

            def moved() -> None:
                shown.append(stage.git_seq)
                if stage.git_seq == 1 and not history.commits_left and len(shown) == 1:
                    history.commits_left = 1
                    stage.add([second])
                    stage.want(2)
                elif stage.git_seq == 2:
                    tasks.cancel_scope.cancel()

            def committed(commits: list[tuple[int, str]]) -> None:
                if shown:
                    assert stage.git_seq == 0, "what is lost is not said to be in git"

            stage = GitStage(history, Rows(), 0, on_committed=committed, on_progress=moved)
            stage.add([ENTRY])
            stage.want(1)
            await stage.run()

    assert shown == [1, 0, 2]


async def test_the_traceback_is_a_detail(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "agent_trace.coordinator.git")
    await _follow(_Failing(1, 0))
    assert [each.levelname for each in caplog.records if each.exc_info] == ["DEBUG"]


async def test_an_outage_is_not_told_again_at_each_try(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "agent_trace.coordinator.git")
    await _follow(_Failing(20, 20))
    assert [each.getMessage() for each in caplog.records] == [
        "git failed; the journal has everything, trying again: fast-import ended: fatal: no space",
        "git can not be started: no git",
    ]


class _Slow(_Failing):
    """A history that notes what each checkpoint held."""

    def __init__(self) -> None:
        super().__init__(0, 0)
        self.checkpoints: list[int] = []
        self.seq = 0

    def commit(self, entries: list[Entry]) -> list[tuple[int, str]]:
        self.seq = entries[-1].record.seq
        return super().commit(entries)

    def checkpoint(self) -> None:
        self.checkpoints.append(self.seq)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> _Slow:
    """A history whose checkpoints take a second each, on a clock that moves when it is read."""
    monkeypatch.setattr(git_stage, "time", SimpleNamespace(monotonic=count(0.0).__next__))
    monkeypatch.setattr(git_stage, "CHECKPOINT_SECONDS", 1e9)
    monkeypatch.setattr(git_stage, "SHARING", 1e9)
    return _Slow()


async def test_who_was_answered_by_a_slow_checkpoint_is_waited_for_before_the_next(
    slow: _Slow,
) -> None:

    def write(seq: int) -> None:
        record = msgspec.structs.replace(ENTRY.record, seq=seq)
        stage.add([msgspec.structs.replace(ENTRY, record=record)])
        stage.want(seq)

    def progress() -> None:
        shown.append(stage.git_seq)
        if shown == [2]:
            # One of the two asks again, the other one only after that was committed.
            write(3)
        if stage.git_seq == 4:
            tasks.cancel_scope.cancel()

    def committed(commits: list[tuple[int, str]]) -> None:
        if commits[-1][0] == 3:
            write(4)

    shown: list[int] = []
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            stage = GitStage(slow, _Rows(), 0, on_committed=committed, on_progress=progress)
            write(1)
            write(2)
            await stage.run()

    assert slow.checkpoints == [2, 4]


async def test_who_writes_alone_is_never_made_to_wait_for_others(slow: _Slow) -> None:
    def progress() -> None:
        if stage.git_seq == 3:
            tasks.cancel_scope.cancel()
        else:
            record = msgspec.structs.replace(ENTRY.record, seq=stage.git_seq + 1)
            stage.add([msgspec.structs.replace(ENTRY, record=record)])
            stage.want(record.seq)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            stage = GitStage(
                slow, _Rows(), 0, on_committed=lambda commits: None, on_progress=progress
            )
            progress()
            await stage.run()

    assert slow.checkpoints == [1, 2, 3]
