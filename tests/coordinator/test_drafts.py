"""Writes that did not fit: kept whole, told of, shown, accepted, discarded, bounded."""

from __future__ import annotations

import pytest

from agent_trace_coordinator.core.records import Discarded, Drafted
from agent_trace_coordinator.core.state import Rules, State
from agent_trace_protocol import (
    AcceptDraft,
    AcquireLease,
    Action,
    Actor,
    Append,
    ConflictInfo,
    Delete,
    DiscardDraft,
    DocumentType,
    Done,
    DraftInfo,
    DraftPage,
    DraftReport,
    Drafts,
    Edit,
    ErrorCode,
    Leased,
    Put,
    Refused,
    ReleaseLease,
    Request,
    ShowDraft,
    Transact,
)
from support.core import Desk, Member


def desk_with(rules: Rules) -> Desk:
    return Desk(state=State(epoch=1, store="test", rules=rules))


def late(member: Member, *operations: Put | Append | Edit | Delete) -> ConflictInfo:
    """Try a write that comes too late, and return what its writer is told."""
    error = member.fail(*operations)
    assert error.conflict is not None
    return error.conflict


def listed(member: Member, request: Drafts | None = None) -> list[DraftInfo]:
    page = member.ask(request or Drafts())
    assert isinstance(page, DraftPage), page
    return list(page.drafts)


def shown(member: Member, draft: str) -> DraftReport:
    report = member.ask(ShowDraft(draft))
    assert isinstance(report, DraftReport), report
    return report


def refused(member: Member, request: Request) -> ErrorCode:
    reply = member.ask(request)
    assert isinstance(reply, Refused), reply
    return reply.error.code


def overtaken(desk: Desk) -> tuple[Member, Member]:
    """Return two agents; the second has written plan.md since the first did."""
    ann, ben = desk.member("ann"), desk.member("ben")
    ann.put("plan.md", "one\ntwo\nthree\n")
    ben.put("plan.md", "one\ntwo\n3\n")
    return ann, ben


# ---- listing and showing --------------------------------------------------------------------


def test_a_draft_is_listed_with_whether_it_merges_now() -> None:
    ann, ben = overtaken(desk := Desk())
    kept = late(ann, Put("plan.md", b"1\ntwo\nthree\n", if_revision=1))
    assert listed(ann) == [
        DraftInfo(
            id=kept.draft,
            seq=desk.state.seq,
            time_ms=desk.entries[-1].record.time_ms,
            actor=Actor.AGENT,
            author="ann",
            session=ann.session,
            code=ErrorCode.CONFLICT,
            path="plan.md",
            base_revision=1,
            current=2,
            texts=1,
            size=12,
            merges=True,
        )
    ]
    ben.put("plan.md", "uno\ntwo\n3\n")
    assert [(each.current, each.merges) for each in listed(ann)] == [(3, False)]


def test_an_agent_sees_its_own_drafts_and_a_user_all() -> None:
    ann, ben = overtaken(desk := Desk())
    mia, eve = desk.member("mia", Actor.USER), desk.member("eve", Actor.READER)
    mine = late(ann, Put("plan.md", b"a\n", if_revision=1)).draft
    bens = late(ben, Put("plan.md", b"b\n", if_revision=1)).draft
    assert [each.id for each in listed(ann)] == [mine]
    assert [each.id for each in listed(mia)] == [bens, mine]
    assert [each.id for each in listed(mia, Drafts(author="ann"))] == [mine]
    assert [each.id for each in listed(mia, Drafts(path="plan.md", limit=1))] == [bens]
    assert [each.id for each in listed(mia, Drafts(before=int(bens[6:])))] == [mine]
    assert listed(mia, Drafts(path="other.md")) == listed(eve) == []
    assert shown(mia, mine).texts[0].content == b"a\n"
    for request in (ShowDraft(mine), DiscardDraft(mine)):
        assert refused(ben, request) is ErrorCode.PERMISSION_DENIED
        assert refused(eve, request) is ErrorCode.PERMISSION_DENIED


def test_a_draft_shows_its_text_what_it_would_change_and_what_others_changed() -> None:
    ann, ben = overtaken(Desk())
    kept = late(ann, Put("plan.md", b"one\ntwo\nthree!\n", if_revision=1))
    ben.put("plan.md", "one\nTWO\n3\n")
    report = shown(ann, kept.draft)
    (text,) = report.texts
    assert (text.path, text.base_revision, text.current) == ("plan.md", 1, 3)
    assert (text.content, text.shown, text.merges) == (b"one\ntwo\nthree!\n", True, False)
    assert "-3\n+three!" in text.diff.replace("-TWO\n", "").replace("+two\n", "")
    assert "+TWO" in text.others and "+3" in text.others and "-three" in text.others
    assert text.writers == ("ben",)


def test_a_draft_is_accepted_when_what_it_deletes_is_gone_already() -> None:
    ann, ben = overtaken(Desk())
    ben.put("old.md", "old\n")
    kept = late(ann, Delete("old.md"), Put("plan.md", b"1\ntwo\nthree\n", if_revision=1))
    never = late(ann, Delete("old.md", 0), Put("new.md", b"new\n", 1))
    ben.do(Delete("old.md"))
    assert [text.merges for text in shown(ann, kept.draft).texts] == [True, True]
    assert [made.path for made in ann.do(AcceptDraft(kept.draft)).results] == ["plan.md"]
    assert ann.read("plan.md") == "1\ntwo\n3\n"
    assert [made.path for made in ann.do(AcceptDraft(never.draft)).results] == ["new.md"]


def test_a_draft_does_nothing_to_another_document_that_has_the_path_by_now() -> None:
    """Not even if the other one's revision has the same number."""
    ann, ben = overtaken(desk := Desk())
    ann.put("other.md", "x\n")
    kept = late(
        ann,
        Put("plan.md", b"1\ntwo\nthree\n", if_revision=1),
        Delete("other.md", if_revision=1),
    )
    for path in ("plan.md", "other.md"):
        ben.do(Delete(path))
        ben.put(path, "new\n")
    assert not listed(ann)[0].merges
    report = ann.fail(AcceptDraft(kept.draft))
    assert report.code is ErrorCode.CONFLICT
    assert report.conflict is not None and report.conflict.path == "plan.md"
    for path in ("plan.md", "other.md"):
        document = desk.state.document_at(path)
        assert document is not None and desk.contents[document.content_key] == b"new\n"


def test_drafts_that_are_none_are_told_apart_from_nothing() -> None:
    ann = Desk().member("ann")
    for request in (ShowDraft("draft-7"), DiscardDraft("nope"), Transact((AcceptDraft("x"),))):
        assert refused(ann, request) is ErrorCode.NOT_FOUND
    assert refused(ann, Drafts(limit=101)) is ErrorCode.INVALID_REQUEST


# ---- what is kept ---------------------------------------------------------------------------


def test_the_same_text_again_is_the_same_draft() -> None:
    ann, ben = overtaken(desk := Desk())
    operation = Put("plan.md", b"mine\n", if_revision=1)
    first = late(ann, operation)
    count = len(desk.entries)
    again = ann.ask(Transact((operation,)))
    assert isinstance(again, Refused) and again.error.conflict == first
    ben.put("plan.md", "more\n")
    count += 1
    third = ann.ask(Transact((operation,)))
    # It tells of what is current now, and keeps nothing more.
    assert isinstance(third, Refused) and third.error.conflict is not None
    assert (third.error.conflict.draft, third.error.conflict.current) == (first.draft, 3)
    assert len(desk.entries) == count
    assert late(ann, Put("plan.md", b"other\n", if_revision=1)).draft != first.draft
    assert late(ben, operation).draft != first.draft


def test_a_write_that_an_enforced_lease_keeps_out_is_kept() -> None:
    desk = desk_with(Rules(leases_enforced=True))
    ann, ben = desk.member("ann"), desk.member("ben")
    ann.put("plan.md", "one\n")
    held = ben.ask(AcquireLease("**"))
    assert isinstance(held, Leased)
    error = ann.fail(Append("plan.md", b"two\n"))
    assert error.code is ErrorCode.LEASE_HELD and error.lease is not None
    assert (error.lease.holder, error.lease.draft) == ("ben", f"draft-{desk.state.seq}")
    # The same answer when the request is repeated, and the same draft when it is made again.
    count = len(desk.entries)
    request = Transact((Append("plan.md", b"two\n"),))
    repeated = desk.ask(ann.key, ann.number, request)
    assert isinstance(repeated, Refused) and repeated.error == error
    again = ann.ask(request)
    assert isinstance(again, Refused) and again.error.lease is not None
    assert again.error.lease.draft == error.lease.draft and len(desk.entries) == count
    new = ann.fail(Put("new.md", b"new\n", type=DocumentType.PLAN))
    assert new.lease is not None
    assert ann.fail(AcceptDraft(new.lease.draft)).code is ErrorCode.LEASE_HELD
    ben.ask(ReleaseLease(held.lease.token))
    ann.do(AcceptDraft(error.lease.draft))
    ann.do(AcceptDraft(new.lease.draft))
    assert (ann.read("plan.md"), ann.read("new.md")) == ("one\ntwo\n", "new\n")
    assert listed(ann) == []


def test_all_texts_of_a_transaction_are_kept_and_accepted_together() -> None:
    ann, ben = overtaken(desk := Desk())
    ann.put("log.md", "begin\n")
    ann.put("old.md", "old\n")
    operations = (
        Append("log.md", b"first\n"),
        Append("log.md", b"second\n"),
        Put("plan.md", b"1\ntwo\nthree\n", if_revision=1),
        Delete("old.md"),
    )
    kept = late(ann, *operations)
    assert kept.merged
    body = desk.entries[-1].record.body
    assert isinstance(body, Drafted)
    assert [(each.path, each.action, each.base_revision) for each in body.kept] == [
        ("log.md", Action.APPEND, 1),
        ("plan.md", Action.PUT, 1),
        ("old.md", Action.DELETE, 1),
    ]
    ben.do(Append("log.md", b"ben's\n", if_revision=1))
    # Both have added to the end of log.md since: this is not for a program to decide.
    assert ann.fail(AcceptDraft(kept.draft)).code is ErrorCode.CONFLICT
    assert ann.read("plan.md") == "one\ntwo\n3\n"
    ben.put("log.md", "begin\n")
    done = ann.do(AcceptDraft(kept.draft))
    assert [each.path for each in done.results] == ["log.md", "plan.md", "old.md"]
    assert ann.read("log.md") == "begin\nfirst\nsecond\n"
    assert ann.read("plan.md") == "1\ntwo\n3\n"
    assert desk.state.document_at("old.md") is None


def test_what_may_not_be_in_the_store_is_not_kept_as_a_draft() -> None:
    ann, _ = overtaken(desk := Desk())
    # Made here, so that no file of this tree holds what looks like one.
    secret = b"-----BEGIN RSA " + b"PRIVATE KEY-----\n"
    error = ann.fail(Put("plan.md", secret, if_revision=1))
    assert error.code is ErrorCode.PERMISSION_DENIED and error.violation
    assert not desk.state.drafts


# ---- accepting, discarding ------------------------------------------------------------------


def test_who_has_seen_the_revision_may_write_a_text_that_does_not_merge() -> None:
    ann, ben = overtaken(desk := Desk())
    kept = late(ann, Put("plan.md", b"one\ntwo\nmine\n", if_revision=1))
    assert not kept.merged
    assert ann.fail(AcceptDraft(kept.draft)).code is ErrorCode.CONFLICT
    ben.put("plan.md", "one\ntwo\nfour\n")
    behind = ann.fail(AcceptDraft(kept.draft, if_revision=2))
    assert behind.conflict is not None and "+four" in behind.conflict.diff
    ann.do(AcceptDraft(kept.draft, if_revision=3))
    assert ann.read("plan.md") == "one\ntwo\nmine\n"
    assert listed(ann) == [] and desk.state.drafts_total.size == 0


def test_a_draft_of_a_document_that_is_gone_can_make_it_anew() -> None:
    ann, ben = overtaken(Desk())
    kept = late(ann, Put("plan.md", b"mine\n", if_revision=1))
    ben.do(Delete("plan.md"))
    gone = ann.fail(AcceptDraft(kept.draft))
    assert (
        gone.code is ErrorCode.NOT_FOUND and f"accept {kept.draft} --if-revision 0" in gone.message
    )
    assert [(each.current, each.merges) for each in listed(ann)] == [(0, False)]
    ann.do(AcceptDraft(kept.draft, if_revision=0))
    assert ann.read("plan.md") == "mine\n"


def test_what_was_kept_is_accepted_alone() -> None:
    ann, _ = overtaken(Desk())
    kept = late(ann, Put("plan.md", b"1\ntwo\nthree\n", if_revision=1))
    error = ann.fail(AcceptDraft(kept.draft), Put("new.md", b"x"))
    assert error.code is ErrorCode.INVALID_REQUEST
    both = late(ann, Put("plan.md", b"x\n", if_revision=1), Put("new.md", b"y\n"))
    assert ann.fail(AcceptDraft(both.draft, if_revision=2)).code is ErrorCode.INVALID_REQUEST


def test_discarding_a_draft_erases_its_text_once_and_keeps_that_there_was_one() -> None:
    ann, _ = overtaken(desk := Desk())
    kept = late(ann, Put("plan.md", b"mine\n", if_revision=1))
    assert ann.ask(DiscardDraft(kept.draft)) == Done()
    assert desk.entries[-1].record.body == Discarded(draft=int(kept.draft[6:]))
    count = len(desk.entries)
    assert desk.ask(ann.key, ann.number, DiscardDraft(kept.draft)) == Done()
    assert len(desk.entries) == count
    assert ann.fail(AcceptDraft(kept.draft)).code is ErrorCode.NOT_FOUND
    # What it kept is not kept any more, so the same write makes a new draft.
    assert late(ann, Put("plan.md", b"mine\n", if_revision=1)).draft != kept.draft


# ---- bounds ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "whole_store"),
    [
        (Rules(drafts_of_writer_max=2), False),
        (Rules(drafts_of_writer_bytes_max=9), False),
        (Rules(drafts_max=2), True),
        (Rules(drafts_bytes_max=9), True),
    ],
)
def test_no_draft_is_dropped_for_another_and_who_gets_none_is_told(
    rules: Rules, whole_store: bool
) -> None:
    desk = desk_with(rules)
    ann, ben = overtaken(desk)
    first = late(ann, Put("plan.md", b"aaa\n", if_revision=1)).draft
    second = late(ann, Put("plan.md", b"bbb\n", if_revision=1)).draft
    error = ann.fail(Put("plan.md", b"ccc\n", if_revision=1))
    assert error.conflict is not None and error.conflict.draft == "" and error.conflict.diff
    assert "your text was NOT kept" in error.message and "drafts discard" in error.message
    assert [each.id for each in listed(ann)] == [second, first]
    # What is kept already needs no room.
    again = ann.ask(Transact((Put("plan.md", b"bbb\n", if_revision=1),)))
    assert isinstance(again, Refused) and again.error.conflict is not None
    assert again.error.conflict.draft == second
    assert (late(ben, Put("plan.md", b"b\n", if_revision=1)).draft == "") is whole_store
    ann.ask(DiscardDraft(first))
    assert late(ann, Put("plan.md", b"ccc\n", if_revision=1)).draft
