"""What the terminal view writes: harmless, wrapped, in ASCII if asked; and the picture it is of."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from agent_trace.views.terminal.lines import (
    DOCUMENTS_MAX,
    LINES_MAX,
    Look,
    Row,
    diff_rows,
    document_rows,
    piece,
    text_rows,
    wrapped,
)
from agent_trace.views.terminal.picture import Picture
from agent_trace.views.terminal.plain_ascii import as_ascii
from agent_trace_protocol import Action, Actor, DocumentInfo, DocumentType, LogEntry


def written(row: Row) -> str:
    return "".join(each.text for each in row.left)


def document(id: int, path: str, type: DocumentType = DocumentType.PLAN) -> DocumentInfo:
    return DocumentInfo(id, path, type, 1, 10, id, 1_000, "planner")


def entry(seq: int, action: Action, path: str = "a.md", revision: int = 0) -> LogEntry:
    return LogEntry(seq, seq, Actor.AGENT, "bob", "s", action, path, revision, 0, 0, "", "")


@given(st.text(max_size=300))
def test_no_character_of_a_piece_steers_the_terminal(text: str) -> None:
    assert piece(text).text.isprintable()


@given(st.text(max_size=80), st.integers(1, 40))
def test_wrapping_loses_nothing_and_fits(text: str, width: int) -> None:
    row = Row((piece(text), piece(text, Look.QUIET)))
    lines = wrapped((row,), width)
    assert "".join(map(written, lines)) == written(row)
    # One character alone may be wider than the screen.
    assert all(cell_len(written(line)) <= width or len(written(line)) == 1 for line in lines)


def test_wrapping_breaks_after_a_space_where_there_is_one() -> None:
    lines = wrapped(text_rows("one word after another"), 10)
    assert [*map(written, lines)] == ["one word ", "after ", "another"]


@given(st.text(max_size=80))
def test_ascii_keeps_the_cells(text: str) -> None:
    shown = piece(text).text
    made = as_ascii(shown)
    assert made.isascii()
    assert len(made) == cell_len(shown)


def test_a_long_text_says_that_it_goes_on() -> None:
    rows = text_rows("x\n" * (LINES_MAX + 1))
    assert len(rows) == LINES_MAX + 1
    assert written(rows[-1]) == f"... only {LINES_MAX} lines are shown here"


def test_a_diff_shows_what_came_and_what_went() -> None:
    rows = diff_rows("@@ -1 +1 @@\n-old\n+new\n same\n")
    looks = [row.left[0].look for row in rows]
    assert looks == [Look.HEAD, Look.REMOVED, Look.ADDED, Look.PLAIN]


def test_documents_are_listed_by_type_and_found_by_a_part_of_their_path() -> None:
    documents = [document(1, "b.md"), document(2, "a.md"), document(3, "n", DocumentType.SCRATCH)]
    rows = document_rows(documents, 2_000)
    assert [written(row).strip() for row in rows] == ["plan", "a.md", "b.md", "scratch", "n"]
    assert [row.key for row in document_rows(documents, 2_000, "B.M")] == ["", "b.md"]


def test_of_very_many_documents_the_first_are_listed() -> None:
    rows = document_rows((document(n, f"{n:06}") for n in range(DOCUMENTS_MAX + 5)), 2_000)
    assert len(rows) == DOCUMENTS_MAX + 2
    assert written(rows[-1]) == "  ... 5 more; find them with /"


def test_what_is_told_twice_changes_nothing_the_second_time() -> None:
    picture = Picture()
    events = (entry(1, Action.CREATE, revision=1), entry(2, Action.REFUSE, "b.md"))
    assert picture.take_events(events, 2) == ({"a.md"}, True)
    assert picture.take_events(events, 2) == (set(), False)
    assert [each.seq for each in picture.recent] == [2, 1]
    assert picture.seq == 2


def test_a_document_that_moved_is_there_once() -> None:
    picture = Picture()
    picture.list_documents((document(1, "old.md"), document(2, "other.md")))
    picture.set_document(document(1, "new.md"))
    assert [*picture.documents] == ["other.md", "new.md"]
    # Another one takes the place that became free, and the first comes back elsewhere.
    picture.set_document(document(3, "old.md"))
    picture.set_document(document(1, "third.md"))
    picture.drop_document("other.md")
    assert {path: each.id for path, each in picture.documents.items()} == {
        "old.md": 3,
        "third.md": 1,
    }
    # The same within one page of events, the newcomer looked up first.
    picture.set_document(document(4, "third.md"))
    picture.set_document(document(1, "zzz.md"))
    assert {path: each.id for path, each in picture.documents.items()} == {
        "old.md": 3,
        "third.md": 4,
        "zzz.md": 1,
    }
