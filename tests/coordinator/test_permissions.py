"""Who may do what to which document: the table, confirmations, unlocks, roles."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Final

import pytest

from agent_trace_coordinator.core.grants import carry_over, resume
from agent_trace_coordinator.core.inputs import Now
from agent_trace_coordinator.core.permissions import Verb, permit_of, protecting_type
from agent_trace_coordinator.core.records import Changed, Locked, Unlocked, Violated
from agent_trace_protocol import (
    AcquireLease,
    Actor,
    Append,
    Delete,
    DocumentType,
    Done,
    Edit,
    ErrorCode,
    Lock,
    Move,
    Operation,
    PermissionReport,
    Permissions,
    Permit,
    Put,
    Read,
    Reclassify,
    Refused,
    Reply,
    Restore,
    Stop,
    Transact,
    Unlock,
)
from support.core import Desk, Member

PATH: Final = "notes/a.md"

OPERATIONS: Final[dict[Verb, tuple[Operation, ...]]] = {
    Verb.APPEND: (Append(PATH, b"x\n"),),
    Verb.MODIFY: (Put(PATH, b"x\n"), Edit(PATH, b"one", b"x"), Restore(PATH, 1)),
    Verb.DELETE: (Delete(PATH),),
    Verb.MOVE: (Move(PATH, "notes/b.md"),),
}

Y, C, N = Permit.YES, Permit.CONFIRM, Permit.NO

# Written out by hand from the design: the table is compared with something else than itself.
EXPECTED: Final = {
    (DocumentType.PLAN, Actor.USER): (Y, Y, Y, Y, Y, Y),
    (DocumentType.PLAN, Actor.AGENT): (Y, Y, Y, Y, Y, N),
    (DocumentType.PLAN, Actor.SYSTEM): (N, N, N, N, N, N),
    (DocumentType.CONTEXT, Actor.USER): (C, C, C, C, C, C),
    (DocumentType.CONTEXT, Actor.AGENT): (N, N, N, N, N, N),
    (DocumentType.CONTEXT, Actor.SYSTEM): (Y, Y, Y, Y, Y, N),
    (DocumentType.LOG, Actor.USER): (C, C, C, C, C, C),
    (DocumentType.LOG, Actor.AGENT): (N, N, N, N, N, N),
    (DocumentType.LOG, Actor.SYSTEM): (Y, Y, N, N, N, N),
    (DocumentType.REFERENCE, Actor.USER): (Y, Y, Y, Y, Y, Y),
    (DocumentType.REFERENCE, Actor.AGENT): (N, N, N, N, N, N),
    (DocumentType.REFERENCE, Actor.SYSTEM): (N, N, N, N, N, N),
    (DocumentType.SCRATCH, Actor.USER): (Y, Y, Y, Y, Y, Y),
    (DocumentType.SCRATCH, Actor.AGENT): (Y, Y, Y, Y, Y, N),
    (DocumentType.SCRATCH, Actor.SYSTEM): (Y, Y, Y, Y, Y, N),
}


def document_of(desk: Desk, type: DocumentType) -> Member:
    """Make a document of a type, and return the user who did."""
    user = desk.member("ann", Actor.USER)
    user.do(Put(PATH, b"one\n", type=type), confirm=True)
    return user


def code(reply: Reply | None) -> ErrorCode:
    assert isinstance(reply, Refused), reply
    return reply.error.code


@pytest.mark.parametrize(("type", "actor"), list(itertools.product(DocumentType, Actor)))
def test_the_table_is_the_one_of_the_design_and_refuses_whom_it_does_not_know(
    type: DocumentType, actor: Actor
) -> None:
    expected = EXPECTED.get((type, actor), (N,) * len(Verb))
    assert tuple(permit_of(type, actor, verb) for verb in Verb) == expected


@pytest.mark.parametrize("verb", OPERATIONS)
@pytest.mark.parametrize("actor", [Actor.USER, Actor.AGENT, Actor.READER])
@pytest.mark.parametrize("type", DocumentType)
def test_every_operation_follows_the_table(type: DocumentType, actor: Actor, verb: Verb) -> None:
    for operation in OPERATIONS[verb]:
        for confirm in (False, True):
            desk = Desk()
            document_of(desk, type)
            member = desk.member("bob", actor)
            before = desk.state.documents[desk.state.by_path[PATH]]
            reply = member.ask(Transact((operation,), confirm=confirm))
            permit = permit_of(type, actor, verb)
            allowed = permit is Y if actor is not Actor.USER else permit is Y or confirm
            if confirm and actor is not Actor.USER:
                allowed = False
            assert isinstance(reply, Refused) is not allowed, (operation, reply)
            if not allowed:
                assert desk.state.documents[before.id] == before
                assert isinstance(desk.entries[-1].record.body, Violated)


@pytest.mark.parametrize("type", DocumentType)
@pytest.mark.parametrize("actor", [Actor.USER, Actor.AGENT, Actor.READER])
def test_creating_follows_the_table(type: DocumentType, actor: Actor) -> None:
    desk = Desk()
    member = desk.member("bob", actor)
    reply = member.ask(Transact((Put("new.md", b"x\n", type=type),)))
    assert isinstance(reply, Refused) is (permit_of(type, actor, Verb.CREATE) is not Y)


def test_a_confirmation_is_recorded_as_an_override() -> None:
    desk = Desk()
    user = document_of(desk, DocumentType.CONTEXT)
    assert user.fail(Append(PATH, b"x\n")).code is ErrorCode.PERMISSION_DENIED
    user.do(Append(PATH, b"x\n"), confirm=True)
    body = desk.entries[-1].record.body
    assert isinstance(body, Changed) and body.override == "context-needs-confirmation"
    user.do(Put("plain.md", b"x\n"), confirm=True)
    body = desk.entries[-1].record.body
    assert isinstance(body, Changed) and body.override == ""


def test_an_agent_can_not_confirm_even_what_it_may_do_anyway() -> None:
    agent = Desk().member()
    error = agent.fail(Put("a.md", b"x\n"), confirm=True)
    assert error.code is ErrorCode.PERMISSION_DENIED
    assert "nobody can grant it" in error.message


@pytest.mark.parametrize(
    "path",
    [
        *("AGENT-TRACE.md", "context.md", "Context.MD", "running_summary.md"),
        "logs/planner-ft4r64pbqciynbilqrzzeqcnla.md",
        # Nor may one of them become a folder, or the folder of the logs a document.
        *("context.md/a.md", "AGENT-TRACE.MD/a/b", "Running_Summary.md/a", "logs", "LOGS"),
        "logs/planner-ft4r64pbqciynbilqrzzeqcnla.md/a",
    ],
)
def test_generated_files_are_protected_by_what_they_are(path: str) -> None:
    assert protecting_type(path) is not None
    desk = Desk()
    agent = desk.member()
    assert agent.fail(Put(path, b"x\n")).code is ErrorCode.PERMISSION_DENIED
    agent.put("a.md", "x\n")
    assert agent.fail(Move("a.md", path)).code is ErrorCode.PERMISSION_DENIED
    desk.files[path] = b"x\n"
    assert protecting_type("logs/mine.md") is None


def test_the_target_of_a_move_is_checked_as_well_as_its_source() -> None:
    desk = Desk()
    user, agent = document_of(desk, DocumentType.REFERENCE), desk.member()
    assert agent.fail(Move(PATH, "plan.md")).code is ErrorCode.PERMISSION_DENIED
    assert user.fail(Move(PATH, "context.md")).code is ErrorCode.PERMISSION_DENIED
    user.do(Move(PATH, "context.md"), confirm=True)


def test_a_user_reclassifies_and_the_new_rules_hold_at_once() -> None:
    desk = Desk()
    user, agent = document_of(desk, DocumentType.SCRATCH), desk.member()
    assert agent.fail(Reclassify(PATH, DocumentType.PLAN)).code is ErrorCode.PERMISSION_DENIED
    result = user.do(Reclassify(PATH, DocumentType.REFERENCE)).results[0]
    assert (result.revision, result.added, result.removed) == (2, 0, 0)
    assert agent.fail(Put(PATH, b"x\n")).code is ErrorCode.PERMISSION_DENIED
    assert agent.read(PATH) == "one\n"
    assert user.fail(Reclassify(PATH, DocumentType.REFERENCE)).code is ErrorCode.INVALID_REQUEST
    user.do(Reclassify(PATH, DocumentType.PLAN))
    agent.put(PATH, "two\n")


def test_a_restored_document_keeps_its_type_and_its_protection() -> None:
    desk = Desk()
    user, agent = document_of(desk, DocumentType.REFERENCE), desk.member()
    user.do(Delete(PATH))
    assert agent.fail(Restore(PATH, 1)).code is ErrorCode.PERMISSION_DENIED
    user.do(Restore(PATH, 1))
    assert agent.fail(Put(PATH, b"x\n")).code is ErrorCode.PERMISSION_DENIED


def test_an_unlock_lets_agents_in_is_recorded_follows_the_document_and_ends() -> None:
    desk = Desk()
    user, agent = document_of(desk, DocumentType.REFERENCE), desk.member()
    assert isinstance(user.ask(Unlock(PATH, seconds=600)), Done)
    assert [type(entry.record.body) for entry in desk.entries[-1:]] == [Unlocked]
    agent.put(PATH, "two\n")
    body = desk.entries[-1].record.body
    assert isinstance(body, Changed) and body.override.startswith("unlock-")
    agent.do(Move(PATH, "notes/b.md"))
    agent.put("notes/b.md", "three\n")
    for _ in range(130):
        user.ask(Read("notes/b.md"))
        agent.ask(Read("notes/b.md"))
        desk.tick(5)
    assert desk.entries[-1].record.body == Locked(
        (desk.entries[3].record.seq,), "notes/b.md", "expired"
    )
    assert agent.fail(Put("notes/b.md", b"x\n")).code is ErrorCode.PERMISSION_DENIED


def test_an_unlock_for_one_agent_is_for_no_other() -> None:
    desk = Desk()
    user, agent = document_of(desk, DocumentType.REFERENCE), desk.member("planner")
    user.ask(Unlock(PATH, "planner"))
    agent.put(PATH, "two\n")
    other = desk.member("coder")
    assert other.fail(Put(PATH, b"x\n")).code is ErrorCode.PERMISSION_DENIED
    assert code(user.ask(Lock(PATH, "coder"))) is ErrorCode.NOT_FOUND
    assert isinstance(user.ask(Lock(PATH)), Done)
    assert agent.fail(Put(PATH, b"x\n")).code is ErrorCode.PERMISSION_DENIED


def test_an_unlock_ends_at_the_first_write_after_its_time_not_only_at_a_tick() -> None:
    desk = Desk()
    user, agent = document_of(desk, DocumentType.REFERENCE), desk.member()
    user.ask(Unlock(PATH, seconds=1))
    desk.time += 1.0
    assert agent.fail(Put(PATH, b"x\n")).code is ErrorCode.PERMISSION_DENIED
    assert not desk.state.grants


def test_an_unlock_whose_end_could_not_be_written_gets_no_new_time() -> None:
    desk = Desk()
    user = document_of(desk, DocumentType.REFERENCE)
    user.ask(Unlock(PATH, seconds=60))
    ((seq, grant),) = desk.state.grants.items()
    desk.tick(61)
    assert not desk.state.grants
    # The disk was full: the state is loaded anew, and there is no record of the end.
    loaded = Desk().state
    loaded.grants[seq] = dataclasses.replace(grant, until=desk.time + 60)
    carry_over(desk.state, loaded)
    assert loaded.grants[seq].until < desk.time


@pytest.mark.parametrize("jump_ms", [0, -(10**12), 10**12])
def test_an_unlock_survives_one_restart_at_most_and_no_clock_prolongs_it(jump_ms: int) -> None:
    desk = Desk()
    user = document_of(desk, DocumentType.REFERENCE)
    user.ask(Unlock(PATH, seconds=600))
    (seq,) = desk.state.grants
    wall = desk.now().wall_ms + 400_000 + jump_ms
    desk.state.epoch += 1
    resume(desk.state, Now(50.0, wall))
    left = desk.state.grants[seq].until - 50.0
    assert left == {0: 200.0, -(10**12): 600.0, 10**12: 0.0}[jump_ms]
    desk.state.epoch += 1
    resume(desk.state, Now(7.0, wall))
    assert desk.state.grants[seq].until == 7.0


@pytest.mark.parametrize("actor", [Actor.AGENT, Actor.READER])
def test_only_users_grant_rights_and_stop(actor: Actor) -> None:
    desk = Desk()
    document_of(desk, DocumentType.REFERENCE)
    member = desk.member("bob", actor)
    for request in (Unlock(PATH), Lock(PATH), Stop()):
        assert code(member.ask(request)) is ErrorCode.PERMISSION_DENIED
        assert isinstance(desk.entries[-1].record.body, Violated)
    assert not desk.state.grants


def test_a_reader_reads_and_changes_nothing() -> None:
    desk = Desk()
    document_of(desk, DocumentType.SCRATCH)
    reader = desk.member("eve", Actor.READER)
    assert reader.read(PATH) == "one\n"
    assert code(reader.ask(AcquireLease(PATH))) is ErrorCode.PERMISSION_DENIED
    error = reader.fail(Put(PATH, b"x\n"))
    assert error.code is ErrorCode.PERMISSION_DENIED
    assert "nobody can grant it" in error.message


def test_a_session_opens_neither_as_the_coordinator_nor_as_nobody() -> None:
    for actor in (Actor.SYSTEM, Actor.UNKNOWN):
        assert code(Member(Desk(), "x", actor).open()) is ErrorCode.INVALID_REQUEST


def report(member: Member, path: str = "") -> PermissionReport:
    reply = member.ask(Permissions(path))
    assert isinstance(reply, PermissionReport), reply
    return reply


def test_permissions_say_what_the_asker_may_do_why_not_and_who_can_grant_it() -> None:
    desk = Desk()
    user, agent = document_of(desk, DocumentType.REFERENCE), desk.member()
    told = report(agent, PATH)
    assert told.exists and {each.permit for each in told.entries} == {N}
    assert f"agent-trace unlock {PATH}" in told.entries[0].reason
    user.ask(Unlock(PATH, "planner", 60))
    told = report(agent, PATH)
    permits = {each.action: each.permit for each in told.entries}
    assert permits == dict.fromkeys(("append", "modify", "delete", "move"), Y) | {"reclassify": N}
    assert [(each.path, each.agent, each.seconds_left) for each in told.grants] == [
        (PATH, "planner", 60.0)
    ]
    told = report(agent, "new.md")
    assert {each.type: each.permit for each in told.entries}[DocumentType.PLAN] is Y
    assert len(report(user).entries) == len(DocumentType) * len(Verb)
    assert {each.type for each in report(agent, "context.md").entries} == {DocumentType.CONTEXT}


def test_a_refusal_says_whether_anybody_can_grant_it_and_how() -> None:
    desk = Desk()
    document_of(desk, DocumentType.REFERENCE)
    agent = desk.member()
    assert f"agent-trace unlock {PATH} --for agent" in agent.fail(Put(PATH, b"x")).message
    assert "ask a user" in agent.fail(Put("x.md", b"x", type=DocumentType.LOG)).message
    assert "ask a user" in agent.fail(Reclassify(PATH, DocumentType.PLAN)).message
