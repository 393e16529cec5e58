"""What both views show is a function of what the client returns."""

from __future__ import annotations

import ast
from pathlib import Path

import msgspec
import pytest

import agent_trace.views.lanes
import agent_trace.views.model
from agent_trace.views.lanes import timeline
from agent_trace.views.model import (
    Concern,
    Kind,
    Tone,
    activity,
    by_type,
    concerns,
    join_recent,
    now_of,
)
from agent_trace.wording import span
from agent_trace_protocol import (
    Action,
    Actor,
    DocumentInfo,
    DocumentType,
    LeaseInfo,
    LogEntry,
    SessionInfo,
    SessionKind,
    SessionState,
    StatusReport,
)


def entry(
    seq: int,
    action: Action = Action.EDIT,
    path: str = "plan.md",
    *,
    author: str = "planner",
    session: str = "s1",
    summary: str = "",
    time_ms: int | None = None,
    actor: Actor = Actor.AGENT,
) -> LogEntry:
    at = 1_000 * seq if time_ms is None else time_ms
    revision = seq if action is Action.EDIT else 0
    return LogEntry(seq, at, actor, author, session, action, path, revision, 1, 2, summary, "")


def session(
    id: str,
    name: str = "planner",
    *,
    started_ms: int = 0,
    ended_ms: int = 0,
    predecessor: str = "",
    reason: str = "",
    state: SessionState = SessionState.LIVE,
    actor: Actor = Actor.AGENT,
) -> SessionInfo:
    kind = SessionKind.LIBRARY
    made = SessionInfo(
        id, actor, name, kind, state, started_ms, 0.0, "program", "host", 1, predecessor
    )
    return msgspec.structs.replace(made, ended_ms=ended_ms, reason=reason)


STATUS = StatusReport(
    *("store", "/store", "0.1.0", 1, 1, 1.0, "ipc:///x", 9, 9, "head", 1, 1, 0, ""),
    *(1, 1, 1, 1, ""),
)


@pytest.mark.parametrize("module", [agent_trace.views.model, agent_trace.views.lanes])
def test_the_model_is_pure(module: object) -> None:
    path = Path(str(getattr(module, "__file__", "")))
    allowed = {"__future__", "collections", "dataclasses", "enum", "typing"}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {
        (node.module or "").partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and not node.level
    }
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.Await)]
    assert imported - allowed <= {"agent_trace", "agent_trace_protocol"}


@pytest.mark.parametrize("action", list(Action))
def test_every_action_can_be_told_of(action: Action) -> None:
    told = activity(entry(3, action))
    assert told.did and told.kind in Kind
    assert told.what == ("plan.md@3" if action is Action.EDIT else "plan.md")


@pytest.mark.parametrize(
    ("reason", "did", "detail"),
    [
        ("closed", "left", ""),
        ("expired", "expired", ""),
        ("superseded by s2", "was superseded", "superseded by s2"),
        ("evicted by ada: enough", "was evicted", "evicted by ada: enough"),
    ],
)
def test_how_a_session_ended_is_told(reason: str, did: str, detail: str) -> None:
    told = activity(entry(3, Action.CLOSE, "", summary=reason))
    assert (told.did, told.detail) == (did, detail)


def test_what_comes_again_is_not_taken_twice() -> None:
    known = (entry(3), entry(2))
    assert join_recent(known, [entry(3), entry(4), entry(5)]) == (
        *(entry(5), entry(4), entry(3)),
        entry(2),
    )
    assert join_recent(known, [entry(4)], limit=2) == (entry(4), entry(3))
    # All events of an operation on several documents are new together.
    both = [entry(4, path="a.md"), entry(4, path="b.md")]
    assert [each.path for each in join_recent(known, both)][:2] == ["b.md", "a.md"]


def test_an_open_session_shows_what_it_did_last_and_what_it_holds() -> None:
    lease = LeaseInfo(7, "plans/*", False, Actor.AGENT, "reviewer", "s2", 60.0, 30.0, 1)
    now = now_of(
        STATUS,
        [
            session("own", "ada", actor=Actor.USER),
            session("s3", "bea", actor=Actor.USER),
            session("s1"),
            session("s2", "reviewer", state=SessionState.STALE),
            session("s0", state=SessionState.ENDED),
        ],
        [lease],
        [
            entry(9, Action.OPEN, "", session="s2"),
            entry(8, Action.LEASE, "plans/*", session="s2"),
            entry(6),
            entry(5),
        ],
        own_session="own",
    )
    told = [
        (
            worker.session.id,
            worker.tone,
            worker.last.seq if worker.last else None,
            worker.writes,
            len(worker.leases),
        )
        for worker in now.workers
    ]
    assert told == [
        ("s2", Tone.WARNING, 8, 0, 1),
        ("s1", Tone.GOOD, 6, 2, 0),
        ("s3", Tone.GOOD, None, 0, 0),
    ]
    assert [each.seq for each in now.recent] == [9, 8, 6, 5]
    assert now.concerns == ()


def test_what_needs_a_person_is_named_the_worst_first() -> None:
    status = msgspec.structs.replace(
        STATUS, trouble="git: no space", read_only="disk full", violations=1, drafts=2
    )
    status = msgspec.structs.replace(status, sessions_stale=1, repository_budget_bytes=1)
    status = msgspec.structs.replace(status, repository_bytes=2)
    assert concerns(status) == (
        Concern(Tone.BAD, "git: no space", "health"),
        Concern(Tone.BAD, "writes are refused: disk full", "health"),
        Concern(Tone.WARNING, "the repository is over its budget", "health"),
        Concern(Tone.WARNING, "1 refused write waits", "violations"),
        Concern(Tone.WARNING, "2 drafts wait", "drafts"),
        Concern(Tone.WARNING, "1 silent session", "sessions"),
    )


def test_documents_are_grouped_by_type_in_the_order_of_the_types() -> None:
    def document(path: str, type: DocumentType) -> DocumentInfo:
        return DocumentInfo(1, path, type, 1, 1, 1, 1, "ada")

    made = [
        document("a.md", DocumentType.SCRATCH),
        document("b.md", DocumentType.PLAN),
        document("c.md", DocumentType.SCRATCH),
    ]
    assert by_type(made) == {
        DocumentType.PLAN: (made[1],),
        DocumentType.SCRATCH: (made[0], made[2]),
    }


def test_lanes_show_sessions_takeovers_and_what_happened() -> None:
    line = timeline(
        [
            session("s2", started_ms=5_000, predecessor="s1"),
            session("s1", started_ms=0, ended_ms=5_000, reason="superseded by s2"),
            session("s0", "early", started_ms=-9_000, ended_ms=-1, reason="closed"),
            session("u1", "ada", started_ms=2_000, actor=Actor.USER),
        ],
        [
            entry(1, session="s1"),
            entry(2, session="s1", time_ms=1_010),
            entry(7, Action.DRAFT, session="s2"),
            entry(8, Action.OPEN, "", session="s2"),
            entry(11, session="s2"),
        ],
        0,
        10_000,
        slots=10,
    )
    agent, user = line.lanes
    assert (agent.name, user.name, line.hidden) == ("planner", "ada", 0)
    assert [(each.session.id, each.start, each.end, each.takeover) for each in agent.stretches] == [
        ("s1", 0.0, 0.5, False),
        ("s2", 0.5, 1.0, True),
    ]
    assert [(mark.at, mark.kind, mark.count, mark.label) for mark in agent.marks] == [
        (0.15, Kind.WRITE, 2, "edited plan.md@2"),
        (0.75, Kind.CONFLICT, 1, "came too late for plan.md"),
    ]
    assert [(tick.at, tick.time_ms) for tick in line.ticks] == [
        (each / 10_000, each) for each in range(0, 10_001, 2_000)
    ]


def test_a_picture_stays_small_whatever_happened() -> None:
    names = [f"agent-{number:03}" for number in range(100)]
    line = timeline(
        [session(name, name, started_ms=number) for number, name in enumerate(names)],
        [entry(seq, author=names[0], time_ms=seq) for seq in range(5_000)],
        0,
        5_000,
        slots=40,
        lanes_max=10,
    )
    assert (len(line.lanes), line.hidden) == (10, 90)
    assert line.lanes[0].name == "agent-000"
    assert sum(mark.count for mark in line.lanes[0].marks) == 5_000
    assert len(line.lanes[0].marks) == 40
    assert len(timeline([], [], 0, 10**15).ticks) <= 32
    assert timeline([], [], 5, 5).lanes == ()


def test_ticks_stand_at_even_local_times() -> None:
    half_hour = 1_800_000
    line = timeline([], [], 0, 6 * 3_600_000, offset_ms=half_hour)
    assert [(tick.time_ms + half_hour) % 3_600_000 for tick in line.ticks] == [0] * 6


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(-1, "0 s"), (0.9, "0 s"), (59.9, "59 s"), (60, "1 min"), (7_199, "1 h"), (200_000, "2 d")],
)
def test_lengths_of_time_are_told_in_their_largest_unit(seconds: float, told: str) -> None:
    assert span(seconds) == told
