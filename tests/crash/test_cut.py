"""Cutting the power: what was acknowledged had reached the disk."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crash.disk import why_unavailable
from crash.run import run_cut, run_first
from crash.scene import Plan

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def _power_can_be_cut() -> None:
    reason = why_unavailable()
    if reason:
        pytest.skip(reason)


def test_nothing_acknowledged_is_lost_by_power_cuts(tmp_path: Path) -> None:
    figures = run_cut(tmp_path, Plan(seconds=5, agents=4, seed=1), "ext4")

    assert figures.violations == []
    assert figures.cycles >= 2
    assert figures.acked >= 10


def test_a_store_survives_power_cuts_while_it_is_made_and_first_started(tmp_path: Path) -> None:
    figures = run_first(tmp_path, Plan(seconds=3, agents=2, seed=1), "ext4")

    assert figures.violations == []
    assert figures.cycles >= 1


# A journal that lost its end shows as lost operations, or as one that git is ahead of.
_LOST = (
    r"is LOST|it is nowhere|the journal ends at operation|"
    r"state.db is damaged( or can not be read)?:"
)


@pytest.mark.parametrize(
    ("mutant", "symptom"),
    [
        ("nosync", _LOST),
        ("earlyack", _LOST),
        ("nogitsync", r"was handed out, and git does not have it"),
    ],
    ids=["nosync", "earlyack", "nogitsync"],
)
def test_cutting_the_power_finds_the_planted_bug(tmp_path: Path, mutant: str, symptom: str) -> None:
    figures = run_cut(tmp_path, Plan(seconds=20, agents=4, seed=1, mutant=mutant), "ext4")

    assert re.search(symptom, "\n".join(figures.violations))
