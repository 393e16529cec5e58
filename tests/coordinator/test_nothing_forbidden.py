"""Random histories of requests, files edited past the coordinator, unlocks and time.

The two promises: no forbidden byte ever becomes a revision, and no refused byte is ever lost. What
may be written is worked out here a second time, from the table in the design and the records.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass, field
from random import Random
from typing import Final

import pytest

from agent_trace_coordinator.core import decision, files, grants, policy, violations
from agent_trace_coordinator.core.inputs import FoundFile
from agent_trace_coordinator.core.records import Change, Changed, Entry, Locked, Unlocked, Violated
from agent_trace_protocol import (
    Action,
    Actor,
    Add,
    Append,
    ApplyViolation,
    Delete,
    DiscardViolation,
    DocumentType,
    Edit,
    Events,
    Lock,
    Move,
    Operation,
    Put,
    Reclassify,
    Refused,
    Restore,
    Transact,
    Unlock,
)
from mutants.plant import Mutant, planted
from support.core import Desk, Member

STALE_SECONDS: Final = 10.0
SECRET: Final = re.compile(rb"gh[p]_[A-Za-z0-9]{36}")
PAYLOADS: Final = ("text", "text", "text", "nul", "latin", "secret")
PATHS: Final = (
    *("a.md", "api.md", "context.md", "logs/x.md", "notes/b.md", "plan.md"),
    *("Context.md", "../x", "/etc/passwd", ".git/config", ".agent-trace/state.db", "a//b"),
    *(
        "./a.md",
        "CON",
        "a\0b",
        "A.MD",
        "a.md/below.md",
        "running_summary.md",
        "b.md ",
        "o\u0308.md",
    ),
)
FREE: Final = {DocumentType.PLAN, DocumentType.SCRATCH}
GENERATED: Final = {"agent-trace.md", "context.md", "running_summary.md"}


def effective(change: Change, path: str) -> DocumentType:
    return DocumentType.CONTEXT if path.lower() in GENERATED else change.type


@dataclass
class History:
    """A store, who is there, and what has been let in so far."""

    desk: Desk = field(default_factory=Desk)
    seen: dict[str, float] = field(default_factory=dict[str, float])
    watching: bool = False
    grants: dict[int, tuple[Unlocked, float]] = field(
        default_factory=dict[int, tuple[Unlocked, float]]
    )
    """Unlocks, and when each has to end."""
    secrets: set[bytes] = field(default_factory=set[bytes])
    """Credentials that a user has confirmed."""
    violations: list[int] = field(default_factory=list[int])
    checked: int = 0
    number: int = 0

    def __post_init__(self) -> None:
        self.members = [
            self.desk.member("ann", Actor.USER),
            self.desk.member("planner"),
            self.desk.member("eve", Actor.READER),
        ]
        for member in self.members:
            self.seen[member.name] = self.desk.time
        user = self.members[0]
        for path, type in (
            ("api.md", DocumentType.REFERENCE),
            ("context.md", DocumentType.CONTEXT),
            ("logs/x.md", DocumentType.LOG),
            ("plan.md", DocumentType.PLAN),
        ):
            user.do(Put(path, b"one\ntwo\nthree\n", type=type), confirm=True)
        self.checked = len(self.desk.entries)

    def text(self, payload: str) -> bytes:
        """Return a text that no other one is equal to, and that can be found again."""
        self.number += 1
        letters = string.ascii_letters[self.number % 52]
        key = f"gh{'p'}_{self.number:06d}{letters * 30}"
        body = {"text": "text", "nul": "nul\0", "latin": "", "secret": key}[payload].encode()
        return b"%d:%b%b\n" % (self.number, body, b"\xff" if payload == "latin" else b"")

    def is_live(self, name: str) -> bool:
        return self.desk.time - self.seen[name] <= STALE_SECONDS

    def is_unlocked(self, document: int) -> bool:
        return any(
            grant.document == document and self.desk.time < until
            for grant, until in self.grants.values()
        )

    # -- steps -----------------------------------------------------------------------------

    def ask(self, member: Member, operations: tuple[Operation, ...], confirm: bool) -> bool:
        """Ask for a transaction; return whether it was refused with a record of it."""
        self.seen[member.name] = self.desk.time
        if member.actor is Actor.USER:
            self.watching = False
        reply = member.ask(Transact(operations, confirm=confirm))
        return isinstance(reply, Refused) and bool(reply.error.violation)

    def check(self, text: bytes, confirm: bool, kept: bool) -> None:
        """Look at everything that the step has put on record."""
        fresh, self.checked = self.desk.entries[self.checked :], len(self.desk.entries)
        for entry in fresh:
            body = entry.record.body
            if isinstance(body, (Unlocked, Locked)):
                assert entry.record.actor in (Actor.USER, Actor.SYSTEM)
            if isinstance(body, Unlocked):
                self.grants[entry.record.seq] = (body, self.desk.time + body.seconds)
            elif isinstance(body, Locked):
                for seq in body.unlocks:
                    del self.grants[seq]
            elif isinstance(body, Violated):
                self.violations.append(entry.record.seq)
            elif isinstance(body, Changed):
                self.check_changed(entry, body, confirm)
        if kept:
            assert any(text in content for content in self.kept_in(fresh)), text

    def kept_in(self, entries: list[Entry]) -> list[bytes]:
        return [
            self.desk.contents[each.content_key]
            for entry in entries
            if isinstance(entry.record.body, Violated)
            for each in entry.record.body.kept
            if each.content_key
        ]

    def check_changed(self, entry: Entry, body: Changed, confirm: bool) -> None:
        record = entry.record
        assert record.actor is not Actor.READER
        confirmed = confirm and record.actor is Actor.USER and not body.source
        for _, content in entry.contents:
            assert b"\0" not in content
            content.decode()
            if confirmed:
                self.secrets.update(SECRET.findall(content))
            assert set(SECRET.findall(content)) <= self.secrets
        for change in body.changes:
            parts = change.path.lower().split("/")
            assert not {"", ".", "..", ".git", ".agent-trace", "con"} & set(parts)
            assert change.path == change.path.strip() and change.path.isprintable()
            types = {effective(change, change.path)}
            if change.previous_path:
                types.add(effective(change, change.previous_path))
            if body.source:
                self.check_file(change, types)
            elif record.actor is Actor.AGENT and not types <= FREE:
                assert self.is_unlocked(change.document)
                assert change.action not in {Action.CREATE, Action.RECLASSIFY}
            elif not types <= {*FREE, DocumentType.REFERENCE}:
                assert confirmed

    def check_file(self, change: Change, types: set[DocumentType]) -> None:
        user = self.is_live("ann") and not self.watching
        assert types <= {*FREE, DocumentType.REFERENCE}
        if DocumentType.REFERENCE in types and self.is_live("planner") and not user:
            assert self.is_unlocked(change.document)
        if change.action is Action.DELETE:
            assert user


HISTORIES: Final = 120
STEPS: Final = 60
WHATS: Final = (
    *("put", "append", "edit", "delete", "move", "add", "restore", "reclassify", "two"),
    *("file", "file", "behind", "half", "gone", "moved", "symlink"),
    *("unlock", "lock", "apply", "discard", "tick", "tick", "watch"),
)


@pytest.mark.parametrize("first", range(0, HISTORIES, 20))
def test_no_forbidden_byte_becomes_a_revision_and_no_refused_byte_is_lost(first: int) -> None:
    for seed in range(first, first + 20):
        live_through(seed)


def live_through(seed: int) -> None:
    draw = Random(seed)
    history = History()
    for _ in range(STEPS):
        # Mostly what there is, so that something happens to it.
        known = [*history.desk.state.paths, "new.md", "context.md"]
        path, other = (draw.choice(PATHS if draw.random() < 0.25 else known) for _ in range(2))
        member = draw.choice(history.members)
        take(
            history,
            draw.choice(WHATS),
            member,
            path,
            other,
            draw.choice(PAYLOADS),
            draw.random() < 0.3,
            draw.choice((1, 4, 11, 25)),
        )
    # Discarding erases texts from the state; what is on record is there until somebody did.
    for violation in history.desk.state.violations.values():
        for each in violation.body.kept:
            assert not each.size or each.content_key in history.desk.contents


_JUDGE = files._Judge  # pyright: ignore[reportPrivateUsage]
_unlock = policy._unlock  # pyright: ignore[reportPrivateUsage]

BUGS: Final = tuple(
    Mutant(name, function, old, new, "what must not be written is, or what was refused is gone")
    for name, function, old, new in (
        ("a file may hold secrets", _JUDGE.check_content, "if secret is not None:", "if False:"),
        ("agents alone edit references", _JUDGE.allow, "and self.only_agents:", "and False:"),
        (
            "generated files are adopted",
            _JUDGE.allow,
            "if permit_of(type, Actor.USER, verb) is not Permit.YES:",
            "if False:",
        ),
        ("anybody deletes files", _JUDGE.deletion, "if not self.user_live:", "if False:"),
        ("who watches edits", _JUDGE.__init__, "and not session.watching", ""),
        ("a refused file is not kept", _JUDGE.refuse, "if not file.moved_to:", "if False:"),
        (
            "a file becomes a generated one",
            _JUDGE.move,
            "if protecting_type(new_path) is not None:",
            "if False:",
        ),
        ("a file leaves the law", _JUDGE.move, "if parse_path(new_path) != new_path:", "if False:"),
        (
            "a refused text is not kept",
            violations.violated,
            "if text.outcome and len(text.outcome) <= room:",
            "if False:",
        ),
        ("unlocks never end", grants.expired, "if grant.until <= now.monotonic:", "if False:"),
        ("agents unlock", _unlock, "if session.actor is not Actor.USER:", "if False:"),
        (
            "agents confirm",
            decision.Decision.check_confirmation,
            "if self.confirm and self.actor is not Actor.USER:",
            "if False:",
        ),
        (
            "a name protects nothing",
            decision.Decision.allow,
            "type = effective_type(path, type)",
            "pass",
        ),
    )
)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name.replace(" ", "-"))
def test_the_histories_find_the_planted_bug(bug: Mutant) -> None:
    with planted(bug), pytest.raises((AssertionError, KeyError)):
        for seed in range(HISTORIES):
            live_through(seed)


def take(
    history: History,
    what: str,
    member: Member,
    path: str,
    other: str,
    payload: str,
    confirm: bool,
    seconds: int,
) -> None:
    desk, user = history.desk, history.members[0]
    text = history.text(payload)
    operations: dict[str, tuple[Operation, ...]] = {
        "put": (Put(path, text),),
        "append": (Append(path, text),),
        "edit": (Edit(path, b"two", text),),
        "delete": (Delete(path),),
        "move": (Move(path, other),),
        "add": (Add(path),),
        "restore": (Restore(path, 1),),
        "reclassify": (Reclassify(path, DocumentType.REFERENCE),),
        "two": (Put("a.md", text), Append(path, text)),
    }
    kept = False
    if what in operations:
        refused = history.ask(member, operations[what], confirm)
        kept = refused and what in {"put", "append", "edit", "two"}
        if not kept:
            history.check(text, confirm, kept=False)
            return
    elif what in {"file", "behind", "half", "gone", "moved", "symlink"}:
        change_file(history, what, path, other, text)
        return
    elif what == "unlock":
        history.seen[member.name] = desk.time
        history.watching = history.watching and member is not user
        member.ask(Unlock(path, seconds=30))
    elif what == "lock":
        history.seen[member.name] = desk.time
        history.watching = history.watching and member is not user
        member.ask(Lock(path))
    elif what in {"apply", "discard"} and history.violations:
        id = f"violation-{history.violations[-1]}"
        if what == "apply":
            history.ask(member, (ApplyViolation(id),), confirm)
        else:
            history.seen[member.name] = desk.time
            history.watching = history.watching and member is not user
            member.ask(DiscardViolation(id))
    elif what == "tick":
        desk.tick(seconds)
        # Sessions that have expired begin anew.
        for each in history.members:
            if each.session not in desk.state.sessions:
                each.key = each.key[::-1] if each.key[::-1] != each.key else bytes(16)
                each.number = 0
                each.open()
                history.seen[each.name] = desk.time
                history.watching = history.watching and each is not user
    elif what == "watch":
        user.ask(Events(desk.state.seq))
        history.seen["ann"], history.watching = desk.time, True
    history.check(text, confirm, kept)


def change_file(history: History, what: str, path: str, other: str, text: bytes) -> None:
    """Somebody does something to a document's file; only documents' files are ever looked at."""
    desk = history.desk
    document = desk.state.document_at(path)
    if document is None:
        return
    before = len(desk.entries)
    if what in {"file", "behind"}:
        base = max(1, document.revision - 1) if what == "behind" else document.revision
        desk.change_files(desk.found(path, text, base=base))
    elif what == "half":
        desk.change_files(desk.found(path, text[: len(text) // 2]))
        history.check(text, confirm=False, kept=False)
        desk.change_files(desk.found(path, text))
    elif what == "gone":
        desk.change_files(desk.found(path, None))
    elif what == "moved":
        desk.change_files(FoundFile(path, None, moved_to=other))
    else:
        desk.change_files(desk.found(path, None, problem="is a symbolic link"))
    fresh = desk.entries[before:]
    history.check(text, confirm=False, kept=False)
    if what in {"file", "behind", "half"}:
        # A person's text is in a revision or in the quarantine, whole.
        made = [content for entry in fresh for _, content in entry.contents]
        assert any(text in content for content in made), (what, path, text)
    elif not any(isinstance(entry.record.body, Changed) for entry in fresh):
        # What was not adopted is undone: the document's file comes back.
        assert desk.put_back[-1] == path
