"""Replacing in one text."""

from __future__ import annotations

import pytest

from agent_trace import InvalidRequest, replacing
from agent_trace.replacing import Replacer


def replaced(find: str, by: str, text: str, *, expression: bool = True) -> tuple[str, int]:
    return Replacer.of(find, by, expression=expression).apply(text)


def test_a_text_is_taken_as_it_is_and_an_expression_as_python_does() -> None:
    assert replaced("a.c", "x", "a.c abc", expression=False) == ("x abc", 1)
    assert replaced("a.c", "x", "a.c abc") == ("x x", 2)
    assert replaced(r"^(\w+)$", r"<\1>", "one\ntwo") == ("<one>\n<two>", 2)


def test_an_expression_that_backtracks_for_ever_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replacing, "REGEX_SECONDS_MAX", 0.05)
    with pytest.raises(InvalidRequest, match="repeat what repeats"):
        replaced(r"(a|aa)+$", "x", "a" * 60 + "!")


@pytest.mark.parametrize(
    ("find", "by", "says"),
    [("", "x", "is empty"), ("(", "x", "no regular expression"), ("a", r"\2", "can not replace")],
)
def test_what_can_not_be_replaced_is_said(find: str, by: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        replaced(find, by, "a")
