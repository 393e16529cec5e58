"""One run of the self-test: agents race, processes are killed at random moments, git is asked.

The random moments come from a seed, so that a run can be repeated as far as real processes can.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agent_trace.launch import create_store, read_endpoint

from .crew import Crew, kill_coordinator
from .verify import Verdict, verify

__all__ = ["SelfTestFailed", "Outcome", "Plan", "run"]

POLL_SECONDS: Final = 0.02

KILL_SECONDS: Final = (0.5, 3.0)
"""Between two kills; most of them, by `COORDINATOR_SHARE`, are the coordinator's."""

COORDINATOR_SHARE: Final = 0.7

GRACE_SECONDS: Final = 60.0
"""How long agents may take to end after their time: one may still wait for a lease."""


class SelfTestFailed(Exception):
    """The run itself could not be done."""


@dataclass(frozen=True)
class Plan:
    """What a run does."""

    place: Path
    """An empty directory, on the disk that is tested."""
    agents: int
    seconds: float
    seed: int
    tell: Callable[[float, int, int], None]
    """Is called with the seconds that have passed, the acknowledgements and the kills so far."""


@dataclass
class Outcome:
    """What became of it."""

    verdict: Verdict
    acknowledged: int
    seconds: float
    coordinator_kills: int = 0
    agent_kills: int = 0
    pauses_seconds: list[float] = field(default_factory=list[float])
    """After each kill of the coordinator: how long nothing was acknowledged."""


def run(plan: Plan) -> Outcome:
    """Do one run, and end every process of it however it ends.

    Raises:
        SelfTestFailed: an agent ended with an error, or nothing was acknowledged for a minute.
    """
    store, notes = plan.place / "store", plan.place / "acknowledged"
    store.mkdir()
    notes.mkdir()
    create_store(store, nested=True)
    end_at = time.monotonic() + plan.seconds
    names = [f"agent-{number}" for number in range(1, plan.agents + 1)]
    crew = Crew(store, notes, names, ("--end-at", str(end_at), "--leases"))
    outcome = Outcome(Verdict(), 0, 0.0)
    try:
        _race(plan, crew, end_at, outcome)
        _settle(store)
    finally:
        crew.end()
        info = read_endpoint(store)
        if info is not None:
            _signal(info.pid, signal.SIGKILL)
    steps = crew.steps()
    outcome.acknowledged = len(steps)
    outcome.verdict = verify(store, steps)
    return outcome


def _race(plan: Plan, crew: Crew, end_at: float, outcome: Outcome) -> None:
    chance = random.Random(plan.seed)
    began = time.monotonic()
    for name in crew.names:
        crew.start(name)
    pause = threading.Event()
    kill_at = began + 1.0 + chance.uniform(*KILL_SECONDS)
    heard, heard_at, killed_at = 0, began, 0.0
    while any(process.poll() is None for process in crew.processes.values()):
        now = time.monotonic()
        count = crew.count()
        plan.tell(now - began, count, outcome.coordinator_kills + outcome.agent_kills)
        if count > heard:
            heard, heard_at = count, now
            if killed_at:
                outcome.pauses_seconds.append(now - killed_at)
                killed_at = 0.0
        elif now - heard_at > GRACE_SECONDS:
            raise SelfTestFailed(f"nothing was acknowledged for {GRACE_SECONDS:.0f} s")
        if failed := crew.failed():
            raise SelfTestFailed(failed)
        if kill_at <= now < end_at:
            kill_at = now + chance.uniform(*KILL_SECONDS)
            if chance.random() < COORDINATOR_SHARE:
                if kill_coordinator(crew.store):
                    outcome.coordinator_kills += 1
                    killed_at = now
            else:
                name = chance.choice(crew.names)
                crew.kill(name)
                crew.start(name)
                outcome.agent_kills += 1
        # Files that other processes write are polled: there is nothing to wait on.
        pause.wait(POLL_SECONDS)
    outcome.seconds = time.monotonic() - began


def _settle(store: Path) -> None:
    """Let a coordinator, which may have to recover first, finish everything and leave."""
    for arguments in (("log", "--limit", "1"), ("stop",)):
        done = subprocess.run(
            [sys.executable, "-P", "-m", "agent_trace", "--store", str(store), *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SelfTestFailed(f"agent-trace {arguments[0]}: {done.stderr.strip()}")


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
