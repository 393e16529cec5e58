"""An error keeps its code, message and meaning on the way through the wire."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

import agent_trace_protocol
from agent_trace_protocol import (
    AgentTraceError,
    Conflict,
    ConflictInfo,
    ErrorCode,
    ErrorInfo,
    InvalidRequest,
    Refused,
    SessionError,
    Unavailable,
    decode_reply,
    encode,
    error_from_info,
)
from agent_trace_protocol.limits import ERROR_MESSAGE_LENGTH_MAX

RETRYABLE = {ErrorCode.UNAVAILABLE, ErrorCode.BUSY, ErrorCode.READ_ONLY}

CONFLICT = ConflictInfo("plan.md", 3, 4, "reviewer", 1, "-a\n+b\n", "d1", True)


def exception_classes() -> list[type[AgentTraceError]]:
    return [
        value
        for value in vars(agent_trace_protocol).values()
        if inspect.isclass(value) and issubclass(value, AgentTraceError)
    ]


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_becomes_an_exception_and_the_same_error_again(code: ErrorCode) -> None:
    info = ErrorInfo(code, "what happened", code in RETRYABLE)
    error = error_from_info(info)
    assert error.code is code
    assert str(error) == error.message == "what happened"
    assert error.to_info() == info


@pytest.mark.parametrize("code", ErrorCode)
def test_every_error_survives_the_wire(code: ErrorCode) -> None:
    info = ErrorInfo(code, "what happened", code in RETRYABLE)
    reply = decode_reply(encode(Refused(info)))
    assert isinstance(reply, Refused)
    assert error_from_info(reply.error).to_info() == info


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        ("x" * ERROR_MESSAGE_LENGTH_MAX, "x" * ERROR_MESSAGE_LENGTH_MAX),
        ("x" * 50_000_000, "x" * (ERROR_MESSAGE_LENGTH_MAX - 3) + "..."),
        ("there is no caf\udce9.md", "there is no caf\\udce9.md"),
    ],
    ids=["at the limit", "huge", "not UTF-8"],
)
def test_any_message_can_be_sent(message: str, sent: str) -> None:
    for error in (InvalidRequest(message), Conflict(message, CONFLICT)):
        reply = decode_reply(encode(Refused(error.to_info())))
        assert isinstance(reply, Refused)
        assert reply.error.message == sent


@given(st.text())
def test_a_conflict_keeps_what_the_writer_needs(message: str) -> None:
    error = error_from_info(ErrorInfo(ErrorCode.CONFLICT, message, False, CONFLICT))
    assert isinstance(error, Conflict)
    assert error.info == CONFLICT
    assert error.to_info() == ErrorInfo(ErrorCode.CONFLICT, message, False, CONFLICT)


def test_every_code_has_one_exception_class_of_its_own() -> None:
    classes = {code: type(error_from_info(ErrorInfo(code, ""))) for code in ErrorCode}
    assert len(set(classes.values())) == len(ErrorCode)
    assert {code: cls.code for code, cls in classes.items()} == {code: code for code in ErrorCode}


def test_every_exception_class_can_travel() -> None:
    for cls in exception_classes():
        error = error_from_info(cls("what happened").to_info())
        # A base class arrives as the leaf that bears its code, never as something unrelated.
        assert isinstance(error, cls) or issubclass(cls, type(error))


def test_only_what_the_world_may_heal_is_retryable() -> None:
    retryable = {cls.code for cls in exception_classes() if cls.retryable}
    assert retryable == RETRYABLE
    assert all(issubclass(cls, Unavailable) for cls in exception_classes() if cls.retryable)


def test_errors_are_grouped_by_whose_doing_they_are() -> None:
    codes = {
        cls: {code for code in ErrorCode if isinstance(error_from_info(ErrorInfo(code, "")), cls)}
        for cls in (InvalidRequest, SessionError, Unavailable)
    }
    assert codes == {
        InvalidRequest: {
            ErrorCode.INVALID_REQUEST,
            ErrorCode.MALFORMED,
            ErrorCode.UNSUPPORTED_VERSION,
            ErrorCode.INVALID_PATH,
            ErrorCode.TOO_LARGE,
            ErrorCode.NO_MATCH,
            ErrorCode.REQUEST_REUSED,
        },
        SessionError: {
            ErrorCode.SESSION_UNKNOWN,
            ErrorCode.SESSION_SUPERSEDED,
            ErrorCode.AGENT_BUSY,
        },
        Unavailable: {ErrorCode.UNAVAILABLE, ErrorCode.BUSY, ErrorCode.READ_ONLY},
    }
