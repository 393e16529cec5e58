"""Many seeds, in this process or in several, and what they come to."""

from __future__ import annotations

import gc
import logging
import math
import multiprocessing
import sys
import time
import traceback
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Final

import msgspec

from mutants.catalogue import MUTANTS
from mutants.plant import planted
from tally import cpu_seconds, total_line

from .world import Report, command_for, simulate

__all__ = ["Campaign", "planting", "run"]

PROGRESS_SECONDS: Final = 10.0

SEEDS_AT_ONCE: Final = 50
"""What a process is given, and what it does between two collections of garbage: worlds are made
of cycles, and the interpreter's own collections would take an eighth of the time."""


@dataclass(slots=True, frozen=True)
class Campaign:
    """Which seeds are lived through, and how."""

    first: int
    seeds: int
    seconds: float = math.inf
    """Of the clock; what comes first, these or the seeds, ends it."""
    failures_max: int = 10
    jobs: int = 1
    """Processes."""
    form: str = "drawn"
    mutant: str | None = None
    digests: bool = False
    json: bool = False


class Totals:
    """What all seeds so far come to."""

    def __init__(self, campaign: Campaign) -> None:
        self.campaign = campaign
        self.started = time.monotonic()
        self.seeds = 0
        self.short = 0
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
        self.short += report.short
        self.simulated_seconds += report.seconds
        self.operations += report.writes + report.reads
        self.lives += report.lives
        self.judged_afresh += report.refused_then_done
        self.leases = [sum(each) for each in zip(self.leases, report.leases, strict=True)]
        self.generated += report.generated
        self.files = [sum(each) for each in zip(self.files, report.files, strict=True)]
        self.followed = [sum(each) for each in zip(self.followed, report.followed, strict=True)]

    @property
    def counts(self) -> dict[str, int]:
        """What is added up over runs."""
        return {
            "seeds": self.seeds,
            "short worlds": self.short,
            "operations": self.operations,
            "coordinator lives": self.lives,
            "violations": self.failed,
        }

    def __str__(self) -> str:
        elapsed = time.monotonic() - self.started
        granted, written, stale, unlocked = self.leases
        return (
            f"{self.seeds} seeds ({self.short} of them short worlds), {self.failed} failed, "
            f"{self.seeds / elapsed:.1f} seeds/s, "
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

    def lines(self) -> str:
        """Return both forms of it, for a person and for `tally`."""
        run = f"simulation first={self.campaign.first}"
        return f"{self}\n{total_line(run, self.counts)}\n"

    def encoded(self) -> str:
        """Return it as JSON."""
        return msgspec.json.encode(
            {
                "harness": "simulation",
                "first": self.campaign.first,
                "form": self.campaign.form,
                **{unit.replace(" ", "_"): number for unit, number in self.counts.items()},
                "simulated_seconds": round(self.simulated_seconds, 3),
                "cpu_seconds": round(cpu_seconds(), 3),
                "elapsed_seconds": round(time.monotonic() - self.started, 3),
            }
        ).decode()


@contextmanager
def planting(name: str | None) -> Generator[None]:
    """Live with a known bug, if one is named."""
    with ExitStack() as stack:
        for mutant in MUTANTS:
            if mutant.name == name:
                stack.enter_context(planted(mutant))
        yield


def run(campaign: Campaign) -> int:
    """Live through many seeds; return 1 if one failed."""
    totals = Totals(campaign)
    shown_at = totals.started
    progress = sys.stderr if campaign.json else sys.stdout
    for seed, outcome in _outcomes(campaign):
        totals.seeds += 1
        if isinstance(outcome, str):
            totals.failed += 1
            progress.write(f"{outcome}\nseed {seed}: {command_for(seed, campaign.form)}\n")
            if totals.failed >= campaign.failures_max:
                break
            continue
        totals.add(outcome)
        if campaign.digests:
            sys.stdout.write(f"{seed} {outcome.digest}\n")
        if time.monotonic() - shown_at > PROGRESS_SECONDS:
            shown_at = time.monotonic()
            progress.write(totals.lines())
            progress.flush()
    if campaign.json:
        sys.stdout.write(f"{totals.encoded()}\n")
    elif not campaign.digests:
        sys.stdout.write(totals.lines())
    return 1 if totals.failed else 0


def _outcomes(campaign: Campaign) -> Iterator[tuple[int, Report | str]]:
    """Yield what each seed came to, in their order: a report, or how it failed."""
    end_at = time.monotonic() + campaign.seconds
    end = campaign.first + campaign.seeds
    chunks = iter(
        range(first, min(first + SEEDS_AT_ONCE, end))
        for first in range(campaign.first, end, SEEDS_AT_ONCE)
    )
    if campaign.jobs == 1:
        with planting(campaign.mutant), _no_collections():
            for seeds in chunks:
                for seed in seeds:
                    if time.monotonic() >= end_at:
                        return
                    yield seed, _outcome(seed, campaign.form)
                gc.collect()
        return
    # Not forked: what this process holds would be copied piece by piece.
    pool = ProcessPoolExecutor(campaign.jobs, multiprocessing.get_context("spawn"))
    try:
        work = partial(_outcomes_in_process, campaign)
        under_way = deque(pool.submit(work, seeds) for seeds in islice(chunks, 2 * campaign.jobs))
        while under_way:
            yield from under_way.popleft().result()
            if time.monotonic() < end_at:
                under_way.extend(pool.submit(work, seeds) for seeds in islice(chunks, 1))
    finally:
        pool.shutdown(cancel_futures=True)


def _outcomes_in_process(campaign: Campaign, seeds: range) -> list[tuple[int, Report | str]]:
    logging.disable(logging.CRITICAL)
    gc.collect()
    with planting(campaign.mutant), _no_collections():
        return [(seed, _outcome(seed, campaign.form)) for seed in seeds]


def _outcome(seed: int, form: str) -> Report | str:
    try:
        return simulate(seed, form)
    except Exception:
        return traceback.format_exc()


@contextmanager
def _no_collections() -> Generator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
