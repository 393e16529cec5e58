"""The simulation is trusted for the bugs it has been shown to find: every planted one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import count

import pytest

from mutants.catalogue import MUTANTS, Mutant, planted
from simulation.world import living_in, simulate

pytestmark = pytest.mark.simulation


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """A mutant makes the product log its own fall, thousands of times."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def killer_of(mutant: Mutant) -> int | None:
    """Return the first seed whose world the bug breaks, None if its budget is not enough."""
    with planted(mutant):
        lived = 0
        for seed in count(mutant.first):
            if lived == mutant.seeds:
                return None
            try:
                with living_in(seed) as world:
                    if all(getattr(world.faults, fault) for fault in mutant.needs):
                        lived += 1
                        world.run()
            except Exception:
                return seed
    raise AssertionError("there is always another seed")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_the_simulation_finds_the_planted_bug(mutant: Mutant) -> None:
    assert killer_of(mutant) is not None, f"{mutant.name}: {mutant.breaks}, and nobody notices"


def test_a_planted_bug_is_gone_afterwards() -> None:
    for mutant in MUTANTS:
        with planted(mutant):
            pass
    before = [mutant.function.__code__ for mutant in MUTANTS]
    for mutant in MUTANTS:
        with planted(mutant):
            assert mutant.function.__code__ not in before
    assert [mutant.function.__code__ for mutant in MUTANTS] == before
    simulate(0)


def test_the_names_of_the_planted_bugs_are_different() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
