"""The third tier: every write of a real run is logged, and any instant of it becomes a power cut.

A recording is one run of a real coordinator and its clients, from the making of the store to the
last checkpoint, a kill and a clean end in the middle included. From it come as many disks as one
has time for: a moment, and a fate of what had not been flushed at it. On each the real coordinator
starts, and what it makes of the disk is compared with the run as it went on.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Final

import anyio

from agent_trace_protocol import AgentTraceError, Committed
from crash.block_disk import FATES, Crash, LoggedDisk, Remains, Replay, copy_sparse, mounted
from crash.block_states import Outcome, Past, Wrong, connect_read_only, try_state
from crash.disk import MEMORY
from crash.repository import GitBroken, changes_of, commit_ids
from crash.scene import Plan, Scene, acting

__all__ = ["BlockFigures", "run_blocks"]

RECORD_SHARE: Final = 0.2
"""Of the time: how long the load that is recorded goes on."""

RECORD_SECONDS_MAX: Final = 2.0
"""What is recorded stays small, because every state of it is looked at as a whole."""

ROUND_SECONDS: Final = 90.0
"""After this long something new is recorded."""

STATES_AT_ONCE: Final = 64
"""States that are drawn together and taken in the order of time."""

WHOLE_SHARE: Final = 0.2
"""Of the states: those on which a coordinator also serves and leaves, not only recovers."""


@dataclass(slots=True)
class BlockFigures:
    """What a run has shown."""

    seed: int
    writes: int = 0
    flushes: int = 0
    operations: int = 0
    acked: int = 0
    recordings: int = 0
    fates: Counter[str] = field(default_factory=Counter[str])
    whole: int = 0
    """States on which a coordinator served as well."""
    repeated: int = 0
    """Moments whose disk had been tried before, byte for byte; they do not count as states."""
    early: int = 0
    """States before `init` had said that there is a store."""
    unflushed: int = 0
    """Operations that were there without anybody having been told so, in all states."""
    promised: int = 0
    """Acknowledgements that were looked for, in all states."""
    checking_seconds: float = 0.0
    cpu_seconds: float = 0.0
    violations: list[str] = field(default_factory=list[str])

    @property
    def states(self) -> int:
        """How many disks were made and recovered."""
        return sum(self.fates.values())

    @property
    def counts(self) -> dict[str, int]:
        """What is added up over runs."""
        return {
            **{"block states": self.states, "acknowledgements looked for": self.promised},
            "violations": len(self.violations),
        }

    def lines(self) -> Iterator[str]:
        """Yield the figures as text."""
        fates = ", ".join(f"{self.fates[fate]} with {fate}" for fate in FATES)
        rate = 60 * self.states / self.checking_seconds if self.checking_seconds else 0.0
        yield (
            f"seed {self.seed}: {self.states} block states recovered ({fates} of what was not "
            f"flushed; {self.early} before init had returned; {self.whole} served as well; "
            f"{self.repeated} more moments leave a disk that was tried before), {rate:.0f} a "
            f"minute, {self.cpu_seconds:.0f} s of CPU"
        )
        yield (
            f"recorded in {self.recordings} runs: {self.writes} writes, {self.flushes} flushes, "
            f"{self.operations} operations, {self.acked} acknowledged"
        )
        yield (
            f"{self.promised} acknowledgements looked for in the states; {self.unflushed} "
            "operations were there that nobody had been told of"
        )
        yield f"{len(self.violations)} violations"
        for violation in self.violations:
            yield f"seed {self.seed}: {violation}"


def run_blocks(
    directory: Path, plan: Plan, kind: str, wrecks: Path, *, states: int = 0
) -> BlockFigures:
    """Record and recover for `plan.seconds`; disks that show a violation are kept in `wrecks`.

    With `states` it is so many of them from one recording of `plan.seconds`, however long it takes.
    """
    figures = BlockFigures(plan.seed)
    random = Random(plan.seed)
    end = time.monotonic() + plan.seconds
    # What a start needs is imported once, and inherited by each of its processes.
    anyio.run(anyio.sleep, 0)
    cpu = _cpu_seconds()
    while not (figures.violations and plan.stop_at_violation):
        left = min(end - time.monotonic(), ROUND_SECONDS)
        if left <= 0 or (states and figures.recordings):
            break
        place = directory / f"recording-{figures.recordings}"
        place.mkdir()
        seconds = plan.seconds if states else min(RECORD_SECONDS_MAX, left * RECORD_SHARE)
        recorded = Plan(seconds, plan.agents, random.getrandbits(32), plan.mutant, plan.think_ms)
        disk = LoggedDisk(place, kind)
        past = _record(disk, place, recorded, figures)
        if past is not None:
            began = time.monotonic()
            until = min(end, began + left - seconds)

            def more(until: float = until) -> bool:
                if states:
                    return figures.states < states
                return time.monotonic() < until

            with tempfile.TemporaryDirectory(prefix="crash-", dir=MEMORY) as memory:
                states_of = _States(disk, past, place, Path(memory), random, figures, plan)
                states_of.try_all(more, wrecks)
            figures.checking_seconds += time.monotonic() - began
        shutil.rmtree(place)
    figures.cpu_seconds = _cpu_seconds() - cpu
    return figures


def _cpu_seconds() -> float:
    return sum(os.times()[:4])


# ---- recording ---------------------------------------------------------------------------------


def _record(disk: LoggedDisk, place: Path, plan: Plan, figures: BlockFigures) -> Past | None:
    """Let a store be made and used on a logged disk; None if it was wrong without any crash."""
    figures.recordings += 1
    with disk:
        scene = Scene(disk.root / "store", place, plan)
        scene.root.mkdir()
        os.sync()
        begun = time.monotonic()
        with acting(scene):
            scene.make()
            made = time.monotonic()
            scene.start()
            scene.start_clients()
            # A kill and a clean end: the log holds recoveries and checkpoints as well.
            for ending in (scene.coordinator.kill, scene.coordinator.leave, None):
                scene.load(plan.seconds / 3)
                if ending is not None:
                    ending()
                    scene.start()
        found = scene.sum_up()
        figures.operations += found.records
        figures.acked += found.acked
        if found.violations:
            figures.violations += [f"without a crash: {each}" for each in found.violations]
            return None
        return _look_back(scene, begun, made)


def _look_back(scene: Scene, begun: float, made: float) -> Past:
    answers = [
        answer for session in scene.ledger.sessions.values() for answer in session.answers.values()
    ]
    answers.sort(key=lambda answer: answer.received)
    named: list[tuple[float, str, int]] = []
    promised: list[int] = []
    for answer in answers:
        reply = answer.reply
        if isinstance(reply, Committed) and reply.commit:
            named.append((answer.received, reply.commit, reply.seq))
        # Every answer says up to where it knows things to be durable.
        own = reply.seq if isinstance(reply, Committed) else 0
        promised.append(max(answer.seq, own))
    with closing(connect_read_only(scene.root)) as connection:
        contents = dict(connection.execute("SELECT key, data FROM content"))
    repo = scene.root / ".agent-trace" / "repo"
    ids, changes = commit_ids(repo), changes_of(repo)
    return Past(
        begun,
        made,
        [line.chain for line in scene.checker.lines],
        ids,
        [changes[id] for id in ids],
        contents,
        [answer.received for answer in answers],
        list(accumulate(promised, max)),
        named,
    )


# ---- the states --------------------------------------------------------------------------------


class _States:
    """The disks of one recording."""

    def __init__(
        self,
        disk: LoggedDisk,
        past: Past,
        place: Path,
        memory: Path,
        random: Random,
        figures: BlockFigures,
        plan: Plan,
    ) -> None:
        """Disks are made in `memory`, what else is needed in `place`."""
        self._kind = disk.kind
        self._log = disk.log
        self._past = past
        self._place = place
        self._base, self._image = memory / "base.img", memory / "state.img"
        self._pristine = place / "pristine.img"
        disk.base.rename(self._pristine)
        self._random = random
        self._figures = figures
        self._plan = plan
        self._seen: dict[Remains, Outcome] = {}

    def try_all(self, more: Callable[[], bool], wrecks: Path) -> None:
        """Try states as long as there are to be `more`; those that are wrong go to `wrecks`."""
        past, figures = self._past, self._figures
        counted = False
        while more():
            copy_sparse(self._pristine, self._base)
            replay = Replay(self._base, self._log)
            if not counted:
                counted = True
                figures.flushes += replay.flush_count
                figures.writes += len(replay.events) - replay.flush_count
            first, made = replay.index_at(past.begun), replay.index_at(past.made)
            named = [moment for moment, _, _ in past.named]
            # Answers that hand out a commit are few, and promise the most.
            told = [*past.told, *3 * named]
            drawn = [
                replay.draw(self._random, first, made, told, named) for _ in range(STATES_AT_ONCE)
            ]
            for crash in sorted(drawn, key=lambda crash: crash.at):
                if not more():
                    return
                try:
                    self._try(replay, crash)
                except (Wrong, GitBroken, AgentTraceError, RuntimeError, sqlite3.Error) as error:
                    # Anew, as the crash left it.
                    kept = wrecks / f"blocks-{self._plan.seed}-{figures.states}.img"
                    replay.make(crash, kept)
                    figures.fates[crash.fate] += 1
                    figures.violations.append(f"{crash}: {error}; the disk is kept as {kept}")
                    if self._plan.stop_at_violation:
                        return

    def _try(self, replay: Replay, crash: Crash) -> None:
        past, figures = self._past, self._figures
        moment = replay.time_of(crash)
        left = replay.left_by(crash)
        before = self._seen.get(left)
        if before is not None and _covers(before, past, moment):
            figures.repeated += 1
            return
        whole = self._random.random() < WHOLE_SHARE
        replay.make(crash, self._image)
        point = self._place / "state"
        with mounted(self._image, self._kind, point):
            found = try_state(
                past, point / "store", moment, self._place, self._plan.mutant, whole=whole
            )
        self._seen[left] = found
        figures.fates[crash.fate] += 1
        figures.whole += whole
        figures.early += moment < past.made
        figures.promised += past.answers_at(moment)
        figures.unflushed += found.kept - found.promised


def _covers(found: Outcome, past: Past, moment: float) -> bool:
    """Return whether what a disk holds is also what it has to hold at another moment."""
    return found.kept >= past.promised_at(moment) and found.standing >= max(
        past.named_at(moment).values(), default=0
    )
