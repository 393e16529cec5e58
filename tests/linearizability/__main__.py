"""`python -m linearizability`: records what clients see and looks for an order that explains it."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import click

from agent_trace.launch import create_store, read_endpoint

from .check import check
from .record import record

__all__ = ["main"]

ROUND_SECONDS = 10.0


def _leave(store: Path) -> None:
    """End the coordinator of a store that is not needed any more."""
    info = read_endpoint(store)
    if info is not None:
        os.kill(info.pid, signal.SIGKILL)


@click.command()
@click.option("--seconds", default=60.0, show_default=True, help="Of recording.")
@click.option("--clients", type=click.IntRange(1, 10), default=6, show_default=True)
@click.option("--seed", default=1, show_default=True, help="Of the first round.")
def main(seconds: float, clients: int, seed: int) -> None:
    """Record rounds of ten seconds, with kills of the coordinator, and check each."""
    operations = histories = kills = undecided = 0
    end_at = time.monotonic() + seconds
    bad = False
    while time.monotonic() < end_at and not bad:
        place = Path(tempfile.mkdtemp(prefix="agent-trace-linearizability-"))
        try:
            create_store(place, nested=True)
            left = end_at - time.monotonic()
            history = record(place, clients, min(ROUND_SECONDS, max(1.0, left)), seed)
            outcome = check(history)
        finally:
            _leave(place)
            shutil.rmtree(place, ignore_errors=True)
        operations += history.count
        histories += outcome.histories
        kills += history.kills
        undecided += len(outcome.undecided)
        click.echo(
            f"seed {seed}: {operations} operations in {histories} histories, "
            f"{outcome.unknown} of this round's unanswered, {kills} kills, {undecided} undecided"
        )
        for words in outcome.failures:
            click.echo(f"NOT LINEARIZABLE (seed {seed}): {words}", err=True)
            bad = True
        seed += 1
    sys.exit(1 if bad or undecided else 0)


if __name__ == "__main__":
    main()
