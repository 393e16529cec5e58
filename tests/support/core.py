"""The core with a memory instead of a disk: requests in, answers and records out."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from agent_trace_coordinator.core.draft_views import info_of_draft, report_of_draft
from agent_trace_coordinator.core.effects import (
    Answer,
    AnswerContent,
    AnswerDrafts,
    AnswerViolation,
    Append,
    Effect,
    PutBack,
)
from agent_trace_coordinator.core.generated import is_rendered, required_for_generated
from agent_trace_coordinator.core.inputs import (
    RECORDED_REQUESTS,
    Facts,
    FilesChanged,
    FoundFile,
    Now,
    Received,
    Refresh,
    Tick,
)
from agent_trace_coordinator.core.invariants import check
from agent_trace_coordinator.core.machine import step
from agent_trace_coordinator.core.records import (
    Change,
    Changed,
    Entry,
    Record,
    content_digest,
    request_fingerprint,
)
from agent_trace_coordinator.core.required import required_for
from agent_trace_coordinator.core.state import Rules, State
from agent_trace_coordinator.core.violations import report_of
from agent_trace_protocol import (
    Actor,
    Committed,
    Document,
    DraftPage,
    DraftReport,
    ErrorInfo,
    Open,
    Opened,
    Operation,
    Put,
    Read,
    RefreshDocuments,
    Refused,
    Reply,
    Request,
    SessionKind,
    ShowDraft,
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
    blocked: dict[str, str] = field(default_factory=dict[str, str])
    """Paths on which a symlink is in the way, and what is said about it."""
    put_back: list[str] = field(default_factory=list[str])
    """Documents whose files were brought back."""
    numbers: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])
    """The requests that have a record, by session and number."""
    late: dict[tuple[bytes, int], Reply] = field(default_factory=dict[tuple[bytes, int], Reply])
    """Answers to earlier requests, by the key of the session and the request's number."""
    asking: tuple[bytes, int] = (b"", 0)

    def now(self) -> Now:
        return Now(self.time, 1_700_000_000_000 + int(self.time * 1000))

    def run(self, effects: list[Effect]) -> Reply | None:
        reply: Reply | None = None
        for effect in effects:
            if isinstance(effect, Append):
                record = effect.entry.record
                number = record.session, record.request
                # As the index of a journal does, which would end the coordinator.
                assert not record.request or number not in self.numbers, record
                self.numbers.add(number)
                self.entries.append(effect.entry)
                self.contents.update(effect.entry.contents)
            elif isinstance(effect, Answer):
                to = effect.to
                if to is None or (to.peer, to.number) == self.asking:
                    reply = effect.reply
                else:
                    self.late[to.peer, to.number] = effect.reply
            elif isinstance(effect, PutBack):
                self.put_back.append(effect.path)
            elif isinstance(effect, AnswerViolation):
                reply = report_of(
                    effect.violation,
                    effect.info,
                    effect.current,
                    lambda key, _: self.contents[key],
                )
            elif isinstance(effect, AnswerDrafts):
                reply = self.drafts(effect)
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

    def drafts(self, answer: AnswerDrafts) -> DraftPage | DraftReport:
        revisions = _Revisions(self)
        if isinstance(answer.request, ShowDraft):
            return report_of_draft(*answer.drafts[0], revisions)
        return DraftPage(
            tuple(info_of_draft(*each, revisions) for each in answer.drafts), answer.more
        )

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
        if isinstance(request, Read) and is_rendered(self.state, request.path):
            return self.generated_facts(request.path)
        if isinstance(request, RefreshDocuments):
            return self.generated_facts()
        if isinstance(request, Transact):
            facts.previous = self.previous(session, number)
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
            facts.blocked = {
                path: self.blocked[path] for path in required.files & self.blocked.keys()
            }
        elif isinstance(request, RECORDED_REQUESTS):
            facts.previous = self.previous(session, number)
        return facts

    def refresh(self) -> None:
        """Bring the generated documents up to date."""
        self.run(step(self.state, Refresh(self.generated_facts()), self.now()))

    def generated_facts(self, path: str = "") -> Facts:
        required = required_for_generated(self.state, path)
        facts = Facts(contents={key: self.contents[key] for key in required.contents})
        facts.files = {path: self.files[path] for path in required.files & self.files.keys()}
        return facts

    def found(
        self, path: str, content: bytes | None, *, base: int | None = None, problem: str = ""
    ) -> FoundFile:
        """Return what was found in a document's file; it showed revision `base` before."""
        document = self.state.document_at(path)
        revision = 0 if document is None else document.revision
        return FoundFile(path, content, problem, revision if base is None else base)

    def change_files(self, *files: FoundFile) -> None:
        """Files were changed past the coordinator."""
        facts = Facts()
        for file in files:
            document = self.state.document_at(file.path) or self.state.documents.get(file.left_by)
            if document is None:
                continue
            if not document.deleted:
                facts.contents[document.content_key] = self.contents[document.content_key]
            try:
                _, change = self.change(document.id, file.base_revision)
            except KeyError:
                continue
            if change.content_key:
                content = self.contents[change.content_key]
                facts.revisions[document.id, file.base_revision] = content
        self.run(step(self.state, FilesChanged(files, facts), self.now()))

    def previous(self, session: str, number: int) -> Record | None:
        for entry in self.entries:
            if (entry.record.session, entry.record.request) == (session, number):
                return entry.record
        return None

    def ask(
        self, key: bytes, number: int, request: Request, facts: Facts | None = None
    ) -> Reply | None:
        """Send one request and return its answer."""
        session = session_id_of(key)
        fingerprint = request_fingerprint(encode(request))
        if facts is None:
            facts = self.facts(session, number, request)
        received = Received(session, number, fingerprint, request, facts, peer=key)
        self.asking = key, number
        try:
            return self.run(step(self.state, received, self.now()))
        finally:
            self.asking = b"", 0

    def member(self, name: str = "planner", actor: Actor = Actor.AGENT) -> Member:
        """Open a session."""
        member = Member(self, name, actor)
        opened = member.open()
        assert isinstance(opened, Opened), opened
        return member


@dataclass
class _Revisions:
    desk: Desk

    def content(self, key: int, digest: bytes) -> bytes:
        content = self.desk.contents[key]
        assert content_digest(content) == digest
        return content

    def change(self, document: int, revision: int) -> tuple[Record, Change] | None:
        try:
            return self.desk.change(document, revision)
        except KeyError:
            return None


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

    def do(self, *operations: Operation, confirm: bool = False) -> Committed:
        """Carry operations out; they must be accepted."""
        reply = self.ask(Transact(operations, confirm=confirm))
        assert isinstance(reply, Committed), reply
        return reply

    def fail(self, *operations: Operation, confirm: bool = False) -> ErrorInfo:
        """Try operations that must be refused."""
        before = len(self.desk.entries)
        reply = self.ask(Transact(operations, confirm=confirm))
        assert isinstance(reply, Refused), reply
        kept = (each.draft for each in (reply.error.conflict, reply.error.lease) if each)
        if not reply.error.violation and not any(kept):
            assert len(self.desk.entries) == before, "a refusal left a record"
        return reply.error

    def put(self, path: str, text: str, if_revision: int | None = None) -> Committed:
        return self.do(Put(path, text.encode(), if_revision))

    def read(self, path: str, revision: int = 0) -> str:
        reply = self.ask(Read(path, revision))
        assert isinstance(reply, Document), reply
        return reply.content.decode()
