"""The documents that the coordinator writes: what they say, when they change, what they survive."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_trace_coordinator.core.generated import count_generated
from agent_trace_coordinator.core.generated_text import coarse, stamp
from agent_trace_coordinator.core.records import Changed
from agent_trace_coordinator.core.session_logs import PART_BYTES_MAX
from agent_trace_coordinator.core.state import Rules, State
from agent_trace_coordinator.core.trace_state import GENERATED, GENERATED_PART
from agent_trace_protocol import (
    AcquireLease,
    Actor,
    Annotate,
    Append,
    Delete,
    DocumentType,
    Done,
    DropStatement,
    ErrorCode,
    ListStatements,
    Move,
    Operation,
    Put,
    Reclassify,
    RefreshDocuments,
    Refused,
    StatementList,
    Steer,
    Transact,
    Untrack,
)
from support.core import Desk, Member
from support.trace import killed, tracing

OWN = ("AGENT-TRACE.md", "context.md", "running_summary.md")

PLAN = """\
# Ship it

Goal: ship the importer by Friday

## Phase 2: measure

- [x] write it
- [ ] measure it
- [ ] tell everybody

Decision: SQLite, not files
Question: who reviews?
"""


def desk_with_trace() -> Desk:
    return Desk(State(epoch=1, store="test", rules=Rules(generated=True)))


def own_records(desk: Desk) -> list[Changed]:
    bodies = [entry.record.body for entry in desk.entries if entry.record.actor is Actor.SYSTEM]
    return [body for body in bodies if isinstance(body, Changed)]


def put_plan(member: Member, path: str = "plan.md", text: str = PLAN) -> None:
    member.do(Put(path, text.encode(), type=DocumentType.PLAN))


def test_what_plans_say_stands_in_the_context_and_the_summary() -> None:
    desk = desk_with_trace()
    member = desk.member()
    put_plan(member)
    context, summary = member.read("context.md"), member.read("running_summary.md")
    for line in (
        '- `plan.md`:3: "ship the importer by Friday"',
        '- `plan.md`:11: "SQLite, not files"',
        '- `plan.md`:12: "who reviews?"',
        '- `plan.md`:8: "measure it"',
        '"Ship it"',
        "2 open, 1 done",
    ):
        assert line in context
    assert '- `plan.md`:9: "tell everybody"' in summary
    assert "agent planner" in summary
    assert "planner: create `plan.md`@1 +12 -0" in summary
    for line in (
        "- open items: 2 in 1 plan",
        '- `plan.md`:8: "measure it", in phase "Phase 2: measure"',
        '- `plan.md`:9: "tell everybody" under "Phase 2: measure"',
    ):
        assert line in summary


def test_all_generated_documents_change_together_in_one_record_of_the_system() -> None:
    desk = desk_with_trace()
    member = desk.member()
    put_plan(member)
    member.put("note.md", "one\n")
    before = desk.state.seq
    desk.refresh()
    assert desk.state.seq == before + 1
    record = desk.entries[-1].record
    assert (record.actor, record.author, record.session, record.request) == (
        Actor.SYSTEM, "system", "", 0,
    )  # fmt: skip
    assert isinstance(record.body, Changed)
    assert record.body.source == GENERATED
    log = f"logs/planner-{member.session}.md"
    assert [change.path for change in record.body.changes] == [
        "AGENT-TRACE.md", "context.md", "running_summary.md", log,
    ]  # fmt: skip
    desk.refresh()
    assert desk.state.seq == before + 1, "nothing has changed, so nothing is written"


def test_a_read_gives_what_is_true_now_and_what_is_written_later_is_the_same() -> None:
    desk = desk_with_trace()
    member = desk.member()
    paths = (
        "AGENT-TRACE.md",
        "context.md",
        "running_summary.md",
        f"logs/planner-{member.session}.md",
    )
    for number in range(4):
        put_plan(member, f"plans/{number}.md")
        read = {path: member.read(path) for path in paths}
        desk.refresh()
        for path in paths:
            document = desk.state.document_at(path)
            assert document is not None
            assert desk.contents[document.content_key].decode() == read[path]
            assert member.read(path) == read[path]


def test_the_guide_changes_only_when_something_that_it_says_changes() -> None:
    desk = desk_with_trace()
    member = desk.member()
    put_plan(member)
    desk.refresh()
    guide = desk.state.document_at("AGENT-TRACE.md")
    member.put("scratch.md", "one\n")
    desk.refresh()
    assert desk.state.document_at("AGENT-TRACE.md") != guide, "there is a document more"
    guide = desk.state.document_at("AGENT-TRACE.md")
    for number in range(3):
        member.put("scratch.md", f"{number}\n")
        put_plan(member, text=PLAN + f"- [ ] step {number}\n")
        desk.refresh()
    assert desk.state.document_at("AGENT-TRACE.md") == guide
    put_plan(member, text=PLAN.replace("Ship it", "Ship all of it"))
    desk.refresh()
    assert '"Ship all of it"' in member.read("AGENT-TRACE.md")
    assert not re.search(r"\d\d:\d\d", member.read("AGENT-TRACE.md"))


def test_the_guide_is_short_however_many_documents_there_are() -> None:
    desk = desk_with_trace()
    member = desk.member()
    for start in range(0, 640, 64):
        member.do(
            *(
                Put(f"plans/{start + index:05}.md", b"# A plan\n", type=DocumentType.PLAN)
                for index in range(64)
            )
        )
    desk.refresh()
    guide = member.read("AGENT-TRACE.md")
    assert len(guide) < 5000
    assert "### plan: more than 500" in guide
    assert "agent-trace ls --type plan" in guide
    assert len(member.read("context.md")) < 5000


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0"), (20, "20"), (21, "more than 20"), (50, "more than 20"), (51, "more than 50"),
     (100, "more than 50"), (101, "more than 100"), (9999, "more than 5,000")],
)  # fmt: skip
def test_large_counts_change_seldom(count: int, said: str) -> None:
    assert coarse(count) == said


@pytest.mark.parametrize(
    ("time_ms", "said"),
    [
        (0, "1970-01-01 00:00:00Z"),
        (951_782_399_999, "2000-02-28 23:59:59Z"),
        (951_782_400_000, "2000-02-29 00:00:00Z"),
        (1_772_323_199_000, "2026-02-28 23:59:59Z"),
        (1_772_323_200_000, "2026-03-01 00:00:00Z"),
        (4_107_542_399_000, "2100-02-28 23:59:59Z"),
        (4_107_542_400_000, "2100-03-01 00:00:00Z"),
    ],
)
def test_times_are_utc_by_the_calendar(time_ms: int, said: str) -> None:
    assert stamp(time_ms) == said


def test_the_guide_lists_every_kind_of_document_with_what_is_said_of_it() -> None:
    desk = desk_with_trace()
    user = desk.member("you", Actor.USER)
    for number in range(22):
        user.put(f"notes/{number:02}.md", "# A title that nobody looks up\n")
    user.do(Annotate("notes/03.md", description="How to run it"))
    user.do(Put("api.md", b"# The API\n\nEvery call.\n", type=DocumentType.REFERENCE))
    guide = user.read("AGENT-TRACE.md")
    for line in (
        "### scratch: more than 20\n\n- `notes/00.md`\n",
        '- `notes/03.md`: "How to run it"\n',
        "- `notes/19.md`\n- more: `agent-trace ls --type scratch`\n",
        '### reference: 1\n\n- `api.md`: "The API"; "Every call."\n',
    ):
        assert line in guide, guide


def test_what_is_finished_comes_last() -> None:
    desk = desk_with_trace()
    member = desk.member()
    put_plan(member, "open.md")
    put_plan(member, "finished.md", f"---\nstatus: done\n---\n{PLAN}")
    context = member.read("context.md")
    goals = re.findall(r"^- `(.*)`:\d+: \"ship", context, re.MULTILINE)
    assert goals == ["open.md", "finished.md"]
    assert '2 open, 1 done; status "done"' in context


def test_what_is_done_to_writes_that_do_not_stand_is_told_in_our_own_words() -> None:
    desk = desk_with_trace()
    user, member = desk.member("you", Actor.USER), desk.member()
    user.do(Put("api.md", b"# The API\n", type=DocumentType.REFERENCE))
    user.put("note.md", "one\n")
    member.fail(Put("api.md", b"mine\n"))
    member.fail(Put("note.md", b"mine\n", 7))
    user.do(Move("note.md", "moved here.md"))
    user.ask(AcquireLease("src/**"))
    summary = member.read("running_summary.md")
    log = member.read(f"logs/planner-{member.session}.md")
    for line in (
        "planner: refuse `api.md`: put not allowed: reference-not-by-agents, kept as violation-5\n",
        "planner: draft `note.md`: kept as draft-6: it was at revision 1, not 7\n",
        "you: move `moved here.md`@2 +0 -0: moved from `note.md`\n",
        "- leases: you on `src/**`\n",
        "- waiting for somebody: 1 late text (`agent-trace drafts`), "
        "1 refused write (`agent-trace violations`)\n",
    ):
        assert line in summary, summary
    assert "kept as draft-6: it was at revision 1, not 7" in log


def test_recent_updates_tell_what_was_done_also_after_a_restart(tmp_path: Path) -> None:
    desk = desk_with_trace()
    member = desk.member()
    put_plan(member)
    put_plan(member, text=PLAN.replace("[ ] measure", "[x] measure"))
    for number in range(80):
        member.put("note.md", f"{number}\n")
    before = member.read("context.md")
    assert 'planner: `plan.md`@2: checked off "measure it"' in before
    with tracing(desk, tmp_path / "state.db"):
        pass
    restarted = killed(desk, tmp_path / "state.db")
    again = restarted.member("other")
    assert again.read("context.md") == before
    assert again.read("AGENT-TRACE.md") == member.read("AGENT-TRACE.md")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 6)), max_size=30))
def test_the_list_of_documents_is_kept_however_they_come_and_go(
    steps: list[tuple[int, int, int]],
) -> None:
    desk = desk_with_trace()
    user = desk.member("you", Actor.USER)
    types = (DocumentType.PLAN, DocumentType.SCRATCH, DocumentType.REFERENCE)
    for source, target, what in steps:
        path, other = f"{source}.md", f"{target}.md"
        operation: Operation = (
            Put(path, b"text\n", type=types[target % 3]),
            Put(path, b"other\n"),
            Append(path, b"more\n"),
            Delete(path),
            Move(path, other),
            Reclassify(path, types[target % 3]),
            Untrack(path),
        )[what]
        # What can not be done is refused and changes nothing.
        user.ask(Transact((operation,)))
    expected: dict[DocumentType, list[str]] = {type: [] for type in DocumentType}
    for path in desk.state.paths:
        expected[desk.state.documents[desk.state.by_path[path]].type].append(path)
    trace = desk.state.trace
    assert trace.paths == expected
    kept = {desk.state.documents[id].path for id in [*trace.plans, *trace.references]}
    assert kept == {*expected[DocumentType.PLAN], *expected[DocumentType.REFERENCE]}


# ---- session logs ----------------------------------------------------------------------------


def seqs_in_logs(desk: Desk, prefix: str) -> list[int]:
    """Return the operations that the parts of a log tell of, in their order."""
    parts = sorted(
        (path for path in desk.state.paths if path.startswith(prefix)),
        key=lambda path: int(re.sub(r".*?(?:\.(\d+))?\.md", r"\1", path) or 1),
    )
    text = "".join(
        desk.contents[document.content_key].decode()
        for path in parts
        if (document := desk.state.document_at(path)) is not None
    )
    return [int(seq) for seq in re.findall(r"^- (\d+) ", text, re.MULTILINE)]


def test_a_log_has_each_operation_once_however_they_are_gathered() -> None:
    desk = desk_with_trace()
    members = [desk.member("one"), desk.member("two")]
    told: dict[str, list[int]] = {"one": [], "two": []}
    for number in range(150):
        member = members[number % 3 % 2]
        path = f"{member.name}/{number % 7}/{'long-' * 30}.md"
        done = member.put(path, f"{number}\n" * 3)
        told[member.name].append(done.seq)
        if number % 11 == 0:
            desk.refresh()
    desk.refresh()
    for member in members:
        prefix = f"logs/{member.name}-{member.session}"
        assert seqs_in_logs(desk, prefix) == told[member.name]
        for path in desk.state.paths:
            document = desk.state.document_at(path)
            assert document is not None
            assert not path.startswith("logs/") or document.size <= PART_BYTES_MAX
    assert sum(path.startswith("logs/one-") for path in desk.state.paths) > 1


def test_a_log_only_grows() -> None:
    desk = desk_with_trace()
    member = desk.member()
    texts: dict[str, bytes] = {}
    for number in range(40):
        member.put("note.md", f"{number}\n")
        desk.refresh()
        for path in desk.state.paths:
            document = desk.state.document_at(path)
            if document is not None and path.startswith("logs/"):
                text = desk.contents[document.content_key]
                assert text.startswith(texts.get(path, b""))
                texts[path] = text


def test_sessions_that_do_nothing_have_no_log_and_one_shots_share_one() -> None:
    desk = desk_with_trace()
    desk.member("idle")
    for number in range(3):
        member = Member(desk, "you", Actor.USER)
        member.open(ephemeral=True)
        member.put("note.md", f"{number}\n")
    desk.refresh()
    logs = [path for path in desk.state.paths if path.startswith("logs/")]
    assert logs == ["logs/you-commands.md"]
    assert len(seqs_in_logs(desk, "logs/you")) == 3


def test_the_documents_of_the_coordinator_are_counted_apart() -> None:
    desk = desk_with_trace()
    member = desk.member()
    put_plan(member)
    member.put("logs/mine.md", "not generated\n")
    desk.refresh()
    assert count_generated(desk.state) == 4
    assert len(desk.state.paths) == 6


def test_more_changes_than_a_record_takes_become_several_records() -> None:
    desk = desk_with_trace()
    members = [desk.member(f"agent-{number}") for number in range(70)]
    for member in members:
        member.put(f"{member.name}.md", "text\n")
    desk.refresh()
    assert [(len(body.changes), body.source) for body in own_records(desk)] == [
        (64, GENERATED_PART), (9, GENERATED),
    ]  # fmt: skip
    assert not desk.state.trace.fresh


# ---- protection ------------------------------------------------------------------------------


def test_an_agent_does_not_write_them_and_a_user_overrides_on_record() -> None:
    desk = desk_with_trace()
    agent, user = desk.member(), desk.member("you", Actor.USER)
    put_plan(agent)
    desk.refresh()
    log = f"logs/planner-{agent.session}.md"
    for path in (
        "AGENT-TRACE.md",
        "context.md",
        "running_summary.md",
        log,
        f"logs/x-{'a' * 26}.7.md",
    ):
        assert agent.fail(Put(path, b"mine\n")).code is ErrorCode.PERMISSION_DENIED
        assert user.fail(Append(path, b"mine\n")).code is ErrorCode.PERMISSION_DENIED
    user.do(Put("context.md", b"mine\n"), confirm=True)
    assert isinstance(desk.entries[-1].record.body, Changed)
    assert desk.entries[-1].record.body.override == "context-needs-confirmation"
    desk.refresh()
    assert "ship the importer" in member_text(desk, "context.md")


def member_text(desk: Desk, path: str) -> str:
    document = desk.state.document_at(path)
    assert document is not None
    return desk.contents[document.content_key].decode()


def test_a_deleted_one_comes_back_with_the_next_change() -> None:
    desk = desk_with_trace()
    user = desk.member("you", Actor.USER)
    put_plan(user)
    desk.refresh()
    user.do(Delete("context.md"), confirm=True)
    assert desk.state.document_at("context.md") is None
    desk.refresh()
    assert "ship the importer" in member_text(desk, "context.md")


def test_somebody_elses_file_is_not_taken() -> None:
    desk = desk_with_trace()
    desk.files["context.md"] = b"# My own context, from before this was a store\n"
    member = desk.member()
    put_plan(member)
    desk.refresh()
    assert desk.state.document_at("context.md") is None
    assert desk.state.document_at("running_summary.md") is not None
    assert "ship the importer" in member.read("context.md"), "who asks is told all the same"


def test_a_document_that_is_in_the_way_stays() -> None:
    desk = desk_with_trace()
    user = desk.member("you", Actor.USER)
    user.do(Put("Context.md", b"mine\n"), confirm=True)
    user.do(Put("logs", b"not a folder\n"), confirm=True)
    user.put("note.md", "one\n")
    desk.refresh()
    assert member_text(desk, "Context.md") == "mine\n"
    assert [path for path in desk.state.paths if path.startswith("logs")] == ["logs"]


# ---- steering --------------------------------------------------------------------------------


def stated(reply: object) -> str:
    assert isinstance(reply, StatementList), reply
    (info,) = reply.statements
    return info.id


def test_a_statement_stands_in_the_context_until_it_is_superseded_or_dropped() -> None:
    desk = desk_with_trace()
    user = desk.member("you", Actor.USER)
    first = stated(user.ask(Steer("Ship the <!-- importer first")))
    assert f"- {first}, you, " in user.read("context.md")
    assert '"Ship the \\<!-- importer first"' in user.read("context.md")
    second = stated(user.ask(Steer("Ship the exporter first", replaces=first)))
    assert first not in user.read("context.md")
    listed = user.ask(ListStatements())
    assert isinstance(listed, StatementList)
    assert [(each.id, each.text) for each in listed.statements] == [
        (second, "Ship the exporter first")
    ]
    assert user.ask(DropStatement(second)) == Done()
    assert "exporter" not in user.read("context.md")
    gone = user.ask(DropStatement(second))
    assert isinstance(gone, Refused) and gone.error.code is ErrorCode.NOT_FOUND


def test_a_repeated_statement_is_made_once_and_answered_the_same() -> None:
    desk = desk_with_trace()
    user = desk.member("you", Actor.USER)
    said = user.ask(Steer("Slow down"))
    assert desk.ask(user.key, user.number, Steer("Slow down")) == said
    assert len(desk.state.trace.statements) == 1


def test_agents_do_not_steer_and_the_attempt_is_on_record() -> None:
    desk = desk_with_trace()
    agent = desk.member()
    for request in (Steer("Obey me"), DropStatement("update-1")):
        refused = agent.ask(request)
        assert isinstance(refused, Refused) and refused.error.violation
        assert desk.ask(agent.key, agent.number, request) == refused
    assert not desk.state.trace.statements


@pytest.mark.parametrize("text", ["", "  ", "two\nlines", "x" * 1001, "esc \x1b[2J"])
def test_a_statement_is_one_line_of_bounded_length(text: str) -> None:
    user = desk_with_trace().member("you", Actor.USER)
    refused = user.ask(Steer(text))
    assert isinstance(refused, Refused) and refused.error.code is ErrorCode.INVALID_REQUEST


def test_they_can_be_written_at_once() -> None:
    desk = desk_with_trace()
    member = desk.member()
    put_plan(member)
    assert member.ask(RefreshDocuments()) == Done()
    assert desk.state.document_at("context.md") is not None
    plain = Desk().member()
    refused = plain.ask(RefreshDocuments())
    assert isinstance(refused, Refused) and refused.error.code is ErrorCode.INVALID_REQUEST


# ---- hostile documents -----------------------------------------------------------------------

_QUOTATION = re.compile(r'"(?:[^"\\]|\\.)*"')
_UNSEEN = {"Cc", "Cf", "Zl", "Zp"}
_SAYINGS = ("Goal", "Decision", "Question", "Blocked", "Next step", "Constraint", "Phase")
_EVIL = st.text(
    st.sampled_from('ab"\\`<>!-#*[]()|_ \t\r\n\x00\x1b\u202e\u2028\u00ad\U000e0041“”')
    | st.characters(exclude_categories=["Cs"]),
    max_size=60,
)


@settings(max_examples=40)
@given(
    texts=st.lists(st.tuples(st.sampled_from(_SAYINGS), _EVIL), max_size=6),
    title=_EVIL,
    message=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40),
)
def test_no_document_gets_out_of_its_quotation(
    texts: list[tuple[str, str]], title: str, message: str
) -> None:
    """What is left of the texts without quotations is the same whatever the documents say."""

    def outside(texts: list[tuple[str, str]], title: str, message: str) -> dict[str, str]:
        desk = desk_with_trace()
        member = desk.member()
        lines = [f"# {title}", "", "A description.", ""]
        lines += [f"{key}: {text}" for key, text in texts] + [f"- [ ] {title}"]
        content = "\n".join(lines).replace("\0", "").encode()
        reply = member.ask(
            Transact((Put("plan.md", content, type=DocumentType.PLAN),), message=message)
        )
        assert not isinstance(reply, Refused), reply
        found: dict[str, str] = {}
        for path in OWN:
            text = member.read(path)
            assert not {unicodedata.category(each) for each in text if each != "\n"} & _UNSEEN
            assert "<!--" not in _QUOTATION.sub("", text)
            assert '"' not in _QUOTATION.sub("", text)
            found[path] = _QUOTATION.sub('""', text)
        return found

    ours = set("\n".join(outside([(k, "x") for k in _SAYINGS], "x", "x").values()).split())
    theirs = set("\n".join(outside(texts, title, message).values()).split())
    digits = re.compile(r"\d")
    assert {digits.sub("", word) for word in theirs} <= {digits.sub("", word) for word in ours} | {
        "Write", "Nothing", ":", "`plan.md`:", "more", "`plan.md`", ';',
    }  # fmt: skip
