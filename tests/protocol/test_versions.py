"""Two sides agree on a version, or both learn which of them is older."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_trace_protocol import (
    PROTOCOL_VERSION,
    PROTOCOL_VERSION_MIN,
    Actor,
    ErrorCode,
    InvalidRequest,
    Open,
    SessionKind,
    UnsupportedVersion,
    decode_request_envelope,
    negotiate,
)

versions = st.integers(0, PROTOCOL_VERSION + 5)


@given(versions, versions)
def test_the_highest_common_version_is_chosen_if_there_is_one(low: int, high: int) -> None:
    ours = set(range(PROTOCOL_VERSION_MIN, PROTOCOL_VERSION + 1))
    common = ours & set(range(low, high + 1))
    if common:
        assert negotiate(low, high) == max(common)
    elif low <= high:
        with pytest.raises(UnsupportedVersion):
            negotiate(low, high)
    else:
        with pytest.raises(InvalidRequest, match="not a range"):
            negotiate(low, high)


def test_a_client_that_is_too_new_learns_that_the_coordinator_is_older() -> None:
    newer = PROTOCOL_VERSION + 1
    with pytest.raises(UnsupportedVersion) as caught:
        negotiate(newer, newer + 1)
    assert caught.value.message == (
        f"the client speaks protocol {newer} to {newer + 1}, this coordinator "
        f"{PROTOCOL_VERSION_MIN} to {PROTOCOL_VERSION}: the coordinator is older; "
        "upgrade and restart it"
    )
    assert caught.value.to_info().code is ErrorCode.UNSUPPORTED_VERSION


def test_a_client_that_is_too_old_learns_that_it_is_the_older_one() -> None:
    older = PROTOCOL_VERSION_MIN - 1
    with pytest.raises(UnsupportedVersion) as caught:
        negotiate(0, older)
    assert caught.value.message == (
        f"the client speaks protocol 0 to {older}, this coordinator "
        f"{PROTOCOL_VERSION_MIN} to {PROTOCOL_VERSION}: the client is older; upgrade it"
    )


def test_an_open_offers_all_that_this_code_speaks() -> None:
    message = Open("planner", Actor.AGENT, SessionKind.LIBRARY)
    assert (message.protocol_min, message.protocol_max) == (PROTOCOL_VERSION_MIN, PROTOCOL_VERSION)


def test_the_envelope_of_a_version_to_come_can_be_read() -> None:
    # [version 9, key, number 1, budget, trace, something new, something else]
    data = b"\x97\x09\xc4\x10" + bytes(16) + b"\x01\xcd\x13\x88\xa0\xc3\x91\x01"
    envelope = decode_request_envelope(data)
    assert (envelope.version, envelope.number, envelope.budget_ms) == (9, 1, 5000)
