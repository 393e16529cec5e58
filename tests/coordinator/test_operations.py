"""What operations do to documents, decided by the core."""

from __future__ import annotations

import pytest

from agent_trace_coordinator.core.documents import decide
from agent_trace_coordinator.core.effects import AnswerContent
from agent_trace_coordinator.core.inputs import Facts
from agent_trace_coordinator.core.state import Rules
from agent_trace_coordinator.core.views import read
from agent_trace_protocol import (
    AcceptDraft,
    Action,
    Actor,
    Add,
    Append,
    Committed,
    Delete,
    DocumentType,
    Edit,
    ErrorCode,
    Move,
    Put,
    Read,
    Refused,
    Restore,
    SectionEdit,
    SectionMode,
    Transact,
    WriteResult,
)
from support.core import Desk


def test_a_first_put_creates_revision_1_and_the_next_makes_revision_2() -> None:
    agent = Desk().member()
    assert agent.put("plan.md", "a\nb\n").results == (
        WriteResult("plan.md", 1, Action.CREATE, 2, 0),
    )
    assert agent.put("plan.md", "a\nc\nd\n").results == (
        WriteResult("plan.md", 2, Action.PUT, 2, 1),
    )
    assert agent.read("plan.md") == "a\nc\nd\n"
    assert agent.read("plan.md", 1) == "a\nb\n"


def test_an_append_starts_on_a_line_of_its_own() -> None:
    agent = Desk().member()
    agent.do(Append("log.md", b"one"))
    agent.do(Append("log.md", b"two\n"))
    agent.do(Append("log.md", b"three\n"))
    assert agent.read("log.md") == "one\ntwo\nthree\n"


def test_an_edit_replaces_text_that_is_there_once() -> None:
    agent = Desk().member()
    agent.put("plan.md", "one two one\n")
    agent.do(Edit("plan.md", b"two", b"2"))
    assert agent.read("plan.md") == "one 2 one\n"
    assert agent.fail(Edit("plan.md", b"one", b"1")).code is ErrorCode.NO_MATCH
    assert agent.fail(Edit("plan.md", b"zero", b"0")).code is ErrorCode.NO_MATCH
    assert agent.fail(Edit("plan.md", b"", b"0")).code is ErrorCode.INVALID_REQUEST
    agent.do(Edit("plan.md", b"one", b"1", all=True))
    assert agent.read("plan.md") == "1 2 1\n"


def test_a_section_is_replaced_down_to_the_next_heading_of_its_level() -> None:
    agent = Desk().member()
    text = "# A\n\ntop\n\n## B\n\nold\n\n### C\n\ndeep\n\n## D\n\nend\n"
    agent.put("plan.md", text)
    agent.do(SectionEdit("plan.md", "B", b"new\n"))
    assert agent.read("plan.md") == "# A\n\ntop\n\n## B\n\nnew\n\n## D\n\nend\n"
    agent.do(SectionEdit("plan.md", "## D", b"more", SectionMode.APPEND))
    assert agent.read("plan.md") == "# A\n\ntop\n\n## B\n\nnew\n\n## D\n\nend\nmore\n"


def test_a_heading_in_a_code_fence_is_text() -> None:
    agent = Desk().member()
    agent.put("plan.md", "# A\n\n```\n# B\n```\n\n# B\n\nold\n")
    agent.do(SectionEdit("plan.md", "B", b"new\n"))
    assert agent.read("plan.md") == "# A\n\n```\n# B\n```\n\n# B\n\nnew\n"


@pytest.mark.parametrize("heading", ["C", "A", "### B"])
def test_a_section_that_is_not_there_once_is_refused(heading: str) -> None:
    agent = Desk().member()
    agent.put("plan.md", "# A\n\n# A\n\n## B\n")
    assert agent.fail(SectionEdit("plan.md", heading, b"x")).code is ErrorCode.NO_MATCH


def test_a_moved_document_keeps_id_type_and_history() -> None:
    desk = Desk()
    agent = desk.member()
    agent.do(Put("a.md", b"text\n", type=DocumentType.PLAN))
    before = desk.state.document_at("a.md")
    agent.do(Move("a.md", "b/c.md"))
    after = desk.state.document_at("b/c.md")
    assert before is not None and after is not None
    assert (after.id, after.type, after.revision) == (before.id, DocumentType.PLAN, 2)
    assert desk.state.document_at("a.md") is None
    assert agent.read("b/c.md") == "text\n"
    assert agent.read("b/c.md", 1) == "text\n"


def test_a_deleted_document_is_read_as_of_the_move_that_left_its_path() -> None:
    desk = Desk()
    agent = desk.member()
    agent.put("a.md", "old\n")
    agent.do(Delete("a.md"))
    agent.put("a.md", "new\n")
    moved = agent.do(Move("a.md", "b.md"))

    effect = read(desk.state, Read("a.md", 1), Facts())

    # Until the move is durable, the other document may be at that path again.
    assert isinstance(effect, AnswerContent)
    assert (effect.document.deleted, effect.revision, effect.after) == (True, 1, moved.seq)


def test_a_deleted_document_comes_back_under_its_id() -> None:
    desk = Desk()
    agent = desk.member()
    agent.put("a.md", "one\n")
    id = desk.state.by_path["a.md"]
    agent.do(Delete("a.md"))
    reply = agent.ask(Read("a.md"))
    assert isinstance(reply, Refused) and reply.error.code is ErrorCode.NOT_FOUND
    assert agent.read("a.md", 1) == "one\n"
    agent.do(Restore("a.md", 1))
    assert agent.read("a.md") == "one\n"
    document = desk.state.document_at("a.md")
    assert document is not None and (document.id, document.revision) == (id, 3)


def test_a_new_document_at_a_deleted_path_is_another_document() -> None:
    desk = Desk()
    agent = desk.member()
    agent.put("a.md", "one\n")
    first = desk.state.by_path["a.md"]
    agent.do(Delete("a.md"))
    agent.put("a.md", "two\n")
    assert desk.state.by_path["a.md"] != first
    assert agent.fail(Restore("a.md", 2)).code is ErrorCode.NOT_FOUND


def test_a_transaction_is_done_as_a_whole() -> None:
    desk = Desk()
    agent = desk.member()
    done = agent.do(
        Put("a.md", b"one\n"), Append("a.md", b"two\n"), Move("a.md", "b.md"), Put("a.md", b"new\n")
    )
    assert [(result.path, result.revision) for result in done.results] == [
        ("a.md", 1),
        ("a.md", 2),
        ("b.md", 3),
        ("a.md", 1),
    ]
    assert (agent.read("b.md"), agent.read("a.md")) == ("one\ntwo\n", "new\n")
    assert len(desk.entries) == 2


def test_a_transaction_with_one_bad_operation_does_nothing() -> None:
    desk = Desk()
    agent = desk.member()
    agent.put("a.md", "one\n")
    before = (dict(desk.state.documents), dict(desk.state.by_path), desk.state.seq)
    error = agent.fail(
        Put("x.md", b"x"), Delete("a.md"), Put("a.md", b"again"), Edit("x.md", b"y", b"z")
    )
    assert error.code is ErrorCode.NO_MATCH
    assert (desk.state.documents, desk.state.by_path, desk.state.seq) == before
    assert agent.read("a.md") == "one\n"


def test_a_write_that_comes_too_late_learns_what_was_changed_and_keeps_its_text() -> None:
    desk = Desk()
    first, second = desk.member("first"), desk.member("second")
    first.put("plan.md", "1\n2\n3\n4\n5\n")
    second.put("plan.md", "1\nTWO\n3\n4\n5\n", if_revision=1)
    error = first.fail(Put("plan.md", b"1\n2\n3\n4\nFIVE\n", if_revision=1))
    late = error.conflict
    assert error.code is ErrorCode.CONFLICT and late is not None
    assert (late.path, late.expected, late.current) == ("plan.md", 1, 2)
    assert (late.author, late.merged) == ("second", True)
    assert "-2\n+TWO" in late.diff
    assert first.do(AcceptDraft(late.draft)).results == (
        WriteResult("plan.md", 3, Action.MERGE, 1, 1),
    )
    assert first.read("plan.md") == "1\nTWO\n3\n4\nFIVE\n"
    assert first.fail(AcceptDraft(late.draft)).code is ErrorCode.NOT_FOUND


def test_changes_of_the_same_line_are_not_merged_but_kept() -> None:
    desk = Desk()
    first, second = desk.member("first"), desk.member("second")
    first.put("plan.md", "1\n2\n3\n")
    second.put("plan.md", "1\nB\n3\n")
    late = first.fail(Edit("plan.md", b"2", b"A", if_revision=1)).conflict
    assert late is not None and not late.merged
    assert desk.contents[desk.entries[-1].contents[0][0]] == b"1\nA\n3\n"
    again = first.fail(AcceptDraft(late.draft))
    assert again.code is ErrorCode.CONFLICT
    assert again.conflict is not None and "+B" in again.conflict.diff


def test_a_draft_is_merged_with_what_is_current_when_it_is_accepted() -> None:
    desk = Desk()
    first, second = desk.member("first"), desk.member("second")
    first.put("plan.md", "1\n2\n3\n4\n5\n6\n7\n")
    second.put("plan.md", "1\n2\n3\n4\n5\n6\nseven\n")
    late = first.fail(Put("plan.md", b"one\n2\n3\n4\n5\n6\n7\n", if_revision=1)).conflict
    assert late is not None
    second.put("plan.md", "1\n2\n3\nfour\n5\n6\nseven\n")
    first.do(AcceptDraft(late.draft))
    assert first.read("plan.md") == "one\n2\n3\nfour\n5\n6\nseven\n"


def test_an_agent_can_not_accept_the_draft_of_another() -> None:
    desk = Desk()
    first, second = desk.member("first"), desk.member("second")
    first.put("plan.md", "1\n")
    second.put("plan.md", "2\n")
    late = first.fail(Put("plan.md", b"3\n", if_revision=1)).conflict
    assert late is not None
    assert second.fail(AcceptDraft(late.draft)).code is ErrorCode.PERMISSION_DENIED


def test_if_revision_0_means_that_there_must_be_no_document() -> None:
    agent = Desk().member()
    agent.put("a.md", "one\n", if_revision=0)
    error = agent.fail(Put("a.md", b"two\n", if_revision=0))
    assert error.code is ErrorCode.CONFLICT
    assert error.conflict is not None and error.conflict.current == 1


@pytest.mark.parametrize(
    "operation", [Delete("a.md", if_revision=7), Move("a.md", "b.md", if_revision=7)]
)
def test_a_late_delete_or_move_keeps_no_draft(operation: Delete | Move) -> None:
    agent = Desk().member()
    agent.put("a.md", "one\n")
    error = agent.fail(operation)
    assert error.conflict is not None and error.conflict.draft == ""


def test_a_repeated_request_gives_the_first_answer_and_does_nothing() -> None:
    desk = Desk()
    agent = desk.member()
    request = Transact((Append("a.md", b"one\n"),))
    first = agent.ask(request)
    agent.ask(Transact((Append("a.md", b"two\n"),)))
    assert desk.ask(agent.key, 1, request) == first
    assert agent.read("a.md") == "one\ntwo\n"


def test_a_repeated_conflict_gives_the_first_conflict() -> None:
    desk = Desk()
    agent = desk.member()
    agent.put("a.md", "one\n")
    agent.put("a.md", "two\n")
    late = Transact((Put("a.md", b"three\n", if_revision=1),))
    first = agent.ask(late)
    count = len(desk.entries)
    assert desk.ask(agent.key, agent.number, late) == first
    assert len(desk.entries) == count


def test_a_request_number_with_other_content_is_refused() -> None:
    desk = Desk()
    agent = desk.member()
    agent.put("a.md", "one\n")
    reply = desk.ask(agent.key, 1, Transact((Put("a.md", b"other\n"),)))
    assert isinstance(reply, Refused) and reply.error.code is ErrorCode.REQUEST_REUSED


def test_two_names_that_are_one_on_some_systems_are_refused() -> None:
    agent = Desk().member()
    agent.put("Plan.md", "one\n")
    assert agent.fail(Put("plan.md", b"x")).code is ErrorCode.INVALID_PATH
    agent.put("folder/a.md", "one\n")
    assert agent.fail(Put("folder", b"x")).code is ErrorCode.INVALID_PATH
    assert agent.fail(Put("FOLDER", b"x")).code is ErrorCode.INVALID_PATH
    assert agent.fail(Put("plan.md/b.md", b"x")).code is ErrorCode.INVALID_PATH
    assert agent.fail(Move("folder/a.md", "PLAN.MD")).code is ErrorCode.INVALID_PATH
    agent.do(Move("Plan.md", "plan.md"))
    assert agent.read("plan.md") == "one\n"


def test_a_file_that_is_no_document_is_not_overwritten() -> None:
    desk = Desk()
    agent = desk.member()
    desk.files["notes.md"] = b"by hand\n"
    assert agent.fail(Put("notes.md", b"x")).code is ErrorCode.CONFLICT
    agent.do(Add("notes.md"))
    assert agent.read("notes.md") == "by hand\n"
    assert agent.fail(Add("notes.md")).code is ErrorCode.CONFLICT
    assert agent.fail(Add("missing.md")).code is ErrorCode.NOT_FOUND


def test_agents_do_not_write_reference_documents() -> None:
    desk = Desk()
    agent, user = desk.member(), desk.member("ann", Actor.USER)
    user.do(Put("api.md", b"one\n", type=DocumentType.REFERENCE))
    operations = (
        Put("api.md", b"x"),
        Append("api.md", b"x"),
        Edit("api.md", b"one", b"two"),
        Delete("api.md"),
        Move("api.md", "b.md"),
        Restore("api.md", 1),
        Put("api.md", b"x", if_revision=7),
    )
    for operation in operations:
        assert agent.fail(operation).code is ErrorCode.PERMISSION_DENIED, operation
    user.put("api.md", "two\n")


@pytest.mark.parametrize("type", [DocumentType.CONTEXT, DocumentType.LOG])
def test_nobody_but_the_coordinator_makes_context_and_logs(type: DocumentType) -> None:
    desk = Desk()
    for member in (desk.member(), desk.member("ann", Actor.USER)):
        assert member.fail(Put("x.md", b"x", type=type)).code is ErrorCode.PERMISSION_DENIED


def test_what_is_not_text_or_too_large_is_refused() -> None:
    desk = Desk()
    desk.state.rules = Rules(document_bytes_max=100)
    agent = desk.member()
    assert agent.fail(Put("a.md", b"\xff\xfe")).code is ErrorCode.INVALID_REQUEST
    assert agent.fail(Put("a.md", b"x" * 101)).code is ErrorCode.TOO_LARGE
    agent.put("a.md", "x" * 100)
    assert agent.fail(Append("a.md", b"x")).code is ErrorCode.TOO_LARGE


def test_an_empty_transaction_and_too_many_operations_are_refused() -> None:
    agent = Desk().member()
    assert agent.fail().code is ErrorCode.INVALID_REQUEST
    many = tuple(Put(f"{number}.md", b"x") for number in range(65))
    assert agent.fail(*many).code is ErrorCode.TOO_LARGE


def test_a_message_of_more_than_one_line_is_refused() -> None:
    agent = Desk().member()
    reply = agent.ask(Transact((Put("a.md", b"x"),), message="a\n\nSeq: 7"))
    assert isinstance(reply, Refused) and reply.error.code is ErrorCode.INVALID_REQUEST
    assert isinstance(agent.ask(Transact((Put("a.md", b"x"),), message="why")), Committed)


def test_deciding_leaves_the_state_as_it_was() -> None:
    desk = Desk()
    agent = desk.member()
    agent.put("a.md", "one\n")
    document = desk.state.documents[desk.state.by_path["a.md"]]
    decide(
        desk.state,
        Actor.AGENT,
        "planner",
        (Put("a.md", b"two\n"), Put("b.md", b"x")),
        Facts(contents={document.content_key: b"one\n"}),
        9,
    )
    assert desk.state.documents == {document.id: document}
    assert desk.state.paths == ["a.md"]
