"""The glob law: what a pattern matches, when two overlap, and what is no pattern.

Both decisions are compared with slow, obvious models over all short texts.
"""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_trace_protocol import InvalidPath, fold_path, parse_pattern
from agent_trace_protocol.limits import PATH_BYTES_MAX


@pytest.mark.parametrize(
    ("pattern", "path", "matched"),
    [
        ("plan.md", "plan.md", True),
        ("plan.md", "PLAN.md", True),
        ("plan.md", "plans/plan.md", False),
        ("*.md", "plan.md", True),
        ("*.md", "plans/plan.md", False),
        ("plans/*", "plans/a.md", True),
        ("plans/*", "plans/a/b.md", False),
        ("plans/**", "plans/a/b.md", True),
        ("plans/**", "plans", True),
        ("plans/**", "plans2/a.md", False),
        ("**/todo.md", "todo.md", True),
        ("**/todo.md", "a/b/todo.md", True),
        ("**", "anything/at/all.md", True),
        ("a/**/z.md", "a/z.md", True),
        ("a/**/z.md", "a/b/c/z.md", True),
        ("a/**/b/**/c", "a/b/x/b/c", True),
        ("a/**/b/**/c", "a/x/c", False),
        ("log-?.md", "log-1.md", True),
        ("log-?.md", "log-12.md", False),
        ("log-?.md", "log-/x.md", False),
        ("*a*b*", "xxaxxbxx", True),
        ("*a*b*", "xxbxxaxx", False),
        ("*ab", "aab", True),
        ("*-draft.md", "Draft-DRAFT.md", True),
        ("stra\u00dfe/*", "STRASSE/a.md", True),
        ("caf\u00e9*.md", "cafe\u0301-1.md", True),
        ("a*.md", "a\uff0ab.md", True),
        ("?.md", "\uff0a.md", True),
    ],
)
def test_a_pattern_matches_what_it_says(pattern: str, path: str, matched: bool) -> None:
    assert parse_pattern(pattern).matches(path) is matched


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/a/*",
        "a//*",
        "a/*/",
        "../*",
        "a/./*",
        "a/../*",
        ".agent-trace/*",
        ".git/**",
        "a**",
        "**a/b",
        "a/***",
        "*\u0301.md",
        "*\n.md",
        "a\\*",
        "*:x",
        "[ab]*|",
        "*/" * 16 + "x",
        "*" + "x" * PATH_BYTES_MAX,
    ],
)
def test_what_no_document_could_have_as_a_path_is_no_pattern(text: str) -> None:
    with pytest.raises(InvalidPath):
        parse_pattern(text)


def test_brackets_stand_for_themselves() -> None:
    assert parse_pattern("[ab]*").matches("[ab]c")
    assert not parse_pattern("[ab]*").matches("ac")


def test_a_pattern_has_one_canonical_form() -> None:
    assert parse_pattern("cafe\u0301/*").text == parse_pattern("caf\u00e9/*").text == "caf\u00e9/*"
    assert not parse_pattern("a/b.md").is_glob
    assert parse_pattern("a/?.md").is_glob


# ---- against models -------------------------------------------------------------------------

PATHS = [
    path
    for length in range(1, 8)
    for path in map("".join, itertools.product("ab/", repeat=length))
    if not (path.startswith("/") or path.endswith("/") or "//" in path)
]
"""Every path of up to seven characters over two letters: longer than the shortest path that any two
of the patterns below have in common."""


def model_matches(pattern: list[str], names: list[str]) -> bool:
    if not pattern:
        return not names
    first, *rest = pattern
    if first == "**":
        return any(model_matches(rest, names[count:]) for count in range(len(names) + 1))
    return bool(names) and model_fits(first, names[0]) and model_matches(rest, names[1:])


def model_fits(pattern: str, name: str) -> bool:
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(model_fits(pattern[1:], name[count:]) for count in range(len(name) + 1))
    return bool(name) and pattern[0] in ("?", name[0]) and model_fits(pattern[1:], name[1:])


SEGMENTS = st.one_of(
    st.just("**"),
    st.text("ab*?", min_size=1, max_size=3).filter(lambda text: "**" not in text),
)
PATTERNS = st.lists(SEGMENTS, min_size=1, max_size=3).map("/".join)


@given(PATTERNS)
def test_matching_is_what_the_model_says_of_every_path(text: str) -> None:
    pattern = parse_pattern(text)
    for path in PATHS:
        expected = model_matches(text.split("/"), path.split("/"))
        assert pattern.matches(path) is expected, path


@given(PATTERNS, PATTERNS)
def test_two_patterns_overlap_exactly_when_some_path_is_matched_by_both(
    left: str, right: str
) -> None:
    one, other = parse_pattern(left), parse_pattern(right)
    assert one.overlaps(other) is other.overlaps(one)
    common = [path for path in PATHS if one.matches(path) and other.matches(path)]
    # A common path of more than seven characters has a shorter one beside it, but for patterns
    # that together demand more.
    if common or len(left) + len(right) <= 7:
        assert one.overlaps(other) is bool(common), common[:1]


@given(PATTERNS)
def test_a_pattern_overlaps_itself_and_everything(text: str) -> None:
    pattern = parse_pattern(text)
    assert pattern.overlaps(pattern)
    assert pattern.overlaps(parse_pattern("**"))


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=12), st.integers(0, 12))
def test_a_path_matches_itself_with_a_part_replaced_by_a_star(text: str, start: int) -> None:
    try:
        parse_pattern(text)
        glob = parse_pattern(f"{text[:start]}*")
    except InvalidPath:
        return
    if "/" not in text[start:] and "*" not in text and "?" not in text:
        # Folding may join the characters around the cut; then the beginning is another text.
        if fold_path(text).startswith(fold_path(text[:start])):
            assert glob.matches(text)


def test_hostile_patterns_do_not_make_the_matching_search_for_ever() -> None:
    # With backtracking none of these would end.
    stars = parse_pattern("/".join(["*a*a*a*a*a*a*a*a*a*a*"] * 12))
    others = parse_pattern("/".join(["*b*a*b*a*b*a*b*a*b*a*"] * 12))
    deep = parse_pattern("/".join(["**", "a*"] * 8))
    assert not stars.matches("/".join(["a" * 30] * 11 + ["a" * 9]))
    assert not deep.matches("/".join(["a" * 30] * 7 + ["b"] * 9))
    assert stars.overlaps(others)
    assert deep.overlaps(stars)
