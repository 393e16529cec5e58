"""What a briefing tells an agent of its own doings: whatever its sessions were, nothing twice."""

from __future__ import annotations

import re
from pathlib import Path

from agent_trace_coordinator.core.brief_text import FIRST_BYTES
from agent_trace_coordinator.core.state import Rules, State
from agent_trace_protocol import (
    AcquireLease,
    Actor,
    Append,
    Close,
    Edit,
    EvictSession,
    Leased,
    Put,
    Recap,
    RecapSession,
    Refused,
    Steer,
)
from agent_trace_protocol.model import DocumentType
from support.core import Desk, Member
from support.trace import brief, inquire, killed, tracing

PLAN = b"# Plan\n\nObjective: win\n\n- [ ] first\n- [ ] second\n"


def sections(text: str) -> dict[str, list[str]]:
    """Return the lines of a briefing by their headings, continued ones together."""
    found: dict[str, list[str]] = {}
    title = ""
    for line in text.split("\n"):
        if line.startswith("## "):
            title = line[3:].removesuffix(", continued")
        elif line and not line.startswith("Left out: "):
            found.setdefault(title, []).append(line)
    return found


def one_shot(desk: Desk, name: str = "planner") -> Member:
    member = Member(desk, name, Actor.AGENT)
    member.open(ephemeral=True)
    return member


def test_single_commands_are_told_together(tmp_path: Path) -> None:
    desk = Desk()
    earlier = desk.member("planner")
    earlier.put("before.md", "one\n")
    earlier.ask(Close())
    for number in range(20):
        command = one_shot(desk)
        command.do(Append("plan.md", b"- [ ] item %d\n" % number, type=DocumentType.PLAN))
        command.ask(Close())
    with tracing(desk, tmp_path / "state.db") as trace:
        told = sections(brief(trace, one_shot(desk)).text)

    did = told["What you did last"]
    assert re.fullmatch(r"single commands, \S+ \S+Z; operations: 20", did[0])
    assert [line.split(" ", 1)[1] for line in did[1:13]] == [
        f'append plan.md@{20 - number} (+1 -0): added open item "item {19 - number}"'
        for number in range(12)
    ]
    assert did[13].startswith("before: plan.md@1 to @8, 8 changes (+8 -0)")
    assert len(did) == 14
    (before,) = told["Earlier"]
    assert before.startswith(f"session {earlier.session}: ")


def test_the_first_steps_of_a_session_do_not_hide_the_last_one(tmp_path: Path) -> None:
    desk = Desk()
    planner = desk.member("planner")
    planner.do(Put("plan.md", PLAN, type=DocumentType.PLAN))
    planner.do(Edit("plan.md", b"[ ] first", b"[x] first"))
    planner.ask(Close())
    again = desk.member("planner")
    assert isinstance(again.ask(AcquireLease("plan.md")), Leased)
    again.put("notes.md", "one\n")
    with tracing(desk, tmp_path / "state.db") as trace:
        told = sections(brief(trace, again).text)

    did = [re.sub(r"Z.*", "", line) for line in told["What you did last"]]
    assert [re.sub(r"^\d+ ", "", line) for line in did] == [
        f"session {again.session}, begun 2023-11-14 22:30:00",
        'create notes.md@1 (+1 -0): "one"',
        f"session {planner.session}, begun 2023-11-14 22:30:00",
        'edit plan.md@2 (+1 -1): checked off "first"',
        'create plan.md@1 (+6 -0): "Plan"; 2 open items',
    ]
    assert "Earlier" not in told


def test_a_long_session_does_not_hide_those_before_it(tmp_path: Path) -> None:
    desk = Desk()
    first = desk.member("planner")
    first.do(Put("plan.md", PLAN, type=DocumentType.PLAN))
    first.ask(Close())
    second = desk.member("planner")
    for number in range(300):
        second.do(Append("log.md", b"line %d\n" % number))
    with tracing(desk, tmp_path / "state.db") as trace:
        told = sections(brief(trace, second).text)

    did = told["What you did last"]
    assert did[0].endswith(", open; operations: 250 or more")
    assert did[1].endswith('append log.md@300 (+1 -0): added "line 299"')
    assert did[-1].startswith("before: log.md@253 to @288, 36 changes")
    assert [line.split(": ", 1)[1] for line in told["Earlier"]] == [
        '2 create plan.md@1 (+6 -0): "Plan"; 2 open items'
    ]


def test_what_waits_is_told_once_and_something_of_each_kind_comes_first(tmp_path: Path) -> None:
    desk = Desk()
    user, bob, planner = desk.member("ann", Actor.USER), desk.member("bob"), desk.member("planner")
    user.do(Put("api.md", b"# Interface\n", type=DocumentType.REFERENCE))
    planner.do(Put("plan.md", PLAN, type=DocumentType.PLAN))
    for number in range(3):
        path = f"{number}.md"
        planner.put(path, "base\n")
        bob.put(path, "theirs\n", 1)
        planner.fail(Put(path, b"mine\n", 1))
        planner.fail(Put("api.md", b"%d" % number))
        assert isinstance(planner.ask(AcquireLease(path, ttl_seconds=30)), Leased)
        assert isinstance(user.ask(AcquireLease(path, ttl_seconds=60, steal=True)), Leased)
    with tracing(desk, tmp_path / "state.db") as trace:
        text = brief(trace, planner).text

    told = sections(text)
    assert not [line for line in told["What you did last"] if "kept as" in line or "took" in line]
    happened = [re.split(r"[- :]", line)[0] for line in told["What happened to you"]]
    assert happened[:8] == ["lost", "changed", "draft", "violation"] * 2
    assert sorted(happened[8:]) == ["changed", "draft", "lost", "violation"]
    first = sections(text.encode()[:FIRST_BYTES].decode())
    assert len(first["What happened to you"]) >= 4
    assert len(set(re.findall(r"(?:draft|violation)-\d+(?= waits|: your)", text))) == 6


def test_the_first_part_has_something_of_each_section(tmp_path: Path) -> None:
    """However many lines each of them has, and though these are as long as people write them."""
    desk = Desk()
    user, bob, planner = desk.member("ann", Actor.USER), desk.member("bob"), desk.member("planner")
    words = "what somebody wrote at some length, as people do when they have something to say "
    for number in range(12):
        text = f"# Plan {number}\n\nObjective: {words}\n\nPhase: {words}\n\nNext: {words}\n\n"
        items = "".join(f"- [ ] {item} {words}\n" for item in range(20))
        planner.do(
            Put(f"plans/{number}.md", f"{text}{items}".encode(), type=DocumentType.PLAN),
        )
        planner.put(f"notes/{number}.md", f"{words}\n")
        bob.put(f"notes/{number}.md", f"{words} {words}\n")
        planner.fail(Put(f"notes/{number}.md", words.encode(), 1))
        assert isinstance(bob.ask(AcquireLease(f"bob/{number}.md")), Leased)
    for number in range(12):
        bob.put(f"bob/{number}.md", f"{words} {words}\n")
    user.ask(Steer(words))
    with tracing(desk, tmp_path / "state.db") as trace:
        whole = brief(trace, planner).text

    first = sections(whole.encode()[:FIRST_BYTES].decode("utf-8", "ignore"))
    assert [re.sub(r"[0-9]+$", "N", title) for title in first if title] == [
        "What users said",
        "Where it stands",
        "Open items",
        "What you did last",
        "What happened to you",
        "What others changed since operation N",
        "Now",
    ]
    assert first["Where it stands"][0].startswith("objective: ")
    assert first["Where it stands"][1].startswith("next step: ")
    assert " create " in first["What you did last"][1] or " put " in first["What you did last"][1]


def test_only_what_is_new_tells_what_the_session_before_did_after_it_was_briefed(
    tmp_path: Path,
) -> None:
    desk = Desk()
    bob, planner = desk.member("bob"), desk.member("planner")
    planner.do(Put("plan.md", PLAN, type=DocumentType.PLAN))
    with tracing(desk, tmp_path / "a.db") as trace:
        first = brief(trace, planner)
        planner.put("notes.md", "one\n")
        own = brief(trace, planner, since_last=True)
        planner.do(Edit("plan.md", b"[ ] first", b"[x] first"))
    successor = Member(desk, "planner", Actor.AGENT)
    successor.open(takeover=True)
    carol = desk.member("carol")
    assert isinstance(carol.ask(AcquireLease("src/**")), Leased)
    with tracing(desk, tmp_path / "b.db") as trace:
        new = brief(trace, successor, since_last=True)

    assert "What you did last" not in sections(own.text), "its session knows"
    assert own.since == first.seq
    told = sections(new.text)
    did = told["What you did last"]
    assert did[0].startswith(f"session {planner.session}, begun ")
    assert [re.sub(r"^\d+ ", "", line) for line in did[1:]] == [
        'edit plan.md@2 (+1 -1): checked off "first"'
    ]
    assert new.since == own.seq
    lease = desk.state.leases.held_by(carol.session)[0]
    assert told["Now"] == [f"carol holds a lease on src/**, token {lease.token}"]
    assert bob.session not in new.text


def test_a_session_has_a_recap_and_a_log_however_it_ended(tmp_path: Path) -> None:
    desk = Desk(State(epoch=1, store="test", rules=Rules(generated=True)))
    user = desk.member("ann", Actor.USER)
    names = ("closed", "expired", "evicted", "taken")
    members = {name: desk.member(name) for name in names}
    for name, member in members.items():
        member.do(Put(f"{name}.md", PLAN, type=DocumentType.PLAN))
        member.do(Edit(f"{name}.md", b"[ ] first", b"[x] first"))
    members["closed"].ask(Close())
    assert not isinstance(user.ask(EvictSession(members["evicted"].session)), Refused)
    Member(desk, "taken", Actor.AGENT).open(takeover=True)
    desk.refresh()
    with tracing(desk, tmp_path / "state.db"):
        pass
    # The coordinator is killed too; what its next life knows is in the journal.
    desk = killed(desk, tmp_path / "state.db")
    before = len(desk.entries)
    desk.tick(60)
    asker = desk.member("asker")
    desk.refresh()
    with tracing(desk, tmp_path / "state.db", before) as trace:
        for name, member in members.items():
            recap = inquire(trace, asker, RecapSession(member.session))
            assert isinstance(recap, Recap)
            (part,) = recap.parts
            (line,) = part.lines
            assert line.startswith(f"{name}.md@1 to @2, 2 changes")
            assert line.endswith('checked off "first"')
            log = asker.read(f"logs/{name}-{member.session}.md")
            ends = re.findall(r"^- \d+ \S+ \S+ close: (\w+)", log, re.MULTILINE)
            assert ends == ["superseded" if name == "taken" else name]
