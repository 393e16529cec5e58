"""A unified diff becomes two columns, and nothing of it is lost."""

from __future__ import annotations

import difflib

from hypothesis import given
from hypothesis import strategies as st

from agent_trace.views.sidebyside import Change, Piece, Row, Side, side_by_side


def text_of(side: Side | None) -> str | None:
    return None if side is None else "".join(piece.text for piece in side.pieces)


def test_changed_lines_stand_beside_each_other_with_the_words_that_differ() -> None:
    rows = side_by_side("@@ -3,3 +3,4 @@\n same\n-a red fox\n+a blue fox\n+new\n end\n")
    assert rows == (
        Row(Change.GAP, note="@@ -3,3 +3,4 @@"),
        Row(
            Change.SAME,
            Side(3, (Piece("same", False),)),
            Side(3, (Piece("same", False),)),
        ),
        Row(
            Change.CHANGED,
            Side(4, (Piece("a ", False), Piece("red", True), Piece(" fox", False))),
            Side(4, (Piece("a ", False), Piece("blue", True), Piece(" fox", False))),
        ),
        Row(Change.ADDED, None, Side(5, (Piece("new", False),))),
        Row(
            Change.SAME,
            Side(5, (Piece("end", False),)),
            Side(6, (Piece("end", False),)),
        ),
    )


def test_a_missing_line_end_does_not_part_the_lines() -> None:
    rows = side_by_side("@@ -1 +1 @@\n-old one\n\\ No newline at end of file\n+new one\n")
    assert [row.change for row in rows] == [Change.GAP, Change.CHANGED, Change.NOTE]
    assert rows[2].note == "No newline at end of file"


def test_what_is_no_diff_is_shown_as_it_is() -> None:
    assert side_by_side("binary files differ\n") == (Row(Change.NOTE, note="binary files differ"),)
    assert side_by_side("") == ()


lines = st.lists(st.text("ab -+@\\", max_size=4), max_size=8)


@given(lines, lines)
def test_both_texts_can_be_read_from_the_columns(old: list[str], new: list[str]) -> None:
    diff = list(difflib.unified_diff(old, new, lineterm="", n=100))[2:]
    rows = side_by_side("".join(f"{line}\n" for line in diff))
    if not diff:
        assert rows == ()
        return
    left = [row.old for row in rows if row.old is not None]
    right = [row.new for row in rows if row.new is not None]
    assert [text_of(side) for side in left] == old
    assert [text_of(side) for side in right] == new
    assert [side.number for side in left] == list(range(1, len(old) + 1))
    assert [side.number for side in right] == list(range(1, len(new) + 1))
