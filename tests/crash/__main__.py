"""The harness as commands; see the package's docstring."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

from crash import faults
from crash.block_disk import why_no_log
from crash.blocks import BlockFigures, run_blocks
from crash.disk import KINDS, why_unavailable
from crash.mutant_coordinator import MUTANTS
from crash.pairs import PairFigures, run_pairs
from crash.run import in_rounds, run_cut, run_faults, run_first, run_kill, run_wound
from crash.scene import Figures, Plan
from tally import total_line


def _leave(number: int, frame: object) -> NoReturn:
    # So that mounts and processes are cleaned up on the way out.
    sys.exit(128 + number)


def main() -> int:
    """Run what the command line asks for; return 0 only if nothing was violated."""
    parser = argparse.ArgumentParser(prog="crash", description="Crash a real coordinator.")
    tiers = ("kill", "wound", "cut", "first", "fault", "pairs", "blocks")
    parser.add_argument("tier", choices=tiers)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--agents", type=int, default=8)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--fs", choices=tuple(KINDS), default="ext4")
    parser.add_argument("--mutant", choices=tuple(MUTANTS), default="")
    parser.add_argument("--think-ms", type=float, help="mean pause of a client")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at a violation")
    parser.add_argument("--first", type=int, default=0, help="the first pair that `pairs` tries")
    parser.add_argument("--keep", type=Path, help="an empty directory for everything, not removed")
    options = parser.parse_args()
    think_ms = options.think_ms
    if think_ms is None:
        # Every block state is looked at as a whole, so there the stores stay small.
        think_ms = 20.0 if options.tier == "blocks" else 2.0
    plan = Plan(
        seconds=options.seconds,
        agents=options.agents,
        seed=options.seed,
        mutant=options.mutant,
        think_ms=think_ms,
        stop_at_violation=not options.keep_going,
    )
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, _leave)
    if options.tier in ("cut", "first") and (reason := why_unavailable()):
        sys.stderr.write(f"error: {reason}\n")
        return 2
    if options.tier == "blocks" and (reason := why_no_log()):
        sys.stderr.write(f"error: {reason}\n")
        return 2
    if options.tier in ("fault", "pairs") and (reason := faults.why_unavailable()):
        sys.stderr.write(f"error: {reason}\n")
        return 2
    with tempfile.TemporaryDirectory(prefix="crash-") as temporary:
        directory = options.keep or Path(temporary)
        figures: Figures | BlockFigures | PairFigures
        try:
            if options.tier == "kill":
                figures = in_rounds(plan, run_kill, directory)
            elif options.tier == "fault":
                figures = run_faults(directory, plan)
            elif options.tier == "pairs":
                figures = run_pairs(directory, plan, options.first)
            elif options.tier == "wound":
                figures = run_wound(directory, plan)
            elif options.tier == "blocks":
                wrecks = options.keep or Path(tempfile.gettempdir())
                figures = run_blocks(directory, plan, options.fs, wrecks)
            elif options.tier == "cut":
                figures = in_rounds(
                    plan, lambda place, part: run_cut(place, part, options.fs), directory
                )
            else:
                figures = run_first(directory, plan, options.fs)
        except RuntimeError as error:
            sys.stderr.write(f"error: {error}\n")
            return 2
    sys.stdout.write("".join(f"{line}\n" for line in figures.lines()))
    where = f" {options.fs}" if options.tier in ("cut", "first", "blocks") else ""
    run = f"{options.tier}{where} seed={plan.seed}"
    sys.stdout.write(f"{total_line(run, figures.counts)}\n")
    return 1 if figures.violations else 0


if __name__ == "__main__":
    sys.exit(main())
