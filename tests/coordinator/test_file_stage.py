"""The stage that writes files: what it does when the disk fails while a file is adopted."""

from __future__ import annotations

import errno
import threading
from typing import cast

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from agent_trace_coordinator.core.files import FILE_SOURCE
from agent_trace_coordinator.core.records import Changed, Entry
from agent_trace_coordinator.core.state import Rules, State
from agent_trace_coordinator.server import file_stage
from agent_trace_coordinator.server.file_stage import FileStage
from agent_trace_coordinator.storage.base import FileUpdate, SetAside, WorkTree
from agent_trace_protocol import Actor, Delete, Put
from support.core import Desk


class _Tree:
    """A disk that holds the first write up, and then fails if it shall."""

    def __init__(self, *, fails: bool = True) -> None:
        self.fails = fails
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.applied: list[list[FileUpdate]] = []

    def apply(self, updates: list[FileUpdate]) -> list[SetAside]:
        self.applied.append(updates)
        if len(self.applied) == 1:
            self.begun.set()
            self.go_on.wait()
        if len(self.applied) == 1 and self.fails:
            raise OSError(errno.ENOSPC, "no space left")
        return []


def entries() -> tuple[list[Entry], list[Entry]]:
    """Return what an agent wrote, and the record that adopts a person's edit of two files later."""
    desk = Desk()
    desk.member("ann", Actor.USER)
    desk.member().do(Put("a.md", b"one\n"), Put("b.md", b"one\n"))
    written = [entry for entry in desk.entries if isinstance(entry.record.body, Changed)]
    desk.change_files(desk.found("a.md", b"by hand\n"))
    adopted = desk.entries[-1]
    assert isinstance(adopted.record.body, Changed)
    assert adopted.record.body.source == FILE_SOURCE
    return written, [adopted]


async def test_what_was_under_way_when_a_file_was_adopted_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(file_stage, "RETRY_SECONDS", 0.0)
    tree = _Tree()
    stage = FileStage(cast(WorkTree, tree), 0, lambda key, digest: b"", on_progress=lambda: None)
    written, adopted = entries()
    async with anyio.create_task_group() as group:
        group.start_soon(stage.run)
        stage.add(written)
        stage.want(written[-1].record.seq)
        await anyio.to_thread.run_sync(tree.begun.wait)
        stage.add(adopted)
        tree.go_on.set()
        with anyio.fail_after(10):
            while stage.written_seq < adopted[-1].record.seq:
                await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    again = {update.path for updates in tree.applied[1:] for update in updates}
    assert again == {"b.md"}


def changed(desk: Desk, since: int) -> list[Entry]:
    return [
        each
        for each in desk.entries
        if each.record.seq > since and isinstance(each.record.body, Changed)
    ]


async def test_generated_documents_do_not_wait_for_the_files_of_others() -> None:
    tree = _Tree(fails=False)
    stage = FileStage(cast(WorkTree, tree), 0, lambda key, digest: b"", on_progress=lambda: None)
    desk = Desk(State(epoch=1, store="test", rules=Rules(generated=True)))
    member = desk.member()
    member.put("gone.md", "one\n")
    member.do(*(Put(f"{number:02}.md", b"one\n") for number in range(50)), Delete("gone.md"))
    desk.refresh()
    written = changed(desk, 0)
    member.put("new.md", "one\n")
    seq = member.put("00.md", "two\n").seq
    desk.refresh()
    later = changed(desk, seq - 2)
    log = f"logs/planner-{member.session}.md"
    own = ["AGENT-TRACE.md", "context.md", "running_summary.md", log]
    async with anyio.create_task_group() as group:
        group.start_soon(stage.run)
        stage.add(written)
        stage.want(written[-1].record.seq)
        await anyio.to_thread.run_sync(tree.begun.wait)
        stage.add(later)
        assert stage.written_seq == 0
        tree.go_on.set()
        stage.want(later[-1].record.seq)
        with anyio.fail_after(10):
            while stage.written_seq < later[-1].record.seq:
                await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    paths = [[update.path for update in updates] for updates in tree.applied]
    assert paths[0][:5] == ["gone.md", *own], "a removal makes room, then come ours"
    assert paths[1][:3] == ["AGENT-TRACE.md", "running_summary.md", log]
    assert paths[2:] == [["new.md", "00.md"]]
    assert max(map(len, paths)) <= FileStage.AT_ONCE
    assert sorted(each for some in paths for each in some if each not in own) == sorted(
        ["gone.md", "new.md", "00.md", *(f"{number:02}.md" for number in range(50))]
    )
