"""The core with a memory instead of a disk: requests in, answers and records out."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from agent_trace_coordinator.core.documents import required_for
from agent_trace_coordinator.core.effects import Answer, AnswerContent, Append, Effect
from agent_trace_coordinator.core.inputs import Facts, Now, Received, Tick
from agent_trace_coordinator.core.invariants import check
from agent_trace_coordinator.core.machine import step
from agent_trace_coordinator.core.records import Change, Changed, Entry, Record, request_fingerprint
from agent_trace_coordinator.core.state import Rules, State
from agent_trace_protocol import (
    Actor,
    Committed,
    Document,
    ErrorInfo,
    Open,
    Opened,
    Operation,
    Put,
    Read,
    Refused,
    Reply,
    Request,
    SessionKind,
    Transact,
    encode,
    session_id_of,
)

__all__ = ["Desk", "Member"]


@dataclass
class Desk:
    """A store in memory. Every step is checked against the invariants."""

    state: State = field(default_factory=lambda: State(epoch=1, store="test", rules=Rules()))
    time: float = 1000.0
    entries: list[Entry] = field(default_factory=list[Entry])
    contents: dict[int, bytes] = field(default_factory=dict[int, bytes])
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """Files that lie in the store's directory and are no documents."""

    def now(self) -> Now:
        return Now(self.time, 1_700_000_000_000 + int(self.time * 1000))

    def run(self, effects: list[Effect]) -> Reply | None:
        reply: Reply | None = None
        for effect in effects:
            if isinstance(effect, Append):
                self.entries.append(effect.entry)
                self.contents.update(effect.entry.contents)
            elif isinstance(effect, Answer):
                reply = effect.reply
            elif isinstance(effect, AnswerContent):
                record, change = self.change(effect.document.id, effect.revision)
                reply = Document(
                    change.path,
                    change.type,
                    change.revision,
                    self.contents[change.content_key],
                    record.seq,
                    record.time_ms,
                    record.author,
                )
        check(self.state)
        return reply

    def change(self, document: int, revision: int) -> tuple[Record, Change]:
        for entry in self.entries:
            if isinstance(entry.record.body, Changed):
                for change in entry.record.body.changes:
                    if (change.document, change.revision) == (document, revision):
                        return entry.record, change
        raise KeyError((document, revision))

    def tick(self, seconds: float = 1.0) -> None:
        """Let time pass as a running coordinator sees it."""
        while seconds > 0:
            self.time += min(1.0, seconds)
            seconds -= 1.0
            self.run(step(self.state, Tick(), self.now()))

    def facts(self, session: str, number: int, request: Request) -> Facts:
        facts = Facts()
        if isinstance(request, Transact):
            for entry in self.entries:
                if (entry.record.session, entry.record.request) == (session, number):
                    facts.previous = entry.record
            required = required_for(self.state, request.operations)
            facts.contents = {key: self.contents[key] for key in required.contents}
            for document, revision in required.revisions:
                try:
                    _, change = self.change(document, revision)
                except KeyError:
                    continue
                if change.content_key:
                    facts.revisions[document, revision] = self.contents[change.content_key]
            facts.files = {path: self.files[path] for path in required.files & self.files.keys()}
        return facts

    def ask(
        self, key: bytes, number: int, request: Request, facts: Facts | None = None
    ) -> Reply | None:
        """Send one request and return its answer."""
        session = session_id_of(key)
        fingerprint = request_fingerprint(encode(request))
        if facts is None:
            facts = self.facts(session, number, request)
        received = Received(session, number, fingerprint, request, facts)
        return self.run(step(self.state, received, self.now()))

    def member(self, name: str = "planner", actor: Actor = Actor.AGENT) -> Member:
        """Open a session."""
        member = Member(self, name, actor)
        opened = member.open()
        assert isinstance(opened, Opened), opened
        return member


@dataclass
class Member:
    """One agent or user with a session."""

    desk: Desk
    name: str
    actor: Actor
    kind: SessionKind = SessionKind.LIBRARY
    key: bytes = field(default_factory=lambda: os.urandom(16))
    number: int = 0

    @property
    def session(self) -> str:
        return session_id_of(self.key)

    def open(
        self, facts: Facts | None = None, *, takeover: bool = False, ephemeral: bool = False
    ) -> Reply | None:
        request = Open(self.name, self.actor, self.kind, takeover=takeover, ephemeral=ephemeral)
        return self.desk.ask(self.key, 0, request, facts or Facts())

    def ask(self, request: Request) -> Reply | None:
        self.number += 1
        return self.desk.ask(self.key, self.number, request)

    def do(self, *operations: Operation) -> Committed:
        """Carry operations out; they must be accepted."""
        reply = self.ask(Transact(operations))
        assert isinstance(reply, Committed), reply
        return reply

    def fail(self, *operations: Operation) -> ErrorInfo:
        """Try operations that must be refused."""
        before = len(self.desk.entries)
        reply = self.ask(Transact(operations))
        assert isinstance(reply, Refused), reply
        if reply.error.conflict is None or not reply.error.conflict.draft:
            assert len(self.desk.entries) == before, "a refusal left a record"
        return reply.error

    def put(self, path: str, text: str, if_revision: int | None = None) -> Committed:
        return self.do(Put(path, text.encode(), if_revision))

    def read(self, path: str, revision: int = 0) -> str:
        reply = self.ask(Read(path, revision))
        assert isinstance(reply, Document), reply
        return reply.content.decode()
