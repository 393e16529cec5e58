"""What goes wrong: each seed draws its own mix, so some seeds are calm and some are terrible.

A mix that always has everything finds little: one fault hides another. Most faults are therefore
absent in most seeds, and strong where they are present.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from random import Random
from typing import Final
from unittest.mock import patch

from agent_trace_coordinator.core import reads, refusals
from agent_trace_coordinator.core.records import Entry
from agent_trace_coordinator.server import journal_stage, lookup, runtime

from .form import Form
from .reduction import WHOLE, Reduction
from .stages import commit_id

__all__ = ["FAULTS", "FaultPlan", "small_limits"]

FAULTS: Final = (
    *("loss", "duplication", "slow_start", "sync_failure", "git_failure"),
    *("crash_seconds", "kill_seconds", "pause_seconds", "client_pause_seconds"),
    *("client_restart_seconds", "partition_seconds", "full_seconds", "wall_seconds"),
    "person_seconds",
)
"""The attributes of a mix that are 0 in a world in which that does not happen."""


@contextmanager
def small_limits(random: Random, *, calm: bool = False) -> Generator[None]:
    """Let some seeds live with limits so small that they are met, unless `calm`."""
    with ExitStack() as stack:
        for module, name, small in (
            (journal_stage, "BATCH_RECORDS_MAX", random.choice((1, 2, 5))),
            (runtime, "PENDING_RECORDS_MAX", random.choice((2, 6))),
            (lookup, "CACHE_BYTES_MAX", random.choice((0, 100))),
        ):
            assert name in vars(module)
            if random.random() < 0.15 and not calm:
                stack.enter_context(patch.dict(vars(module), {name: small}))
        for module, name in ((refusals, "REFUSALS_MAX"), (reads, "READS_MAX")):
            assert name in vars(module)
            if random.random() < 0.3 and not calm:
                stack.enter_context(patch.dict(vars(module), {name: random.choice((1, 3))}))
        yield


class FaultPlan:
    """One seed's mix."""

    def __init__(self, random: Random, form: Form, reduction: Reduction = WHOLE) -> None:
        self._random = random
        self._spared = reduction.spared
        self.trouble_seconds = min(form.trouble_seconds, reduction.trouble_seconds)
        self._haste = form.haste
        self.happened: Counter[str] = Counter()
        """How often each kind of fault was due."""

        def sometimes(share: float, value: float) -> float:
            return value if random.random() < share else 0.0

        self.loss = sometimes(0.4, random.uniform(0.0, 0.15))
        self.duplication = sometimes(0.5, random.uniform(0.0, 0.25))
        self.delay_seconds = random.choice((0.0005, 0.002, 0.02, 0.1, 0.4))
        self.sync_seconds = random.choice((0.0005, 0.003, 0.03, 0.3))
        self.git_seconds = random.choice((0.005, 0.1, 0.8))
        self.slow_start = sometimes(0.15, 60.0)
        self.sync_failure = sometimes(0.15, 0.01)
        self.git_failure = sometimes(0.15, 0.1)
        # Means between two of each kind, seconds; 0: never.
        self.crash_seconds = sometimes(0.5, random.uniform(2.0, 15.0))
        self.kill_seconds = sometimes(0.4, random.uniform(2.0, 15.0))
        self.pause_seconds = sometimes(0.4, random.uniform(5.0, 20.0))
        self.client_pause_seconds = sometimes(0.4, random.uniform(3.0, 15.0))
        self.client_restart_seconds = sometimes(0.4, random.uniform(3.0, 15.0))
        self.partition_seconds = sometimes(0.3, random.uniform(3.0, 15.0))
        self.full_seconds = sometimes(0.3, random.uniform(4.0, 15.0))
        self.wall_seconds = sometimes(0.3, random.uniform(1.0, 10.0))
        self.person_seconds = sometimes(0.5, random.uniform(0.5, 6.0))
        for name in FAULTS:
            if name in reduction.calm:
                setattr(self, name, 0.0)

    @property
    def active(self) -> list[str]:
        """The faults of this mix."""
        return [name for name in FAULTS if getattr(self, name)]

    def sync_fails(self) -> bool:
        """Whether this batch's sync fails."""
        return self.sync_failure > 0 and self._random.random() < self.sync_failure

    def git_fails(self) -> bool:
        """Whether git refuses to work now."""
        return self.git_failure > 0 and self._random.random() < self.git_failure

    def commit_ids(self, entries: list[Entry]) -> dict[int, str]:
        """Return the commits that a start finds or makes: all of them."""
        return {entry.record.seq: commit_id(entry) for entry in entries}

    def start_seconds(self) -> float:
        """How long the coordinator is busy with git and files before it serves."""
        return self._random.choice((0.001, 0.2, 0.2, self.slow_start))

    def repeat(
        self,
        name: str,
        after: Callable[[float, Callable[[], None]], None],
        now: Callable[[], float],
        action: Callable[[], None],
    ) -> None:
        """Let `action` happen again and again until the trouble is over.

        `name` is that of the attribute with the mean time between two.
        """
        mean_seconds: float = getattr(self, name)
        if mean_seconds <= 0:
            return

        def happen() -> None:
            if now() < self.trouble_seconds:
                self.happened[name] += 1
                if (name, self.happened[name]) not in self._spared:
                    action()
                after(self._random.expovariate(self._haste / mean_seconds), happen)

        after(self._random.expovariate(self._haste / mean_seconds), happen)

    def heal(self) -> None:
        """From now on nothing goes wrong."""
        self.loss = self.duplication = self.sync_failure = self.git_failure = 0.0
        self.sync_seconds = self.delay_seconds = 0.002
        self.git_seconds = 0.02
        self.slow_start = 0.0
