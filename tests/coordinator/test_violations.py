"""What a refused write leaves: a record, its text, a count, and ways to apply or discard it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_trace_coordinator.core.records import (
    Changed,
    Discarded,
    Repeated,
    Violated,
    content_digest,
)
from agent_trace_coordinator.core.state import Rules
from agent_trace_protocol import (
    Action,
    Actor,
    Add,
    Append,
    ApplyViolation,
    Delete,
    DiscardViolation,
    DocumentType,
    Done,
    Edit,
    ErrorCode,
    Move,
    Operation,
    Permissions,
    Put,
    Refused,
    Restore,
    SectionEdit,
    SectionMode,
    ShowViolation,
    Transact,
    ViolationInfo,
    ViolationPage,
    ViolationReport,
    Violations,
)
from support.core import Desk, Member


def reference(desk: Desk, text: str = "1\n2\n3\n4\n5\n") -> Member:
    user = desk.member("ann", Actor.USER)
    user.do(Put("api.md", text.encode(), type=DocumentType.REFERENCE))
    return user


def listed(member: Member) -> tuple[ViolationInfo, ...]:
    reply = member.ask(Violations())
    assert isinstance(reply, ViolationPage), reply
    return reply.violations


def shown(member: Member, id: str) -> ViolationReport:
    reply = member.ask(ShowViolation(id))
    assert isinstance(reply, ViolationReport), reply
    return reply


def last(desk: Desk) -> Violated:
    body = desk.entries[-1].record.body
    assert isinstance(body, Violated), body
    return body


def test_a_refused_write_is_recorded_with_who_what_why_and_its_whole_text() -> None:
    desk = Desk()
    reference(desk)
    agent = desk.member()
    error = agent.fail(Put("api.md", b"mine\n"))
    record, body = desk.entries[-1].record, last(desk)
    assert (record.actor, record.author, record.session) == (Actor.AGENT, "planner", agent.session)
    assert (body.path, body.action, body.rule) == ("api.md", Action.PUT, "reference-not-by-agents")
    (kept,) = body.kept
    assert desk.contents[kept.content_key] == b"mine\n"
    assert (kept.digest, kept.base_revision) == (content_digest(b"mine\n"), 1)
    assert error.violation == f"violation-{record.seq}"
    assert error.violation in error.message and body.reason in error.message


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        (Append("api.md", b"6\n"), b"1\n2\n3\n4\n5\n6\n"),
        (Edit("api.md", b"2", b"two"), b"1\ntwo\n3\n4\n5\n"),
        (Edit("api.md", b"nowhere", b"two"), b"two"),
        (Put("../x.md", b"out\n"), b"out\n"),
        (Put("a.md", b"bin\0ary"), b"bin\0ary"),
        (Put("a.md", b"\xff\xfe"), b"\xff\xfe"),
    ],
)
def test_what_is_kept_is_what_the_document_would_have_become(
    operation: Operation, text: bytes
) -> None:
    desk = Desk()
    reference(desk)
    desk.member().fail(operation)
    (kept,) = last(desk).kept
    assert desk.contents[kept.content_key] == text


def test_all_texts_of_a_refused_transaction_are_kept() -> None:
    desk = Desk()
    user, agent = reference(desk), desk.member()
    error = agent.fail(Put("a.md", b"A\n"), Put("api.md", b"B\n"), Append("c.md", b"C\n"))
    texts = [(each.path, each.content) for each in shown(user, error.violation).texts]
    assert texts == [("a.md", b"A\n"), ("api.md", b"B\n"), ("c.md", b"C\n")]
    assert desk.state.document_at("a.md") is None


def test_an_identical_attempt_is_counted_and_makes_few_records() -> None:
    desk = Desk()
    user, agent = reference(desk), desk.member()
    first = agent.fail(Put("api.md", b"mine\n"))
    for _ in range(99):
        again = agent.fail(Put("api.md", b"mine\n"))
        assert again.violation == first.violation
    assert [each.count for each in listed(user)] == [100]
    bodies = [entry.record.body for entry in desk.entries]
    assert [body.count for body in bodies if isinstance(body, Repeated)] == [2, 4, 8, 16, 32, 64]
    assert sum(isinstance(body, Violated) for body in bodies) == 1
    other = agent.fail(Put("api.md", b"other\n"))
    assert other.violation != first.violation


def test_a_repeated_request_is_answered_with_its_first_refusal() -> None:
    desk = Desk()
    reference(desk)
    agent = desk.member()
    request = Transact((Put("api.md", b"mine\n"),))
    first = agent.ask(request)
    count = len(desk.entries)
    assert desk.ask(agent.key, agent.number, request) == first
    assert len(desk.entries) == count


def test_a_one_shot_that_is_refused_is_introduced_and_counted_once() -> None:
    desk = Desk()
    reference(desk)
    for _ in range(4):
        one_shot = Member(desk, "planner", Actor.AGENT)
        one_shot.open(ephemeral=True)
        one_shot.fail(Put("api.md", b"mine\n"))
    names = [type(entry.record.body).__name__ for entry in desk.entries[2:]]
    assert names == ["SessionOpened", "Violated"]


def test_a_user_applies_a_refused_write_joined_with_what_has_changed_since() -> None:
    desk = Desk()
    user, agent = reference(desk), desk.member()
    error = agent.fail(Edit("api.md", b"1", b"one"))
    user.put("api.md", "1\n2\n3\n4\nfive\n")
    assert shown(user, error.violation).diff
    done = user.do(ApplyViolation(error.violation))
    assert [each.action for each in done.results] == [Action.MERGE]
    assert user.read("api.md") == "one\n2\n3\n4\nfive\n"
    body = desk.entries[-1].record.body
    assert isinstance(body, Changed) and f"violation-{body.violation}" == error.violation
    assert listed(user) == ()
    assert user.fail(ApplyViolation(error.violation)).code is ErrorCode.NOT_FOUND


def test_a_refused_write_that_touches_what_has_changed_since_is_not_applied_blindly() -> None:
    desk = Desk()
    user, agent = reference(desk), desk.member()
    error = agent.fail(Edit("api.md", b"3", b"drei"))
    user.put("api.md", "1\n2\nthree\n4\n5\n")
    late = user.fail(ApplyViolation(error.violation))
    assert late.code is ErrorCode.CONFLICT and late.conflict and "+three" in late.conflict.diff
    assert len(listed(user)) == 1


def test_a_refused_write_is_not_applied_to_another_document_that_has_the_path_by_now() -> None:
    """Not even if the other one's revision has the same number."""
    user = reference(desk := Desk())
    agent = desk.member()
    agent.fail(Put("api.md", b"mine\n"))
    agent.fail(Delete("api.md"))
    user.do(Delete("api.md"))
    user.do(Put("api.md", b"new\n", type=DocumentType.REFERENCE))
    for violation in listed(user):
        error = user.fail(ApplyViolation(violation.id), confirm=True)
        assert error.code is ErrorCode.CONFLICT, error
    document = desk.state.document_at("api.md")
    assert document is not None and desk.contents[document.content_key] == b"new\n"


def test_a_user_who_has_seen_the_revision_puts_a_refused_text_in_its_place() -> None:
    desk = Desk()
    user, agent = reference(desk), desk.member()
    error = agent.fail(Edit("api.md", b"3", b"drei"))
    user.put("api.md", "1\n2\nthree\n4\n5\n")
    late = user.fail(ApplyViolation(error.violation, if_revision=1))
    assert late.code is ErrorCode.CONFLICT and late.conflict and "+three" in late.conflict.diff
    assert user.fail(ApplyViolation(error.violation, if_revision=0)).code is ErrorCode.CONFLICT
    done = user.do(ApplyViolation(error.violation, if_revision=2))
    assert [each.action for each in done.results] == [Action.PUT]
    assert user.read("api.md") == "1\n2\ndrei\n4\n5\n"
    several = agent.fail(Put("api.md", b"x"), Put("new.md", b"y", type=DocumentType.REFERENCE))
    assert "2 texts" in user.fail(ApplyViolation(several.violation, if_revision=3)).message
    gone = agent.fail(Delete("api.md"))
    assert user.fail(ApplyViolation(gone.violation, if_revision=2)).code is ErrorCode.CONFLICT
    user.do(ApplyViolation(gone.violation, if_revision=3))
    assert desk.state.document_at("api.md") is None


@pytest.mark.parametrize("form", ["violation-{}", "{}"])
def test_a_violation_is_known_by_its_id_and_by_its_number(form: str) -> None:
    desk = Desk()
    user, agent = reference(desk), desk.member()
    error = agent.fail(Put("api.md", b"x"))
    seq = desk.entries[-1].record.seq
    assert error.violation == f"violation-{seq}"
    assert shown(user, form.format(seq)).violation.id == error.violation
    user.do(ApplyViolation(form.format(seq)))
    for wrong in (form.format(seq), "draft-1", "violation-", "9" * 19, "-1", "\u0661"):
        late = user.fail(ApplyViolation(wrong))
        assert (late.code, late.message) == (
            ErrorCode.NOT_FOUND,
            f"there is no violation {wrong!r}, or it was applied or discarded; none waits",
        )
    waiting = [agent.fail(Put("api.md", b"%d" % each)).violation for each in range(7)]
    message = user.fail(ApplyViolation("1")).message
    assert message.endswith(f"those that wait: {', '.join(reversed(waiting[2:]))} and 2 more"), (
        message
    )


def test_a_refused_creation_and_a_refused_deletion_are_applied() -> None:
    desk = Desk()
    user, agent = reference(desk), desk.member()
    made = agent.fail(Put("new.md", b"x\n", type=DocumentType.REFERENCE))
    user.do(ApplyViolation(made.violation))
    document = desk.state.document_at("new.md")
    assert document is not None and document.type is DocumentType.REFERENCE
    gone = agent.fail(Delete("api.md"))
    user.do(ApplyViolation(gone.violation))
    assert desk.state.document_at("api.md") is None


def test_what_needs_a_confirmation_needs_it_to_be_applied() -> None:
    desk = Desk()
    user, agent = desk.member("ann", Actor.USER), desk.member()
    error = agent.fail(Put("context.md", b"mine\n"))
    secret = agent.fail(Put("plan.md", b"gh" + b"p_" + b"x" * 36))
    count = len(desk.entries)
    for refused in (error, secret):
        unsaid = user.fail(ApplyViolation(refused.violation))
        # It points to what it would not apply, and leaves nothing beside it.
        assert (unsaid.code, unsaid.violation) == (ErrorCode.PERMISSION_DENIED, refused.violation)
        assert "--confirm" in unsaid.message
    assert len(desk.entries) == count
    user.do(ApplyViolation(error.violation), confirm=True)
    assert user.read("context.md") == "mine\n"


def test_a_discarded_text_is_gone_and_the_refusal_stays_on_record() -> None:
    desk = Desk()
    user, agent = reference(desk), desk.member()
    error = agent.fail(Put("api.md", b"mine\n"))
    assert isinstance(user.ask(DiscardViolation(error.violation)), Done)
    assert isinstance(desk.entries[-1].record.body, Discarded)
    assert listed(user) == () and desk.state.quarantine_bytes == 0
    again = agent.fail(Put("api.md", b"mine\n"))
    assert again.violation != error.violation


def test_an_agent_sees_its_own_attempts_and_no_text_and_decides_nothing() -> None:
    desk = Desk()
    user, agent = reference(desk), desk.member()
    other = desk.member("coder")
    mine, theirs = agent.fail(Put("api.md", b"a\n")), other.fail(Put("api.md", b"b\n"))
    assert [each.id for each in listed(agent)] == [mine.violation]
    assert len(listed(user)) == 2
    for request in (ShowViolation(theirs.violation), DiscardViolation(mine.violation)):
        reply = agent.ask(request)
        assert isinstance(reply, Refused)
        assert reply.error.code is ErrorCode.PERMISSION_DENIED
    assert agent.fail(ApplyViolation(mine.violation)).code is ErrorCode.PERMISSION_DENIED


def test_a_full_quarantine_keeps_the_record_and_the_digest_and_says_so() -> None:
    desk = Desk()
    desk.state.rules = Rules(quarantine_bytes_max=10)
    reference(desk)
    agent = desk.member()
    agent.fail(Put("api.md", b"12345678"))
    error = agent.fail(Put("api.md", b"12345"))
    (kept,) = last(desk).kept
    assert (kept.content_key, kept.size, kept.digest) == (0, 5, content_digest(b"12345"))
    assert "quarantine is full" in error.message


def test_a_symlink_in_the_way_is_a_violation_whose_text_is_kept() -> None:
    desk = Desk()
    desk.blocked["a.md"] = "'a.md' is not a regular file"
    agent = desk.member()
    error = agent.fail(Put("a.md", b"mine\n"))
    assert (error.code, last(desk).rule) == (ErrorCode.INVALID_PATH, "file-in-the-way")
    assert desk.contents[last(desk).kept[0].content_key] == b"mine\n"
    assert agent.fail(Add("a.md")).code is ErrorCode.INVALID_PATH


@pytest.mark.parametrize(
    "path",
    [
        *("../x.md", "a/../b.md", "/etc/passwd", "./x.md", "a//b.md", "a/", "a\0b", "a\x1bb", ""),
        *(".agent-trace/state.db", ".Agent-Trace/x", "a/.agent-trace/x", ".git/config", ".GIT/x"),
        *("\uff0egit/config", ".g\u200cit/config", "git~1/x", "a.", "a ", "CON", "lpt1.md"),
        *("x" * 300, "x/" * 300 + "y", "a\\b", "C:/x", "a\u202eb"),
    ],
)
@pytest.mark.parametrize("actor", [Actor.AGENT, Actor.USER])
def test_a_path_outside_the_law_is_a_violation_that_nobody_can_override(
    path: str, actor: Actor
) -> None:
    desk = Desk()
    member = desk.member("bob", actor)
    member.put("a.md", "x\n")
    for operation in (Put(path, b"mine\n"), Append(path, b"mine\n"), Move("a.md", path)):
        error = member.fail(operation, confirm=actor is Actor.USER)
        assert error.code is ErrorCode.INVALID_PATH and error.violation
        body = last(desk)
        assert body.rule == "path-law"
        if not isinstance(operation, Move):
            assert desk.contents[body.kept[0].content_key] == b"mine\n"
    assert list(desk.state.by_path) == ["a.md"]


def test_what_only_does_not_fit_is_no_violation() -> None:
    desk = Desk()
    desk.state.rules = Rules(document_bytes_max=10)
    agent = desk.member()
    agent.put("a.md", "one\n")
    for operation in (
        Put("b.md", b"x" * 11),
        Edit("a.md", b"two", b"x"),
        Put("A.md", b"x"),
        Delete("a.md", if_revision=7),
        Restore("a.md", 7),
    ):
        assert agent.fail(operation).violation == ""


PATHS = st.sampled_from(
    [
        *("a.md", "api.md", "context.md", "notes/b.md", "Context.md", "../x", "/etc/passwd"),
        *(".git/config", ".agent-trace/state.db", "a//b", "./a.md", "logs/x.md", "CON", "a\0b"),
    ]
)
# Texts are unique by their number, so each can be found again wherever it is kept.
STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["put", "append", "edit", "delete", "move", "add", "reclassify", "two"]),
        PATHS,
        PATHS,
        st.sampled_from([b"text", b"nul\0", b"\xff", b"-----BEGIN PRIVATE " + b"KEY-----"]),
        st.booleans(),
    ),
    max_size=25,
)


@given(STEPS)
def test_no_forbidden_byte_becomes_a_revision_and_no_refused_byte_is_lost(
    steps: list[tuple[int, str, str, str, bytes, bool]],
) -> None:
    desk = Desk()
    user = desk.member("ann", Actor.USER)
    user.do(Put("api.md", b"one\n", type=DocumentType.REFERENCE))
    user.do(Put("context.md", b"made\n"), confirm=True)
    members = [user, desk.member(), desk.member("eve", Actor.READER)]
    for number, (who, what, path, other, payload, confirm) in enumerate(steps):
        member = members[who]
        text = b"%d:%b\n" % (number, payload)
        choices: dict[str, tuple[Operation, ...]] = {
            "put": (Put(path, text),),
            "append": (Append(path, text),),
            "edit": (Edit(path, b"one", text),),
            "delete": (Delete(path),),
            "move": (Move(path, other),),
            "add": (Add(path),),
            "reclassify": (Put(path, text, type=DocumentType.LOG),),
            "two": (Put("a.md", text), Append(path, text)),
        }
        operations = choices[what]
        known = len(desk.entries)
        reply = member.ask(Transact(operations, confirm=confirm))
        brought = what not in {"delete", "move", "add"}
        forbidden = (
            member.actor is Actor.READER
            or (confirm and member.actor is not Actor.USER)
            or b"\0" in payload
            or b"\xff" in payload
            or (b"PRIVATE" in payload and not (confirm and member.actor is Actor.USER))
        )
        if isinstance(reply, Refused) and reply.error.violation and brought:
            body = desk.entries[-1].record.body
            if isinstance(body, Violated):
                kept = b"".join(desk.contents[each.content_key] for each in body.kept)
                assert text in kept
        if brought and forbidden:
            assert isinstance(reply, Refused)
            if len(desk.entries) > known:
                assert not isinstance(desk.entries[-1].record.body, Changed)
    # What any document ever held is text, without credentials unless a user confirmed them, and
    # protected documents were changed by whom the table names.
    for entry in desk.entries:
        body = entry.record.body
        if not isinstance(body, Changed):
            continue
        assert entry.record.actor is not Actor.READER
        for key, content in entry.contents:
            assert key and b"\0" not in content
            content.decode()
            if b"PRIVATE" in content and entry.record.actor is not Actor.USER:
                raise AssertionError("an agent's credential became a revision")
        for change in body.changes:
            assert ".." not in change.path and not change.path.startswith((".git", ".agent"))
            if change.type in {DocumentType.REFERENCE, DocumentType.CONTEXT, DocumentType.LOG}:
                assert entry.record.actor is Actor.USER
    assert isinstance(user.ask(Permissions()), object)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Edit("api.md", b"1", b"x"), Edit("api.md", b"2", b"x")),
        (
            SectionEdit("api.md", "One", b"x\n"),
            SectionEdit("api.md", "Two", b"x\n"),
        ),
        (
            SectionEdit("api.md", "One", b"x\n"),
            SectionEdit("api.md", "One", b"x\n", SectionMode.APPEND),
        ),
    ],
)
def test_the_same_text_for_another_place_is_another_attempt_and_kept_too(
    first: Operation, second: Operation
) -> None:
    desk = Desk()
    user = reference(desk, "1\n2\n# One\na\n# Two\nb\n")
    agent = desk.member()
    ids = [agent.fail(each).violation for each in (first, second, second)]
    assert ids[0] != ids[1] == ids[2]
    texts = [shown(user, id).texts[0].content for id in ids]
    assert texts[0] != texts[1]


def test_the_same_texts_for_other_documents_are_another_attempt() -> None:
    desk = Desk()
    reference(desk)
    agent = desk.member()
    one = agent.fail(Put("api.md", b"x\n"), Put("one.md", b"y\n"))
    two = agent.fail(Put("api.md", b"x\n"), Put("two.md", b"y\n"))
    assert one.violation != two.violation
