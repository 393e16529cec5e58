"""A client process of the bench: agents that do what they are told over standard input.

`python -m bench.load`. Every agent is a real session of the client library, in a closed loop: it
asks again when it was answered. Nothing of what the bench itself needs (texts, random numbers) is
heavy, and what there is counts against agent-trace.
"""

from __future__ import annotations

import random
import sys
import time
from typing import Final, assert_never

import anyio
import anyio.abc
import anyio.to_thread
import msgspec

from agent_trace import Agent, AgentTraceError, Conflict, Put, connect

from .documents import content_of, path_of
from .messages import Crewed, Join, Result, Task

__all__ = ["CONTENDED_PATH", "contended_line", "contended_text", "main"]

CONTENDED_PATH: Final = "board.md"
"""The one document that all agents read, modify and write."""

CREATE_OPERATIONS: Final = 50
"""Documents created by one transaction: preparation, not measured."""


def contended_text(agents: int) -> str:
    """Return the document before anybody worked on it: a section for each agent."""
    sections = [f"## agent {index}\n\nNothing yet.\n" for index in range(agents)]
    return "# Board\n\n" + "\n".join(sections)


def contended_line(agent: int, number: int) -> str:
    """Return the line that stands for one modification."""
    return f"- agent {agent} did step {number}\n"


class _Work:
    """One task on its way."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.end_at = task.begin_at + task.seconds if task.seconds else float("inf")
        self.left = task.count or sys.maxsize
        self.next = task.first_document
        self.result = Result(ended=task.begin_at)

    def claim(self) -> bool:
        """Return whether there is one more operation to do."""
        if self.left <= 0 or time.monotonic() >= self.end_at:
            return False
        self.left -= 1
        return True

    def note(self, began: float) -> None:
        """An operation was acknowledged just now."""
        now = time.monotonic()
        if now <= self.end_at:
            self.result.latencies.append(now - began)
            self.result.ended = now


async def _put(agent: Agent, work: _Work, seed: int) -> None:
    task = work.task
    draw = random.Random(seed).randrange
    number = seed * 1000
    while work.claim():
        number += 1
        index = draw(task.documents)
        text = content_of(index, number, agent.name)
        began = time.monotonic()
        await agent.write(path_of(index), text, durability=task.durability)
        work.note(began)


async def _ping(agent: Agent, work: _Work) -> None:
    while work.claim():
        began = time.monotonic()
        await agent.ping()
        work.note(began)


async def _create(agent: Agent, work: _Work) -> None:
    last = work.task.first_document + work.task.documents
    while work.next < last:
        indexes = range(work.next, min(work.next + CREATE_OPERATIONS, last))
        work.next = indexes.stop
        began = time.monotonic()
        await agent.transact(
            [Put(path_of(index), content_of(index, 0, agent.name)) for index in indexes]
        )
        work.note(began)


async def _contend(agent: Agent, work: _Work, index: int) -> None:
    """Read, change one's own section, write on condition that nobody did in between."""
    for number in range(work.task.count):
        began = time.monotonic()
        while True:
            found = await agent.read(CONTENDED_PATH)
            heading = f"## agent {index}\n"
            text = found.text.replace(heading, heading + contended_line(index, number), 1)
            try:
                await agent.write(CONTENDED_PATH, text, if_revision=found.revision)
                break
            except Conflict as error:
                work.result.refused += 1
                if error.info is not None and error.info.merged:
                    try:
                        await agent.accept(error.info.draft)
                        break
                    except Conflict:
                        work.result.refused += 1
        work.note(began)


async def _do(agents: list[Agent], task: Task) -> Result:
    work = _Work(task)
    await anyio.sleep(max(0.0, task.begin_at - time.monotonic()))
    try:
        async with anyio.create_task_group() as group:
            for index, agent in enumerate(agents[: task.agents]):
                for lane in range(task.depth):
                    seed = task.seed + index * task.depth + lane + 1
                    match task.kind:
                        case "put":
                            group.start_soon(_put, agent, work, seed)
                        case "ping":
                            group.start_soon(_ping, agent, work)
                        case "create":
                            group.start_soon(_create, agent, work)
                        case "contend":
                            # Agents of several processes share the document, so each has a number.
                            number = task.first_document + index
                            group.start_soon(_contend, agent, work, number)
    except* AgentTraceError as group_error:
        work.result.problem = "; ".join(sorted({str(error) for error in group_error.exceptions}))
    return work.result


class _Crew:
    """The connected agents of this process.

    Each connection lives in a task of its own: nested in one task, every request would walk through
    the cancel scopes of all the others, and the client would look slower than it is.
    """

    def __init__(self, group: anyio.abc.TaskGroup) -> None:
        self.agents: list[Agent] = []
        self._group = group
        self._leaving = anyio.Event()

    async def join(self, store: str, names: list[str]) -> None:
        """Connect so many agents, one after the other, so that they keep their order."""
        for name in names:
            self.agents.append(await self._group.start(self._stay, store, name))

    async def _stay(
        self, store: str, name: str, *, task_status: anyio.abc.TaskStatus[Agent]
    ) -> None:
        async with connect(store, agent=name, program="bench", autostart=False) as agent:
            task_status.started(agent)
            await self._leaving.wait()

    def leave(self) -> None:
        """Close all sessions."""
        self._leaving.set()


async def _obey() -> None:
    async with anyio.create_task_group() as group:
        crew = _Crew(group)
        while line := await anyio.to_thread.run_sync(sys.stdin.buffer.readline):
            order = msgspec.json.decode(line, type=Join | Task)
            match order:
                case Join():
                    await crew.join(order.store, order.agents)
                    answer: Crewed | Result = Crewed(len(crew.agents))
                case Task():
                    answer = await _do(crew.agents, order)
                case _:
                    assert_never(order)
            sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
            sys.stdout.buffer.flush()
        crew.leave()


def main() -> None:
    """Obey until standard input ends."""
    anyio.run(_obey)


if __name__ == "__main__":
    main()
