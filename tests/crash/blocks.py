"""The third tier: every write of a real run is logged, and any instant of it becomes a power cut.

A recording is one run of a real coordinator and its clients, from the making of the store to the
last checkpoint, a kill and a clean end in the middle included. From it come as many disks as one
has time for: a moment, and a fate of what had not been flushed at it. On each the real coordinator
starts, and what it makes of the disk is compared with the run as it went on.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import tempfile
import time
import traceback
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Final

import anyio

from agent_trace_coordinator.core.records import content_key, decode_record
from agent_trace_coordinator.core.trace_state import is_generated
from agent_trace_coordinator.server.service import serve
from agent_trace_coordinator.storage.store import create_store
from agent_trace_protocol import AgentTraceError, Committed
from crash.block_disk import FATES, LoggedDisk, Replay, copy_sparse, mounted
from crash.check import find_left_over
from crash.client import read_endpoint
from crash.mutant_coordinator import MUTANTS
from crash.repository import (
    GitBroken,
    blob_id,
    commit_ids,
    find_fsck_errors,
    is_on_branch,
    missing_commits,
    read_files,
    run_git,
)
from crash.scene import Plan, Scene, acting

__all__ = ["BlockFigures", "run_blocks"]

RECORD_SHARE: Final = 0.2
"""Of the time: how long the load that is recorded goes on."""

RECORD_SECONDS_MAX: Final = 6.0
"""What is recorded stays small, because every state of it is looked at as a whole."""

ROUND_SECONDS: Final = 120.0
"""After this long something new is recorded."""

START_SECONDS: Final = 60.0
"""How long a coordinator may take until it serves what a power cut left, and again to leave."""

_MEMORY: Final = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where the disks are that are made: what a recovery syncs to them costs no real disk anything."""

STATES_AT_ONCE: Final = 64
"""States that are drawn together and taken in the order of time."""


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

    def lines(self) -> Iterator[str]:
        """Yield the figures as text."""
        fates = ", ".join(f"{self.fates[fate]} with {fate}" for fate in FATES)
        rate = 60 * self.states / self.checking_seconds if self.checking_seconds else 0.0
        yield (
            f"seed {self.seed}: {self.states} block states recovered ({fates} of what was not "
            f"flushed; {self.early} before init had returned), {rate:.0f} a minute, "
            f"{self.cpu_seconds:.0f} s of CPU"
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


@dataclass(frozen=True, slots=True)
class _Run:
    """What was recorded, and how it went on: what a state is compared with."""

    begun: float
    made: float
    """When `init` had returned."""
    chains: list[bytes]
    """Of each operation, in order."""
    commits: list[str]
    contents: dict[int, bytes]
    """What state.db holds of each revision, by its key."""
    told: list[float]
    """When answers came, in order."""
    promised: list[int]
    """The highest operation that had to be durable by then."""
    named: list[tuple[float, str, int]]
    """When each commit id was handed out, in order, and of which operation it is."""

    def promised_at(self, time: float) -> int:
        """Return up to which operation everything has to be there at a moment."""
        index = bisect_left(self.told, time)
        return self.promised[index - 1] if index else 0

    def named_at(self, time: float) -> dict[str, int]:
        """Return the commits that git itself has to have at a moment."""
        index = bisect_left(self.named, time, key=lambda each: each[0])
        return {id: seq for _, id, seq in self.named[:index]}


class _Wrong(Exception):
    """A state is not what it has to be."""


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
        run = _record(disk, place, recorded, figures)
        if run is not None:
            began = time.monotonic()
            until = min(end, began + left - seconds)

            def more(until: float = until) -> bool:
                if states:
                    return figures.states < states
                return time.monotonic() < until

            with tempfile.TemporaryDirectory(prefix="crash-", dir=_MEMORY) as memory:
                _try_states(disk, run, place, Path(memory), random, figures, plan, more, wrecks)
            figures.checking_seconds += time.monotonic() - began
        shutil.rmtree(place)
    figures.cpu_seconds = _cpu_seconds() - cpu
    return figures


def _cpu_seconds() -> float:
    return sum(os.times()[:4])


# ---- recording ---------------------------------------------------------------------------------


def _record(disk: LoggedDisk, place: Path, plan: Plan, figures: BlockFigures) -> _Run | None:
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


def _look_back(scene: Scene, begun: float, made: float) -> _Run:
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
    with closing(_connect(scene.root)) as connection:
        contents = dict(connection.execute("SELECT key, data FROM content"))
    return _Run(
        begun,
        made,
        [line.chain for line in scene.checker.lines],
        commit_ids(scene.root / ".agent-trace" / "repo"),
        contents,
        [answer.received for answer in answers],
        list(accumulate(promised, max)),
        named,
    )


def _connect(root: Path) -> sqlite3.Connection:
    path = root / ".agent-trace" / "state.db"
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)


# ---- the states --------------------------------------------------------------------------------


def _try_states(
    disk: LoggedDisk,
    run: _Run,
    place: Path,
    memory: Path,
    random: Random,
    figures: BlockFigures,
    plan: Plan,
    more: Callable[[], bool],
    wrecks: Path,
) -> None:
    pristine = place / "pristine.img"
    disk.base.rename(pristine)
    base, image, point = memory / "base.img", memory / "state.img", place / "state"
    counted = False
    while more():
        copy_sparse(pristine, base)
        replay = Replay(base, disk.log)
        if not counted:
            counted = True
            figures.flushes += replay.flush_count
            figures.writes += len(replay.events) - replay.flush_count
        first = replay.index_at(run.begun)
        made = replay.index_at(run.made)
        # Answers that hand out a commit are few, and promise the most.
        told = [*run.told, *3 * [moment for moment, _, _ in run.named]]
        drawn = [replay.draw(random, first, made, told) for _ in range(STATES_AT_ONCE)]
        for crash in sorted(drawn, key=lambda crash: crash.at):
            if not more():
                return
            replay.make(crash, image)
            try:
                with mounted(image, disk.kind, point):
                    _try_state(run, point / "store", replay.time_of(crash), place, figures, plan)
            except (_Wrong, GitBroken, AgentTraceError, RuntimeError, sqlite3.Error) as error:
                # Anew, as the crash left it.
                kept = wrecks / f"blocks-{plan.seed}-{figures.states}.img"
                replay.make(crash, kept)
                figures.violations.append(f"{crash}: {error}; the disk is kept as {kept}")
                if plan.stop_at_violation:
                    figures.fates[crash.fate] += 1
                    return
            figures.fates[crash.fate] += 1


def _try_state(
    run: _Run, root: Path, moment: float, scratch: Path, figures: BlockFigures, plan: Plan
) -> None:
    """Check what a crash left, start on it, and check what came of it."""
    if moment < run.made:
        figures.early += 1
        if not (root / ".agent-trace" / "config.toml").exists():
            create_store(root)
    repo = root / ".agent-trace" / "repo"
    named = run.named_at(moment)
    if named:
        if missing := missing_commits(repo, list(named)):
            raise _Wrong(
                f"commit {missing[0]} of operation {named[missing[0]]} was handed out, and git "
                f"does not have it ({len(missing)} of {len(named)} are missing)"
            )
        newest = max(named, key=lambda id: named[id])
        if not is_on_branch(repo, newest):
            raise _Wrong(
                f"commit {newest} of operation {named[newest]} was handed out, and is not on the "
                "branch"
            )
    _live(root, scratch / "recovery.log", plan.mutant)
    promised = run.promised_at(moment)
    figures.promised += bisect_left(run.told, moment)
    kept, total = _check_journal(run, root, promised)
    figures.unflushed += kept - promised
    _check_history(run, root, kept, total)
    if left := find_left_over(root):
        raise _Wrong(f"{left[0]} is left over")
    if aside := os.listdir(root / ".agent-trace" / "quarantine"):
        raise _Wrong(f"files were taken for foreign ones and set aside: {aside[:3]}")


def _live(root: Path, log: Path, mutant: str) -> None:
    """Let a coordinator start on a store until it serves, and leave in order."""
    pid = os.fork()
    if not pid:
        # The child owns nothing of what the parent would clean up, so it ends without that.
        code = 70
        try:
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            for stream in (1, 2):
                os.dup2(descriptor, stream)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            if mutant:
                MUTANTS[mutant]()
            code = serve(root, None)
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(code)
    asked = False
    deadline = time.monotonic() + START_SECONDS
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        if not asked and (info := read_endpoint(root)) is not None and info.pid == pid:
            os.kill(pid, signal.SIGTERM)
            asked = True
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise _Wrong("the coordinator neither serves nor leaves; it said: " + _end_of(log))
        time.sleep(0.002)
    code = os.waitstatus_to_exitcode(status)
    if code or not asked:
        raise _Wrong(f"the coordinator ended with {code}; it said: {_end_of(log)}")


def _end_of(log: Path) -> str:
    return log.read_text("utf-8", "replace")[-1500:].strip()


def _check_journal(run: _Run, root: Path, promised: int) -> tuple[int, int]:
    """Check the operations; return how many are those of the run, and how many there are."""
    with closing(_connect(root)) as connection:
        (verdict,) = connection.execute("PRAGMA integrity_check(3)").fetchone()
        if verdict != "ok":
            raise _Wrong(f"SQLite finds state.db damaged: {verdict}")
        rows: list[tuple[int, bytes, bytes]] = connection.execute(
            "SELECT seq, chain, record FROM journal ORDER BY seq"
        ).fetchall()
        contents: dict[int, bytes] = dict(connection.execute("SELECT key, data FROM content"))
    kept = 0
    for (seq, chain, _), expected in zip(rows, run.chains, strict=False):
        # The chain holds everything before it: order, authors, numbers, once each.
        if chain != expected or seq != kept + 1:
            break
        kept = seq
    if kept < promised:
        raise _Wrong(f"operation {promised} was told of as durable, and from {kept + 1} on is LOST")
    for seq, _, encoded in rows[kept:]:
        record = decode_record(encoded)
        if not is_generated(record):
            raise _Wrong(f"operation {seq} is one that nobody asked for: {str(record)[:300]}")
    below = content_key(kept + 1, 0)
    expected_contents = {key: data for key, data in run.contents.items() if key < below}
    if {key: data for key, data in contents.items() if key < below} != expected_contents:
        raise _Wrong("state.db does not hold what was written")
    return kept, len(rows)


def _check_history(run: _Run, root: Path, kept: int, total: int) -> None:
    """Check that git has each operation once, as the same commit, and that the files are its."""
    repo = root / ".agent-trace" / "repo"
    ids = commit_ids(repo)
    if ids[:kept] != run.commits[:kept]:
        raise _Wrong("git does not have the commits that these operations are")
    if len(ids) != total:
        raise _Wrong(f"{len(ids)} commits are on the branch, for {total} operations")
    if errors := find_fsck_errors(repo):
        raise _Wrong(f"git fsck: {errors[0]}")
    tree: dict[str, str] = {}
    if ids:
        listed = run_git(f"--git-dir={repo}", "ls-tree", "-r", "-z", ids[-1]).decode()
        for line in listed.split("\0")[:-1]:
            head, _, path = line.partition("\t")
            tree[path] = head.split(" ")[2]
    files = {path: blob_id(data) for path, data in read_files(root, ".agent-trace").items()}
    if files != tree:
        different = sorted(
            path for path in files.keys() | tree if files.get(path) != tree.get(path)
        )
        raise _Wrong(f"files are not what git has: {different[:3]}")
