"""Questions about history, put to a real coordinator."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from agent_trace import NotFound, SyncAgent, connect_sync
from agent_trace.moments import Moment
from agent_trace_protocol import Action, Delete, DocumentType, Put
from support.coordinator import Coordinator, running

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Generator[Coordinator]:
    with pytest.MonkeyPatch.context() as environment:
        # What the coordinator itself would write between two operations.
        environment.setenv("AGENT_TRACE_GENERATED", "0")
        with running(tmp_path_factory.mktemp("history")) as served:
            yield served


@pytest.fixture
def ada(coordinator: Coordinator) -> Generator[SyncAgent]:
    with connect_sync(coordinator.root, user="ada", autostart=False) as agent:
        yield agent


def times_of(agent: SyncAgent, path: str) -> list[int]:
    return [entry.time_ms for entry in reversed(agent.log(path))]


def test_a_diff_is_of_the_last_revision_unless_others_are_named(ada: SyncAgent) -> None:
    for text in ("a\n", "a\nb\n", "A\nb\n"):
        ada.write("diff.md", text)
    last = ada.diff("diff.md")
    assert (last.old_revision, last.new_revision) == (2, 3)
    assert last.diff == "@@ -1,2 +1,2 @@\n-a\n+A\n b\n"
    assert (last.added, last.removed, last.left_out) == (1, 1, 0)
    assert ada.diff("diff.md", 1).diff == "@@ -1 +1,2 @@\n-a\n+A\n+b\n"
    assert ada.diff("diff.md", 1, 2).diff == "@@ -1 +1,2 @@\n a\n+b\n"
    assert ada.diff("diff.md", new=1).diff == "@@ -0,0 +1 @@\n+a\n"
    assert ada.diff("diff.md", text="A\n").diff == "@@ -1,2 +1 @@\n A\n-b\n"
    with pytest.raises(NotFound, match="revisions 1 to 3, not 9"):
        ada.diff("diff.md", 1, 9)


def test_a_diff_follows_a_document_through_moves_and_deletion(ada: SyncAgent) -> None:
    ada.write("diff-old.md", "a\n")
    ada.move("diff-old.md", "diff-new.md")
    ada.delete("diff-new.md")
    gone = ada.diff("diff-new.md", 1)
    assert (gone.old_path, gone.new_path) == ("diff-old.md", "diff-new.md")
    assert gone.diff == "@@ -1 +0,0 @@\n-a\n"


def test_blame_names_revision_author_and_session_of_each_line(
    coordinator: Coordinator, ada: SyncAgent
) -> None:
    ada.write("blame.md", "# Plan\n\nfirst\n")
    with connect_sync(coordinator.root, agent="planner", autostart=False) as planner:
        planner.append("blame.md", "second\n")
        session = planner.session_id
    ada.move("blame.md", "blamed.md")
    ada.delete("blamed.md")
    ada.restore("blamed.md", 3)
    ada.edit("blamed.md", "first", "FIRST")
    lines = ada.blame("blamed.md").lines
    assert [(each.text, each.revision, each.author) for each in lines] == [
        ("# Plan", 1, "ada"),
        ("", 1, "ada"),
        ("FIRST", 6, "ada"),
        ("second", 2, "planner"),
    ]
    assert lines[3].session == session and all(each.found for each in lines)
    one = ada.blame("blamed.md", 3, first_line=3, last_line=3)
    assert [(each.number, each.text, each.revision) for each in one.lines] == [(3, "first", 1)]


def test_blame_of_many_revisions_finds_the_first(ada: SyncAgent) -> None:
    ada.write("long.md", "start\n")
    for number in range(150):
        ada.transact([Put("long.md", f"start\n{number}\n".encode())])
    lines = ada.blame("long.md").lines
    assert [(each.revision, each.found) for each in lines] == [(1, True), (151, True)]


def test_a_snapshot_shows_what_was_at_an_operation_or_a_time(ada: SyncAgent) -> None:
    first = ada.write("past/a.md", "one\n", type="plan")
    ada.write("past/b.md", "two\n")
    ada.write("past/a.md", "changed\n")
    ada.move("past/b.md", "past/c.md")
    ada.delete("past/a.md")

    def shown(at: int | Moment | None) -> list[tuple[str, int]]:
        documents = ada.snapshot(at).documents
        return [(each.path, each.revision) for each in documents if each.path.startswith("past/")]

    assert shown(first.seq - 1) == []
    assert shown(first.seq) == [("past/a.md", 1)]
    assert shown(first.seq + 2) == [("past/a.md", 2), ("past/b.md", 1)]
    assert shown(None) == [("past/c.md", 2)]
    assert shown(Moment(time_ms=1)) == []
    assert shown(Moment(time_ms=times_of(ada, "past/a.md")[-1])) == [("past/c.md", 2)]
    with pytest.raises(NotFound, match="not yet at"):
        ada.snapshot(10**9)


def test_log_filters_hold_before_the_limit(coordinator: Coordinator, ada: SyncAgent) -> None:
    with connect_sync(coordinator.root, agent="logger", autostart=False) as logger:
        first = logger.write("log/plan.md", "# Plan\n", type="plan")
        for number in range(10):
            logger.write("log/note.md", f"{number}\n")
        last = ada.write("log/note.md", "mine\n")

        def seqs(**conditions: object) -> list[int]:
            entries = ada.log(limit=2, **conditions)  # type: ignore[arg-type] # forwarded as is
            return [entry.seq for entry in entries]

        assert seqs(type=DocumentType.PLAN, since=first.seq - 1) == [first.seq]
        assert seqs(author="logger", action=Action.CREATE, since=first.seq - 1) == [
            first.seq + 1,
            first.seq,
        ]
        assert seqs(session=logger.session_id, until=first.seq) == [first.seq, first.seq - 1]
        assert seqs(path="log/note.md", author="ada") == [last.seq]
        assert seqs(since=last.seq) == []
        entry = ada.log("log/note.md", limit=1)[0]
        assert seqs(since=Moment(time_ms=entry.time_ms), path="log/note.md")[0] == last.seq
        assert seqs(until=Moment(time_ms=1)) == []
        assert seqs(path="log/note.md", until=first.seq + 3) == [first.seq + 3, first.seq + 2]


def test_traces_name_the_lines_that_each_operation_brought(ada: SyncAgent) -> None:
    first = ada.write("trace.md", "a\nb\n")
    ada.transact([Put("trace.md", b"a\nx\nb\ny\n"), Put("trace-2.md", b"z\n")])
    ada.transact([Delete("trace-2.md")])
    page = ada.trace_page(first.seq - 1)
    assert not page.more and page.cursor == first.seq + 2
    told = [
        [(file.path, [(each.first_line, each.last_line) for each in file.ranges])]
        for trace in page.traces
        for file in trace.files
    ]
    assert told == [
        [("trace.md", [(1, 2)])],
        [("trace.md", [(2, 2), (4, 4)])],
        [("trace-2.md", [(1, 1)])],
        [("trace-2.md", [])],
    ]
    assert all(len(trace.commit) == 40 for trace in page.traces)
    one = ada.trace_page(first.seq - 1, limit=1)
    assert one.more and [trace.seq for trace in one.traces] == [first.seq]
    assert [trace.seq for trace in ada.trace_page(one.cursor).traces] == [
        first.seq + 1,
        first.seq + 2,
    ]


def test_info_says_who_made_a_document_and_who_touched_it(
    coordinator: Coordinator, ada: SyncAgent
) -> None:
    made = ada.write("info.md", "a\nb\n")
    with connect_sync(coordinator.root, agent="toucher", autostart=False) as toucher:
        toucher.append("info.md", "c\n")
        with toucher.lease("info.md") as lease:
            report = ada.info("info.md")
            assert [each.token for each in report.leases] == [lease.token]
        touched = toucher.session_id
    assert (report.created_seq, report.created_by, report.lines) == (made.seq, "ada", 3)
    assert [(each.session, each.author, each.revisions) for each in report.sessions] == [
        (touched, "toucher", 1),
        (ada.session_id, "ada", 1),
    ]
    assert report.sessions_complete and not report.deleted
    ada.delete("info.md")
    gone = ada.info("info.md")
    assert gone.deleted and gone.document.revision == 3
