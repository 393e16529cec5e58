"""Messages survive the way to bytes and back, and what is too large never gets that far."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_trace_protocol import (
    Document,
    DocumentType,
    InvalidRequest,
    Operation,
    Ping,
    Put,
    Read,
    Reply,
    Request,
    RequestEnvelope,
    TooLarge,
    Transact,
    encode,
)
from agent_trace_protocol.limits import (
    BODY_BYTES_MAX,
    DOCUMENT_BYTES_MAX,
    ENVELOPE_BYTES_MAX,
    OPERATIONS_MAX,
    PATH_BYTES_MAX,
)
from support.messages import DECODERS, KINDS, ROOTS, SAMPLES, Kind, Message, values_of

KEY = bytes(16)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_every_valid_message_decodes_to_itself(kind: Kind, data: st.DataObject) -> None:
    message: Message = data.draw(values_of(ROOTS[kind]))
    assert DECODERS[kind](encode(message)) == message


@given(values_of(Request))
def test_a_message_has_one_encoding(request_: Message) -> None:
    # The fingerprint of a repeated request is taken from its bytes, so equal requests must have
    # equal bytes whoever sends them again.
    encoded = encode(request_)
    assert encode(DECODERS["request"](encoded)) == encoded


def test_every_message_and_operation_has_a_sample() -> None:
    sampled: set[type] = set()
    for sample in SAMPLES:
        sampled.add(type(sample.message))
        if isinstance(sample.message, Transact):
            sampled.update(type(operation) for operation in sample.message.operations)
    assert sampled >= {*get_args(Request), *get_args(Reply), *get_args(Operation)}


def test_no_two_messages_of_a_direction_share_a_tag() -> None:
    for union in (Request, Operation, Reply):
        members: tuple[type[msgspec.Struct], ...] = get_args(union)
        tags = [member.__struct_config__.tag for member in members]
        assert len(set(tags)) == len(tags)


def test_the_largest_document_fits_into_a_request_and_a_reply() -> None:
    content = bytes(DOCUMENT_BYTES_MAX)
    path = "p" * PATH_BYTES_MAX
    request = Transact((Put(path, content),), message="m" * 1000)
    reply = Document(path, DocumentType.REFERENCE, 2**63 - 1, content, 2**63 - 1, 0, "a" * 64)
    assert DECODERS["request"](encode(request)) == request
    assert DECODERS["reply"](encode(reply)) == reply


def test_a_body_over_the_limit_is_refused_before_it_is_sent() -> None:
    with pytest.raises(TooLarge, match=f"the limit is {BODY_BYTES_MAX}"):
        encode(Transact((Put("a", bytes(BODY_BYTES_MAX)),)))


def test_an_envelope_over_the_limit_is_refused_before_it_is_sent() -> None:
    with pytest.raises(TooLarge, match=f"the limit is {ENVELOPE_BYTES_MAX}"):
        encode(RequestEnvelope(1, KEY, 1, trace="t" * ENVELOPE_BYTES_MAX))


@pytest.mark.parametrize("kind", KINDS)
def test_size_is_checked_before_anything_is_decoded(kind: Kind) -> None:
    limit = ENVELOPE_BYTES_MAX if "envelope" in kind else BODY_BYTES_MAX
    # 0xc1 is no MessagePack at all: a decoder that looked at it would call it malformed.
    with pytest.raises(TooLarge, match=f"has {limit + 1} bytes; the limit is {limit}"):
        DECODERS[kind](b"\xc1" * (limit + 1))


@pytest.mark.parametrize(
    "message",
    [
        Read("caf\udce9.md"),
        Read("a.md", 2**64),
        Read("a.md", -(2**63) - 1),
        RequestEnvelope(1, KEY, 1, trace="\ud800"),
    ],
    ids=["undecodable file name", "above 64 bits", "below 64 bits", "surrogate in the envelope"],
)
def test_what_messagepack_can_not_carry_is_refused_before_it_is_sent(message: Message) -> None:
    with pytest.raises(InvalidRequest, match="can not be sent"):
        encode(message)


def test_a_transaction_carries_as_many_operations_as_the_limit_and_no_more() -> None:
    full = Transact((Put("a", b""),) * OPERATIONS_MAX)
    assert DECODERS["request"](encode(full)) == full
    with pytest.raises(InvalidRequest, match=f"<= {OPERATIONS_MAX}"):
        DECODERS["request"](encode(Transact((Put("a", b""),) * (OPERATIONS_MAX + 1))))


def test_defaults_may_be_left_out_from_the_end() -> None:
    assert DECODERS["request"](b"\x92\xa4read\xa4a.md") == Read("a.md")
    assert DECODERS["request"](b"\x91\xa4ping") == Ping()
