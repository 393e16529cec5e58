"""`python -m tally LOG...`: what the runs in these logs come to, a line for each harness."""

from __future__ import annotations

import sys
from pathlib import Path

from . import added_up

if __name__ == "__main__":
    logs = (Path(name).read_text("utf-8", "replace").splitlines() for name in sys.argv[1:])
    for harness, counts in sorted(added_up(logs).items()):
        said = ", ".join(f"{count:,} {unit}" for unit, count in counts.items())
        sys.stdout.write(f"{harness}: {said}\n")
