"""`python -m load`: hostile and heavy clients against a real coordinator, and what others feel."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from .run import Plan, run

parser = argparse.ArgumentParser(prog="python -m load", description=__doc__)
parser.add_argument("--sessions", type=int, default=1000, help="open at once")
parser.add_argument("--seconds", type=float, default=10.0, help="of each flood")
parser.add_argument("--slow", type=int, default=20, help="clients that do not read")
parser.add_argument("--factor", type=float, default=25.0, help="by which p99 may grow in a flood")
given = parser.parse_args()
with tempfile.TemporaryDirectory(prefix="agent-trace-load-") as directory:
    plan = Plan(given.sessions, given.slow, given.seconds)
    report = run(Path(directory) / "store", plan)
for line in report.lines():
    print(line)  # noqa: T201 - what the command is for
problems = report.problems(given.factor)
for problem in problems:
    print(f"FAILED: {problem}")  # noqa: T201
sys.exit(1 if problems else 0)
