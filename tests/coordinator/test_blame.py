"""Which revision brought each line, against a slow and obvious model."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent_trace_coordinator.core.blame import Blame, LineOrigin


def blame_all(
    *contents: bytes, steps: int | None = None, lines: list[int] | None = None
) -> tuple[LineOrigin, ...]:
    """Explain the last of the revisions 1, 2, 3 ..., looking at `steps` earlier ones at most."""
    blame = Blame(len(contents), contents[-1], lines=lines)
    revision = len(contents)
    while not blame.done and revision > 1 and steps != 0:
        revision -= 1
        blame.look_back(revision, contents[revision - 1])
        steps = None if steps is None else steps - 1
    return blame.origins(complete=revision == 1)


def revisions(origins: tuple[LineOrigin, ...]) -> list[int]:
    return [origin.revision for origin in origins]


def test_each_line_is_from_the_revision_that_brought_it() -> None:
    origins = blame_all(b"a\nb\n", b"a\nx\nb\n", b"top\na\nx\nb\n", b"top\na\nb\nend")
    assert origins == (
        LineOrigin(1, b"top\n", 3, True),
        LineOrigin(2, b"a\n", 1, True),
        LineOrigin(3, b"b\n", 1, True),
        LineOrigin(4, b"end", 4, True),
    )


def test_a_line_that_was_taken_out_and_put_back_is_from_the_revision_that_put_it_back() -> None:
    assert revisions(blame_all(b"a\nb\n", b"a\n", b"a\nb\n")) == [1, 3]


def test_a_revision_that_changed_no_text_brought_nothing() -> None:
    assert revisions(blame_all(b"a\n", b"a\n", b"a\nb\n", b"a\nb\n")) == [1, 3]


def test_an_empty_text_has_no_lines() -> None:
    assert blame_all(b"a\n", b"") == ()


def test_what_was_not_looked_for_far_enough_is_marked() -> None:
    origins = blame_all(b"a\n", b"a\nb\n", b"a\nb\nc\n", steps=1)
    assert [(each.revision, each.found) for each in origins] == [(2, False), (2, False), (3, True)]


def test_a_walk_for_some_lines_ends_when_they_are_found() -> None:
    contents = (b"a\n", b"a\nb\n", b"a\nb\nc\n")
    assert blame_all(*contents, lines=[3, 99], steps=1) == (LineOrigin(3, b"c\n", 3, True),)
    assert revisions(blame_all(*contents, lines=[2])) == [2]


EDITS = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12
)


@given(EDITS)
def test_lines_that_are_all_different_are_followed_exactly(
    edits: list[tuple[int, int, int]],
) -> None:
    """With no two lines alike there is only one right answer: each line names its revision."""
    lines = [f"1.{index}\n" for index in range(6)]
    contents = ["".join(lines).encode()]
    for revision, (place, removed, added) in enumerate(edits, start=2):
        place = min(place, len(lines))
        lines[place : place + removed] = [f"{revision}.{index}\n" for index in range(added)]
        contents.append("".join(lines).encode())
    expected = [int(line.partition(".")[0]) for line in lines]
    assert revisions(blame_all(*contents)) == expected


@given(st.lists(st.text("ab\n", max_size=12).map(str.encode), min_size=1, max_size=6))
def test_a_line_is_in_the_text_of_the_revision_that_it_is_from(contents: list[bytes]) -> None:
    for origin in blame_all(*contents):
        assert origin.text in contents[origin.revision - 1].splitlines(keepends=True)
