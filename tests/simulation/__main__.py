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

import msgspec

from mutants.catalogue import MUTANTS

from .campaign import Campaign, planting, run
from .form import FORMS
from .reduction import Reduction
from .shrink import shrink, tell


def main() -> int:
    parser = argparse.ArgumentParser(prog="simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds to run")
    parser.add_argument("--seconds", type=float, help="as many as this time allows instead")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="how many processes share them")
    parser.add_argument(
        "--form", choices=FORMS, default=FORMS[0], help="of the worlds: as each draws it, or this"
    )
    parser.add_argument("--json", action="store_true", help="print the totals as JSON")
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
    if arguments.shrink is None and arguments.reduced is None:
        return run(
            Campaign(
                arguments.start,
                arguments.seeds if arguments.seconds is None else sys.maxsize,
                arguments.seconds or math.inf,
                arguments.failures,
                arguments.jobs,
                arguments.form,
                arguments.mutant,
                arguments.digests,
                arguments.json,
            )
        )
    with planting(arguments.mutant):
        if arguments.shrink is not None:
            return shrink_and_tell(arguments)
        reduction = msgspec.json.decode(arguments.reduced, type=Reduction)
        return tell(arguments.start, reduction, sys.stdout.write, arguments.form)


def shrink_and_tell(arguments: argparse.Namespace) -> int:
    """Make a failing world smaller and tell what happens in it; 0 if it does not fail."""
    seed, mutant, form = arguments.shrink, arguments.mutant, arguments.form

    def told(line: str) -> None:
        sys.stderr.write(line)
        sys.stderr.flush()

    end = time.monotonic() + arguments.shrink_seconds
    found = shrink(seed, lambda: time.monotonic() < end, told, form)
    if found is None:
        sys.stdout.write(f"seed {seed} does not fail\n")
        return 0
    reduction, failure = found
    sys.stdout.write(f"left of seed {seed}: {failure}\n\n")
    tell(seed, reduction, sys.stdout.write, form)
    encoded = msgspec.json.encode(reduction).decode()
    planted = f" --mutant {shlex.quote(mutant)}" if mutant else ""
    sys.stdout.write(
        f"\nagain: PYTHONPATH=tests python -m simulation --start {seed} --form {form}{planted} "
        f"--reduced {shlex.quote(encoded)}\n"
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
