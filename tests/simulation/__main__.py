"""The long form: `PYTHONPATH=tests python -m simulation --seeds 100000 --start 0`.

Prints how far it got and how fast, each failing seed with the command that repeats it, and ends
with 1 if there was one. `--shrink SEED` makes a failing seed's world smaller while it fails in the
same way, and tells step by step what happens in what is left of it.
"""

from __future__ import annotations

import argparse
import logging
import math
import shlex
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count, islice

import msgspec

from mutants.catalogue import MUTANTS
from mutants.plant import planted

from .reduction import Reduction
from .shrink import shrink, tell
from .world import Report, command_for, simulate

PROGRESS_SECONDS = 10.0


class Totals:
    """What all seeds so far come to."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.seeds = 0
        self.failed = 0
        self.simulated_seconds = 0.0
        self.operations = 0
        self.lives = 0
        self.judged_afresh = 0
        self.leases = [0, 0, 0, 0]
        self.files = [0, 0]
        self.generated = 0
        self.followed = [0, 0]

    def add(self, report: Report) -> None:
        self.simulated_seconds += report.seconds
        self.operations += report.writes + report.reads
        self.lives += report.lives
        self.judged_afresh += report.refused_then_done
        self.leases = [sum(each) for each in zip(self.leases, report.leases, strict=True)]
        self.generated += report.generated
        self.files = [sum(each) for each in zip(self.files, report.files, strict=True)]
        self.followed = [sum(each) for each in zip(self.followed, report.followed, strict=True)]

    def __str__(self) -> str:
        elapsed = time.monotonic() - self.started
        granted, written, stale, unlocked = self.leases
        return (
            f"{self.seeds} seeds, {self.failed} failed, {self.seeds / elapsed:.1f} seeds/s, "
            f"{self.simulated_seconds / 3600:.2f} simulated hours, {self.lives} coordinator lives, "
            f"{self.operations} operations checked, "
            f"{self.judged_afresh} refusals whose late repetition was judged afresh; "
            f"{granted} leases, {written} writes under one, {stale} that came too late, 0 beside "
            f"another holder; {unlocked} writes by an unlock, 0 after its end; "
            f"{self.files[0]} changes of files adopted, {self.files[1]} refused and kept, 0 lost; "
            f"{self.generated} revisions of generated documents; "
            f"{self.followed[0]} events followed without a gap; "
            f"{self.followed[1]} kept texts thrown away"
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds to run")
    parser.add_argument("--seconds", type=float, help="as many as this time allows instead")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--failures", type=int, default=10, help="stop after so many")
    parser.add_argument("--digests", action="store_true", help="print what each seed came to")
    parser.add_argument("--shrink", type=int, metavar="SEED", help="make a failing world smaller")
    parser.add_argument(
        "--shrink-seconds", type=float, default=120.0, help="how long that may take"
    )
    parser.add_argument("--reduced", metavar="JSON", help="tell of --start as --shrink left it")
    parser.add_argument(
        "--mutant", choices=[mutant.name for mutant in MUTANTS], help="plant a bug first"
    )
    arguments = parser.parse_args()
    # The product logs every full disk and every failed git, and here they are meant to fail.
    logging.disable(logging.CRITICAL)
    with ExitStack() as stack:
        for mutant in MUTANTS:
            if mutant.name == arguments.mutant:
                stack.enter_context(planted(mutant))
        if arguments.shrink is not None:
            return shrink_and_tell(arguments.shrink, arguments.shrink_seconds, arguments.mutant)
        if arguments.reduced is not None:
            reduction = msgspec.json.decode(arguments.reduced, type=Reduction)
            return tell(arguments.start, reduction, sys.stdout.write)
        return run(arguments)


def shrink_and_tell(seed: int, seconds: float, mutant: str | None) -> int:
    """Make a failing world smaller and tell what happens in it; 0 if it does not fail."""

    def told(line: str) -> None:
        sys.stderr.write(line)
        sys.stderr.flush()

    end = time.monotonic() + seconds
    found = shrink(seed, lambda: time.monotonic() < end, told)
    if found is None:
        sys.stdout.write(f"seed {seed} does not fail\n")
        return 0
    reduction, failure = found
    sys.stdout.write(f"left of seed {seed}: {failure}\n\n")
    tell(seed, reduction, sys.stdout.write)
    encoded = msgspec.json.encode(reduction).decode()
    planting = f" --mutant {shlex.quote(mutant)}" if mutant else ""
    sys.stdout.write(
        f"\nagain: PYTHONPATH=tests python -m simulation --start {seed}{planting} "
        f"--reduced {shlex.quote(encoded)}\n"
    )
    return 1


def run(arguments: argparse.Namespace) -> int:
    """Live through many seeds; return 1 if one failed."""
    totals = Totals()
    shown_at = totals.started
    seeds: Iterator[int] = count(arguments.start)
    if arguments.seconds is None:
        seeds = islice(seeds, arguments.seeds)
    end_at = time.monotonic() + (arguments.seconds or math.inf)
    for seed in seeds:
        if time.monotonic() >= end_at:
            break
        totals.seeds += 1
        try:
            report = simulate(seed)
        except Exception:
            totals.failed += 1
            sys.stdout.write(f"{traceback.format_exc()}\nseed {seed}: {command_for(seed)}\n")
            if totals.failed >= arguments.failures:
                break
            continue
        totals.add(report)
        if arguments.digests:
            sys.stdout.write(f"{seed} {report.digest}\n")
        if time.monotonic() - shown_at > PROGRESS_SECONDS:
            shown_at = time.monotonic()
            sys.stdout.write(f"{totals}\n")
            sys.stdout.flush()
    if not arguments.digests:
        sys.stdout.write(f"{totals}\n")
    return 1 if totals.failed else 0


if __name__ == "__main__":
    sys.exit(main())
