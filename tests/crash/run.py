"""The controllers: load, a crash at a random moment, a new start, a check, and so on."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from agent_trace_protocol import Actor, session_id_of
from crash.check import Checker, Snapshot, take_snapshot
from crash.client import ClientConfig
from crash.disk import Disk
from crash.faults import FAULTS, Fault, Injector
from crash.ledger import Cuts, Ledger
from crash.processes import ClientProcess, Coordinator, Fell, make_store
from crash.repository import GitBroken, find_damage

__all__ = ["Figures", "Plan", "run_cut", "run_faults", "run_first", "run_kill", "run_wound"]

FIRST_PACK_SECONDS: Final = 20.0
"""How long clients may take to get something into git."""

FAULT_SECONDS: Final = 15.0
"""How long a coordinator whose calls work again may take until it answers, or has ended."""

EXIT_DISK_FAILED: Final = 74
"""What a coordinator ends with that can not make anything durable any more."""

EXIT_DAMAGED: Final = 1
"""What it ends with when state.db seems to be damaged."""

INIT_SECONDS: Final = 30.0
"""How long making a store may take."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is to do."""

    seconds: float
    """How long crashes go on; the checks at the end come on top."""
    agents: int
    seed: int
    mutant: str = ""
    think_ms: float = 2.0
    stop_at_violation: bool = True


@dataclass(slots=True)
class Figures:
    """What a run has shown."""

    seed: int
    faults: Counter[str] = field(default_factory=Counter[str])
    records: int = 0
    acked: int = 0
    doubtful: int = 0
    unnamed: int = 0
    unresolved: Counter[str] = field(default_factory=Counter[str])
    refusals: Counter[str] = field(default_factory=Counter[str])
    downtimes: list[float] = field(default_factory=list[float])
    """Seconds from a crash to the first answer after it."""
    starts: list[float] = field(default_factory=list[float])
    """Seconds from the start of a process to its first answer."""
    ends: Counter[str] = field(default_factory=Counter[str])
    """With which codes the coordinator ended by itself, and after what."""
    damage: Counter[str] = field(default_factory=Counter[str])
    """What crashes left in the git repository, before a start repaired it."""
    violations: list[str] = field(default_factory=list[str])

    @property
    def cycles(self) -> int:
        """How often something was crashed."""
        return sum(self.faults.values())

    def lines(self) -> Iterator[str]:
        """Yield the figures as text."""
        yield f"seed {self.seed}: {self.cycles} cycles {_counts(self.faults)}"
        yield (
            f"{self.records} operations, {self.acked} acknowledged, {self.doubtful} of them while "
            f"the power was being cut; unanswered: {_counts(self.unresolved)}"
        )
        yield f"refused {_counts(self.refusals)}; waited for git and got no commit: {self.unnamed}"
        for name, times in (("downtime", self.downtimes), ("start", self.starts)):
            if times:
                yield f"{name} p50 {statistics.median(times):.2f} s, max {max(times):.2f} s"
        if self.ends:
            yield f"ended by itself: {_counts(self.ends)}"
        if self.damage:
            yield f"found in git before a start: {_counts(self.damage)}"
        yield f"{len(self.violations)} violations"
        for violation in self.violations:
            yield f"seed {self.seed}: {violation}"


def _counts(counts: Counter[str]) -> str:
    return "(" + (", ".join(f"{n} {name}" for name, n in counts.most_common()) or "none") + ")"


class _Stop(Exception):
    """A violation was found, or nothing can go on; the rest of the run is left out."""


class _Scene:
    """One store, its coordinator, its clients, and what is known about them."""

    def __init__(
        self, root: Path, scratch: Path, plan: Plan, *, disk_may_fail: bool = False
    ) -> None:
        """Logs and clones go to `scratch`, which no power cut reaches."""
        self._disk_may_fail = disk_may_fail
        self.root = root
        self.scratch = scratch
        self.plan = plan
        self.random = Random(plan.seed)
        self.cuts = Cuts()
        self.ledger = Ledger(self.cuts, disk_may_fail=disk_may_fail)
        self.checker = Checker(root, self.ledger, disk_may_fail=disk_may_fail)
        self.coordinator = Coordinator(root, scratch / "coordinator.log", plan.mutant)
        self.figures = Figures(plan.seed)
        self.clients: list[ClientProcess] = []
        self._lives = 0
        self._logs: dict[str, list[str]] = {}

    # -- processes -------------------------------------------------------------------------

    def make(self) -> None:
        done = make_store(self.root)
        _, said = done.communicate(timeout=INIT_SECONDS)
        if done.returncode:
            raise RuntimeError(f"init failed: {said.decode('utf-8', 'replace')}")

    def start(self, down_since: float | None = None) -> None:
        """Start the coordinator and wait until it answers."""
        began = time.monotonic()
        self.coordinator.begin()
        self.coordinator.await_ready()
        now = time.monotonic()
        self.figures.starts.append(now - began)
        if down_since is not None:
            self.figures.downtimes.append(now - down_since)

    def start_clients(self) -> None:
        for index in range(self.plan.agents):
            self.clients.append(self._start_client(f"agent-{index}", self.random.randbytes(16)))

    def _start_client(self, name: str, key: bytes) -> ClientProcess:
        self._lives += 1
        log = self.scratch / f"{name}.{self._lives}.log"
        before = self._logs.setdefault(key.hex(), [])
        config = ClientConfig(
            root=str(self.root),
            log=str(log),
            name=name,
            actor=Actor.USER if name.endswith("0") else Actor.AGENT,
            key=key,
            seed=self.random.getrandbits(64),
            life=self._lives,
            # Half of them keep several requests under way, which fills batches.
            window=1 if int(name.partition("-")[2]) % 2 else self.random.randint(2, 8),
            think_ms=self.plan.think_ms,
            pid_started=self._lives,
            disk_may_fail=self._disk_may_fail,
            continues=tuple(before),
        )
        before.append(str(log))
        self.ledger.add_log(log)
        return ClientProcess(config, self.scratch / "clients.log")

    def replace_client(self) -> None:
        """Kill a client; a new process continues its session, or its agent in a new one."""
        index = self.random.randrange(len(self.clients))
        old = self.clients[index]
        old.kill()
        same = self.random.random() < 0.5
        key = old.config.key if same else self.random.randbytes(16)
        self.clients[index] = self._start_client(old.config.name, key)

    def load(self, seconds: float) -> None:
        """Let the clients work for a while."""
        time.sleep(seconds)
        for client in self.clients:
            code = client.process.poll()
            if code is not None:
                said = (self.scratch / "clients.log").read_text("utf-8", "replace")[-800:]
                raise Fell(f"client {client.config.name} ended with {code}: {said}")

    def await_pack(self) -> None:
        """Return when something has reached git."""
        deadline = time.monotonic() + FIRST_PACK_SECONDS
        packs = self.root / ".agent-trace" / "repo" / "objects" / "pack"
        while not list(packs.glob("pack-*.idx")):
            if time.monotonic() > deadline:
                raise Fell(f"nothing is in git after {FIRST_PACK_SECONDS} seconds of load")
            self.load(0.02)

    # -- checks ----------------------------------------------------------------------------

    def check_new(self) -> None:
        self.checker.check_new()
        self.stop_if_broken()

    def stop_if_broken(self) -> None:
        if self.checker.violations and self.plan.stop_at_violation:
            raise _Stop

    def look_at_wreck(self) -> None:
        """See what a crash left, before anything repairs it."""
        repo = self.root / ".agent-trace" / "repo"
        if repo.is_dir():
            kinds = {_kind_of(each) for each in find_damage(repo)}
            self.figures.damage.update(kinds)
            self.checker.check_commits_survived()
            self.stop_if_broken()

    def finish(self) -> None:
        """Let everybody leave, then check everything, and that starting again changes nothing."""
        for client in self.clients:
            client.await_begun()
            client.leave()
        for client in self.clients:
            code = client.await_left()
            if code:
                self.checker.accuse(f"client {client.config.name} left with code {code}")
        clients, self.clients = self.clients, []
        self.ledger.read()
        for client in clients:
            session = self.ledger.sessions[session_id_of(client.config.key)]
            left = session.calls.keys() - session.answers.keys()
            if left:
                self.checker.accuse(
                    f"{client.config.name} was never answered requests {sorted(left)[:5]}"
                )
        self.coordinator.kill()
        first = self._live_and_leave()
        self.start()
        self.coordinator.kill()
        second = self._live_and_leave()
        if first != second:
            self.checker.accuse(
                f"starting again changed the store from {_brief(first)} to {_brief(second)}"
            )
        self.checker.check_all(self.scratch)

    def _live_and_leave(self) -> Snapshot:
        self.start()
        self.coordinator.leave()
        return take_snapshot(self.root)

    def close(self) -> None:
        for client in self.clients:
            client.kill()
        self.coordinator.kill()

    def sum_up(self) -> Figures:
        figures, ledger = self.figures, self.ledger
        figures.records = len(self.checker.lines)
        figures.acked, figures.doubtful = ledger.acked, ledger.doubtful
        figures.unnamed, figures.refusals = ledger.unnamed, ledger.refusals
        figures.unresolved = self.checker.unresolved
        figures.violations = self.checker.violations
        return figures


def _kind_of(damage: str) -> str:
    """Return a kind of damage without the names that differ every time."""
    what, _, place = damage.partition(" ")
    name = Path(place).suffix or re.sub("_[A-Za-z0-9]{6}$", "", Path(place).name)
    return damage if what == "the" else f"{what} {name}"


def _brief(snapshot: Snapshot) -> str:
    return f"operation {snapshot.seq}, HEAD {snapshot.head}, {len(snapshot.files)} files"


@contextlib.contextmanager
def _acting(scene: _Scene) -> Generator[None]:
    """Run crashes; whatever makes the coordinator fall by itself is a violation."""
    try:
        try:
            yield
            scene.finish()
        except (Fell, GitBroken) as error:
            scene.checker.accuse(str(error))
        except _Stop:
            pass
    finally:
        scene.close()


# ---- killing -----------------------------------------------------------------------------------


def run_kill(directory: Path, plan: Plan) -> Figures:
    """Kill processes at random moments; `directory` is an empty one of our own."""
    scene = _Scene(directory / "store", directory, plan)
    random = scene.random
    with _acting(scene):
        scene.make()
        scene.start()
        scene.start_clients()
        faults = random.choices(
            ("coordinator", "git", "client", "pause", "term", "twice"),
            weights=(40, 20, 15, 10, 10, 5),
            k=100_000,
        )
        end = time.monotonic() + plan.seconds
        while time.monotonic() < end:
            scene.load(random.uniform(0.05, 1.0))
            scene.coordinator.check_alive()
            fault = faults.pop()
            _inflict(scene, fault)
            scene.figures.faults[fault] += 1
            scene.check_new()
    return scene.sum_up()


def _inflict(scene: _Scene, fault: str) -> None:
    coordinator, random = scene.coordinator, scene.random
    began = time.monotonic()
    if fault == "git":
        coordinator.kill_git()
    elif fault == "client":
        scene.replace_client()
    elif fault == "pause":
        coordinator.signal(signal.SIGSTOP)
        time.sleep(random.uniform(0.05, 1.5))
        coordinator.signal(signal.SIGCONT)
    elif fault == "term":
        coordinator.leave()
        scene.look_at_wreck()
        scene.start(began)
    else:
        coordinator.kill()
        scene.look_at_wreck()
        if fault == "twice":
            # Somewhere in the recovery, or right after it.
            coordinator.begin()
            time.sleep(random.uniform(0.0, 0.8))
            coordinator.kill()
        scene.start(began)


# ---- failing system calls --------------------------------------------------------------------


def run_faults(directory: Path, plan: Plan) -> Figures:
    """Let system calls of the coordinator and of git fail while they serve.

    It may go on, refuse, or end with the code that says that the disk failed; whichever it is,
    what was acknowledged is there when it works again.
    """
    scene = _Scene(directory / "store", directory, plan, disk_may_fail=True)
    random = scene.random
    with _acting(scene):
        scene.make()
        scene.start()
        scene.start_clients()
        scene.await_pack()
        left: list[Fault] = []
        end = time.monotonic() + plan.seconds
        while time.monotonic() < end:
            # All of them once, in a random order, before any comes again.
            left = left or random.sample(FAULTS, len(FAULTS))
            scene.load(random.uniform(0.05, 0.3))
            _let_fail(scene, left.pop())
            scene.check_new()
    return scene.sum_up()


def _let_fail(scene: _Scene, fault: Fault) -> None:
    coordinator = scene.coordinator
    children = coordinator.git_children()
    pids = [coordinator.pid] if fault.process == "coordinator" else children
    if not pids:
        return
    injector = Injector(pids, fault, scene.random, scene.scratch / "strace.log")
    try:
        scene.load(scene.random.uniform(0.3, 1.2))
    finally:
        failed = injector.close()
    if not failed:
        scene.figures.faults["without a call that could fail"] += 1
        return
    scene.figures.faults[str(fault)] += 1
    began = time.monotonic()
    code = coordinator.ended()
    if code is None:
        # It may be on its way out.
        coordinator.await_served(FAULT_SECONDS)
        code = coordinator.ended()
    if code is None:
        return
    scene.figures.ends[f"{code} after {fault}"] += 1
    # SQLite tells a page that can not be read from one that is damaged no more than that.
    damaged = fault.call == "pread64" and code == EXIT_DAMAGED
    if code != EXIT_DISK_FAILED and not damaged:
        scene.checker.accuse(f"{fault} ended the coordinator with {code}, not {EXIT_DISK_FAILED}")
        scene.stop_if_broken()
    scene.look_at_wreck()
    scene.start(began)


# ---- wounding the repository -----------------------------------------------------------------


def run_wound(directory: Path, plan: Plan, wounds: Sequence[str] = ()) -> Figures:
    """Damage the git repository between two lives, in each of the named ways, or all there are."""
    scene = _Scene(directory / "store", directory, plan)
    with _acting(scene):
        scene.make()
        scene.start()
        scene.start_clients()
        scene.await_pack()
        for name in wounds or _WOUNDS:
            scene.load(0.3)
            began = time.monotonic()
            for child in scene.coordinator.git_children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            scene.coordinator.kill()
            _WOUNDS[name](scene.root / ".agent-trace" / "repo")
            scene.figures.faults[name] += 1
            scene.start(began)
            scene.check_new()
    return scene.sum_up()


def _newest_pack(repo: Path, suffix: str) -> Path:
    packs = (repo / "objects" / "pack").glob(f"pack-*{suffix}")
    return max(packs, key=lambda path: path.stat().st_mtime_ns)


_WOUNDS: Final[dict[str, Callable[[Path], object]]] = {
    "empty ref": lambda repo: (repo / "refs/heads/main").write_bytes(b""),
    "ref of zeros": lambda repo: (repo / "refs/heads/main").write_bytes(bytes(41)),
    "no ref": lambda repo: (repo / "refs/heads/main").unlink(),
    "no refs at all": lambda repo: shutil.rmtree(repo / "refs"),
    "ref to nothing": lambda repo: (repo / "refs/heads/main").write_bytes(b"1" * 40 + b"\n"),
    "empty HEAD": lambda repo: (repo / "HEAD").write_bytes(b""),
    "no HEAD": lambda repo: (repo / "HEAD").unlink(),
    "empty config": lambda repo: (repo / "config").write_bytes(b""),
    "empty pack": lambda repo: _newest_pack(repo, ".pack").write_bytes(b""),
    "pack of zeros": lambda repo: _zero(_newest_pack(repo, ".pack")),
    "empty index of a pack": lambda repo: _newest_pack(repo, ".idx").write_bytes(b""),
    "no index of a pack": lambda repo: _newest_pack(repo, ".idx").unlink(),
    "no pack": lambda repo: _newest_pack(repo, ".pack").unlink(),
    "locks": lambda repo: [
        (repo / name).write_bytes(b"") for name in ("HEAD.lock", "config.lock", "index.lock")
    ],
    "empty index": lambda repo: (repo / "index").write_bytes(b""),
    "no objects": lambda repo: shutil.rmtree(repo / "objects"),
    "no repository": shutil.rmtree,
}
"""What is done to the repository, by a name for it. Losing all of it is more than a cut can do."""


def _zero(path: Path) -> None:
    path.chmod(0o600)
    path.write_bytes(bytes(path.stat().st_size))


# ---- cutting the power ---------------------------------------------------------------------------


def run_cut(directory: Path, plan: Plan, kind: str) -> Figures:
    """Cut the power at random moments, on a file system of `kind`."""
    with Disk(directory, kind) as disk:
        scene = _Scene(disk.root / "store", directory, plan)
        random = scene.random
        with _acting(scene):
            scene.make()
            scene.start()
            scene.start_clients()
            end = time.monotonic() + plan.seconds
            while time.monotonic() < end:
                scene.load(random.uniform(0.05, 1.5))
                scene.coordinator.check_alive()
                began = _cut_power(scene, disk)
                scene.figures.faults["cut"] += 1
                scene.look_at_wreck()
                if random.random() < 0.2:
                    _cut_recovery(scene, disk)
                scene.start(began)
                scene.cuts.healed(scene.coordinator.epoch, time.monotonic())
                scene.check_new()
    return scene.sum_up()


def _cut_power(scene: _Scene, disk: Disk) -> float:
    # The exact time is read next to the call; nothing said after this earlier one is relied on.
    began = time.monotonic()
    scene.cuts.begin(scene.coordinator.epoch, began)
    disk.cut()
    if scene.random.random() < 0.3:
        # It may notice by itself first, and must not say anything that is not so.
        time.sleep(scene.random.uniform(0.0, 0.1))
    scene.coordinator.kill()
    disk.unmount()
    disk.mount()
    return began


def _cut_recovery(scene: _Scene, disk: Disk) -> None:
    """Cut the power once more while the coordinator recovers."""
    scene.coordinator.begin()
    time.sleep(scene.random.uniform(0.1, 0.6))
    # It may have come as far as serving, in the epoch after the last one.
    scene.cuts.begin(scene.coordinator.epoch + 1, time.monotonic())
    disk.cut()
    scene.coordinator.kill()
    disk.unmount()
    disk.mount()
    scene.figures.faults["cut in recovery"] += 1


# ---- the first life ------------------------------------------------------------------------------


def run_first(directory: Path, plan: Plan, kind: str) -> Figures:
    """Cut the power while a store is made and while it is started for the first time."""
    figures = Figures(plan.seed)
    random = Random(plan.seed)
    with Disk(directory, kind) as disk:
        usual = _time_first_life(disk.root / "usual", directory)
        end = time.monotonic() + plan.seconds
        while time.monotonic() < end and not (figures.violations and plan.stop_at_violation):
            number = figures.cycles
            scratch = directory / f"life-{number}"
            scratch.mkdir()
            root = disk.root / f"deep-{number}" / "store"
            moment = _MOMENTS[number % len(_MOMENTS)]
            scene = _Scene(root, scratch, Plan(0, 2, random.getrandbits(32), plan.mutant))
            with _acting(scene):
                _cut_first_life(scene, disk, moment, usual)
            found = scene.sum_up()
            figures.faults[moment] += 1
            figures.records += found.records
            figures.acked += found.acked
            figures.starts += found.starts
            figures.damage += found.damage
            figures.violations += [f"{moment} ({number}): {each}" for each in found.violations]
            shutil.rmtree(scratch)
    return figures


_MOMENTS: Final = ("in init", "after init", "in the first start", "after it")


@dataclass(frozen=True, slots=True)
class _Usual:
    """How many seconds things take here when nothing disturbs them."""

    init: float
    start: float


def _time_first_life(root: Path, scratch: Path) -> _Usual:
    scene = _Scene(root, scratch, Plan(0, 0, 0))
    began = time.monotonic()
    scene.make()
    made = time.monotonic()
    try:
        scene.start()
        return _Usual(made - began, time.monotonic() - made)
    finally:
        scene.close()


def _cut_first_life(scene: _Scene, disk: Disk, moment: str, usual: _Usual) -> None:
    random = scene.random
    making = make_store(scene.root)
    if moment == "in init":
        # Most of the time is the interpreter's start; what counts is its end.
        time.sleep(usual.init * random.uniform(0.6, 1.1))
        disk.cut()
        promised = making.poll() == 0
        making.kill()
    else:
        promised = making.wait(INIT_SECONDS) == 0
        if moment == "in the first start":
            scene.coordinator.begin()
            time.sleep(usual.start * random.uniform(0.4, 1.1))
        elif moment == "after it":
            scene.start()
        disk.cut()
    making.communicate()
    scene.coordinator.kill()
    disk.unmount()
    disk.mount()
    if promised and not (scene.root / ".agent-trace" / "config.toml").is_file():
        scene.checker.accuse("init had returned, and there is no store after the power cut")
        raise _Stop
    scene.look_at_wreck()
    if not promised:
        again = make_store(scene.root)
        _, said = again.communicate(timeout=INIT_SECONDS)
        if again.returncode and b"is a store already" not in said:
            text = said.decode("utf-8", "replace")
            scene.checker.accuse(f"init does not finish what a power cut broke off: {text}")
            raise _Stop
    scene.start()
    scene.start_clients()
    time.sleep(0.5)
