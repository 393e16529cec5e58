"""Every call of a recorded run, with every error that it can have, one after the other.

First strace notes which calls a coordinator and its gits make, from the start to the end of a life
with clients, a killed git and a clean end. Then each pair of a call and an error has its turn: the
call is made to fail, some time or for good, while clients write, or in a start.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from crash.faults import ANY_PROCESS, Fault, Injector, Recorder, pairs_of
from crash.run import settle_fault
from crash.scene import Figures, Plan, Scene, acting

__all__ = ["PairFigures", "run_pairs"]

PAIRS_PER_STORE: Final = 20

RECORD_SECONDS: Final = 1.5
"""How long clients write, twice, while calls are recorded."""

MEET_SECONDS: Final = 3.0
"""How long a call that is to fail is waited for."""

START_FAILS_SECONDS: Final = 2.0
"""How long a start whose calls fail is watched."""


@dataclass(slots=True)
class PairFigures:
    """What letting all calls fail has shown."""

    crash: Figures
    recorded: Mapping[str, Counter[str]]
    pairs: list[Fault]
    first: int = 0
    tried: int = 0
    met: list[Fault] = field(default_factory=list[Fault])
    """Those whose call was made, and failed, while it was to."""

    @property
    def _tried(self) -> list[Fault]:
        return self.pairs[self.first : self.first + self.tried]

    @property
    def violations(self) -> list[str]:
        """What went wrong."""
        return self.crash.violations

    @property
    def counts(self) -> dict[str, int]:
        """What is added up over runs."""
        return {
            **{"pairs": len(self.pairs), "tried": self.tried, "met": len(self.met)},
            **{"acknowledged": self.crash.acked, "violations": len(self.violations)},
        }

    def lines(self) -> Iterator[str]:
        """Yield the figures as text."""
        for process, calls in sorted(self.recorded.items()):
            failing = {fault.call for fault in self.pairs if fault.process == process}
            never = sorted(calls.keys() - failing)
            yield (
                f"recorded of the {process}: {calls.total()} calls of {len(calls)} kinds; not made "
                f"to fail: {', '.join(never)}"
            )
        yield from self.crash.lines()
        met = set(self.met)
        missed = [str(fault) for fault in self._tried if fault not in met]
        yield f"not met while it was to fail: {', '.join(missed) or 'none'}"


def run_pairs(
    directory: Path, plan: Plan, fault_from: int = 0, count: int | None = None
) -> PairFigures:
    """Let each call that a recorded run made fail with each error that it can have, one after the
    other, until all, or a `count`, have had their turn, or the time is over."""
    random = Random(plan.seed)
    recorded = _record_calls(directory, plan)
    pairs = list(pairs_of(recorded))
    end = time.monotonic() + plan.seconds
    figures = PairFigures(Figures(plan.seed), recorded, pairs, fault_from)
    figures.crash.stores = 0
    left = pairs[fault_from:][:count]
    while left and time.monotonic() < end:
        number = figures.crash.stores
        place = directory / f"store-{number}"
        place.mkdir()
        part = dataclasses.replace(plan, seed=random.getrandbits(32))
        scene = Scene(place / "store", place, part, disk_may_fail=True)
        with acting(scene):
            scene.make()
            scene.start()
            scene.start_clients()
            scene.await_pack()
            for fault in left[:PAIRS_PER_STORE]:
                if time.monotonic() > end:
                    break
                figures.tried += 1
                if any(attempt(scene, fault) for attempt in _ATTEMPTS[fault.process]):
                    figures.met.append(fault)
                scene.check_new()
        del left[: min(PAIRS_PER_STORE, len(left))]
        figures.crash.add(scene.sum_up())
        if figures.crash.violations and plan.stop_at_violation:
            break
    return figures


def _record_calls(directory: Path, plan: Plan) -> dict[str, Counter[str]]:
    """Return which calls a coordinator and its git make in a life with everything in it."""
    place = directory / "recorded"
    place.mkdir()
    scene = Scene(place / "store", place, dataclasses.replace(plan, mutant=""))
    scene.make()
    try:
        scene.coordinator.begin()
        recorder = Recorder(scene.coordinator.pid, place)
        scene.coordinator.await_ready()
        scene.start_clients()
        scene.await_pack()
        scene.load(RECORD_SECONDS)
        scene.coordinator.kill_git()
        scene.load(RECORD_SECONDS)
        scene.coordinator.leave()
        return recorder.close()
    finally:
        scene.close()


def _fail_serving(scene: Scene, fault: Fault) -> bool:
    """Let a call fail while clients write; return whether it did."""
    coordinator = scene.coordinator
    until = time.monotonic() + MEET_SECONDS
    pids = [coordinator.pid]
    if fault.process == "git":
        while not (pids := coordinator.git_children()) and time.monotonic() < until:
            scene.load(0.02)
    return bool(pids) and _inject(scene, fault, pids, ())


def _fail_new_git(scene: Scene, fault: Fault) -> bool:
    """Let a call fail in a git from its first instant on; return whether it did.

    strace follows the coordinator to the git that it starts, and the same calls of its own fail.
    """
    if fault.call not in ANY_PROCESS and fault.call != "execve":
        return False  # in the coordinator ZeroMQ would abort
    coordinator = scene.coordinator
    own = [int(each) for each in os.listdir(f"/proc/{coordinator.pid}/task")]
    return _inject(scene, fault, [coordinator.pid], own)


def _inject(scene: Scene, fault: Fault, pids: list[int], own: list[int] | tuple[()]) -> bool:
    injector = Injector(pids, fault, scene.random, scene.scratch / "strace.log")
    try:
        if own:
            scene.coordinator.kill_git()
        until = time.monotonic() + MEET_SECONDS
        while not (met := injector.failed(own)) and time.monotonic() < until:
            scene.load(0.05)
            if scene.coordinator.ended() is not None:
                break
        if met:
            # What fails for good is to be noticed.
            scene.load(scene.random.uniform(0.05, 0.4))
    finally:
        any_failed = injector.close()
    if any_failed:
        settle_fault(scene, fault)
    return bool(met)


def _fail_start(scene: Scene, fault: Fault) -> bool:
    """Let a call fail in a start, from as early on as strace can be there; return whether it did.

    A start that can not do what it has to may end, and says so.
    """
    coordinator = scene.coordinator
    began = time.monotonic()
    coordinator.kill()
    coordinator.begin()
    injector = Injector([coordinator.pid], fault, scene.random, scene.scratch / "strace.log")
    try:
        until = time.monotonic() + START_FAILS_SECONDS
        while coordinator.ended() is None and time.monotonic() < until:
            time.sleep(0.01)
    finally:
        failed = injector.close()
    code = coordinator.ended()
    if code is not None:
        scene.figures.ends[f"{code} after {fault} in a start"] += 1
        if code < 0:
            scene.checker.accuse(f"{fault} in a start ended the coordinator by signal {-code}")
            scene.stop_if_broken()
    coordinator.kill()
    scene.start(began)
    if failed:
        scene.figures.faults[str(fault)] += 1
    return bool(failed)


_ATTEMPTS: Final = {
    "coordinator": (_fail_serving, _fail_start),
    "git": (_fail_serving, _fail_new_git),
}
"""How a call is met, one way after the other."""
