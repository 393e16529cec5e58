"""A real coordinator, real clients that use the same few objects, and what they saw.

The coordinator is killed now and then and started again by its clients. Some calls are given up on
a moment after they were made: whether they were carried out, nobody was told.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

import anyio

from agent_trace import Agent, Conflict, LeaseHeld, NotFound, connect
from agent_trace.launch import read_endpoint

from .models import (
    Acquire,
    AppendText,
    DocumentAnswer,
    DocumentAsked,
    Granted,
    LeaseAnswer,
    LeaseAsked,
    ReadText,
    Refused,
    Release,
    Released,
    Seen,
    WriteText,
    Written,
)
from .search import UNKNOWN, Operation, Unknown

__all__ = ["History", "record"]

OPERATIONS_PER_OBJECT: Final = 600
"""Then a new one is begun: the search takes longer the longer a history is."""

TEXT_LENGTH_MAX: Final = 400
GIVE_UP_SHARE: Final = 0.03
KILL_SECONDS: Final = (0.4, 2.0)
DOCUMENTS: Final = 2
LEASES: Final = 2

DocumentOperation: TypeAlias = Operation[DocumentAsked, DocumentAnswer]
LeaseOperation: TypeAlias = Operation[LeaseAsked, LeaseAnswer]


@dataclass
class History:
    """What clients saw, by object."""

    documents: dict[str, list[DocumentOperation]] = field(
        default_factory=dict[str, "list[DocumentOperation]"]
    )
    leases: dict[str, list[LeaseOperation]] = field(
        default_factory=dict[str, "list[LeaseOperation]"]
    )
    kills: int = 0

    @property
    def count(self) -> int:
        """How many operations there are."""
        return sum(map(len, self.documents.values())) + sum(map(len, self.leases.values()))


def record(store: Path, clients: int, seconds: float, seed: int, *, kill: bool = True) -> History:
    """Let clients use a store for a while and return what they saw."""
    history = History()
    anyio.run(_run, store, clients, seconds, seed, kill, history)
    return history


async def _run(
    store: Path, clients: int, seconds: float, seed: int, kill: bool, history: History
) -> None:
    end_at = time.monotonic() + seconds
    async with anyio.create_task_group() as group:
        for number in range(clients):
            group.start_soon(_client, store, f"client-{number}", end_at, seed, history)
        if kill:
            group.start_soon(_kill, store, end_at, random.Random(seed), history)


async def _kill(store: Path, end_at: float, chance: random.Random, history: History) -> None:
    while True:
        await anyio.sleep(chance.uniform(*KILL_SECONDS))
        if time.monotonic() >= end_at:
            return
        info = read_endpoint(store)
        if info is not None:
            # Nobody may have started the next one yet.
            with contextlib.suppress(ProcessLookupError):
                os.kill(info.pid, signal.SIGKILL)
                history.kills += 1


async def _client(store: Path, name: str, end_at: float, seed: int, history: History) -> None:
    chance = random.Random(f"{seed} {name}")
    known: dict[str, int] = {}
    number = 0
    async with connect(store, agent=name) as agent:
        while time.monotonic() < end_at:
            number += 1
            if chance.random() < 0.25:
                await _use_lease(agent, chance, history)
            else:
                await _use_document(agent, f"{name} {number}\n", chance, known, history)


def _document_of(chance: random.Random, history: History) -> str:
    which = chance.randrange(DOCUMENTS)
    generation = 0
    while len(history.documents.get(f"d{which}-{generation}.md", ())) >= OPERATIONS_PER_OBJECT:
        generation += 1
    return f"d{which}-{generation}.md"


async def _use_document(
    agent: Agent, line: str, chance: random.Random, known: dict[str, int], history: History
) -> None:
    path = _document_of(chance, history)
    asked: DocumentAsked
    dice = chance.random()
    if dice < 0.4:
        asked = ReadText()
    elif dice < 0.6:
        asked = AppendText(line)
    else:
        # On the condition of what was seen last, which others have changed meanwhile as often as
        # not; or on none.
        asked = WriteText(line, known.get(path, 0) if dice < 0.9 else None)
    answered: DocumentAnswer | Unknown = UNKNOWN
    patience = chance.uniform(0, 0.003) if chance.random() < GIVE_UP_SHARE else math.inf
    called = time.monotonic()
    with anyio.move_on_after(patience):
        answered = await _ask(agent, path, asked)
    returned = math.inf if answered is UNKNOWN else time.monotonic()
    if isinstance(answered, Seen | Written):
        known[path] = answered.revision
        if isinstance(answered, Seen) and len(answered.text) > TEXT_LENGTH_MAX:
            known.pop(path)
    elif isinstance(answered, Refused):
        known[path] = answered.current
    operation: DocumentOperation = Operation(agent.name, called, returned, asked, answered)
    history.documents.setdefault(path, []).append(operation)


async def _ask(agent: Agent, path: str, asked: DocumentAsked) -> DocumentAnswer:
    match asked:
        case ReadText():
            try:
                document = await agent.read(path)
            except NotFound:
                return Seen(0, "")
            return Seen(document.revision, document.text)
        case AppendText(text):
            return Written((await agent.append(path, text)).revision)
        case WriteText(text, if_revision):
            try:
                return Written((await agent.write(path, text, if_revision=if_revision)).revision)
            except Conflict as error:
                assert error.info is not None
                return Refused(error.info.current)


async def _use_lease(agent: Agent, chance: random.Random, history: History) -> None:
    which = chance.randrange(LEASES)
    generation = 0
    while len(history.leases.get(f"l{which}-{generation}.md", ())) >= OPERATIONS_PER_OBJECT:
        generation += 1
    path = f"l{which}-{generation}.md"
    seen = history.leases.setdefault(path, [])
    called = time.monotonic()
    try:
        lease = await agent.acquire(path, ttl_seconds=3600.0)
    except LeaseHeld:
        seen.append(Operation(agent.name, called, time.monotonic(), Acquire(), Refused()))
        return
    answered = Granted(lease.token)
    seen.append(Operation(agent.name, called, time.monotonic(), Acquire(), answered))
    await anyio.sleep(chance.uniform(0, 0.005))
    called = time.monotonic()
    await agent.release(lease)
    seen.append(Operation(agent.name, called, time.monotonic(), Release(lease.token), Released()))
