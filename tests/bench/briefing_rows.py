"""What a briefing costs, after a thousand operations and after a hundred thousand.

The store is made by the core and the journal, without git and files: a briefing asks neither. Times
are those of the process's own work; `p50 ms` is what an asker waits for it, without the way there
and back.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

from agent_trace_coordinator.core.effects import AnswerTrace, Append
from agent_trace_coordinator.core.inputs import Facts, Now, Received
from agent_trace_coordinator.core.machine import step
from agent_trace_coordinator.core.required import required_for
from agent_trace_coordinator.core.state import Rules, State
from agent_trace_coordinator.server.briefings import Trace
from agent_trace_coordinator.storage.base import Entry
from agent_trace_coordinator.storage.journal import Journal
from agent_trace_coordinator.storage.trace_index import TraceIndex
from agent_trace_protocol import (
    Actor,
    Brief,
    Briefing,
    Open,
    Operation,
    Put,
    Request,
    SessionKind,
    Transact,
    session_id_of,
)
from agent_trace_protocol.model import DocumentType

from .results import Row, Target, median, percentile

if TYPE_CHECKING:
    from .scenarios import Settings

__all__ = ["measure_briefing"]

DOCUMENTS: Final = 1000
PLANS_EVERY: Final = 2
"""Every second document is a plan."""

AGENTS: Final = 16
ASKED: Final = 100
"""Briefings of one run."""

BATCH_RECORDS: Final = 512


class _Store:
    """A coordinator's state and journal, fed with requests."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = Journal(path)
        self.state = State(epoch=1, store="bench", rules=Rules())
        self.contents: dict[int, bytes] = {}
        self.pending: list[Entry] = []
        self.numbers: dict[bytes, int] = {}
        self.random = Random(7)
        self.keys = [self.open(f"agent-{number}") for number in range(AGENTS)]

    def now(self) -> Now:
        return Now(1000.0, 1_700_000_000_000 + self.state.seq)

    def open(self, name: str, *, takeover: bool = False) -> bytes:
        key = self.random.randbytes(16)
        self.numbers[key] = 0
        self.ask(key, Open(name, Actor.AGENT, SessionKind.LIBRARY, takeover=takeover))
        return key

    def ask(self, key: bytes, request: Request) -> AnswerTrace | None:
        facts = Facts()
        if isinstance(request, Transact):
            required = required_for(self.state, request.operations)
            facts.contents = {each: self.contents[each] for each in required.contents}
        number = self.numbers[key]
        self.numbers[key] += 1
        received = Received(session_id_of(key), number, b"12345678", request, facts)
        asked: AnswerTrace | None = None
        for effect in step(self.state, received, self.now()):
            if isinstance(effect, Append):
                self.pending.append(effect.entry)
                self.contents.update(effect.entry.contents)
            elif isinstance(effect, AnswerTrace):
                asked = effect
        if len(self.pending) >= BATCH_RECORDS:
            self.flush()
        return asked

    def flush(self) -> None:
        self.journal.append(self.pending, [])
        self.pending.clear()
        current = {each.content_key for each in self.state.documents.values()}
        for key in self.contents.keys() - current:
            del self.contents[key]

    def write(self, key: bytes, operation: Operation) -> None:
        self.ask(key, Transact((operation,)))

    def grow(self, events: int) -> None:
        """Let agents write until there have been so many operations."""
        while self.state.seq < events:
            number = self.random.randrange(DOCUMENTS)
            key = self.keys[self.random.randrange(AGENTS)]
            self.write(key, Put(path_of(number), text_of(number, self.state.seq)))
        self.flush()

    def create(self) -> None:
        for number in range(DOCUMENTS):
            type = DocumentType.SCRATCH if number % PLANS_EVERY else DocumentType.PLAN
            key = self.keys[number % AGENTS]
            self.write(key, Put(path_of(number), text_of(number, 0), type=type))
        self.flush()


def path_of(number: int) -> str:
    return f"folder-{number // 100}/document-{number}.md"


def text_of(number: int, version: int) -> bytes:
    if number % PLANS_EVERY:
        return f"# Notes {number}\n\nVersion {version}.\n".encode()
    items = "".join(f"- [{'x' if item % 3 else ' '}] item {item}\n" for item in range(12))
    return (
        f"# Plan {number}\n\nObjective: reach {number}\nNext step: do {version}\n\n"
        f"## Phase 1\n\n{items}"
    ).encode()


def _measure(store: _Store, runs: int) -> tuple[list[float], list[float], float, float]:
    """Return the p50 and the processor time of a briefing for each run, the time of the first one,
    and what one takes from the event loop."""
    index = TraceIndex(store.path)
    trace = Trace(index)
    key = store.keys[0]
    p50s: list[float] = []
    own: list[float] = []
    loop: list[float] = []
    first = 0.0
    try:
        for _ in range(runs + 1):
            times: list[float] = []
            used = time.process_time()
            for _ in range(ASKED):
                began = time.perf_counter()
                asked = store.ask(key, Brief())
                assert asked is not None
                looked = time.perf_counter()
                answer = trace.answer(asked)
                times.append(time.perf_counter() - began)
                loop.append(looked - began)
                assert isinstance(answer, Briefing)
                first = first or times[0]
            own.append((time.process_time() - used) / ASKED)
            p50s.append(percentile(times, 50))
    finally:
        index.close()
    # The first run reads every plan.
    return p50s[1:], own[1:], first, median(loop)


def measure_briefing(settings: Settings, wanted: Collection[str]) -> list[Row]:
    """Measure a briefing after few operations and after many."""
    few, many = 1000 + AGENTS, settings.revisions
    settings.tell(f"briefing: {DOCUMENTS} documents")
    store = _Store(settings.place / "state.db")
    try:
        store.create()
        waited_before, before, _, _ = _measure(store, settings.runs)
        settings.tell(f"briefing: {many:,} operations")
        store.grow(many)
        waited, after, first, loop = _measure(store, settings.runs)
    finally:
        store.journal.close()
    rows = [
        Row(
            name="briefing",
            title=f"one briefing, {many:,} operations, {DOCUMENTS} documents",
            value=median(waited) * 1000,
            unit=" ms",
            target=Target(10, at_least=False, unit=" ms"),
            ours=f"{median(after) * 1000:.2f} ms of processor time",
            against=f"{loop * 1000:.2f} ms of it on the event loop",
            p50_seconds=median(waited),
            note=f"the first one after a start, which reads all plans: {first * 1000:.0f} ms",
            samples=[each * 1000 for each in waited],
            asked=many == 100_000,
        ),
        Row(
            name="briefing-growth",
            title=f"processor time of one after {many:,} operations against after {few:,}",
            value=median(after) / median(before),
            target=Target(1.2, at_least=False),
            ours=f"{median(after) * 1000:.2f} ms",
            against=f"{median(before) * 1000:.2f} ms",
            note=f"waited: {median(waited) * 1000:.2f}, {median(waited_before) * 1000:.2f} ms",
            samples=[one / other for one, other in zip(after, before, strict=True)],
            asked=many == 100_000,
        ),
    ]
    return [row for row in rows if row.name in wanted]
