"""A record and its commit: what is streamed to git, and that it reads back to the same record."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_trace_coordinator.core.records import (
    BasedOn,
    Change,
    Changed,
    Discarded,
    Drafted,
    Kept,
    LeaseExtended,
    LeaseGranted,
    LeaseReleased,
    Locked,
    Record,
    RecordBody,
    Repeated,
    SessionClosed,
    SessionEnded,
    SessionOpened,
    Unlocked,
    Violated,
    content_digest,
    content_key,
    encode_record,
)
from agent_trace_coordinator.storage.base import Entry
from agent_trace_coordinator.storage.commit import SUBJECT_LENGTH_MAX, render_commit
from agent_trace_coordinator.storage.escaping import (
    ForeignCommit,
    escape_line,
    quote_path,
    unescape_line,
)
from agent_trace_coordinator.storage.trailers import CommitTrailers, parse_trailers
from agent_trace_protocol import (
    Action,
    Actor,
    ConflictInfo,
    DocumentType,
    ErrorCode,
    LeaseRefusal,
    SessionKind,
)

CHAIN = bytes(range(32))


def change(
    path: str = "plans/a.md",
    *,
    action: Action = Action.PUT,
    previous_path: str = "",
    seq: int = 7,
    index: int = 0,
    content: bytes = b"text\n",
) -> Change:
    deleted = action is Action.DELETE
    return Change(
        document=64 + index,
        action=action,
        path=path,
        previous_path=previous_path,
        type=DocumentType.PLAN,
        revision=3,
        content_key=0 if deleted else content_key(seq, index),
        digest=b"" if deleted else content_digest(content),
        size=0 if deleted else len(content),
        added=12,
        removed=4,
    )


def entry(
    body: RecordBody,
    *,
    actor: Actor = Actor.AGENT,
    author: str = "planner",
    contents: tuple[tuple[int, bytes], ...] = (),
    fingerprint: bytes = b"\x01\x02",
) -> Entry:
    record = Record(7, 2, 1_700_000_000_123, actor, author, "sess", 9, fingerprint, body)
    return Entry(record, encode_record(record), CHAIN, contents)


def message_of(command: bytes) -> str:
    size, rest = command.split(b"\ndata ", 1)[1].split(b"\n", 1)
    return rest[: int(size)].decode()


def test_one_put_is_rendered_as_one_command_with_everything_in_counted_blocks() -> None:
    put = entry(Changed((change(),), "why: because"), contents=((content_key(7, 0), b"text\n"),))

    assert (
        render_commit(put, "main", "ab" * 20)
        == (
            b"commit refs/heads/main\n"
            b"mark :7\n"
            b"author planner <planner@agents.invalid> 1700000000 +0000\n"
            b"committer agent-trace <coordinator@agent-trace.invalid> 1700000000 +0000\n"
            b"data 359\n"
            b"put plans/a.md@3 (+12 -4)\n"
            b"\n"
            b"  why: because\n"
            b"\n"
            b"Actor: agent\n"
            b"Agent: planner\n"
            b"Session: sess\n"
            b"Request: 9\n"
            b"Seq: 7\n"
            b"Epoch: 2\n"
            b"Time: 1700000000123\n"
            b"Action: put\n"
            b"Document: 64 plan 3 put plans/a.md\n"
            b"Content: 64 448 5 %b +12 -4\n"
            b"Fingerprint: 0102\n"
            b"Chain: 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n"
            b"from abababababababababababababababababababab\n"
            b'M 100644 inline "plans/a.md"\n'
            b"data 5\n"
            b"text\n"
            b"\n"
            b"\n"
        )
        % content_digest(b"text\n").hex().encode()
    )


def test_a_move_brings_no_content_and_a_deletion_names_only_the_path() -> None:
    moved = change("b c.md", action=Action.MOVE, previous_path="a.md")
    deleted = change("d.md", action=Action.DELETE, index=1)
    command = render_commit(entry(Changed((moved, deleted))), "main", None)

    assert command.endswith(b'\nR "a.md" "b c.md"\nD "d.md"\n\n')
    message = message_of(command)
    assert message.startswith("change 2 documents: b c.md@3, d.md@3\n\n")
    assert "\nMoved-From: 64 a.md\n" in message


def test_a_change_whose_content_is_missing_is_not_rendered() -> None:
    with pytest.raises(ValueError, match="lacks content"):
        render_commit(entry(Changed((change(),))), "main", None)


@pytest.mark.parametrize(
    ("actor", "author", "ident"),
    [
        (Actor.AGENT, "planner", b"author planner <planner@agents.invalid> "),
        (Actor.USER, "mia", b"author mia <mia@users.invalid> "),
        (Actor.SYSTEM, "system", b"author agent-trace <coordinator@agent-trace.invalid> "),
        (Actor.AGENT, "a> 1 +0\nM <", b"author a__1__0_M__ <a__1__0_M__@agents.invalid> "),
    ],
)
def test_the_author_is_the_actor(actor: Actor, author: str, ident: bytes) -> None:
    command = render_commit(entry(Changed(()), actor=actor, author=author), "main", None)

    assert command.split(b"\n")[2].startswith(ident)


def test_subjects_of_sessions_name_the_session() -> None:
    opened = SessionOpened(SessionKind.MCP, "", "", "", 0, 0, "")
    commands = [
        render_commit(entry(body), "main", None)
        for body in (opened, SessionClosed("expired"), SessionClosed(""))
    ]

    assert [message_of(command).split("\n")[0] for command in commands] == [
        "open session sess",
        "close session sess: expired",
        "close session sess",
    ]


def test_a_long_path_keeps_its_end_in_the_subject() -> None:
    path = "/".join(["directory"] * 12) + "/name.md"
    put = entry(Changed((change(path),)), contents=((content_key(7, 0), b"x"),))
    subject = message_of(render_commit(put, "main", None)).split("\n")[0]

    assert len(subject) == SUBJECT_LENGTH_MAX
    assert subject.startswith("put ...")
    assert subject.endswith("/directory/name.md@3 (+12 -4)")


@pytest.mark.parametrize(
    ("path", "quoted"),
    [
        ("a.md", b'"a.md"'),
        ("a b/é.md", '"a b/é.md"'.encode()),
        ('a"b\\c', b'"a\\042b\\134c"'),
        ("a\nM 100644 inline b", b'"a\\012M 100644 inline b"'),
    ],
)
def test_a_quoted_path_stays_one_word_on_one_line(path: str, quoted: bytes) -> None:
    assert quote_path(path) == quoted


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_what_no_tree_can_hold_is_not_quoted(path: str) -> None:
    with pytest.raises(ValueError, match="can not be a path"):
        quote_path(path)


TEXT = st.text(st.characters(codec="utf-8"), max_size=60) | st.sampled_from(
    ["Seq: 1", "x\n\nSeq: 1\nActor: system", "\\n", "a\u2028Seq: 1", "\\x0a", " ", "\n", "---"]
)
NUMBER = st.integers(0, 2**63 - 1)
# Line ends are no part of a path by its own law, but what renders must not depend on that.
PATH = TEXT.filter(lambda text: text != "" and "\0" not in text)


@st.composite
def changes(draw: st.DrawFn) -> tuple[Change, ...]:
    count = draw(st.integers(0, 4))
    made: list[Change] = []
    for _ in range(count):
        action = draw(st.sampled_from([Action.PUT, Action.DELETE, Action.MOVE, Action.CREATE]))
        made.append(
            Change(
                document=draw(NUMBER),
                action=action,
                path=draw(PATH),
                previous_path=draw(PATH) if action is Action.MOVE else "",
                type=draw(st.sampled_from(DocumentType)),
                revision=draw(NUMBER),
                content_key=draw(NUMBER),
                digest=draw(st.sampled_from([b"", bytes(range(32))])),
                size=draw(NUMBER),
                added=draw(NUMBER),
                removed=draw(NUMBER),
                summary=draw(TEXT),
            )
        )
    return tuple(made)


BASED_ON = st.lists(st.builds(BasedOn, NUMBER, NUMBER, PATH), max_size=3).map(tuple)
RULE = st.from_regex(r"[a-z0-9-]+", fullmatch=True)
KEPT = st.builds(
    Kept,
    st.sampled_from(Action),
    TEXT,
    st.sampled_from(DocumentType),
    NUMBER,
    NUMBER,
    NUMBER,
    st.binary(min_size=32, max_size=32),
    NUMBER,
)
POLICY = st.one_of(
    st.builds(
        Violated,
        RULE,
        st.sampled_from(ErrorCode),
        TEXT,
        st.sampled_from(Action),
        TEXT,
        st.binary(min_size=16, max_size=16),
        st.lists(KEPT, max_size=3).map(tuple),
        st.sampled_from(["", "file"]),
    ),
    st.builds(Repeated, st.integers(0, 10**17), NUMBER),
    st.builds(Discarded, st.integers(0, 10**17)),
    st.builds(Unlocked, NUMBER, TEXT, st.sampled_from(["", "planner"]), NUMBER),
    st.builds(Locked, st.lists(NUMBER, max_size=3).map(tuple), TEXT, TEXT),
)

CONFLICT = st.builds(
    ConflictInfo, PATH, NUMBER, NUMBER, TEXT, NUMBER, TEXT, st.just("draft-7"), st.booleans()
)

BODIES = st.one_of(
    POLICY,
    st.builds(
        Changed,
        changes(),
        TEXT,
        st.just(0),
        TEXT,
        st.integers(0, 10**17),
        st.sampled_from(["", "file"]),
        BASED_ON,
    ),
    st.builds(
        SessionOpened,
        st.sampled_from(SessionKind),
        TEXT,
        TEXT,
        TEXT,
        NUMBER,
        NUMBER,
        TEXT,
        st.booleans(),
        TEXT,
    ),
    st.builds(LeaseGranted, PATH, st.booleans(), NUMBER, NUMBER),
    st.builds(LeaseExtended, NUMBER, PATH, NUMBER),
    st.builds(LeaseReleased, NUMBER, PATH, TEXT),
    st.builds(SessionClosed, TEXT, BASED_ON, NUMBER),
    st.builds(SessionEnded, TEXT, BASED_ON, NUMBER, NUMBER),
    st.builds(
        Drafted,
        st.sampled_from([ErrorCode.CONFLICT, ErrorCode.LEASE_HELD]),
        CONFLICT,
        st.binary(min_size=16, max_size=16),
        st.lists(KEPT, max_size=2).map(tuple),
    ),
)
RECORDS = st.builds(
    Record,
    NUMBER,
    NUMBER,
    NUMBER,
    st.sampled_from(Actor),
    TEXT,
    TEXT,
    NUMBER,
    st.binary(max_size=32),
    BODIES,
)


def contents_of(record: Record) -> tuple[tuple[int, bytes], ...]:
    if not isinstance(record.body, Changed):
        return ()
    return tuple(
        (each.content_key, b"x")
        for each in record.body.changes
        if each.action not in {Action.MOVE, Action.DELETE}
    )


@given(RECORDS, st.binary(min_size=32, max_size=32))
def test_trailers_read_back_to_the_record_whatever_its_texts_are(
    record: Record, chain: bytes
) -> None:
    made = Entry(record, b"", chain, contents_of(record))
    trailers = parse_trailers(message_of(render_commit(made, "main", None)))

    assert trailers == CommitTrailers(record, chain)
    assert encode_record(trailers.record) == encode_record(record)


@given(RECORDS)
def test_no_text_makes_a_line_that_looks_like_a_second_trailer(record: Record) -> None:
    message = message_of(
        render_commit(Entry(record, b"", CHAIN, contents_of(record)), "main", None)
    )

    body = record.body
    expected = {"Actor", "Agent", "Session", "Request", "Seq", "Epoch", "Time", "Action", "Chain"}
    # Read the most generous way: every kind of line end, spaces before the colon.
    keys = re.findall(r"^([A-Za-z-]+)\s*:", "\n".join(message.splitlines()[1:]), re.MULTILINE)
    many = {"Document", "Content", "Moved-From", "Summary", "Based-On", "Kept", "Diff"}
    optional = {
        "Fingerprint",
        "Ephemeral",
        "Lease",
        "Transport",
        "Key",
        "Kind",
        "Program",
        "Model",
        "Host",
        "Predecessor",
        "Process",
        "Reason",
        "Looked",
        "Seen",
        "Override",
        "Applies",
        "Source",
        "Refused",
        "Violation",
        "Count",
        "Unlock",
        "Unlocks",
        "Path",
        "Draft",
        "Discards",
        "Current",
        "Merges",
    }
    single = [key for key in keys if key not in many]
    assert len(single) == len(set(single))
    assert expected <= set(single) <= expected | optional
    assert keys.count("Document") == (len(body.changes) if isinstance(body, Changed) else 0)
    assert len(message.splitlines()[0]) <= SUBJECT_LENGTH_MAX


@pytest.mark.parametrize("holder", ["ben", ""])
def test_a_draft_says_who_held_the_lease_that_its_writer_had_lost(holder: str) -> None:
    session = "b" * 26 if holder else ""
    lost = LeaseRefusal("a b.md", holder, session, 41, 2.125, "draft-7")
    drafted = Drafted(
        ErrorCode.STALE_LEASE,
        ConflictInfo("a b.md", 2, 3, draft="draft-7"),
        bytes(16),
        (Kept(Action.PUT, "a b.md", DocumentType.SCRATCH, 64, 2, 448, bytes(32), 5),),
        lost,
    )
    made = entry(drafted, contents=((448, b"text\n"),))
    trailers = parse_trailers(message_of(render_commit(made, "main", None)))
    assert trailers.record.body == drafted


@given(TEXT)
def test_escaping_is_reversible_and_leaves_one_line(text: str) -> None:
    escaped = escape_line(text)

    assert unescape_line(escaped) == text
    assert len(escaped.splitlines()) <= 1


@given(st.binary(max_size=200) | st.sampled_from([b"", b"a\n\nSeq: 1\n"]))
def test_a_message_that_is_not_ours_is_foreign(data: bytes) -> None:
    with pytest.raises(ForeignCommit):
        parse_trailers(data.decode("utf-8", "replace"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Seq: 7\n", ""),
        ("Seq: 7\n", "Seq: 7\nSeq: 7\n"),
        ("Seq: 7\n", "Seq: x\n"),
        ("Seq: 7\n", "Seq:7\n"),
        ("Actor: agent\n", "Actor: root\n"),
        ("Agent: planner\n", "Agent: a\\n\n"),
        ("Chain: 00", "Chain: 0"),
        ("Content: 64", "Content: 65"),
        ("Document: 64 plan", "Document: 64 poem"),
        ("Action: put\n", "Action: put\nReason: x\n"),
        ("Action: put\n", "Action: open\n"),
    ],
)
def test_a_message_that_was_tampered_with_is_foreign(old: str, new: str) -> None:
    put = entry(Changed((change(),)), contents=((content_key(7, 0), b"x"),))
    message = message_of(render_commit(put, "main", None))
    assert old in message

    with pytest.raises(ForeignCommit):
        parse_trailers(message.replace(old, new))
