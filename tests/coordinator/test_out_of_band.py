"""Files that were changed past the coordinator, judged by the core."""

from __future__ import annotations

import random
import string

import pytest

from agent_trace_coordinator.core.inputs import FoundFile
from agent_trace_coordinator.core.records import Changed, Violated
from agent_trace_coordinator.core.state import Rules
from agent_trace_protocol import (
    AcquireLease,
    Action,
    Actor,
    ApplyViolation,
    Delete,
    DocumentType,
    Events,
    Leased,
    Move,
    Put,
    Read,
    Unlock,
)
from support.core import Desk, Member


def store(type: DocumentType = DocumentType.PLAN, *live: str) -> tuple[Desk, Member]:
    """Return a store with one document; the user who made it is live no more."""
    desk = Desk()
    user = desk.member("ann", Actor.USER)
    user.do(Put("a.md", b"1\n2\n3\n4\n5\n", type=type), confirm=True)
    desk.tick(15)
    for name in live:
        desk.member(name, Actor.USER if name == "ben" else Actor.AGENT)
    return desk, user


def text(desk: Desk) -> bytes:
    document = desk.state.document_at("a.md")
    assert document is not None
    return desk.contents[document.content_key]


def violation(desk: Desk) -> Violated:
    body = desk.entries[-1].record.body
    assert isinstance(body, Violated), body
    return body


@pytest.mark.parametrize("type", [DocumentType.PLAN, DocumentType.SCRATCH])
@pytest.mark.parametrize("live", [(), ("planner",), ("ben", "planner")])
def test_an_edit_of_what_anybody_may_write_is_adopted_and_blamed_on_no_agent(
    type: DocumentType, live: tuple[str, ...]
) -> None:
    desk, _ = store(type, *live)
    desk.change_files(desk.found("a.md", b"by hand\n"))
    record = desk.entries[-1].record
    body = record.body
    assert isinstance(body, Changed)
    assert (record.actor, record.author, record.session) == (Actor.USER, "user", "")
    assert (body.source, body.changes[0].action) == ("file", Action.PUT)
    assert "by whom is not proven" in body.message
    assert ("agent planner" in body.message) is ("planner" in live)
    assert text(desk) == b"by hand\n" and desk.put_back == []


def test_the_author_of_an_unproven_change_is_a_setting() -> None:
    desk, _ = store()
    desk.state.rules = Rules(out_of_band_author="unknown")
    desk.change_files(desk.found("a.md", b"by hand\n"))
    record = desk.entries[-1].record
    assert (record.actor, record.author) == (Actor.UNKNOWN, "unknown")


@pytest.mark.parametrize("type", [DocumentType.CONTEXT, DocumentType.LOG])
@pytest.mark.parametrize("live", [(), ("ben",)])
def test_a_change_of_what_is_generated_is_kept_and_put_back(
    type: DocumentType, live: tuple[str, ...]
) -> None:
    desk, user = store(type, *live)
    desk.change_files(desk.found("a.md", b"by hand\n"))
    body = violation(desk)
    assert (body.rule, body.source, body.path) == (f"{type}-not-in-files", "file", "a.md")
    assert desk.contents[body.kept[0].content_key] == b"by hand\n"
    assert desk.entries[-1].record.actor is Actor.UNKNOWN
    assert desk.put_back == ["a.md"] and text(desk) == b"1\n2\n3\n4\n5\n"
    user.do(ApplyViolation(f"violation-{desk.entries[-1].record.seq}"), confirm=True)
    assert text(desk) == b"by hand\n"


@pytest.mark.parametrize(
    ("live", "adopted"), [((), True), (("ben", "planner"), True), (("planner",), False)]
)
def test_a_reference_is_adopted_unless_only_agents_are_live(
    live: tuple[str, ...], adopted: bool
) -> None:
    desk, _ = store(DocumentType.REFERENCE, *live)
    desk.change_files(desk.found("a.md", b"by hand\n"))
    assert (text(desk) == b"by hand\n") is adopted
    if not adopted:
        assert violation(desk).rule == "reference-while-only-agents"


def test_an_unlocked_reference_is_adopted_while_only_agents_are_live() -> None:
    desk, user = store(DocumentType.REFERENCE)
    user.ask(Unlock("a.md"))
    desk.tick(15)
    desk.member("planner").ask(Read("a.md"))
    desk.change_files(desk.found("a.md", b"by hand\n"))
    assert text(desk) == b"by hand\n"


def test_an_edit_of_a_file_that_was_behind_is_merged_or_kept() -> None:
    desk, user = store()
    user.put("a.md", "1\n2\n3\n4\nfive\n")
    desk.change_files(desk.found("a.md", b"one\n2\n3\n4\n5\n", base=1))
    assert text(desk) == b"one\n2\n3\n4\nfive\n"
    body = desk.entries[-1].record.body
    assert isinstance(body, Changed) and body.changes[0].action is Action.MERGE
    desk.change_files(desk.found("a.md", b"1\n2\n3\n4\n5, by hand\n", base=1))
    assert violation(desk).rule == "file-was-behind"
    assert desk.put_back == ["a.md"]


def test_a_file_that_holds_what_its_document_holds_is_no_change() -> None:
    desk, _ = store()
    count = len(desk.entries)
    desk.change_files(desk.found("a.md", b"1\n2\n3\n4\n5\n"), desk.found("source.py", b"x"))
    assert len(desk.entries) == count and desk.put_back == []


@pytest.mark.parametrize(
    ("live", "deleted"), [((), False), (("planner",), False), (("ben",), True)]
)
def test_a_deleted_file_is_a_deletion_only_while_a_user_is_live(
    live: tuple[str, ...], deleted: bool
) -> None:
    desk, _ = store(DocumentType.PLAN, *live)
    desk.change_files(desk.found("a.md", None))
    assert (desk.state.document_at("a.md") is None) is deleted
    if not deleted:
        assert violation(desk).rule == "file-was-deleted" and desk.put_back == ["a.md"]


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"nul\0", "not-text"),
        (b"\xff\xfe", "not-text"),
        (b"-----BEGIN " + b"PRIVATE KEY-----\n", "secret-private-key"),
        (b"x" * 101, "too-large"),
    ],
)
def test_what_no_document_may_hold_is_kept_and_put_back(content: bytes, rule: str) -> None:
    desk, _ = store()
    desk.state.rules = Rules(document_bytes_max=100)
    desk.change_files(desk.found("a.md", content))
    body = violation(desk)
    assert body.rule == rule
    assert desk.contents[body.kept[0].content_key] == content
    assert desk.put_back == ["a.md"]


def test_what_is_no_file_is_recorded_and_put_back() -> None:
    desk, _ = store()
    desk.change_files(desk.found("a.md", None, problem="is not a regular file"))
    assert violation(desk).rule == "file-in-the-way"
    assert desk.put_back == ["a.md"]


def test_a_burst_becomes_few_transactions_and_a_refusal_does_not_hold_the_rest_up() -> None:
    desk, user = store(DocumentType.CONTEXT)
    for number in range(200):
        user.put(f"{number}.md", "x\n")
    count = len(desk.entries)
    found = [desk.found(f"{number}.md", b"y\n") for number in range(200)]
    desk.change_files(*found[:100], desk.found("a.md", b"y\n"), *found[100:])
    kinds = [type(entry.record.body) for entry in desk.entries[count:]]
    assert kinds == [Changed, Changed, Violated, Changed, Changed]
    assert all(user.read(f"{number}.md") == "y\n" for number in range(200))
    assert desk.put_back == ["a.md"]


def test_the_same_content_again_and_again_is_one_violation() -> None:
    desk, _ = store(DocumentType.CONTEXT)
    for _ in range(50):
        desk.change_files(desk.found("a.md", b"by hand\n"))
    assert sum(isinstance(entry.record.body, Violated) for entry in desk.entries) == 1
    assert len(desk.put_back) == 50
    assert list(desk.state.repeats.values()) == [50]


def changed(desk: Desk) -> Changed:
    body = desk.entries[-1].record.body
    assert isinstance(body, Changed), body
    return body


@pytest.mark.parametrize(
    ("type", "live", "adopted"),
    [
        (DocumentType.PLAN, (), True),
        (DocumentType.SCRATCH, ("planner",), True),
        (DocumentType.REFERENCE, (), True),
        (DocumentType.REFERENCE, ("planner",), False),
        (DocumentType.CONTEXT, ("ben",), False),
        (DocumentType.LOG, ("ben",), False),
    ],
)
def test_a_renamed_file_takes_its_document_with_it(
    type: DocumentType, live: tuple[str, ...], adopted: bool
) -> None:
    desk, _ = store(type, *live)
    before = desk.state.document_at("a.md")
    assert before is not None
    desk.change_files(FoundFile("a.md", None, moved_to="notes/b.md"))
    after = desk.state.document_at("notes/b.md")
    if adopted:
        assert after is not None and desk.state.document_at("a.md") is None
        assert (after.id, after.revision, after.type) == (before.id, 2, type)
        assert (changed(desk).changes[0].action, desk.put_back) == (Action.MOVE, [])
    else:
        assert after is None and desk.put_back == ["a.md"]
        assert violation(desk).path == "a.md -> notes/b.md"


@pytest.mark.parametrize(
    "new_path",
    ["context.md", "B.md", "other/a.md", "b.md/a.md", "o\u0308.md", ".git/x", "a b.md ", "CON"],
)
def test_a_document_follows_its_file_only_to_where_it_may_be(new_path: str) -> None:
    desk, user = store(DocumentType.PLAN, "ben")
    user.put("b.md", "here\n")
    user.put("other/a.md/x.md", "here\n")
    desk.change_files(FoundFile("a.md", None, moved_to=new_path))
    assert violation(desk).rule == "file-was-renamed"
    assert desk.put_back == ["a.md"] and text(desk) == b"1\n2\n3\n4\n5\n"


def test_a_renamed_directory_is_one_transaction_and_no_two_twins_come_of_it() -> None:
    desk, user = store()
    for name in ("x", "y", "z"):
        user.put(f"old/{name}.md", "text\n")
    count = len(desk.entries)
    desk.change_files(
        FoundFile("old/x.md", None, moved_to="new/x.md"),
        FoundFile("old/y.md", None, moved_to="new/y.md"),
        FoundFile("old/z.md", None, moved_to="new/X.md"),
    )
    assert [type(entry.record.body) for entry in desk.entries[count:]] == [Changed, Violated]
    assert desk.state.paths == ["a.md", "new/x.md", "new/y.md", "old/z.md"]


def test_a_lease_follows_a_renamed_file_and_never_meets_another() -> None:
    desk, _ = store()
    one, two = desk.member("one"), desk.member("two")
    assert isinstance(one.ask(AcquireLease("a.md")), Leased)
    assert isinstance(two.ask(AcquireLease("taken/*")), Leased)
    desk.change_files(FoundFile("a.md", None, moved_to="taken/a.md"))
    assert violation(desk).rule == "file-was-renamed" and desk.put_back == ["a.md"]
    desk.change_files(FoundFile("a.md", None, moved_to="free.md"))
    assert [each.pattern.text for each in desk.state.leases.held_by(one.session)] == ["free.md"]


def test_a_deletion_says_that_it_may_have_been_a_rename() -> None:
    desk, _ = store(DocumentType.PLAN, "ben")
    desk.change_files(desk.found("a.md", None))
    assert changed(desk).changes[0].action is Action.DELETE
    assert "renamed without a proof" in changed(desk).message


def test_who_only_watches_does_not_edit_files() -> None:
    desk, _ = store(DocumentType.REFERENCE, "planner")
    ben = desk.member("ben", Actor.USER)
    ben.ask(Events(0, wait_seconds=10.0))
    desk.change_files(desk.found("a.md", b"by hand\n"))
    assert violation(desk).rule == "reference-while-only-agents"
    desk.change_files(desk.found("a.md", None))
    assert violation(desk).rule == "reference-while-only-agents"
    ben.put("b.md", "done something\n")
    desk.change_files(desk.found("a.md", b"by hand, then\n"))
    assert text(desk) == b"by hand, then\n"


def test_a_line_that_may_be_a_credential_is_adopted_and_said_on_record() -> None:
    desk, _ = store()
    # Made here, so that nothing in the tree looks like one to anybody's scanner.
    value = "".join(random.Random(1).choices(string.ascii_letters, k=24)) + "7"
    desk.change_files(desk.found("a.md", f"1\npassword = {value}\n".encode()))
    assert "line 2 of a.md looks like a credential" in changed(desk).message


def test_an_edit_of_a_file_that_its_document_has_left_follows_the_document() -> None:
    desk, user = store()
    document = desk.state.document_at("a.md")
    assert document is not None
    user.do(Move("a.md", "b.md"))
    desk.change_files(FoundFile("a.md", b"one\n2\n3\n4\n5\n", "", 1, left_by=document.id))
    assert user.read("b.md") == "one\n2\n3\n4\n5\n"
    assert changed(desk).changes[0].action is Action.MERGE


def test_a_file_that_nobody_changed_is_no_edit_when_its_document_was_deleted() -> None:
    desk, user = store()
    document = desk.state.document_at("a.md")
    assert document is not None
    user.do(Delete("a.md"))
    count = len(desk.entries)
    shown = FoundFile("a.md", b"1\n2\n3\n4\n5\n", "", 1, left_by=document.id)
    desk.change_files(shown)
    assert len(desk.entries) == count


def test_an_edit_of_a_file_whose_document_was_deleted_is_kept() -> None:
    desk, user = store()
    document = desk.state.document_at("a.md")
    assert document is not None
    user.do(Delete("a.md"))
    desk.change_files(FoundFile("a.md", b"by hand\n", "", 1, left_by=document.id))
    body = violation(desk)
    assert (body.rule, desk.put_back) == ("file-was-behind", [])
    assert desk.contents[body.kept[0].content_key] == b"by hand\n"
    user.do(ApplyViolation(f"violation-{desk.entries[-1].record.seq}"))
    assert user.read("a.md") == "by hand\n"
