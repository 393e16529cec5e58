"""Searching: what a query may be, what is found, and what becomes of a damaged index."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_trace_coordinator.core.search_query import match_expression
from agent_trace_coordinator.core.state import Rules, State
from agent_trace_coordinator.storage.index import Index
from agent_trace_coordinator.storage.journal import Journal
from agent_trace_coordinator.storage.search import SearchIndex
from agent_trace_protocol import (
    Delete,
    DocumentType,
    Edit,
    InvalidRequest,
    Move,
    Put,
    Search,
    SearchHit,
)
from support.core import Desk, Member


class Library:
    """A journal on disk that a desk writes to, and the index that is made from it."""

    def __init__(self, directory: Path) -> None:
        self.journal = Journal(directory / "state.db")
        self.desk = Desk(State(epoch=1, store="test", rules=Rules(generated=True)))
        self.index = Index(directory / "state.db")
        self.path = directory / "search.db"
        self.search_index = SearchIndex(self.path, self.index)
        self.written = 0

    def sync(self) -> None:
        self.journal.append(self.desk.entries[self.written :], [])
        self.written = len(self.desk.entries)
        self.search_index.catch_up(self.written, lambda: False)
        assert self.search_index.seq == self.written

    def find(self, query: str, **options: object) -> list[SearchHit]:
        self.sync()
        request = Search(query, **options)  # type: ignore[arg-type]  # the test's own options
        hits, _ = self.search_index.search(request)
        return list(hits)

    def paths(self, query: str, **options: object) -> list[str]:
        return [hit.path for hit in self.find(query, **options)]

    def anew(self) -> None:
        self.search_index.close()
        self.search_index = SearchIndex(self.path, self.index)

    def close(self) -> None:
        self.search_index.close()
        self.index.close()
        self.journal.close()


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    library = Library(tmp_path)
    yield library
    library.close()


def texts(member: Member) -> None:
    member.do(
        Put("plan.md", b"# Importer\n\nShip the importer on Friday.\n", type=DocumentType.PLAN)
    )
    member.put("notes/lease.md", "A lease ends when its holder is gone.\n")
    member.put("notes/lock.md", "A lock has no end. Caf\u00e9 na\u00efve.\n")


def test_documents_are_found_by_what_they_say_now(library: Library) -> None:
    member = library.desk.member()
    texts(member)
    assert library.paths("importer") == ["plan.md"]
    assert library.paths("end*") == ["notes/lock.md", "notes/lease.md"]
    assert library.paths("lease OR lock holder") == ["notes/lease.md"]
    assert library.paths("a -holder") == ["notes/lock.md"]
    assert library.paths('"no end"') == ["notes/lock.md"]
    assert library.paths('"end no"') == []
    assert library.paths("cafe NAIVE") == ["notes/lock.md"]
    member.do(Edit("plan.md", b"importer on", b"exporter on"))
    assert library.paths("exporter") == ["plan.md"]
    (hit,) = library.find("exporter")
    assert hit.current and hit.revision == 2 and "the [exporter] on Friday" in hit.snippet


def test_moved_and_deleted_documents_are_found_where_they_are(library: Library) -> None:
    member = library.desk.member()
    texts(member)
    library.sync()
    member.do(Move("plan.md", "done/plan.md"))
    member.do(Delete("notes/lock.md"))
    assert library.paths("importer") == ["done/plan.md"]
    assert library.paths("lock") == []


def test_history_finds_what_is_gone_and_who_wrote_and_removed_it(library: Library) -> None:
    first, second = library.desk.member("first"), library.desk.member("second")
    first.put("note.md", "one\nzebra\n")
    second.put("note.md", "one\n")
    assert library.find("zebra") == []
    found = {(hit.author, hit.revision) for hit in library.find("zebra", history=True)}
    assert found == {("first", 1), ("second", 2)}
    assert library.paths("zebra", history=True, author="second") == ["note.md"]


def test_what_is_found_can_be_narrowed(library: Library) -> None:
    first, second = library.desk.member("first"), library.desk.member("second")
    first.do(Put("a.md", b"word\n", type=DocumentType.PLAN))
    library.desk.time += 100
    second.put("b.md", "word\n")
    later = library.desk.now().wall_ms
    assert library.paths("word", type=DocumentType.PLAN) == ["a.md"]
    assert library.paths("word", author="second") == ["b.md"]
    assert library.paths("word", since_ms=later) == ["b.md"]
    assert library.paths("word", until_ms=later) == ["a.md"]
    hits, more = library.search_index.search(Search("word", limit=1))
    assert len(hits) == 1 and more


def test_documents_that_are_generated_are_not_found(library: Library) -> None:
    texts(library.desk.member())
    library.desk.refresh()
    assert library.paths("importer", history=True) == ["plan.md", "plan.md"]


@pytest.mark.parametrize(
    "damage", [b"", b"not a database at all, but long enough to look like a file" * 100]
)
def test_a_lost_or_damaged_index_is_made_anew(library: Library, damage: bytes) -> None:
    texts(library.desk.member())
    library.sync()
    library.search_index.close()
    for file in library.path.parent.glob("search.db*"):
        file.unlink()
    if damage:
        library.path.write_bytes(damage)
    library.anew()
    for _ in range(2):
        library.search_index.catch_up(library.written, lambda: False)
    assert library.paths("importer") == ["plan.md"]


def test_an_index_of_another_store_is_made_anew(library: Library, tmp_path: Path) -> None:
    texts(library.desk.member())
    library.sync()
    with closing(sqlite3.connect(library.path)) as connection:
        connection.execute("UPDATE place SET chain = x'00'")
        connection.commit()
    library.anew()
    assert library.paths("importer") == ["plan.md"]


def test_it_is_taken_up_where_it_was_left(library: Library) -> None:
    member = library.desk.member()
    texts(member)
    library.sync()
    library.anew()
    looked: list[int] = []
    entries = library.index.entries

    def watched(first: int, limit: int | None = None) -> object:
        looked.append(first)
        return entries(first, limit)

    library.index.entries = watched  # type: ignore[method-assign,assignment]  # only watched
    member.put("more.md", "zebra\n")
    assert library.paths("zebra") == ["more.md"]
    assert looked == [5]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "no word"),
        ("   ", "no word"),
        ("-only", "no word"),
        ('"open', "does not end"),
        ("***", "no letter"),
        ('""', "no letter"),
        ("OR", "between two words"),
        ("a OR", "between two words"),
        ("a OR OR b", "between two words"),
        ("a OR -b", "not before -"),
        ("a " * 33, "more than 32"),
        ("a" * 401, "401 characters"),
        ("a\0b", "no letter"),
        ("a*", "too many words"),
    ],
)
def test_a_query_that_makes_no_sense_says_why(query: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(said)):
        match_expression(query)


@given(st.text(max_size=60) | st.text('ab"*-:^(){}+ ORNEAT', max_size=60))
def test_every_query_is_refused_by_us_or_understood_by_sqlite(query: str) -> None:
    try:
        expression = match_expression(query)
    except InvalidRequest:
        return
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE VIRTUAL TABLE t USING fts5(path, text)")
        connection.execute("SELECT rowid FROM t WHERE t MATCH ?", (expression,)).fetchall()


def test_a_query_that_takes_too_long_is_ended(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts(library.desk.member())
    library.sync()
    monkeypatch.setattr("agent_trace_coordinator.storage.search.QUERY_SECONDS_MAX", -1.0)
    monkeypatch.setattr("agent_trace_coordinator.storage.search._STEPS", 1)
    with pytest.raises(InvalidRequest, match="took more than"):
        library.search_index.search(Search("importer"))


def test_a_long_document_that_repeats_a_word_is_found_without_comparing_all_places(
    library: Library,
) -> None:
    member = library.desk.member()
    # FTS5's own snippets take the square of the places: minutes for the first of these.
    member.put("many.md", "do it\n" * 170_000)
    member.put("far.md", "other text\n" * 2000 + "then the needle, \u00e9t\u00e9 too\n")
    (many,) = library.find('"do it"')
    assert many.snippet.startswith("[do it] [do it]")
    (far,) = library.find("needle")
    assert "then the [needle]," in far.snippet and far.snippet.startswith("...")
    (folded,) = library.find("ete")
    assert folded.snippet.startswith("other text")
    assert library.paths("need* -missing") == ["far.md"]
