"""One bit is flipped: what is served is right, or is refused with a typed error."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pytest

from agent_trace_coordinator.errors import CorruptStore
from agent_trace_coordinator.storage.history_index import HistoryIndex
from agent_trace_protocol import Log
from damage.flips import is_part, run
from damage.original import copy_store, make_original

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def _quiet() -> Generator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_no_bit_makes_anything_wrong_be_served() -> None:
    figures = run(150, 3, whole_every=0)

    assert figures.wrong == []
    assert figures.flips.total() == 150
    # A harness under which nothing is ever noticed reads something else than it flips.
    assert figures.refused > 30
    assert figures.harmless < 120


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of which rows say what their records do not."""
    place = tmp_path_factory.mktemp("flips")
    original = make_original(place / "original", 5)
    root = place / "damaged"
    copy_store(original.root, root)
    path = root / ".agent-trace" / "state.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        (record,) = connection.execute("SELECT record FROM journal WHERE seq = 9").fetchone()
        assert record.count(b"anna") == 1
        connection.execute(
            "UPDATE journal SET record = ? WHERE seq = 9", (record.replace(b"anna", b"enna"),)
        )
        # A request leads to the record of another one, a revision to that of another document.
        connection.execute("UPDATE journal SET request = 999 WHERE seq = 12")
        rows = connection.execute("SELECT key FROM change WHERE revision = 1 LIMIT 2").fetchall()
        (one,), (other,) = rows
        connection.execute("UPDATE change SET document = 1 WHERE key = ?", (one,))
        connection.execute("UPDATE change SET document = ? WHERE key = ?", (one, other))
        connection.execute("UPDATE git_commit SET id = zeroblob(24) WHERE seq = 3")
        connection.execute("DELETE FROM content WHERE key = (SELECT MIN(key) FROM content)")
    return root


def test_a_record_that_is_not_what_was_written_is_not_served(damaged: Path) -> None:
    with closing(HistoryIndex(damaged / ".agent-trace" / "state.db")) as index:
        assert index.record(8) is not None
        with pytest.raises(CorruptStore, match="record 9 does not match its hash chain"):
            index.record(9)


def test_a_request_is_never_given_the_answer_to_another_one(damaged: Path) -> None:
    with closing(HistoryIndex(damaged / ".agent-trace" / "state.db")) as index:
        record = index.record(12)
        assert record is not None
        with pytest.raises(CorruptStore, match="indexed as another request"):
            index.request(record.session, 999)


def test_a_revision_is_never_that_of_another_document(damaged: Path) -> None:
    with closing(HistoryIndex(damaged / ".agent-trace" / "state.db")) as index:
        with pytest.raises(CorruptStore, match="revision 1 of document 1 and is none"):
            index.change(1, 1)
        with pytest.raises(CorruptStore, match="and is none"):
            index.revisions_before(1, 9, 9)
        with pytest.raises(CorruptStore, match="indexed as something that it is not"):
            index.log(Log(), 1)


def test_a_commit_id_that_is_not_what_was_noted_counts_as_unknown(damaged: Path) -> None:
    with closing(HistoryIndex(damaged / ".agent-trace" / "state.db")) as index:
        assert len(index.commit(2)) == 40
        assert index.commit(3) == ""


def test_an_operation_without_its_text_is_not_handed_on_as_a_whole_one(damaged: Path) -> None:
    with closing(HistoryIndex(damaged / ".agent-trace" / "state.db")) as index:
        with pytest.raises(CorruptStore, match="is not there"):
            list(index.entries(1))


def test_what_is_true_as_far_as_it_goes_is_told_from_what_is_wrong() -> None:
    assert is_part([1, 3], [1, 2, 3])
    assert is_part(((), False), ((1,), True))
    assert not is_part([3, 1], [1, 2, 3])
    assert not is_part([4], [1, 2, 3])
