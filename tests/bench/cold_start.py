"""What a command costs from its start to its end, in starts of the bare interpreter.

    python -m bench.cold_start [--runs 15]

from the folder `tests`, or with it in PYTHONPATH. Starts take turns, so that what else the machine
does falls on all alike; medians count. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from support.coordinator import running
from support.sandbox import available, sandboxed

AGENT_TRACE = str(Path(sys.executable).with_name("agent-trace"))


def run(root: Path, command: list[str]) -> tuple[float, float]:
    """Return the seconds that a command took, and its processor time."""
    before, start = os.times(), time.monotonic()
    subprocess.run(
        command, cwd=root, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    took, after = time.monotonic() - start, os.times()
    spent = after.children_user - before.children_user
    return took, spent + after.children_system - before.children_system


def measure(root: Path, runs: int) -> dict[str, object]:
    """Return the figures."""
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "status": [AGENT_TRACE, "status"],
        "hook": [AGENT_TRACE, "hook", "claude"],
        "version": [AGENT_TRACE, "--version"],
    }
    if available():
        # With one more start of the interpreter, which puts the filter on.
        commands["status in a sandbox"] = sandboxed("all", AGENT_TRACE, "status")
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    with running(root):
        for _ in range(runs):
            for name, command in commands.items():
                spent[name].append(run(root, command))
    medians = {
        name: (statistics.median(all_[0] for all_ in each), statistics.median(s for _, s in each))
        for name, each in spent.items()
    }
    bare = medians["python -c pass"][0]
    return {
        name: {
            "wall_ms": round(wall * 1000),
            "processor_ms": round(processor * 1000),
            "times_python": round(wall / bare, 1),
        }
        for name, (wall, processor) in medians.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.cold_start", description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        figures = measure(Path(directory) / "store", options.runs)
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
