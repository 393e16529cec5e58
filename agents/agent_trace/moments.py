"""A moment of a store's history, as people and programs say it: an operation, or a time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from agent_trace_protocol import InvalidRequest
from agent_trace_protocol.limits import INTEGER_MAX

__all__ = ["Moment", "moment"]

_AGO: Final = re.compile(r"([0-9]{1,6})(s|m|h|d|w)", re.ASCII)
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
# Without hyphens an ISO date looks like a seq.
_ISO: Final = re.compile(r"[0-9]{4}-", re.ASCII)
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Moment:
    """An operation or a time; neither: no bound."""

    seq: int = 0
    time_ms: int = 0
    """UTC milliseconds."""


def moment(
    value: Moment | int | str | datetime | None, *, now: datetime | None = None, end: bool = False
) -> Moment:
    """Return what is meant by a seq (`42`), a time ago (`90s`, `10m`, `2h`, `3d`, `1w`), or an ISO
    date or time (`2026-11-22`, `2026-11-22T14:30`, with or without a zone; local if without).

    `now` is what ago counts from. A date is its first instant, or its last with `end`.

    Raises:
        InvalidRequest: it is none of these.
    """
    if value is None:
        return Moment()
    if isinstance(value, Moment):
        return value
    if isinstance(value, datetime):
        return Moment(time_ms=_milliseconds(value))
    text = str(value)
    if text.isascii() and text.isdigit() and int(text) <= INTEGER_MAX:
        return Moment(seq=int(text))
    if ago := _AGO.fullmatch(text):
        spent = timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        try:
            return Moment(time_ms=_milliseconds((now or datetime.now().astimezone()) - spent))
        except OverflowError:
            return Moment(time_ms=1)
    try:
        if not _ISO.match(text):
            raise ValueError(text)
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(
            f"{text[:80]!r} is no moment: say an operation's seq (42), a time ago (90s, 10m, 2h, "
            "3d, 1w), or an ISO date or time (2026-11-22, 2026-11-22T14:30)"
        ) from error
    if end and _DATE.fullmatch(text):
        time += timedelta(days=1, milliseconds=-1)
    return Moment(time_ms=_milliseconds(time))


def _milliseconds(time: datetime) -> int:
    # Nothing was recorded before 1970, and 0 would mean no bound.
    return max(1, int(time.timestamp() * 1000))
