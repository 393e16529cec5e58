"""Whatever bytes arrive, the answer is a message or one of two errors, in small memory."""

from __future__ import annotations

import random
import struct
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_trace_protocol import (
    Done,
    MalformedMessage,
    Ping,
    RequestEnvelope,
    TooLarge,
    decode_reply,
    decode_reply_envelope,
    decode_request,
    decode_request_envelope,
    encode,
)
from agent_trace_protocol.limits import REASON_LENGTH_MAX
from support.messages import DECODERS, KINDS, SAMPLES, Kind, Sample

pack = msgspec.msgpack.Encoder().encode

NAN = float("nan")
INFINITY = float("inf")

each_sample = pytest.mark.parametrize("sample", SAMPLES, ids=[sample.name for sample in SAMPLES])


def decode_or_refuse(kind: Kind, data: bytes) -> None:
    """Decode, and let through only what the codec promises to raise."""
    try:
        message = DECODERS[kind](data)
    except (MalformedMessage, TooLarge) as error:
        assert len(error.message) < REASON_LENGTH_MAX + 100
        assert error.message.isprintable()
    else:
        assert DECODERS[kind](encode(message)) == message


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.binary(max_size=300))
def test_random_bytes_never_raise_anything_else(kind: Kind, data: bytes) -> None:
    decode_or_refuse(kind, data)


@pytest.mark.parametrize("kind", KINDS)
@given(
    data=st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=4), inner),
    )
)
def test_valid_messagepack_of_the_wrong_shape_never_raises_anything_else(
    kind: Kind, data: object
) -> None:
    decode_or_refuse(kind, pack(data))


@each_sample
def test_every_truncation_is_malformed(sample: Sample) -> None:
    data = encode(sample.message)
    for end in range(len(data)):
        with pytest.raises(MalformedMessage):
            DECODERS[sample.kind](data[:end])


@each_sample
def test_every_trailing_byte_is_malformed(sample: Sample) -> None:
    data = encode(sample.message)
    for extra in range(256):
        with pytest.raises(MalformedMessage):
            DECODERS[sample.kind](data + bytes([extra]))


@each_sample
def test_no_change_of_one_byte_raises_anything_else(sample: Sample) -> None:
    data = encode(sample.message)
    for position in range(len(data)):
        for value in (0x00, 0x7F, 0x80, 0x90, 0xC0, 0xC1, 0xCB, 0xD9, 0xDD, 0xDF, 0xFF):
            decode_or_refuse(sample.kind, data[:position] + bytes([value]) + data[position + 1 :])


@each_sample
def test_no_mixture_of_damages_raises_anything_else(sample: Sample) -> None:
    dice = random.Random(sample.name)
    for _ in range(300):
        data = bytearray(encode(sample.message))
        for _ in range(dice.randint(1, 6)):
            place = dice.randrange(len(data) + 1)
            match dice.randrange(4):
                case 0:
                    data[place:place] = dice.randbytes(dice.randint(1, 8))
                case 1:
                    del data[place : place + dice.randint(1, 8)]
                case 2:
                    data[place : place + 1] = dice.randbytes(1)
                case _:
                    other = encode(dice.choice(SAMPLES).message)
                    data[place:] = other[dice.randrange(len(other)) :]
        decode_or_refuse(sample.kind, bytes(data))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("opening", [b"\x91", b"\x81\xa1a", b"\xdd\x00\x00\x00\x01"])
@pytest.mark.parametrize("prefix", [b"", b"\x92\xa4ping", b"\x92\xa4done", b"\x95\x01\x02\x03\x04"])
def test_a_million_levels_are_refused(kind: Kind, opening: bytes, prefix: bytes) -> None:
    with pytest.raises((MalformedMessage, TooLarge)):
        DECODERS[kind](prefix + opening * 1_000_000)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", [100, 900])
def test_levels_within_the_size_of_an_envelope_are_refused_or_skipped(
    kind: Kind, depth: int
) -> None:
    for prefix in (b"\x95\x01\x02\x03\x04", b"\x92\xa4done", b"\x92\xa4ping"):
        decode_or_refuse(kind, prefix + b"\x91" * depth + b"\xc0")


@pytest.mark.parametrize("marker", [0xC6, 0xC9, 0xDB, 0xDD, 0xDF])
@pytest.mark.parametrize(
    "prefix",
    [
        b"",
        b"\x92\xa8transact",
        b"\x92\xa8transact\x91\x93\xa3put\xa1a",
        b"\x92\xa4read",
        b"\x94\xa9committed\x01",
        b"\x93\xa4page",
        b"\x92\xa4done",
        b"\x92\x01",
    ],
    ids=repr,
)
def test_a_declared_length_that_did_not_arrive_is_refused_and_not_allocated(
    prefix: bytes, marker: int
) -> None:
    tracemalloc.start()
    try:
        for length in (2**32 - 1, 2**31, 2**28, 2**20):
            for kind in KINDS:
                with pytest.raises(MalformedMessage):
                    DECODERS[kind](prefix + bytes([marker]) + struct.pack(">I", length))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize(
    "text",
    [b"\xff", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc3"],
    ids=["no start byte", "overlong", "overlong 3", "surrogate", "past U+10FFFF", "cut"],
)
def test_text_that_is_not_utf_8_is_malformed(text: bytes) -> None:
    string = bytes([0xA0 | len(text)]) + text
    for data in (
        b"\x92\xa4read" + string,
        b"\x92" + string + b"\xa1a",
        b"\x92\xa4list" + string,
    ):
        with pytest.raises(MalformedMessage):
            decode_request(data)
    with pytest.raises(MalformedMessage):
        decode_request_envelope(b"\x95\x01\xc4\x10" + bytes(16) + b"\x01\x00" + string)


WRONG_SHAPES: list[Any] = [
    ["read", b"a.md"],
    ["read", None],
    ["read", 1],
    ["read", ["a.md"]],
    ["read"],
    ["read", "a.md", True],
    ["read", "a.md", 1.0],
    ["read", "a.md", NAN],
    ["read", "a.md", "1"],
    ["read", "a.md", -1],
    ["read", "a.md", 2**63],
    ["read", "a.md", 2**64 - 1],
    ["read", "a.md", None],
    ["transact", [["put", "a", b""]], "journal", 1],
    ["transact", [["put", "a", "text"]]],
    ["transact", [["put", "a", b"", False]]],
    ["transact", [["put", "a", b"", None, "PLAN"]]],
    ["transact", [["put", "a", b"", None, "unknown"]]],
    ["transact", [["edit", "a", b"", b"", 1]]],
    ["transact", [["ping"]]],
    ["transact", [["unheard-of", "a"]]],
    ["transact", [[]]],
    ["transact", ["put"]],
    ["transact", {"0": ["put", "a", b""]}],
    ["transact", None],
    ["transact"],
    ["transact", [["put", "a", b""]], "memory"],
    ["open", "a", "nobody", "cli"],
    ["open", "a", "agent", "cli", -1],
    ["open", "a", "agent", "cli", 1, 1, "", "", "", 0, 0, 0, 0],
    ["unheard-of"],
    ["Ping"],
    ["ping "],
    [b"ping"],
    [None],
    [1],
    [["ping"]],
    [],
    {},
    {"$": "ping"},
    {"type": "ping"},
    "ping",
    b"ping",
    None,
    True,
    0,
    NAN,
]


@pytest.mark.parametrize("body", WRONG_SHAPES, ids=repr)
def test_a_request_of_the_wrong_shape_is_malformed(body: Any) -> None:
    with pytest.raises(MalformedMessage):
        decode_request(pack(body))


@pytest.mark.parametrize(
    "envelope",
    [
        [],
        [1],
        [1, bytes(16)],
        ["1", bytes(16), 1],
        [1, "k" * 16, 1],
        [1, None, 1],
        [True, bytes(16), 1],
        [1, bytes(16), True],
        [1, bytes(16), 1.0],
        [1, bytes(16), -1],
        [1, bytes(16), 2**63],
        [1, bytes(16), 1, -5],
        [1, bytes(16), 1, INFINITY],
        [1, bytes(16), 1, 0, b"trace"],
        {"version": 1},
        None,
        1,
    ],
    ids=repr,
)
def test_a_request_envelope_of_the_wrong_shape_is_malformed(envelope: Any) -> None:
    with pytest.raises(MalformedMessage):
        decode_request_envelope(pack(envelope))


@pytest.mark.parametrize("envelope", [[], [1, 1, 1], [1, 1, 1, -1], [1, 1, 1, 2**63], None])
def test_a_reply_envelope_of_the_wrong_shape_is_malformed(envelope: Any) -> None:
    with pytest.raises(MalformedMessage):
        decode_reply_envelope(pack(envelope))


@pytest.mark.parametrize("duration", [NAN, INFINITY, -INFINITY, -0.5, 1e300, True, "1", None])
def test_a_duration_that_is_no_duration_is_malformed(duration: Any) -> None:
    for seconds in ([duration, 10.0], [2.5, duration]):
        with pytest.raises(MalformedMessage):
            decode_reply(pack(["opened", "s", 1, 1, "store", *seconds, 1, 1]))


@pytest.mark.parametrize("extra", [None, 0, "more", [], {"a": 1}], ids=repr)
def test_an_extra_trailing_element_is_refused_in_requests_and_ignored_elsewhere(
    extra: Any,
) -> None:
    with pytest.raises(MalformedMessage):
        decode_request(pack(["ping", extra]))
    with pytest.raises(MalformedMessage):
        decode_request(pack(["transact", [["delete", "a.md", None, extra]]]))
    assert decode_reply(pack(["done", extra])) == Done()
    # Envelopes keep their shape in all versions and may grow at the end.
    assert decode_request_envelope(pack([1, bytes(16), 1, 0, "", extra])) == RequestEnvelope(
        1, bytes(16), 1
    )
    assert decode_reply_envelope(pack([1, 1, 1, 1, extra])).seq == 1


def test_every_request_refuses_an_extra_trailing_element() -> None:
    for sample in SAMPLES:
        if sample.kind == "request":
            with pytest.raises(MalformedMessage):
                decode_request(
                    pack([*msgspec.to_builtins(sample.message, builtin_types=(bytes,)), 0])
                )


def test_every_reply_ignores_an_extra_trailing_element() -> None:
    for sample in SAMPLES:
        if sample.kind == "reply":
            grown = [*msgspec.to_builtins(sample.message, builtin_types=(bytes,)), "new"]
            assert decode_reply(pack(grown)) == sample.message


@pytest.mark.parametrize(
    "text", ["x" * 5_000_000, "\x1b[2J\r\n\u202e" * 20], ids=["long", "escapes"]
)
def test_what_an_error_quotes_is_short_and_printable(text: str) -> None:
    for body in ([text], ["open", "a", text, "cli"]):
        with pytest.raises(MalformedMessage) as caught:
            decode_request(pack(body))
        assert len(caught.value.message) < REASON_LENGTH_MAX + 100
        assert caught.value.message.isprintable()


def test_a_refusal_leaves_the_decoder_as_it_was() -> None:
    for data in (b"", b"\xc1", b"\x91" * 1_000_000, b"\x92\xa4read\xa1\xff"):
        with pytest.raises(MalformedMessage):
            decode_request(data)
        assert decode_request(encode(Ping())) == Ping()
