"""One true line about what a change did."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_trace_coordinator.core.lines import common_ends, compare
from agent_trace_coordinator.core.quoting import bare, quoted, visible
from agent_trace_coordinator.core.substance import (
    SUBSTANCE_LENGTH_MAX,
    substance_of,
    substance_of_text,
)

BEFORE = b"# Plan\n\nStatus: open\n\n- [ ] tests\n- [x] code\n- [ ] gone\n"


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (BEFORE, ""),
        (BEFORE.replace(b"[ ] tests", b"[x] tests"), 'checked off "tests"'),
        (BEFORE.replace(b"[x] code", b"[ ] code"), 'reopened "code"'),
        (BEFORE + b"- [ ] docs\n", 'added open item "docs"'),
        (BEFORE.replace(b"- [ ] gone\n", b""), 'removed item "gone"'),
        (BEFORE.replace(b"open\n", b"done\n", 1), 'set status to "done"'),
        (BEFORE + b"Decision: tabs\n", 'noted decision "tabs"'),
        (BEFORE + b"## Risks\nfire\n", 'added section "Risks"'),
        (BEFORE + b"plain words\n", 'added "plain words"'),
        (b"new\n", 'removed item "tests"; removed item "code"; removed item "gone"; 2 more'),
        (BEFORE + b"\n\n", "changed blank lines"),
        (b"", 'removed item "tests"; removed item "code"; removed item "gone"; 2 more'),
        (
            BEFORE.replace(b"[ ] tests", b"[x] tests") + b"## Risks\n- [ ] a\n- [ ] b\n",
            'checked off "tests"; added open item "a"; added open item "b"; 1 more',
        ),
    ],
)
def test_a_change_tells_what_it_did_most_important_first(after: bytes, told: str) -> None:
    assert substance_of(compare(BEFORE, after)) == told


def test_a_text_written_as_a_whole_tells_its_title_and_what_is_open() -> None:
    assert substance_of_text(BEFORE) == '"Plan"; 2 open items'
    long = BEFORE + b"text\n" * 20 + b"- [ ] more\n"
    assert substance_of_text(long) == '"Plan"; at least 2 open items', "not all of it is looked at"
    assert substance_of_text(b"\nhello\n") == '"hello"'
    assert substance_of_text(b"") == ""


def test_what_stands_in_code_is_not_open() -> None:
    text = b"# Plan\n```\n- [ ] sample\n~~~\n# no heading\n```\n- [ ] real\n~~~~ md\n- [ ] sample\n"
    assert substance_of_text(text) == '"Plan"; 1 open item'


def test_lines_that_occur_more_than_once_are_counted_one_by_one() -> None:
    found = compare(b"a\na\nb\n", b"a\nc\na\na\n")

    assert (found.new, found.old) == ([b"c", b"a"], [b"b"])


_PIECES = st.lists(st.sampled_from([b"a", b"b", b"\n", b"\r", b"\r\n", b"cc\n", b"\x80", b"\0"]))


@given(_PIECES, _PIECES, _PIECES, _PIECES, st.sampled_from([1, 40]))
def test_lines_are_compared_as_a_slow_count_of_all_of_them_does(
    head: list[bytes], before: list[bytes], after: list[bytes], tail: list[bytes], times: int
) -> None:
    old = b"".join([*head * times, *before, *tail * times])
    new = b"".join([*head * times, *after, *tail * times])

    found = compare(old, new)

    there, then = Counter(new.splitlines()), Counter(old.splitlines())
    assert (Counter(found.new), Counter(found.old)) == (there - then, then - there)
    first, last = common_ends(old, new)
    assert old[:first] == new[:first] and old[len(old) - last :] == new[len(new) - last :]
    for text in (old, new):
        # What is left of each begins and ends where one of its lines does.
        assert first + last <= len(text)
        assert first == 0 or text[first - 1 : first] == b"\n"
        assert last == 0 or text[: len(text) - last].endswith(b"\n")


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_the_line_is_bounded_and_its_quotes_are_closed(before: bytes, after: bytes) -> None:
    told = substance_of(compare(before, after))

    assert len(told) <= SUBSTANCE_LENGTH_MAX
    assert told.replace("\\\\", "").replace('\\"', "").count('"') % 2 == 0
    assert told == "" or told.isprintable() or not visible(told).isascii()


@given(st.text(), st.integers(min_value=4, max_value=60))
def test_quoted_text_stays_between_its_quotes_and_shows_what_is_hidden(
    text: str, length: int
) -> None:
    shown = quoted(text, length)

    assert shown[0] == shown[-1] == '"'
    inside = shown[1:-1].replace("\\\\", "").replace('\\"', "")
    assert '"' not in inside
    assert "\n" not in shown and visible(shown) == " ".join(shown.split())


def test_what_is_not_seen_or_reorders_is_escaped() -> None:
    hidden = "a\u202eb\u200bc\U000e0041d\x1b[0me\u3164f\ufe0fg"

    assert visible(hidden) == "a\\u202eb\\u200bc\\U000e0041d\\x1b[0me\\u3164f\\ufe0fg"
    assert quoted('say "hi" \\ bye', 40) == '"say \\"hi\\" \\\\ bye"'
    assert quoted("one two three four", 12) == '"one two t..."'
    assert bare("a/very/long/path/to/plan.md", 12) == "...o/plan.md"
