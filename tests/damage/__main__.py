"""The harness as a command; see the package's docstring."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from damage.case import run_case
from damage.original import make_original
from tally import total_line


def main() -> int:
    """Run the cases that the command line asks for; return 0 only if none went wrong."""
    parser = argparse.ArgumentParser(prog="damage", description="Damage stores and repair them.")
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end after so long")
    parser.add_argument("--seed", type=int, default=1, help="the first case's seed")
    parser.add_argument("--kill", action="store_true", help="kill repairs at random points as well")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    counts: Counter[str] = Counter()
    losses = kills = failures = 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="damage-") as directory:
        place = Path(directory)
        original = make_original(place / "original", options.seed)
        for seed in range(options.seed, options.seed + options.cases):
            if time.monotonic() >= began + options.seconds:
                break
            case = run_case(original, place / "case", seed, kill=options.kill)
            counts[case.kind] += 1
            losses += bool(case.lost)
            kills += case.kills
            if case.wrong:
                failures += 1
                sys.stdout.write(f"seed {seed} ({case.kind}: {'; '.join(case.did)}):\n")
                sys.stdout.writelines(f"  {line[:3000]}\n" for line in case.wrong[:10])
                sys.stdout.flush()
    sys.stdout.write(
        f"{counts.total()} cases of {len(counts)} kinds from seed {options.seed} on, {kills} "
        f"repairs killed: {losses} named a loss, {failures} went wrong; "
        f"{time.monotonic() - began:.0f} s\n"
    )
    totals = {"cases": counts.total(), "repairs killed": kills, "losses named": losses}
    totals["violations"] = failures
    sys.stdout.write(f"{total_line(f'damage seed={options.seed}', totals)}\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
