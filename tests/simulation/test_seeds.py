"""The simulation in the suite: a thousand worlds, most of them short, each decided by its number.

A seed's world changes whenever the workload does. So what a seed has found is kept as a planted bug
(`tests/mutants`), which stays what it is; the seeds here are a sample, not a collection.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulation.world import command_for, simulate

pytestmark = pytest.mark.simulation

SEEDS_EACH = 50


@pytest.mark.parametrize("first", range(0, 1000, SEEDS_EACH))
def test_every_promise_holds_in_every_world(first: int) -> None:
    for seed in range(first, first + SEEDS_EACH):
        try:
            simulate(seed)
        except Exception as error:
            # What to do about it comes first: the trace of a simulated world is long.
            raise AssertionError(
                f"seed {seed} fails, repeat it with: {command_for(seed)}"
            ) from error


def test_a_seed_decides_everything_that_happens() -> None:
    assert [simulate(seed) for seed in range(10)] == [simulate(seed) for seed in range(10)]


def test_different_seeds_make_different_worlds() -> None:
    assert len({simulate(seed).digest for seed in range(10)}) == 10


def digests(hash_seed: str, *more: str) -> str:
    tests = Path(__file__).resolve().parent.parent
    # The search path of this process, so that the same product is simulated there.
    path = os.pathsep.join([str(tests), *sys.path])
    finished = subprocess.run(
        [sys.executable, "-m", "simulation", "--seeds", "60", "--digests", *more],
        env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": hash_seed},
        check=True,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    return finished.stdout


def test_the_hash_seed_of_the_interpreter_decides_nothing() -> None:
    first = digests("1")
    assert len(first.splitlines()) == 60
    # Two processes, which are given 50 and 10: what one has done before decides nothing either.
    assert first == digests("2", "--jobs", "2")
