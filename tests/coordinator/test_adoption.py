"""Files that were changed past the coordinator while something is on its way to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from agent_trace_coordinator.core.effects import Append, Effect, PutBack
from agent_trace_coordinator.core.state import State
from agent_trace_coordinator.server.adoption import Adoption
from agent_trace_coordinator.server.journal_stage import JournalStage
from agent_trace_coordinator.server.lookup import Lookup
from agent_trace_coordinator.storage.base import FileUpdate, SetAside
from agent_trace_protocol import Actor, DocumentType, Move, Put
from simulation.disk import Disk, SetAsideFolder, SimulatedIndex, SimulatedTree
from simulation.stages import SimulatedFiles
from support.core import Desk

PATH = "a.md"


class _Tree(SimulatedTree):
    """Remembers what it was told to write."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk)
        self.updates: list[FileUpdate] = []

    def apply(self, updates: list[FileUpdate]) -> list[SetAside]:
        self.updates += updates
        return super().apply(updates)


class World:
    """A store with one document; the test says what happens, and when."""

    def __init__(self, type: DocumentType = DocumentType.PLAN) -> None:
        self.desk = Desk()
        self.desk.member("ann", Actor.USER).do(Put(PATH, b"1\n", type=type), confirm=True)
        self.disk = Disk(self.desk.state.rules)
        self.disk.write(self.desk.entries)
        self.tree = _Tree(self.disk)
        self.disk.place(PATH, b"1\n")
        self.tree.accept(PATH, self.tree.signature(PATH))
        index = SimulatedIndex(self.disk)
        lookup = self.lookup = Lookup(index, self.tree, files_seq=lambda: self.disk.seq)
        self.later: list[Callable[[], None]] = []
        self.files = SimulatedFiles(
            self.tree,
            self,
            self.disk.seq,
            lookup.content,
            on_progress=lambda: None,
            on_set_aside=lambda kept, seq: None,
        )
        journal = cast(JournalStage, SimpleNamespace(durable_seq=self.disk.seq))
        self.adoption = Adoption(
            self, lookup, journal, self.files, self.desk.now, quarantine=None, signs=self.tree
        )
        self.held: list[Callable[[], None]] = []
        self.records = 0

    # The process that the files are written by.

    def soon(self, delay: float, action: Callable[[], None]) -> None:
        self.later.append(action)

    def disk_failed(self) -> None:
        raise AssertionError

    # What the adoption asks of the runtime.

    @property
    def state(self) -> State:
        return self.desk.state

    @property
    def takes_files(self) -> bool:
        return True

    def perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, PutBack):
                self.adoption.put_back(effect)
            self.records += isinstance(effect, Append)

    def when_durable(self, seq: int, action: Callable[[], None]) -> None:
        self.held.append(action)

    def durable(self) -> None:
        held, self.held = self.held, []
        for action in held:
            action()

    def write(self) -> None:
        later, self.later = self.later, []
        for action in later:
            action()


def test_a_file_that_is_being_brought_back_is_not_deleted() -> None:
    world = World()
    seq = world.disk.seq
    world.disk.place(PATH, None)
    gone = world.tree.capture([PATH], seq)
    world.adoption.put_back(PutBack(PATH, seq))
    assert not world.adoption.changed(gone).judged, "it is due"
    world.durable()
    assert not world.adoption.changed(gone).judged, "it is under way"
    world.write()
    assert world.disk.files[PATH] == b"1\n"
    assert not world.adoption.changed(gone).judged, "it was there before anybody asked"
    assert world.records == 0
    # A deletion it is if somebody deletes it now.
    world.disk.place(PATH, None)
    assert world.adoption.changed(world.tree.capture([PATH], seq)).judged == {PATH}
    assert world.records == 1


def test_a_file_that_is_being_brought_back_is_judged_once() -> None:
    world = World(DocumentType.CONTEXT)
    seq = world.disk.seq
    world.disk.place(PATH, b"by hand\n")
    found = world.tree.capture([PATH], seq)
    assert world.adoption.changed(found).put_back == {PATH}
    world.durable()
    assert not world.adoption.changed(found).judged
    assert world.records == 1


def test_that_nothing_lies_where_a_document_was_is_no_deletion() -> None:
    """A renamed file is looked for at its old place until all files show the rename."""
    world = World()
    seq = world.disk.seq
    world.desk.member("ben").do(Move(PATH, "b.md"))
    world.lookup.pend(world.desk.entries[-1])
    world.disk.place(PATH, None)
    gone = world.tree.capture([PATH], seq + 10)
    assert gone and not world.adoption.changed(gone).judged
    assert world.records == 0


@pytest.mark.parametrize("type", [DocumentType.PLAN, DocumentType.CONTEXT])
def test_what_was_moved_aside_says_nothing_of_what_lies_there_now(type: DocumentType) -> None:
    """Else the coordinator takes its own text for somebody else's when it writes next."""
    world = World(type)
    world.disk.set_aside["kept"] = b"by hand\n"
    folder = cast(Path, SetAsideFolder(world.disk))
    world.adoption.set_aside(folder, [SetAside(PATH, "kept", 8, True)], world.disk.seq)
    assert world.records == 1
    world.durable()
    world.write()
    if type is DocumentType.CONTEXT:
        assert {update.path for update in world.tree.updates} == {PATH}
    assert not any(update.captured for update in world.tree.updates)
    assert not world.tree.capture([PATH], world.disk.seq)
