"""Measurements, and the rows of the table that they become. No IO.

A row's value is a ratio of two things that were measured beside each other in one run; over the
runs the median counts. An absolute figure stands beside it only to be looked at: it says as much
about the machine as about the program.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import msgspec

__all__ = [
    "Measured",
    "Row",
    "Target",
    "fold",
    "median",
    "milliseconds",
    "percentile",
    "ratios",
]


class Target(msgspec.Struct, frozen=True):
    """What an issue asks of a row."""

    limit: float
    at_least: bool = True
    """Else it is an upper limit."""
    unit: str = "x"

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.limit:g}{self.unit}"

    def met_by(self, value: float) -> bool:
        """Return whether a value is on the right side of the limit."""
        return value >= self.limit if self.at_least else value <= self.limit


class Measured(msgspec.Struct):
    """One measurement: so many operations in so many seconds, each with its own time."""

    seconds: float
    latencies: list[float]
    """Seconds, in the order of the ends."""

    @property
    def rate(self) -> float:
        """Operations per second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    @property
    def p50(self) -> float:
        """The median time of an operation."""
        return percentile(self.latencies, 50)

    @property
    def p99(self) -> float:
        """The time that 99 of 100 operations do not exceed."""
        return percentile(self.latencies, 99)


class Row(msgspec.Struct, kw_only=True):
    """One line of the table."""

    name: str
    title: str
    value: float
    """The median over the runs."""
    unit: str = "x"
    target: Target | None = None
    ours: str = ""
    against: str = ""
    p50_seconds: float | None = None
    p99_seconds: float | None = None
    note: str = ""
    samples: list[float]
    """The value of each run; of `memory`, the MiB after each tenth of the writes."""
    asked: bool = True
    """Whether the target is judged: a reduced run measures something else than what is asked."""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None if there is none, or this run can not tell."""
        if self.target is None or not self.asked:
            return None
        return self.target.met_by(self.value)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile: a value that was measured, not one in between."""
    if not values:
        return math.nan
    ordered = sorted(values)
    rank = max(1, math.ceil(percent / 100 * len(ordered)))
    return ordered[rank - 1]


def median(values: Sequence[float]) -> float:
    """Return the median, and not a number for no values."""
    return statistics.median(values) if values else math.nan


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Return the ratio of each run, so that what slows one run down slows both of its sides."""
    return [one / other if other else math.nan for one, other in zip(above, below, strict=True)]


def fold(runs: Sequence[Measured]) -> tuple[float, float, float]:
    """Return rate, p50 and p99 over the runs: the median of each."""
    return (
        median([run.rate for run in runs]),
        median([run.p50 for run in runs]),
        median([run.p99 for run in runs]),
    )


def milliseconds(seconds: float | None) -> str:
    """Return a time as people read it in a table."""
    if seconds is None or math.isnan(seconds):
        return ""
    return f"{seconds * 1000:.2f}" if seconds < 0.01 else f"{seconds * 1000:.1f}"
