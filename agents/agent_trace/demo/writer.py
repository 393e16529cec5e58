"""One agent of the demonstration, a process of its own: it works on its plan and on shared notes.

Every acknowledged step is written down in a file, which is what the end is checked against. A
successor reads that file and asks the store whether the step after the last one got through.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import anyio
import msgspec

from agent_trace import Agent, Durability, Written, connect

__all__ = ["NOTES", "Step", "read_steps", "step_line"]

NOTES = tuple(f"notes/{topic}.md" for topic in ("findings", "questions", "decisions"))
"""Documents that all agents append to."""


class Step(msgspec.Struct, frozen=True):
    """One acknowledged write."""

    agent: str
    number: int
    seq: int
    path: str
    revision: int
    commit: str


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
        done = "".join(f"- [x] {step_line(agent.name, each)}\n" for each in range(1, number + 1))
        text = f"# Plan of {agent.name}\n\n{done}- [ ] {step_line(agent.name, number + 1)}\n"
        return await agent.write(f"plans/{agent.name}.md", text, type="plan", message=line)
    # Now and then an agent wants the commit before it goes on.
    durability = Durability.GIT if number % 9 == 0 else Durability.JOURNAL
    notes = NOTES[number // 3 % len(NOTES)]
    return await agent.append(notes, f"- {line}\n", durability=durability, message=line)


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


async def _work(store: Path, name: str, steps: int, acknowledged: Path) -> None:
    number = len(read_steps(acknowledged))
    async with connect(store, agent=name, program="demo") as agent:
        with acknowledged.open("ab", buffering=0) as file:
            while number < steps:
                number += 1
                written = await _find_lost_answer(agent, number)
                if written is None:
                    written = await _one_step(agent, number)
                step = Step(
                    name, number, written.seq, written.path, written.revision, written.commit
                )
                file.write(msgspec.json.encode(step) + b"\n")


def main() -> None:
    """Be one agent."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--agent", required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--acknowledged", type=Path, required=True)
    options = parser.parse_args()
    anyio.run(_work, options.store, options.agent, options.steps, options.acknowledged)


if __name__ == "__main__":
    main()
