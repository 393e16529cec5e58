"""A moment as people say it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from agent_trace import InvalidRequest
from agent_trace.moments import Moment, moment

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def at(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp() * 1000)  # type: ignore[misc,arg-type] # year first


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (42, Moment(seq=42)),
        ("42", Moment(seq=42)),
        ("90s", Moment(time_ms=at(2026, 11, 22, 11, 58, 30))),
        ("10m", Moment(time_ms=at(2026, 11, 22, 11, 50))),
        ("2h", Moment(time_ms=at(2026, 11, 22, 10))),
        ("3d", Moment(time_ms=at(2026, 11, 19, 12))),
        ("1w", Moment(time_ms=at(2026, 11, 15, 12))),
        ("2026-11-22T14:30:00Z", Moment(time_ms=at(2026, 11, 22, 14, 30))),
        ("2026-11-22T14:30+02:00", Moment(time_ms=at(2026, 11, 22, 12, 30))),
        ("999999w", Moment(time_ms=1)),
        (None, Moment()),
        (Moment(7), Moment(7)),
        (
            datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1))),
            Moment(0, at(2025, 12, 31, 23)),
        ),
    ],
)
def test_what_is_said_is_meant(said: str | int | None, meant: Moment) -> None:
    assert moment(said, now=NOW) == meant


def test_a_date_is_its_first_instant_or_its_last() -> None:
    first, last = moment("2026-11-22"), moment("2026-11-22", end=True)
    assert last.time_ms - first.time_ms == 86_400_000 - 1
    assert first.time_ms == int(datetime(2026, 11, 22).astimezone().timestamp() * 1000)


@pytest.mark.parametrize("said", ["", "soon", "2x", "-1", "2026-13-01", "1" * 30, "٣"])
def test_what_is_no_moment_is_refused_with_what_is_one(said: str) -> None:
    with pytest.raises(InvalidRequest, match="2h"):
        moment(said, now=NOW)
