"""A whole world from one number: clients, network, coordinator, disk, faults and the oracle."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Final
from unittest.mock import patch

from agent_trace_coordinator.core.state import Rules
from agent_trace_coordinator.server import adoption, runtime

from .checker import Checker, Violation
from .clock import SimulatedClock, Timeline
from .coordinator import Coordinator
from .disk import FOREIGN_FILES, Disk
from .faults import FaultPlan, small_limits
from .form import FORMS, draw_form
from .memory_oracle import containers, grown
from .network import Network
from .person import Person
from .reduction import LIMITS, WHOLE, Reduction
from .telling import TOLD, Telling, TellingChecker, TellingDisk
from .workload import Client

__all__ = ["Report", "World", "command_for", "living_in", "simulate"]

RECOVERY_SECONDS_MAX: Final = 400.0
"""Once everything has healed, whatever was begun has to be finished within this time."""

_SALTED: Final = frozenset({"timeline", "network", "coordinator"})

RULES: Final = Rules(document_bytes_max=4096, grace_seconds_cli=60.0)


@dataclass(slots=True, frozen=True)
class Report:
    """What one seed came to."""

    seed: int
    digest: str
    seconds: float
    """Simulated time."""
    events: int
    writes: int
    reads: int
    lives: int
    refused_then_done: int
    leases: tuple[int, int, int, int]
    """Leases granted, writes under them that were carried out, and that came too late; writes that
    an unlock allowed."""
    files: tuple[int, int]
    """Changes of files that were adopted, and that were refused."""
    generated: int
    """Revisions of generated documents."""
    followed: tuple[int, int]
    """Events that were shown to followers; drafts and refused writes that were thrown away."""
    short: bool
    """Whether it was a short world."""


class World:
    """Everything that a seed decides."""

    def __init__(
        self,
        seed: int,
        reduction: Reduction = WHOLE,
        tell: Telling | None = None,
        form: str = FORMS[0],
    ) -> None:
        """`tell` is told what happens, for a person to read; `form` is one of `form.FORMS`."""
        self.seed = seed

        def stream(name: str) -> Random:
            # One stream each, so that a change of one part leaves what others draw as it was.
            salted = reduction.salt and name in _SALTED
            return Random(f"{seed}:{name}" + (f":{reduction.salt}" if salted else ""))

        self._random = stream("world")
        self.timeline = Timeline(stream("timeline"))
        self.clock = SimulatedClock(self.timeline)
        self.form = draw_form(seed, self._random, form)
        self.faults = FaultPlan(stream("faults"), self.form, reduction)
        generated = stream("generated")
        rules = replace(
            RULES,
            leases_enforced=stream("leases").random() < 0.3,
            generated=generated.random() < 0.3,
        )
        self._tell = tell
        if tell is None:
            self.disk = Disk(rules)
            self.checker = Checker(rules, dict(FOREIGN_FILES))
        else:
            tell.timeline = self.timeline
            self.disk = TellingDisk(rules, tell)
            self.checker = TellingChecker(rules, dict(FOREIGN_FILES), tell)
        self.checker.git_failed = self.faults.git_failure > 0
        self.network = Network(self.timeline, self.faults, stream("network"))
        self.coordinator = Coordinator(
            self.timeline,
            self.clock,
            self.disk,
            self.faults,
            stream("coordinator"),
            self.checker,
            self._reply,
            generated,
        )
        self.network.to_coordinator = self.coordinator.deliver
        self.network.life = lambda: self.coordinator.life
        self.coordinator.start()
        board: list[str] = []
        self.clients = [
            Client(
                self.timeline,
                self.network,
                stream(f"client {index}"),
                self.checker,
                board,
                profile,
                self.form.taste,
                {number for client, number in reduction.idle if client == index},
            )
            for index, profile in enumerate(self.form.cast)
            if index not in reduction.without
        ]
        self.person = Person(
            self.disk,
            stream("person"),
            lambda: sorted(each.path for each in self.checker.model.last.live()),
            self._edited,
        )
        self._plan_faults()

    def _reply(self, peer: bytes, envelope: bytes, body: bytes) -> None:
        self.checker.on_reply(peer, (envelope, body), self.timeline.now)
        self.network.answer(peer, envelope, body)

    def _edited(self, path: str, content: bytes | None) -> None:
        self.checker.files.edited(path, content)
        if self._tell is not None:
            self._tell("a person", "removes" if content is None else "saves", path)

    def _plan_faults(self) -> None:
        faults, draw = self.faults, self._random
        coordinator, after = self.coordinator, self.timeline.after

        def now() -> float:
            return self.timeline.now

        def fill() -> None:
            self.disk.full = True
            after(draw.uniform(0.5, 8.0), empty)

        def empty() -> None:
            self.disk.full = False

        def cut() -> None:
            client = draw.choice(self.clients)
            self.network.cut_off.add(client)
            after(draw.uniform(1.0, 20.0), lambda: self.network.cut_off.discard(client))

        def step_wall() -> None:
            self.clock.wall_step_ms = draw.randrange(-(10**9), 10**9)

        def pause() -> None:
            coordinator.pause(draw.choice((0.3, 3.0, 12.0, 45.0)))

        def pause_client() -> None:
            draw.choice(self.clients).pause(draw.choice((1.0, 9.0, 14.0, 50.0)))

        actions = {
            "crash_seconds": coordinator.crash,
            "kill_seconds": coordinator.kill_within_next_step,
            "pause_seconds": pause,
            "client_pause_seconds": pause_client,
            "client_restart_seconds": lambda: draw.choice(self.clients).restart(),
            "partition_seconds": cut,
            "full_seconds": fill,
            "wall_seconds": step_wall,
            "person_seconds": self.person.edit,
        }
        for name, action in actions.items():
            faults.repeat(name, after, now, partial(self._befall, name, action))

    def _befall(self, name: str, action: Callable[[], None]) -> None:
        if self._tell is not None:
            self._tell("fault", TOLD[name], "")
        action()

    def run(self) -> Report:
        """Live through the trouble, heal, and see that everything comes to its end.

        Raises:
            AssertionError: a promise is broken, or something never ends.
        """
        deciding = {"step": self.coordinator.step}
        with patch.dict(vars(runtime), deciding), patch.dict(vars(adoption), deciding):
            return self._run()

    def _run(self) -> Report:
        timeline = self.timeline
        timeline.run(lambda: False, self.faults.trouble_seconds)
        self.faults.heal()
        deadline = timeline.now + RECOVERY_SECONDS_MAX
        if not timeline.run(self._finished, deadline):
            raise Violation(f"not finished {RECOVERY_SECONDS_MAX} s after all faults were healed")
        self.checker.check_end(self.coordinator.runtime.state)
        # One more restart: what it loads is compared with what the clients were told, and what it
        # holds with what the process before it held.
        timeline.run(lambda: self.coordinator.at_rest, timeline.now + 60.0)
        held = containers(self.coordinator.runtime)
        self.coordinator.crash()
        timeline.run(lambda: self.coordinator.idle, timeline.now + 60.0)
        self.checker.check_end(self.coordinator.runtime.state)
        timeline.run(lambda: self.coordinator.at_rest, timeline.now + 60.0)
        if forgotten := grown(held, containers(self.coordinator.runtime)):
            raise Violation(f"memory is not bounded: {'; '.join(forgotten)}")
        set_aside = list(self.disk.set_aside.values())
        self.checker.files.check_end(self.checker.model, set_aside, self.disk.files)
        return Report(
            self.seed,
            self.checker.digest(),
            timeline.now,
            timeline.done_count,
            self.checker.writes_count,
            self.checker.reads_count,
            self.coordinator.life,
            self.checker.refused_then_done_count,
            self.checker.leases.counts,
            (self.checker.files.adopted_count, self.checker.files.refused_count),
            self.checker.generated.count,
            (self.checker.follow.events_count, self.checker.follow.discarded_count),
            self.form.short,
        )

    def _finished(self) -> bool:
        return (
            all(client.done for client in self.clients)
            and self.coordinator.idle
            and not self.disk.full
        )


def command_for(seed: int, form: str = FORMS[0]) -> str:
    """Return the command that repeats a seed."""
    more = "" if form == FORMS[0] else f" --form {form}"
    return f"PYTHONPATH=tests python -m simulation --start {seed} --seeds 1{more}"


def simulate(seed: int, form: str = FORMS[0]) -> Report:
    """Live through one seed's world."""
    with living_in(seed, form=form) as world:
        return world.run()


@contextmanager
def living_in(
    seed: int,
    reduction: Reduction = WHOLE,
    tell: Telling | None = None,
    form: str = FORMS[0],
) -> Generator[World]:
    """Make a seed's world, or what is left of it, under the limits that it draws."""
    with small_limits(Random(f"{seed}:limits"), calm=LIMITS in reduction.calm):
        yield World(seed, reduction, tell, form)
