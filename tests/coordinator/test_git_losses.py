"""A git directory from which somebody takes things away while it is used."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import anyio
import pytest

from agent_trace_coordinator.server import git_stage
from agent_trace_coordinator.server.git_stage import GitStage
from agent_trace_coordinator.storage.base import Entry
from agent_trace_coordinator.storage.git import GitHistory
from agent_trace_coordinator.storage.index import Index
from crash.repository import commit_ids, run_git
from support.journal import puts

COUNT = 6


@pytest.fixture
def history(tmp_path: Path) -> Generator[GitHistory]:
    """A history of six commits in three packs, that goes on."""
    (tmp_path / ".agent-trace").mkdir(mode=0o700)
    known: list[tuple[int, str]] = []
    history = GitHistory(tmp_path, known_commits=lambda: reversed(known))
    history.start()
    for first in range(0, COUNT, 2):
        known += history.commit(puts(COUNT)[first : first + 2])
        history.checkpoint()
    yield history
    history.close()


def repository(tmp_path: Path) -> Path:
    return tmp_path / ".agent-trace" / "repo"


def remove_oldest_pack(repo: Path) -> str:
    packs = (repo / "objects" / "pack").glob("*.pack")
    oldest = min(packs, key=lambda path: path.stat().st_mtime_ns)
    oldest.unlink()
    return oldest.name


def remove_packs(repo: Path) -> str:
    for file in (repo / "objects" / "pack").iterdir():
        file.unlink()
    return "of the git history are gone"


def remove_branch(repo: Path) -> str:
    (repo / "refs" / "heads" / "main").unlink()
    return "the branch is at nothing"


def remove_head(repo: Path) -> str:
    (repo / "HEAD").unlink()
    return "HEAD of the git history is gone"


def remove_all(repo: Path) -> str:
    shutil.rmtree(repo)
    return "of the git history are gone"


@pytest.mark.parametrize(
    "remove", [remove_oldest_pack, remove_packs, remove_branch, remove_head, remove_all]
)
def test_what_was_taken_away_is_noticed_and_made_again(
    history: GitHistory, tmp_path: Path, remove: Callable[[Path], str]
) -> None:
    repo = repository(tmp_path)
    before = commit_ids(repo)
    assert history.missing() == ""
    said = remove(repo)
    assert said in history.missing()
    seq = history.start()
    # The newest commit is no proof of the older ones: with a pack of theirs, all goes.
    assert seq == (COUNT if remove in (remove_branch, remove_head) else 0)
    history.commit(puts(COUNT + 1)[seq:])
    history.checkpoint()
    assert commit_ids(repo)[:COUNT] == before and history.missing() == ""
    run_git(f"--git-dir={repo}", "fsck", "--full", "--strict")
    history.maintain()
    assert history.missing() == ""


def test_packs_that_somebody_combined_are_no_loss(history: GitHistory, tmp_path: Path) -> None:
    repo = repository(tmp_path)
    run_git(f"--git-dir={repo}", "repack", "-adfq")
    for kept in (repo / "objects" / "pack").glob("*.keep"):
        kept.unlink()
    run_git(f"--git-dir={repo}", "repack", "-adfq")
    assert "are gone" in history.missing()
    assert history.start() == COUNT


class _Rows(Index):
    """An index with some records and no database."""

    def __init__(self) -> None:
        pass

    def entries(self, first: int, limit: int | None = None) -> Iterator[Entry]:
        return iter(puts(COUNT)[first - 1 :])


async def test_a_long_history_that_is_gone_is_made_while_the_store_is_served(
    tmp_path: Path,
) -> None:
    (tmp_path / ".agent-trace").mkdir(mode=0o700)
    history = GitHistory(tmp_path)
    done = anyio.CancelScope()
    stage = GitStage(
        history,
        _Rows(),
        history.start(),
        durable_seq=COUNT,
        on_committed=lambda _: None,
        on_progress=lambda: None if stage.failure else done.cancel(),
    )
    assert stage.failure == f"git lacks {COUNT} operations; it is getting them from the journal"
    assert stage.lag_count == 0 and stage.behind(0) is None
    with anyio.fail_after(20), done:
        await stage.run()
    assert stage.git_seq == COUNT == len(commit_ids(repository(tmp_path)))
    history.close()


async def test_an_idle_coordinator_notices_says_so_and_mends(
    history: GitHistory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_stage, "RETRY_SECONDS", 0)
    logging.getLogger("agent_trace.git").setLevel(logging.CRITICAL)
    before = commit_ids(repository(tmp_path))
    remove_oldest_pack(repository(tmp_path))
    said: list[str] = []
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:

            def moved() -> None:
                if stage.failure:
                    assert stage.lag_count == 0, "writers do not wait for what git had before"
                    said.append(stage.failure)
                elif stage.git_seq == COUNT:
                    tasks.cancel_scope.cancel()

            stage = GitStage(
                history,
                _Rows(),
                COUNT,
                on_committed=lambda commits: None,
                on_progress=moved,
                look_seconds=0.01,
            )
            await stage.run()
    assert said[0].endswith("are gone; the history is being made again from the journal")
    assert commit_ids(repository(tmp_path)) == before
    run_git(f"--git-dir={repository(tmp_path)}", "fsck", "--full", "--strict")
