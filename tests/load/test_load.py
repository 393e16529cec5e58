"""A short run of the load harness: everybody is answered, and memory stays within its bounds.

Latencies are measured and not judged here: this machine has other things to do. `python -m load`
judges them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .run import Plan, run

pytestmark = pytest.mark.integration


def test_everybody_is_served_beside_those_who_do_not_behave(tmp_path: Path) -> None:
    report = run(tmp_path / "store", Plan(sessions=200, slow=5, seconds=0.5))
    assert report.broken() == []
    # Who floods is told to slow down, and who does not is not: `run` asserts that.
    assert "refused as busy" in report.floods["flood of writes"]
