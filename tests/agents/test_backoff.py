"""The retry schedule."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent_trace.backoff import DELAY_SECONDS_MAX, DELAY_SECONDS_MIN, retry_delay


def test_the_delay_doubles_until_it_reaches_its_maximum() -> None:
    delays = [retry_delay(attempt, 0.0) for attempt in range(1, 9)]
    assert delays == [0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0]


@given(st.integers(min_value=-5, max_value=10**9), st.floats(0, 1, exclude_max=True))
def test_the_delay_is_never_below_half_of_the_least_nor_above_the_most(
    attempt: int, random: float
) -> None:
    assert DELAY_SECONDS_MIN / 2 <= retry_delay(attempt, random) <= DELAY_SECONDS_MAX
