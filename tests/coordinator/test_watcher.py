"""Noticing changed files: what is suspected, when it is read, and when it is left alone."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from agent_trace_coordinator.server import watcher as watcher_module
from agent_trace_coordinator.server.adoption import Outcome
from agent_trace_coordinator.server.clock import read_clock
from agent_trace_coordinator.server.watcher import Watcher
from agent_trace_coordinator.storage.base import CapturedFile, FileUpdate
from agent_trace_coordinator.storage.store import Store, create_store
from agent_trace_coordinator.storage.worktree import FileTree

pytestmark = pytest.mark.anyio


class Scene:
    """A real directory with documents, and a judge who remembers what was handed to him."""

    def __init__(self, root: Path, *, scan_seconds: float = 3600.0) -> None:
        root.mkdir()
        create_store(root)
        store = Store(root)
        self.root = root
        self.tree = FileTree(
            root,
            temporary=store.temporary,
            quarantine=store.quarantine,
            document_bytes_max=1000,
        )
        self.paths: list[str] = []
        self.found: list[CapturedFile] = []
        self.refusing = False
        self.arrived = anyio.Event()
        self.watcher = Watcher(
            root,
            self.tree,
            paths=lambda: self.paths,
            files_seq=lambda: 7,
            hand_over=self.judge,
            clock=read_clock,
            scan_seconds=scan_seconds,
        )

    def write(self, *paths: str) -> None:
        self.tree.apply([FileUpdate(path, b"ours\n") for path in paths])
        self.paths = sorted({*self.paths, *paths})

    def judge(self, found: list[CapturedFile]) -> Outcome:
        self.found += found
        self.arrived.set()
        paths = frozenset(each.path for each in found)
        if self.refusing:
            self.tree.apply([FileUpdate(each.path, b"ours\n", each.signature) for each in found])
            return Outcome(frozenset(), paths, paths)
        return Outcome(paths, frozenset(), paths)

    async def next(self) -> list[tuple[str, bytes | None]]:
        """Return what was handed over since the last time, when there is something."""
        with anyio.fail_after(5):
            await self.arrived.wait()
        self.arrived = anyio.Event()
        found, self.found = self.found, []
        assert {each.files_seq for each in found} == {7}
        return [(each.path, each.content) for each in found]

    @asynccontextmanager
    async def watching(self) -> AsyncGenerator[None, None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.watcher.run)
            yield
            tasks.cancel_scope.cancel()
        self.tree.close()


async def test_a_change_is_handed_over_whole_and_our_own_writes_are_not(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "store")
    scene.write("a.md", "notes/b.md")
    async with scene.watching():
        scene.write("a.md")
        (scene.root / "notes" / "b.md").write_bytes(b"theirs\n")
        assert await scene.next() == [("notes/b.md", b"theirs\n")]


async def test_the_periodic_look_finds_what_no_notice_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deaf(self: Watcher, directories: set[str], stop: anyio.Event) -> None:
        await anyio.sleep_forever()

    monkeypatch.setattr(watcher_module.Watcher, "_take_notices", deaf)
    scene = Scene(tmp_path / "store", scan_seconds=0.2)
    scene.write("a.md")
    async with scene.watching():
        (scene.root / "a.md").write_bytes(b"theirs\n")
        assert await scene.next() == [("a.md", b"theirs\n")]


async def test_what_was_changed_before_the_start_is_found_at_the_start(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "store")
    scene.write("a.md")
    (scene.root / "a.md").write_bytes(b"theirs\n")
    async with scene.watching():
        assert await scene.next() == [("a.md", b"theirs\n")]


async def test_a_file_that_is_deleted_and_made_again_is_one_change(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "store")
    scene.write("a.md")
    async with scene.watching():
        (scene.root / "a.md").unlink()
        await anyio.lowlevel.checkpoint()
        (scene.root / "a.md").write_bytes(b"theirs\n")
        assert await scene.next() == [("a.md", b"theirs\n")]
        (scene.root / "a.md").unlink()
        assert await scene.next() == [("a.md", None)]


async def test_documents_in_new_directories_are_watched_too(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "store")
    scene.write("a.md")
    async with scene.watching():
        (scene.root / "a.md").write_bytes(b"x\n")
        await scene.next()
        scene.write("deep/er/b.md")
        scene.watcher._restart.set()  # pyright: ignore[reportPrivateUsage] - as a durable batch does
        (scene.root / "deep" / "er" / "b.md").write_bytes(b"theirs\n")
        assert await scene.next() == [("deep/er/b.md", b"theirs\n")]


async def test_a_directory_that_is_moved_away_takes_its_documents_with_it(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "store")
    scene.write("a.md", "notes/b.md", "notes/c.md")
    async with scene.watching():
        (scene.root / "a.md").write_bytes(b"x\n")
        await scene.next()
        (scene.root / "notes").rename(scene.root / "old")
        assert await scene.next() == [("notes/b.md", None), ("notes/c.md", None)]


async def test_who_writes_again_and_again_is_answered_more_and_more_slowly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher_module, "PUT_BACKS_FREE", 2)
    scene = Scene(tmp_path / "store")
    scene.refusing = True
    scene.write("a.md")
    pauses: list[float] = []
    async with scene.watching():
        for number in range(4):
            (scene.root / "a.md").write_bytes(b"%d\n" % number)
            assert await scene.next() == [("a.md", b"%d\n" % number)]
            holds = scene.watcher._holds  # pyright: ignore[reportPrivateUsage] - the pause itself
            pauses.append(holds["a.md"].seconds)
    assert pauses == [0.3, 0.3, 0.6, 1.2]


def test_put_backs_are_forgiven_one_by_one_and_never_delay_what_is_adopted(tmp_path: Path) -> None:
    watcher = Scene(tmp_path / "store").watcher

    def pause(now: float, *, put_back: bool = True) -> float:
        watcher._hold("a.md", now, put_back=put_back)  # pyright: ignore[reportPrivateUsage]
        return watcher._holds["a.md"].seconds  # pyright: ignore[reportPrivateUsage]

    # A person who saves every two seconds, twelve times.
    assert [pause(2.0 * number) for number in range(12)] == [0.3] * 10 + [0.6, 1.2]
    assert pause(24.0, put_back=False) == 0.3
    # A program without a pause is answered as often as it is forgiven, in the end.
    now, pauses = 24.0, [0.0]
    for _ in range(40):
        now += pauses[-1]
        pauses.append(pause(now))
    assert pauses[-1] == pytest.approx(watcher_module.HOLD_SECONDS_MAX, rel=0.5)
    assert pause(now + 400.0) == 0.3


async def test_what_is_no_document_is_never_looked_at(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "store")
    scene.write("a.md")
    (scene.root / "src").mkdir()
    async with scene.watching():
        (scene.root / "src" / "main.py").write_bytes(b"x\n")
        (scene.root / ".env").write_bytes(b"KEY=1\n")
        os.mkfifo(scene.root / "pipe")
        (scene.root / "a.md").write_bytes(b"theirs\n")
        assert await scene.next() == [("a.md", b"theirs\n")]
