"""Killing real processes: what was acknowledged is there, once, in order, under the right name."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from crash.points import POINTS, die_at
from crash.run import kill_at, run_kill, run_wound
from crash.scene import Plan, Scene, acting

pytestmark = pytest.mark.integration


def test_nothing_acknowledged_is_lost_doubled_or_reordered_by_kills(tmp_path: Path) -> None:
    figures = run_kill(tmp_path, Plan(seconds=5, agents=4, seed=1))

    assert figures.violations == []
    assert figures.cycles >= 3
    # However little of the machine is left for it.
    assert figures.acked >= 10


def test_a_coordinator_may_die_at_any_named_point(tmp_path: Path) -> None:
    points = (
        "before batch",
        "after checkpoint",
        "before files are written",
        "after history starts",
    )
    scene = Scene(tmp_path / "store", tmp_path, Plan(seconds=0, agents=2, seed=1))
    with acting(scene):
        scene.make()
        scene.start()
        scene.start_clients()
        died = [kill_at(scene, point, 1, seconds=60) for point in points]

    assert scene.sum_up().violations == []
    assert died == [True] * 4


def test_every_named_point_is_in_the_product(tmp_path: Path) -> None:
    for point in POINTS:
        child = os.fork()
        if not child:
            code = 1
            try:
                die_at(point, 1)
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0, point


def test_a_start_heals_what_a_power_cut_can_do_to_the_git_repository(tmp_path: Path) -> None:
    wounds = ("empty ref", "ref to nothing", "empty HEAD", "empty pack", "locks")
    figures = run_wound(tmp_path, Plan(seconds=0, agents=2, seed=1), wounds)

    assert figures.violations == []


@pytest.mark.parametrize(
    ("mutant", "symptom"),
    [
        ("nodedup", r"carried out before|no_match|after its commit"),
        # A file that is left behind is in the way, or is adopted as an edit: then the document goes
        # back, and what its author does next does not fit.
        # A path below it is then no path.
        (
            "norestore",
            r"a file that is not a document|after its commit|behind its back|no_match"
            r"|invalid_path",
        ),
        ("nocheckpoint", r"was handed out, and git does not have it"),
    ],
    ids=["nodedup", "norestore", "nocheckpoint"],
)
def test_killing_finds_the_planted_bug(tmp_path: Path, mutant: str, symptom: str) -> None:
    figures = run_kill(tmp_path, Plan(seconds=20, agents=4, seed=1, mutant=mutant))

    assert re.search(symptom, "\n".join(figures.violations))
