"""Adds up what runs have shown: `python -m crash.total LOG ...` reads their lines `total a=1 b=2`.

The first word after `total` that is no figure names the harness, and each harness has a sum of its
own.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

__all__ = ["add_up", "total_line"]


def total_line(harness: str, **counts: int) -> str:
    """Return the last line of a run."""
    return " ".join(("total", harness, *(f"{name}={count}" for name, count in counts.items())))


def add_up(lines: Iterable[str]) -> dict[str, Counter[str]]:
    """Return the sums of all lines that are totals, by harness; `runs` counts the lines."""
    sums: dict[str, Counter[str]] = {}
    for line in lines:
        words = line.split()
        if len(words) < 2 or words[0] != "total":
            continue
        counts = sums.setdefault(words[1], Counter())
        counts["runs"] += 1
        for word in words[2:]:
            name, _, count = word.partition("=")
            counts[name] += int(count)
    return sums


def main() -> None:
    """Add up what is in the files that the command line names."""
    lines = (line for name in sys.argv[1:] for line in Path(name).read_text("utf-8").splitlines())
    for harness, counts in sorted(add_up(lines).items()):
        runs = counts.pop("runs")
        sys.stdout.write(f"{total_line(harness, **counts)} in {runs} runs\n")


if __name__ == "__main__":
    main()
