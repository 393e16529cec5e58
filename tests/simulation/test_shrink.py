"""A failing world is made smaller, fails in the same way, and can be read."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import count

import msgspec
import pytest

from mutants.catalogue import MUTANTS, planted
from simulation.reduction import WHOLE, Reduction
from simulation.shrink import attempt, shrink, tell
from simulation.world import living_in, simulate

pytestmark = pytest.mark.simulation

ATTEMPTS_MAX = 100


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """A mutant makes the product log its own fall, in every attempt."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(
    ("name", "clients", "tasks"),
    [("if_revision is ignored", 1, 1), ("time goes backward", 1, 2)],
)
def test_a_planted_bug_shows_in_a_small_world(name: str, clients: int, tasks: int) -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.name == name)
    with planted(mutant):
        seed = next(seed for seed in count() if attempt(seed, WHOLE, "whole") is not None)
        whole = attempt(seed, WHOLE, "whole")
        attempts = count(1)
        found = shrink(seed, lambda: next(attempts) < ATTEMPTS_MAX, lambda line: None, "whole")
        assert whole is not None and found is not None
        reduction, failure = found
        lines: list[str] = []
        failed = tell(seed, reduction, lines.append, "whole")

    assert failure.way == whole.way
    assert failure.size < whole.size / 3
    assert len(failure.clients) <= clients
    assert len(failure.tasks) <= tasks
    # What is told is that world: it ends with how it fails.
    assert failed == 1
    assert "FAILS in" in lines[-2]
    assert failure.message in lines[-1]
    assert any("decides operation" in line for line in lines)
    # And it can be had again from what is printed.
    again = msgspec.json.decode(msgspec.json.encode(reduction), type=Reduction)
    assert again == reduction
    assert attempt(seed, reduction, "whole") is None, "without the bug it must hold"


def test_a_world_that_holds_is_not_shrunk() -> None:
    assert shrink(0, lambda: True, lambda line: None) is None


def test_nothing_left_out_is_the_world_itself_told_or_not() -> None:
    with living_in(3, WHOLE) as world:
        assert world.run() == simulate(3)
    lines: list[str] = []
    assert tell(3, WHOLE, lines.append) == 0
    assert len(lines) > 100


def test_what_is_left_out_does_not_happen() -> None:
    seed = next(seed for seed in count() if _happens(seed, WHOLE)[0] > 2)
    without = Reduction(
        without=frozenset(range(1, 8)),
        calm=frozenset({"person_seconds", "crash_seconds"}),
        idle=frozenset((0, number) for number in range(1, 100)),
    )

    edits, writes, clients = _happens(seed, without)

    assert (edits, writes, clients) == (0, 0, 1)


def _happens(seed: int, reduction: Reduction) -> tuple[int, int, int]:
    with living_in(seed, reduction) as world:
        report = world.run()
    return world.faults.happened["person_seconds"], report.writes, len(world.clients)
