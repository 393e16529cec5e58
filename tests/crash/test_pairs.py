"""Each call of a recorded run fails with each error that it can have."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from crash.faults import Fault, pairs_of, why_unavailable
from crash.pairs import run_pairs
from crash.scene import Plan


@pytest.mark.integration
def test_what_was_acknowledged_is_there_when_recorded_calls_fail(tmp_path: Path) -> None:
    if reason := why_unavailable():
        pytest.skip(reason)
    figures = run_pairs(tmp_path, Plan(seconds=600, agents=2, seed=2), 5, 3)

    assert figures.violations == []
    assert len(figures.pairs) >= 100
    assert figures.tried == 3
    assert {"openat", "fdatasync", "pwrite64"} <= figures.recorded["coordinator"].keys()
    assert {"openat", "fsync", "write", "mmap"} <= figures.recorded["git"].keys()


def test_calls_that_no_disk_lets_fail_have_no_pairs() -> None:
    recorded = {
        "coordinator": Counter({"futex": 9, "write": 9, "flock": 1}),
        "git": Counter({"read": 1, "fsync": 2}),
    }

    assert list(pairs_of(recorded)) == [
        *(Fault("coordinator", "flock", f"error={error}") for error in ("EINTR", "ENOLCK")),
        *(Fault("git", "fsync", f"error={e}") for e in ("EIO", "ENOSPC", "EDQUOT", "EINTR")),
        Fault("git", "fsync", "delay_enter=700000"),
        *(Fault("git", "read", f"error={error}") for error in ("EIO", "EINTR")),
    ]
