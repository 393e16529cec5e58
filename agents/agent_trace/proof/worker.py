"""One agent, a process of its own: it works on its plan, on shared notes, and on guarded boards.

Every acknowledged step is written down in a file, which is what the end is checked against. A
successor reads that file and asks the store whether the step after the last one got through.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
import msgspec

from agent_trace import Agent, Durability, Written, connect

__all__ = ["BOARDS", "NOTES", "Step", "read_steps", "step_line"]

NOTES: Final = "notes"
"""The folder of documents that all agents append to."""

BOARDS: Final = "boards"
"""The folder of documents that are appended to under an exclusive lease only."""

TOPICS: Final = ("findings", "questions", "decisions")
STEPS_OF_NOTES: Final = 200
"""After so many steps an agent goes on with a new document: each revision is kept whole."""

PLAN_LINES_MAX: Final = 50
LEASE_EACH: Final = 8
"""Every how many steps an agent that uses leases wants one."""

LEASE_WAIT_SECONDS: Final = 20.0
LEASE_SECONDS: Final = 600.0
"""Longer than a run: a lease ends because its holder lets go of it or has died."""


class Step(msgspec.Struct, frozen=True):
    """One acknowledged write."""

    agent: str
    number: int
    seq: int
    path: str
    revision: int
    commit: str
    token: int = 0
    """Of the lease under which it was done; 0 if there was none."""
    held_from: float = 0.0
    """When the holder knew that it had the lease, by the machine's monotonic clock."""
    held_until: float = 0.0
    """When it began to let go of it."""


def step_line(agent: str, number: int) -> str:
    """Return the line that stands for a step, in its document and in its commit."""
    return f"{agent} step {number}"


def read_steps(path: Path) -> list[Step]:
    """Return the steps in a file of acknowledgements; a line cut off by a kill was never one."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    return [msgspec.json.decode(line, type=Step) for line in lines]


async def _one_step(agent: Agent, number: int) -> Written:
    line = step_line(agent.name, number)
    if number % 3:
        numbers = range(max(1, number - PLAN_LINES_MAX), number + 1)
        done = "".join(f"- [x] {step_line(agent.name, each)}\n" for each in numbers)
        text = f"# Plan of {agent.name}\n\n{done}- [ ] {step_line(agent.name, number + 1)}\n"
        return await agent.write(f"plans/{agent.name}.md", text, type="plan", message=line)
    # Now and then an agent wants the commit before it goes on.
    durability = Durability.GIT if number % 9 == 0 else Durability.JOURNAL
    topic = TOPICS[number // 3 % len(TOPICS)]
    path = f"{NOTES}/{topic}-{number // STEPS_OF_NOTES + 1}.md"
    return await agent.append(path, f"- {line}\n", durability=durability, message=line)


async def _guarded_step(agent: Agent, number: int) -> Step:
    """Append to a board that nobody else may touch meanwhile."""
    line = step_line(agent.name, number)
    path = f"{BOARDS}/board-{number // LEASE_EACH % 2 + 1}-{number // STEPS_OF_NOTES + 1}.md"
    lease = await agent.acquire(path, ttl_seconds=LEASE_SECONDS, wait_seconds=LEASE_WAIT_SECONDS)
    held_from = time.monotonic()
    written = await agent.append(path, f"- {line}\n", message=line)
    held_until = time.monotonic()
    await agent.release(lease)
    return _step(agent, number, written, lease.token, held_from, held_until)


def _step(
    agent: Agent,
    number: int,
    written: Written,
    token: int = 0,
    held_from: float = 0.0,
    held_until: float = 0.0,
) -> Step:
    return Step(
        agent.name,
        number,
        written.seq,
        written.path,
        written.revision,
        written.commit,
        token,
        held_from,
        held_until,
    )


async def _find_lost_answer(agent: Agent, number: int) -> Written | None:
    """Return what became of a step whose answer the predecessor did not live to see."""
    if not agent.predecessor:
        return None
    # The newest entries of that session: its last write, and that it was superseded.
    for entry in await agent.log(session=agent.predecessor, limit=3):
        if entry.message == step_line(agent.name, number):
            return Written(
                entry.path,
                entry.revision,
                entry.seq,
                entry.commit,
                entry.action,
                entry.added,
                entry.removed,
            )
    return None


@dataclass(frozen=True)
class _Task:
    """How long an agent works, and at what."""

    steps: int
    end_at: float
    leases: bool

    def more(self, number: int) -> bool:
        """Return whether a step comes after this one."""
        return number < self.steps and time.monotonic() < self.end_at


async def _work(store: Path, name: str, task: _Task, acknowledged: Path) -> None:
    number = len(read_steps(acknowledged))
    async with connect(store, agent=name, program="proof") as agent:
        for lease in agent.inherited:
            # The predecessor died while it held it, and what it was for is done or repeated.
            await agent.release(lease.token)
        with acknowledged.open("ab", buffering=0) as file:
            while task.more(number):
                number += 1
                written = await _find_lost_answer(agent, number)
                if written is not None:
                    step = _step(agent, number, written)
                elif task.leases and number % LEASE_EACH == 0:
                    step = await _guarded_step(agent, number)
                else:
                    step = _step(agent, number, await _one_step(agent, number))
                file.write(msgspec.json.encode(step) + b"\n")


def main() -> None:
    """Be one agent."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--agent", required=True)
    parser.add_argument("--steps", type=int, default=sys.maxsize)
    parser.add_argument("--end-at", type=float, default=math.inf, help="by the monotonic clock")
    parser.add_argument("--leases", action="store_true")
    parser.add_argument("--acknowledged", type=Path, required=True)
    options = parser.parse_args()
    task = _Task(options.steps, options.end_at, options.leases)
    anyio.run(_work, options.store, options.agent, task, options.acknowledged)


if __name__ == "__main__":
    main()
