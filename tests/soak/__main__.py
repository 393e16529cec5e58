"""`make soak MINUTES=n`: every harness for its share of the time, each with a seed of its own.

What one can not do here, for want of root or of strace, it says and is left out. Each prints its
figures; the end tells which failed, with the command that repeats it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

_TESTS: Final = Path(__file__).resolve().parents[1]

UNAVAILABLE: Final = 2
"""The exit code of a harness that can not be run here."""


@dataclass(frozen=True)
class Harness:
    """One way of trying to break the product."""

    name: str
    share: float
    """Of the time."""
    command: tuple[str, ...]
    """Its arguments; `{seconds}` and `{seed}` are filled in."""

    def arguments(self, seconds: float, seed: int) -> list[str]:
        """Return the command line after the interpreter."""
        return [each.format(seconds=f"{seconds:.0f}", seed=seed) for each in self.command]


def _crash(tier: str, share: float, *more: str) -> Harness:
    command = ("-m", "crash", tier, "--seconds", "{seconds}", "--seed", "{seed}", *more)
    return Harness(" ".join((tier, *more[1:])), share, command)


HARNESSES: Final = (
    Harness(
        "simulation",
        0.2,
        ("-m", "simulation", "--seconds", "{seconds}", "--start", "{seed}"),
    ),
    _crash("kill", 0.1),
    _crash("cut", 0.1, "--fs", "ext4"),
    _crash("cut", 0.1, "--fs", "xfs"),
    _crash("blocks", 0.08, "--fs", "ext4"),
    _crash("blocks", 0.06, "--fs", "xfs"),
    _crash("first", 0.03),
    _crash("wound", 0.03),
    _crash("fault", 0.05),
    _crash("pairs", 0.05),
    Harness(
        "flips",
        0.05,
        (
            *("-m", "damage.flips", "--flips", "1000000"),
            *("--seconds", "{seconds}", "--seed", "{seed}"),
        ),
    ),
    Harness(
        "damage",
        0.04,
        (
            *("-m", "damage", "--kill", "--cases", "1000000"),
            *("--seconds", "{seconds}", "--seed", "{seed}"),
        ),
    ),
    Harness(
        "linearizability",
        0.1,
        ("-m", "linearizability", "--seconds", "{seconds}", "--seed", "{seed}"),
    ),
    Harness(
        "fuzz",
        0.06,
        ("-m", "fuzz", "all", "--seconds", "{seconds}", "--seed", "{seed}"),
    ),
    Harness(
        "selftest",
        0.05,
        ("-m", "agent_trace", "selftest", "--seconds", "{seconds}", "--seed", "{seed}"),
    ),
)
"""What there is, with its share of the time."""

SECONDS_MIN: Final = 10.0


@click.command()
@click.option("--minutes", type=click.FloatRange(min=1), default=10.0, show_default=True)
@click.option("--seed", type=int, help="The first one; drawn from the clock if not given.")
@click.option("--only", metavar="NAME,...", help="Only these harnesses.")
def main(minutes: float, seed: int | None, only: str | None) -> None:
    """Run every harness for its share of the time."""
    names = [harness.name for harness in HARNESSES]
    wanted = names if only is None else only.split(",")
    if unknown := sorted(set(wanted).difference(names)):
        raise click.BadParameter(
            f"no harness is called {', '.join(unknown)}; there are {', '.join(names)}",
            param_hint="--only",
        )
    seed = int(time.time()) % 1_000_000 if seed is None else seed
    chosen = [harness for harness in HARNESSES if harness.name in wanted]
    whole = sum(harness.share for harness in chosen)
    path = os.pathsep.join(filter(None, (str(_TESTS), os.environ.get("PYTHONPATH", ""))))
    failed: list[str] = []
    for harness in chosen:
        seconds = max(SECONDS_MIN, 60 * minutes * harness.share / whole)
        arguments = harness.arguments(seconds, seed)
        click.secho(f"==> {harness.name}, {seconds:.0f} s, seed {seed}", bold=True)
        done = subprocess.run(
            [sys.executable, *arguments], env=os.environ | {"PYTHONPATH": path}, check=False
        )
        if done.returncode == UNAVAILABLE:
            click.echo(f"left out: {harness.name} can not be run here")
        elif done.returncode:
            failed.append(f"PYTHONPATH=tests python {' '.join(arguments)}")
    for command in failed:
        click.secho(f"failed: {command}", fg="red", err=True)
    click.echo(f"{len(chosen) - len(failed)} of {len(chosen)} harnesses found nothing")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
