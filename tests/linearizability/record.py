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
"""Between a kill and the next, of the short form."""

USERS_PER_OBJECT: Final = 3
"""So many calls at once are under way on a document or a lease: enough to meet. With more of them
the search takes longer, and more clients find no other orders than a few do."""

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
    newest: dict[str, int] = field(default_factory=dict[str, int])
    """Of each object that is begun anew when it has had its operations: which is in use."""

    def begun(self, name: str) -> str:
        """Return the path of an object that has had fewer operations than one may have."""
        generation = self.newest.get(name, 0)
        path = f"{name}-{generation}.md"
        had = len(self.documents.get(path, ())) + len(self.leases.get(path, ()))
        if had >= OPERATIONS_PER_OBJECT:
            self.newest[name] = generation + 1
            path = f"{name}-{generation + 1}.md"
        return path

    @property
    def count(self) -> int:
        """How many operations there are."""
        return sum(map(len, self.documents.values())) + sum(map(len, self.leases.values()))


def record(
    store: Path,
    clients: int,
    seconds: float,
    seed: int,
    *,
    at_once: int = 1,
    kill_seconds: tuple[float, float] = KILL_SECONDS,
) -> History:
    """Let clients use a store for a while and return what they saw.

    Args:
        at_once: how many calls each client has under way.
        kill_seconds: the least and the most time between two kills of the coordinator.
    """
    history = History()
    anyio.run(_run, store, clients, seconds, seed, at_once, kill_seconds, history)
    return history


async def _run(
    store: Path,
    clients: int,
    seconds: float,
    seed: int,
    at_once: int,
    kill_seconds: tuple[float, float],
    history: History,
) -> None:
    # The first start takes as long as the machine is busy, and is not part of the time.
    async with connect(store, agent="first") as agent:
        with contextlib.suppress(NotFound):
            await agent.read("none.md")
    end_at = time.monotonic() + seconds
    objects = max(2, clients * at_once // USERS_PER_OBJECT)
    async with anyio.create_task_group() as group:
        scene = _Scene(history, objects, end_at, at_once)
        for number in range(clients):
            group.start_soon(_client, store, f"client-{number}", seed, scene)
        group.start_soon(_kill, store, end_at, random.Random(seed), kill_seconds, history)


@dataclass(frozen=True)
class _Scene:
    """What all clients share."""

    history: History
    objects: int
    """How many documents there are at a time, and as many leases."""
    end_at: float
    at_once: int


async def _kill(
    store: Path,
    end_at: float,
    chance: random.Random,
    seconds: tuple[float, float],
    history: History,
) -> None:
    while True:
        await anyio.sleep(chance.uniform(*seconds))
        if time.monotonic() >= end_at:
            return
        info = read_endpoint(store)
        if info is not None:
            # Nobody may have started the next one yet.
            with contextlib.suppress(ProcessLookupError):
                os.kill(info.pid, signal.SIGKILL)
                history.kills += 1


async def _client(store: Path, name: str, seed: int, scene: _Scene) -> None:
    async with connect(store, agent=name) as agent, anyio.create_task_group() as group:
        for place in range(scene.at_once):
            group.start_soon(_use, agent, place, random.Random(f"{seed} {name} {place}"), scene)


async def _use(agent: Agent, place: int, chance: random.Random, scene: _Scene) -> None:
    known: dict[str, int] = {}
    number = 0
    while time.monotonic() < scene.end_at:
        number += 1
        which = chance.randrange(scene.objects)
        # Whoever holds a lease gets it again: so one call of a client at a time is about leases.
        if place == 0 and chance.random() < 0.25:
            await _use_lease(agent, scene.history.begun(f"l{which}"), chance, scene.history)
        else:
            path = scene.history.begun(f"d{which}")
            line = f"{agent.name} {place} {number}\n"
            await _use_document(agent, path, line, chance, known, scene.history)


async def _use_document(
    agent: Agent,
    path: str,
    line: str,
    chance: random.Random,
    known: dict[str, int],
    history: History,
) -> None:
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


async def _use_lease(agent: Agent, path: str, chance: random.Random, history: History) -> None:
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
