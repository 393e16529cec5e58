"""What the runs of a harness come to, in one line of the same words, so that runs can be added up.

    total simulation first=2000: 1000 seeds, 21753 operations, 0 violations, 52 CPU seconds

Before the colon stands whose run it is; a later line of the same run says what it has come to by
then. `python -m tally LOG...` adds up the last line of each run.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

__all__ = ["added_up", "cpu_seconds", "total_line"]

_TOTAL: Final = re.compile(r"^total (?P<run>(?P<harness>[\w-]+)[^:]*): (?P<counts>\d.*)$")
_COUNT: Final = re.compile(r"(\d+) ([^,]+)")


def cpu_seconds() -> float:
    """Return the processor time of this process and of those that it has waited for."""
    return sum(os.times()[:4])


def total_line(run: str, counts: dict[str, int], since: float = 0.0) -> str:
    """Return the line of a run so far: its counts, then the processor time of all its processes.

    Args:
        run: the harness, and what tells this run from others of it.
        counts: by what is counted, in the plural; `violations` is one of them.
        since: what `cpu_seconds` was when the run began.
    """
    assert "violations" in counts
    spent = round(cpu_seconds() - since)
    said = ", ".join(f"{count} {unit}" for unit, count in counts.items())
    return f"total {run}: {said}, {spent} CPU seconds"


def added_up(logs: Iterable[Iterable[str]]) -> dict[str, Counter[str]]:
    """Return what the runs in these logs come to, by harness."""
    sums: dict[str, Counter[str]] = {}
    for log in logs:
        last: dict[str, re.Match[str]] = {}
        for line in log:
            found = _TOTAL.match(line.rstrip())
            if found is not None:
                last[found["run"]] = found
        for found in last.values():
            counter = sums.setdefault(found["harness"], Counter())
            counter["runs"] += 1
            for count, unit in _COUNT.findall(found["counts"]):
                counter[unit] += int(count)
    return sums
