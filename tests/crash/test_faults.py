"""System calls that fail: the coordinator goes on or ends as it says, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from crash.faults import FAULTS, why_unavailable
from crash.run import run_faults
from crash.scene import Plan

pytestmark = pytest.mark.integration


def test_what_was_acknowledged_is_there_whatever_call_fails(tmp_path: Path) -> None:
    if reason := why_unavailable():
        pytest.skip(reason)
    figures = run_faults(tmp_path, Plan(seconds=8, agents=3, seed=2))

    assert figures.violations == []
    assert figures.cycles >= 3
    assert figures.acked >= 10


def test_every_fault_is_another() -> None:
    assert len(set(FAULTS)) == len(FAULTS) >= 40
