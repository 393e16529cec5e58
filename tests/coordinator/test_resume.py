"""What an agent finds when it comes back: every planted fact of the last session, 100 histories.

Each history is made from a seed: an agent works, others work beside it, much else happens; then it
dies, or the coordinator, in one of several ways. What counts is whether its successor is told what
was planted, within the default budget.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from agent_trace_protocol import (
    AcquireLease,
    Action,
    Actor,
    Append,
    Briefing,
    Close,
    Edit,
    EvictSession,
    Leased,
    Put,
    Refused,
    StatementList,
    Steer,
)
from agent_trace_protocol.model import DocumentType
from support.core import Desk, Member
from support.trace import brief, killed, tracing

WORDS = (
    "amber basalt cedar delta ember flint grove harbor iris jade kelp linen maple nickel".split()
)

HISTORIES = 100


@dataclass
class History:
    """One history under construction, and what has to be found in the briefing."""

    random: Random
    desk: Desk
    facts: dict[str, str] = field(default_factory=dict[str, str])

    def words(self, count: int = 3) -> str:
        chosen = self.random.sample(WORDS, count)
        return f"{' '.join(chosen)} {self.random.randrange(1000, 10_000)}"


def plan_text(history: History) -> str:
    facts, random = history.facts, history.random
    for name in ("objective", "phase", "next step", "open item", "second open item"):
        facts[name] = history.words()
    front = random.random() < 0.3
    objective = facts["objective"]
    head = f"---\nobjective: {objective}\n---\n# Plan\n" if front else "# Plan\n"
    goals = "" if front else f"\n## Goals\n\n- {objective}\n"
    phase = random.choice(
        [f"Current phase: {facts['phase']}\n", f"\n## Current phase\n\n{facts['phase']}\n"]
    )
    step = random.choice(
        [f"\nNext step: {facts['next step']}\n", f"\n## Next steps\n\n1. {facts['next step']}\n"]
    )
    items = "".join(f"- [x] {history.words()}\n" for _ in range(random.randrange(6)))
    return (
        f"{head}{goals}\n{phase}\n## Tasks\n\n{items}- [ ] {facts['open item']}\n"
        f"- [ ] {facts['second open item']}\n{step}"
    )


def make_noise(history: History, member: Member, count: int) -> None:
    """Let somebody write about other things."""
    for _ in range(count):
        name = f"{history.random.choice(WORDS)}.md"
        path = f"{member.name}/{name}"
        member.do(Append(path, f"{history.words(6)}\n".encode()))


def grow(seed: int) -> History:
    """Return a history after which the planner is gone."""
    random = Random(seed)
    desk = Desk()
    history = History(random, desk)
    facts = history.facts
    user = desk.member("ann", Actor.USER)
    bob = desk.member("bob")
    user.do(Put("api.md", b"# Interface\n", type=DocumentType.REFERENCE))
    bob.do(Put("shared.md", b"one\ntwo\nthree\n"))
    make_noise(history, bob, random.randrange(12))
    if random.random() < 0.4:
        earlier = desk.member("planner")
        make_noise(history, earlier, random.randrange(1, 20))
        earlier.ask(Close())
    planner = desk.member("planner")
    path = random.choice(["plan.md", "plans/main plan.md", "docs/roadmap.md"])
    planner.do(Put(path, plan_text(history).encode(), type=DocumentType.PLAN))
    make_noise(history, planner, random.randrange(20))

    # It reads what bob then changes, and writes a plan that rests on it.
    planner.read("shared.md")
    steps = [refused_write, lost_lease, late_write, steering]
    random.shuffle(steps)
    for each in steps:
        each(history, planner, bob, user)
        make_noise(history, bob, random.randrange(4))
    done = history.words()
    planner.do(Edit(path, b"# Plan\n", f"# Plan\n\n- [x] {done}\n".encode()))
    facts["last edit"] = f'added done item "{done}"'
    if random.random() < 0.5:
        # A plan that is long, of somebody else.
        items = "".join(f"- [ ] {history.words(8)}\n" for _ in range(random.randrange(60)))
        bob.do(Put("bob/plan.md", f"# Other\n\n{items}".encode(), type=DocumentType.PLAN))
    change = history.words()
    bob.do(Edit("shared.md", b"two\n", f"{change}\n".encode()))
    facts["a peer's change"] = f'shared.md@2 (+1 -1): changed "two" to "{change}"'
    make_noise(history, bob, random.randrange(15))
    end_planner(history, planner, user)
    return history


def refused_write(history: History, planner: Member, bob: Member, user: Member) -> None:
    error = planner.fail(Put("api.md", history.words().encode()))
    history.facts["refused write"] = f"{error.violation}: your put api.md was refused"


def late_write(history: History, planner: Member, bob: Member, user: Member) -> None:
    planner.put("late.md", "base\n")
    bob.put("late.md", "theirs\n", 1)
    error = planner.fail(Put("late.md", b"mine\n", 1))
    assert error.conflict is not None
    history.facts["superseded write"] = f"{error.conflict.draft} waits: your write to late.md"


def lost_lease(history: History, planner: Member, bob: Member, user: Member) -> None:
    leased = planner.ask(AcquireLease("shared.md", ttl_seconds=30))
    assert isinstance(leased, Leased), leased
    stolen = user.ask(AcquireLease("shared.md", ttl_seconds=60, steal=True))
    assert isinstance(stolen, Leased), stolen
    history.facts["lost lease"] = (
        f"lost lease: shared.md (token {leased.lease.token}, taken away); ann got it by "
        f"operation {stolen.lease.token}"
    )


def steering(history: History, planner: Member, bob: Member, user: Member) -> None:
    """A user says where things go, perhaps again and otherwise, perhaps among other things."""
    words, replaces = history.words(6), ""
    if history.random.random() < 0.4:
        replaces = said_by(user, Steer(history.words()))
    standing = said_by(user, Steer(words, replaces))
    for _ in range(history.random.randrange(3)):
        said_by(user, Steer(history.words(8)))
    history.facts["a user's statement"] = f"{standing}, ann, "
    history.facts["its words"] = f'"{words}"'


def said_by(user: Member, statement: Steer) -> str:
    reply = user.ask(statement)
    assert isinstance(reply, StatementList), reply
    return reply.statements[0].id


def end_planner(history: History, planner: Member, user: Member) -> None:
    """The planner's session ends in one of the ways in which sessions end, or is still open."""
    desk = history.desk
    way = history.random.choice(["killed", "closed", "expired", "evicted"])
    if way == "closed":
        planner.ask(Close())
    elif way == "expired":
        desk.tick(60)
    elif way == "evicted":
        assert not isinstance(user.ask(EvictSession(planner.session)), Refused)


def successor(desk: Desk) -> Member:
    member = Member(desk, "planner", Actor.AGENT)
    reply = member.open(takeover=True)
    assert not isinstance(reply, Refused), reply
    return member


@pytest.mark.parametrize("start", range(0, HISTORIES, 20))
def test_every_planted_fact_is_told_in_the_default_budget(start: int, tmp_path: Path) -> None:
    for seed in range(start, start + 20):
        history = grow(seed)
        path = tmp_path / f"{seed}.db"
        with tracing(history.desk, path):
            pass
        desk = killed(history.desk, path)
        before = len(desk.entries)
        member = successor(desk)
        with tracing(desk, path, before) as trace:
            briefing = brief(trace, member)
            again = brief(trace, member)

        lost = {name: fact for name, fact in history.facts.items() if fact not in briefing.text}
        assert not lost, f"seed {seed}: {lost}\n{briefing.text}"
        assert len(briefing.text.encode()) <= 6000
        assert again.text == briefing.text, f"seed {seed}"
        assert_stands_alone(briefing, history.facts, seed)


def assert_stands_alone(briefing: Briefing, facts: dict[str, str], seed: int) -> None:
    """Nearly all of it stands in the first part: what is long may be further down."""
    first = briefing.text.encode()[:2000].decode("utf-8", "ignore")
    lost = {name for name, fact in facts.items() if fact not in first}
    assert lost <= {"refused write", "its words"}, f"seed {seed}: {lost}\n{first}"
    assert "## What you did last" in first and Action.EDIT in first
