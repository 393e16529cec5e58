"""The journal's batches: in order, one after the other without a pause, told of when durable."""

from __future__ import annotations

import threading
from typing import cast

import anyio
import msgspec
import pytest

from agent_trace_coordinator.core.records import Record, SessionClosed
from agent_trace_coordinator.errors import JournalFailed, JournalFull
from agent_trace_coordinator.server import journal_stage
from agent_trace_coordinator.server.journal_stage import JournalStage
from agent_trace_coordinator.storage.base import Entry
from agent_trace_coordinator.storage.journal import Journal
from agent_trace_protocol import Actor

RECORD = Record(1, 1, 0, Actor.AGENT, "planner", "session", 1, b"", SessionClosed("closed"))


def entry(seq: int) -> Entry:
    return Entry(msgspec.structs.replace(RECORD, seq=seq), b"", b"", ())


class _Journal:
    """A journal that says when a batch is begun, and fails at one if it is told to."""

    tidy_due = False

    def __init__(self, fails_at: int = 0, failure: Exception | None = None) -> None:
        self.begun: dict[int, threading.Event] = {seq: threading.Event() for seq in range(1, 5)}
        self._fails_at, self._failure = fails_at, failure

    def append(self, entries: list[Entry], commits: list[tuple[int, str]]) -> None:
        for each in entries:
            self.begun[each.record.seq].set()
            if each.record.seq == self._fails_at and self._failure is not None:
                raise self._failure


@pytest.fixture(autouse=True)
def _one_at_a_time(  # pyright: ignore[reportUnusedFunction] - pytest uses it
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journal_stage, "BATCH_RECORDS_MAX", 1)


async def _write(journal: _Journal, events: list[str], *, waits: bool = False) -> None:
    """Let a stage write three batches of one record."""

    def durable(batch: list[Entry]) -> None:
        seq = batch[0].record.seq
        assert [each.record.seq for each in batch] == [seq]
        events.append(f"durable {seq}")
        assert stage.durable_seq == seq
        if waits and seq < 3:
            # The thread has the next one already: it needs no turn of the event loop for it.
            assert journal.begun[seq + 1].wait(5)
        if seq == 3:
            tasks.cancel_scope.cancel()

    def full(error: JournalFull) -> None:
        events.append("full")
        tasks.cancel_scope.cancel()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            stage = JournalStage(
                cast(Journal, journal), 0, on_durable=durable, on_full=full, on_healed=lambda: None
            )
            for seq in (1, 2, 3):
                stage.submit(entry(seq))
            await stage.run()


# How many turns of the loop it takes is the backend's matter; the coordinator runs on this one.
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_next_batch_is_written_while_those_of_the_last_one_are_told() -> None:
    events: list[str] = []
    await _write(_Journal(), events, waits=True)
    assert events == ["durable 1", "durable 2", "durable 3"]


async def test_what_was_durable_is_told_before_the_disk_is_said_to_be_full() -> None:
    events: list[str] = []
    await _write(_Journal(3, JournalFull("no space")), events)
    assert events == ["durable 1", "durable 2", "full"]


async def test_nothing_of_a_batch_is_told_whose_sync_failed() -> None:
    events: list[str] = []
    with pytest.raises(BaseExceptionGroup) as raised:
        await _write(_Journal(3, JournalFailed("sync")), events)
    assert raised.group_contains(JournalFailed)
    # The one before may have been told of, or its clients ask again.
    assert events in (["durable 1"], ["durable 1", "durable 2"])
