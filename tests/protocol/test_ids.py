"""Names are words without structure; session ids give nothing away."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_trace_protocol import InvalidRequest, MalformedMessage, parse_agent_name, session_id_of


@pytest.mark.parametrize(
    "name",
    ["a", "7", "planner", "gpt-5.1_mini", "a.b", "a--b", "user", "systems", "x" * 64],
)
def test_an_ordinary_name_is_taken_as_it_is(name: str) -> None:
    assert parse_agent_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "Planner",
        "PLANNER",
        "-planner",
        ".planner",
        "_planner",
        "planner.",
        "plan ner",
        " planner",
        "planner ",
        "planner\n",
        "planner\x00",
        "plan/ner",
        "plan\\ner",
        "plan:ner",
        "plan<ner>",
        "planner@host",
        "plän",
        "pl\u0430nner",
        "planner\u200b",
        "\uff50lanner",
        "planner\u0661",
        "\ud800",
        "$(id)",
        "a;b",
        "x" * 65,
        "..",
        "../../etc",
    ],
    ids=ascii,
)
def test_a_name_that_something_could_read_otherwise_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="is not a name"):
        parse_agent_name(name)


def test_the_coordinators_own_name_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="reserved for the coordinator"):
        parse_agent_name("system")


def test_the_refusal_of_a_huge_name_quotes_only_its_beginning() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_agent_name("\u202e" * 1_000_000)
    assert len(caught.value.message) < 1000
    assert caught.value.message.isprintable()


@given(st.text(max_size=70) | st.from_regex(r"[a-z0-9._-]{1,70}", fullmatch=True))
def test_whatever_is_a_name_is_one_line_of_ascii_words(text: str) -> None:
    try:
        name = parse_agent_name(text)
    except InvalidRequest:
        return
    assert name == text
    assert parse_agent_name(name) == name
    assert re.fullmatch(r"[a-z0-9]([a-z0-9._-]*[a-z0-9_-])?", name)
    assert len(name) <= 64


def test_a_session_id_is_a_known_function_of_the_key() -> None:
    assert session_id_of(bytes(range(16))) == "ft4r64pbqciynbilqrzzeqcnla"


@given(st.binary(min_size=16, max_size=16))
def test_a_session_id_can_be_made_with_any_blake2b(key: bytes) -> None:
    # The recipe of the protocol document, step by step.
    digest = hashlib.blake2b(key, digest_size=16, person=b"agent-trace-sid\x00").digest()
    expected = base64.b32encode(digest).decode().lower().replace("=", "")
    assert session_id_of(key) == expected
    assert re.fullmatch("[a-z2-7]{26}", expected)


@given(st.binary(max_size=40).filter(lambda key: len(key) != 16))
def test_a_key_of_another_length_is_malformed(key: bytes) -> None:
    with pytest.raises(MalformedMessage, match=f"16 bytes, not {len(key)}"):
        session_id_of(key)
