"""`python -m linearizability`: records what clients see and looks for an order that explains it."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import click

from agent_trace.launch import create_store, read_endpoint
from tally import total_line

from .check import check
from .record import record

__all__ = ["main"]

ROUND_SECONDS: Final = 20.0

KILL_SECONDS: Final = (1.0, 6.0)
"""Between two kills: the start of a coordinator takes half a second in which nothing is recorded,
and what comes into an order by a kill is what is under way at that moment."""


def _leave(store: Path) -> None:
    """End the coordinator of a store that is not needed any more."""
    info = read_endpoint(store)
    if info is not None:
        os.kill(info.pid, signal.SIGKILL)


@click.command()
@click.option("--seconds", default=60.0, show_default=True, help="Of recording.")
@click.option("--clients", type=click.IntRange(1, 100), default=12, show_default=True)
@click.option("--at-once", type=click.IntRange(1, 16), default=8, show_default=True)
@click.option("--seed", default=1, show_default=True, help="Of the first round.")
def main(seconds: float, clients: int, at_once: int, seed: int) -> None:
    """Record rounds of twenty seconds, with kills of the coordinator, and check each.

    The stores are where temporary files are (TMPDIR). In memory, such as in /dev/shm, more is
    recorded: a kill takes nothing that a disk would have kept.
    """
    first = seed
    operations = histories = unknown = kills = undecided = violations = 0
    end_at = time.monotonic() + seconds
    while time.monotonic() < end_at and not violations:
        place = Path(tempfile.mkdtemp(prefix="agent-trace-linearizability-"))
        try:
            create_store(place, nested=True)
            left = end_at - time.monotonic()
            round_seconds = min(ROUND_SECONDS, max(1.0, left))
            history = record(
                place, clients, round_seconds, seed, at_once=at_once, kill_seconds=KILL_SECONDS
            )
            outcome = check(history)
        finally:
            _leave(place)
            shutil.rmtree(place, ignore_errors=True)
        operations += history.count
        histories += outcome.histories
        kills += history.kills
        unknown += outcome.unknown
        undecided += len(outcome.undecided)
        violations += len(outcome.failures)
        for words in outcome.failures:
            click.echo(f"NOT LINEARIZABLE (seed {seed}): {words}", err=True)
        counts = {
            **{"operations": operations, "histories": histories, "unanswered": unknown},
            **{"kills": kills, "undecided": undecided, "violations": violations},
        }
        click.echo(total_line(f"linearizability seed={first}", counts))
        seed += 1
    sys.exit(1 if violations or undecided else 0)


if __name__ == "__main__":
    main()
