"""What every controller has: a store, its coordinator, its clients, and what it knows of them."""

from __future__ import annotations

import contextlib
import re
import statistics
import time
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from agent_trace_protocol import Actor, session_id_of
from crash.check import Checker, Snapshot, take_snapshot
from crash.client import ClientConfig
from crash.ledger import Cuts, Ledger
from crash.points import POINTS
from crash.processes import ClientProcess, Coordinator, Fell, make_store
from crash.repository import GitBroken, find_damage

__all__ = ["INIT_SECONDS", "Figures", "Plan", "Scene", "Stop", "acting"]

FIRST_PACK_SECONDS: Final = 20.0
"""How long clients may take to get something into git."""

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
    stores: int = 1
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

    @property
    def kills(self) -> int:
        """How often a coordinator, its git or a client was ended by SIGKILL."""
        own = sum(self.faults[name] for name in ("coordinator", "git", "client", *POINTS))
        return own + 2 * self.faults["twice"]

    @property
    def cuts(self) -> int:
        """How often the power was cut."""
        return sum(count for name, count in self.faults.items() if name.startswith("cut"))

    @property
    def counts(self) -> dict[str, int]:
        """What is added up over runs."""
        return {
            **{"kills": self.kills, "cuts": self.cuts, "cycles": self.cycles},
            **{"stores": self.stores, "operations": self.records, "acknowledged": self.acked},
            "violations": len(self.violations),
        }

    def add(self, other: Figures) -> None:
        """Add what another store has shown."""
        for name in ("faults", "unresolved", "refusals", "ends", "damage"):
            mine: Counter[str] = getattr(self, name)
            mine.update(getattr(other, name))
        self.stores += other.stores
        self.records += other.records
        self.acked += other.acked
        self.doubtful += other.doubtful
        self.unnamed += other.unnamed
        self.downtimes += other.downtimes
        self.starts += other.starts
        self.violations += [f"store {self.stores}: {each}" for each in other.violations]

    def lines(self) -> Iterator[str]:
        """Yield the figures as text."""
        points = Counter({name: n for name, n in self.faults.items() if name in POINTS})
        yield f"seed {self.seed}: {self.cycles} cycles {_counts(self.faults - points)}"
        if points:
            yield (
                f"killed itself at {len(points)} of {len(POINTS)} named points, "
                f"{points.total()} times {_counts(points)}"
            )
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


class Stop(Exception):
    """A violation was found, or nothing can go on; the rest of the run is left out."""


class Scene:
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
            raise Stop

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
def acting(scene: Scene) -> Generator[None]:
    """Run crashes; whatever makes the coordinator fall by itself is a violation."""
    try:
        try:
            yield
            scene.finish()
        except (Fell, GitBroken) as error:
            scene.checker.accuse(str(error))
        except Stop:
            pass
    finally:
        scene.close()
