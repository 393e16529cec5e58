"""The oracle: it sees every request, record and reply, and knows what each may be.

It stands outside of the process it watches. The order is the journal's; what each operation has to
come to is the model's. Its own rules are tested in `test_checker.py`: a checker is trusted only for
the faults it has been shown to find.
"""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Final

from agent_trace_coordinator.core.apply import apply_record
from agent_trace_coordinator.core.records import (
    CHAIN_START,
    Changed,
    Discarded,
    Drafted,
    Entry,
    Record,
    Repeated,
    SessionClosed,
    SessionOpened,
    Violated,
    decode_record,
)
from agent_trace_coordinator.core.state import Rules, State
from agent_trace_coordinator.core.trace_state import is_generated
from agent_trace_protocol import (
    AcquireLease,
    Actor,
    Close,
    Committed,
    DiscardDraft,
    DiscardViolation,
    Document,
    Done,
    Durability,
    ErrorCode,
    EventPage,
    Events,
    Heartbeat,
    ListDocuments,
    Log,
    LogPage,
    Open,
    Opened,
    Page,
    Put,
    Read,
    Refused,
    Reply,
    Request,
    SessionKind,
    SessionList,
    Sessions,
    Transact,
    ViolationPage,
    Violations,
    decode_reply,
    decode_reply_envelope,
    decode_request,
    decode_request_envelope,
)

from .file_oracle import FileOracle
from .follow_oracle import FollowOracle
from .generated_oracle import GeneratedOracle
from .lease_oracle import LEASE_RECORDS, LeaseOracle
from .leases import followed
from .model import (
    Accepted,
    Effect,
    Late,
    Model,
    ModelDocument,
    ModelDraft,
    ModelSession,
    ModelText,
    Rejected,
    Snapshot,
    Unsure,
    execute,
    is_path,
)

__all__ = ["Checker", "Sent", "Violation"]

PAUSE_SECONDS_IGNORED: Final = 2.0
"""Of each pause the coordinator may fail to notice as much: it looks once a second."""


class Violation(AssertionError):
    """The history is one that the promises rule out."""


@dataclass(slots=True)
class Sent:
    """A request, from the moment it was first sent."""

    session: str
    number: int
    body: bytes
    request: Request
    seq: int
    """The last durable operation when it was first sent: its answer may not be older."""
    acked: int
    """The last write that any client had been told of by then."""
    committed: Committed | None = None
    """The answer it got, without the commit id."""
    refused: bool = False
    """A refusal that leaves nothing was sent."""

    @property
    def fingerprint(self) -> bytes:
        return hashlib.blake2b(self.body, digest_size=8).digest()


@dataclass(slots=True)
class _Sign:
    """When a session was last heard of by the coordinator."""

    at: float
    life: int


@dataclass
class Checker:
    """Watches one world."""

    rules: Rules
    foreign: dict[str, bytes]
    state: State = field(init=False)
    """What `apply_record` makes of the durable records: what a restart would find."""
    model: Model = field(init=False)
    reads_count: int = 0
    writes_count: int = 0
    refused_then_done_count: int = 0
    """Requests that were refused and, when a copy arrived late, judged afresh and carried out."""

    def __post_init__(self) -> None:
        self.state = State(epoch=0, store="simulated", rules=self.rules)
        self.model = Model([Snapshot(0, foreign=dict(self.foreign))])
        self._records: list[Record] = []
        self._requests: dict[tuple[str, int], Record] = {}
        self._opened: set[str] = set()
        self._contents: dict[int, bytes] = {}
        self._sent: dict[tuple[str, int], list[Sent]] = {}
        self._sessions: dict[bytes, str] = {}
        self._openings: dict[str, Open] = {}
        self._acked = 0
        self._reply_seq = 0
        self._superseded_by = ""
        self._attempts: dict[int, bytes] = {}
        """What was tried when a draft was kept, by the record that keeps it."""
        self._unanswered: Counter[tuple[bytes, int]] = Counter()
        self._may_wait: set[tuple[bytes, int]] = set()
        """Requests that may wait, by connection: asked again elsewhere, they are answered there."""
        self._signs: dict[str, _Sign] = {}
        self._pauses: list[tuple[float, float]] = []
        self._life = 0
        self._read_only = False
        self.git_failed = False
        self._digest = hashlib.blake2b(digest_size=16)
        self.leases = LeaseOracle(self._candidates, self._sent_by, Violation)
        self.files = FileOracle(Violation, frozenset(self.foreign.values()))
        self.generated = GeneratedOracle(Violation)
        self.follow = FollowOracle(Violation)

    @property
    def seq(self) -> int:
        """The last durable operation."""
        return len(self._records)

    def digest(self) -> str:
        """Return a digest of everything that happened so far."""
        return self._digest.hexdigest()

    def _note(self, time: float, data: bytes) -> None:
        self._digest.update(struct.pack("<dI", time, len(data)) + data)

    # -- what clients do -------------------------------------------------------------------

    def on_sent(self, peer: bytes, session: str, number: int, body: bytes) -> None:
        """A client sends a request, for the first time or again."""
        self._sessions[peer] = session
        known = self._sent.setdefault((session, number), [])
        if any(sent.body == body for sent in known):
            return
        request = decode_request(body)
        if isinstance(request, Open):
            self._openings.setdefault(session, request)
        if isinstance(request, AcquireLease) and request.wait_seconds:
            self.leases.waiting.add(session)
        known.append(Sent(session, number, body, request, self.seq, self._acked))

    def on_answered(self, session: str, number: int, body: bytes, reply: Reply) -> None:
        """A client has got an answer: from here on everybody may know of it."""
        if isinstance(reply, Committed):
            record = self._record(reply.seq)
            sent = self._candidates(session, number)
            mine = [each for each in sent if each.body == body]
            if (record.session, record.request) != (session, number) or not mine:
                raise Violation(f"request {number} of {session} was told of record {reply.seq}")
            if record.fingerprint != mine[0].fingerprint:
                raise Violation(f"request {number} of {session} was told of another's record")
            self._acked = max(self._acked, reply.seq)

    # -- what the coordinator does ---------------------------------------------------------

    def on_started(self, life: int, now: float, state: State) -> None:
        """A coordinator has loaded its state."""
        self._life = life
        self._unanswered.clear()
        self._superseded_by = ""
        for sign in self._signs.values():
            # Whatever was silent before, the restart gives it its whole time again.
            sign.at = max(sign.at, now)
        self.leases.reloaded(self.model.last)
        self.leases.starts.append(now)
        self._compare(state)

    def on_paused(self, start: float, end: float) -> None:
        """The coordinator did not run from `start` to `end`."""
        self._pauses.append((start, end))

    def on_handled(self, peer: bytes, frames: list[bytes], now: float) -> None:
        """The coordinator takes a message of a connection's session."""
        request = decode_request(frames[1])
        number = decode_request_envelope(frames[0]).number
        if _waits(request):
            self._may_wait.add((peer, number))
        else:
            self._unanswered[peer, number] += 1
        session = self._sessions.get(peer)
        # Other requests may be refused before anybody looks whose they are.
        if session is not None and isinstance(request, Heartbeat):
            self._signs[session] = _Sign(now, self._life)

    def on_full(self, now: float) -> None:
        """The disk took no writes: the state is loaded anew, and every session seen just now."""
        for sign in self._signs.values():
            sign.at = max(sign.at, now)
        self.leases.reloaded(self.model.last)
        self._superseded_by = ""
        self._read_only = True

    def on_submit(self, entry: Entry, now: float) -> None:
        """The coordinator has decided something; a session may only end when it was silent."""
        record = entry.record
        body = record.body
        if isinstance(body, SessionOpened):
            # `seen` is set when the session opens, whatever came before.
            self._signs.setdefault(record.session, _Sign(now, self._life))
        expired = self.leases.submitted(record, now)
        if expired:
            since = max(self.leases.granted_at[expired], self._signs[record.session].at)
            if expired in self.model.last.leases:
                self._check_silent(record.session, self.leases.ttl_seconds[expired], now, since)
        if not isinstance(body, SessionClosed):
            return
        opening = self._openings[record.session]
        stale = self.rules.stale_seconds
        if body.reason == "expired":
            grace = self.rules.grace_seconds
            if opening.kind is SessionKind.CLI:
                grace = self.rules.grace_seconds_cli
            self._check_silent(record.session, stale + (0 if opening.ephemeral else grace), now)
        elif body.reason.startswith("superseded by "):
            successor = self._openings[body.reason.removeprefix("superseded by ")]
            if not successor.takeover:
                self._check_silent(record.session, stale, now)

    def _check_silent(
        self, session: str, seconds: float, now: float, since: float | None = None
    ) -> None:
        """The coordinator may not take its own absence for a session's."""
        since = self._signs[session].at if since is None else since
        silent = now - since
        for start, end in self._pauses:
            overlap = min(end, now) - max(start, since)
            if overlap > 0:
                silent -= max(0.0, overlap - PAUSE_SECONDS_IGNORED)
        if silent < seconds - 0.001:
            raise Violation(
                f"session {session} was ended at {now:.3f} after {silent:.1f} s of silence since "
                f"{since:.3f}, not {seconds} s; pauses: {self._pauses}"
            )

    def on_state(self, state: State, read_only: bool) -> None:
        """Compare the coordinator's state with what its durable records make of it."""
        self._read_only = read_only
        if state.seq == self.seq:
            self._compare(state)

    def _compare(self, state: State) -> None:
        mine = self.state
        for name in (
            "seq",
            "chain",
            "documents",
            "by_path",
            "by_fold",
            "folders",
            "deleted",
            "paths",
            "drafts",
            "holders",
            "latest",
        ):
            if getattr(state, name) != getattr(mine, name):
                raise Violation(
                    f"{name} is {getattr(state, name)!r}, the journal says {getattr(mine, name)!r}"
                )
        if not state.violations.keys() == mine.violations.keys() == self.model.last.violations:
            raise Violation(f"the violations that wait are {[*state.violations]}")
        self.leases.compare(state, self.model.last)
        theirs = {id: each for id, each in state.sessions.items() if each.journaled}
        if theirs.keys() != mine.sessions.keys():
            raise Violation("the open sessions are not those of the journal")
        for id, session in mine.sessions.items():
            other = theirs[id]
            if (session.name, session.actor, session.request_high, session.predecessor) != (
                other.name,
                other.actor,
                other.request_high,
                other.predecessor,
            ):
                raise Violation(f"session {other} is {session} in the journal")

    # -- records ---------------------------------------------------------------------------

    def on_durable(self, batch: list[Entry]) -> None:
        """A batch is durable."""
        for entry in batch:
            self._take(entry)

    def _take(self, entry: Entry) -> None:
        record = decode_record(entry.encoded)
        if record != entry.record:
            raise Violation(f"record {record.seq} is not what was decided")
        self._note(0.0, entry.chain)
        if record.seq != self.seq + 1:
            raise Violation(f"record {record.seq} follows record {self.seq}")
        if self._records and record.time_ms < self._records[-1].time_ms:
            raise Violation(f"record {record.seq} is older than the one before it")
        if self._records and record.epoch < self._records[-1].epoch:
            raise Violation(f"record {record.seq} is of an earlier life")
        last = self.model.last
        body = record.body
        after = replace(last, seq=record.seq)
        if isinstance(body, SessionOpened):
            after = self._open(last, record, body)
        elif isinstance(body, SessionClosed):
            after = self._close(last, record, body)
        elif isinstance(body, LEASE_RECORDS):
            self._once(record)
            after = self.leases.take(self._with_request(last, record), record, body)
            after = replace(after, seq=record.seq)
        elif isinstance(body, Discarded):
            self._once(record)
            sent = self._candidates(record.session, record.request)
            same = [each.request for each in sent if each.fingerprint == record.fingerprint]
            after = self.follow.discarded(self._with_request(last, record), record, body, same)
        elif is_generated(record):
            assert isinstance(body, Changed)
            contents = dict(entry.contents)
            after = self.generated.written(self.model, last, record, body, contents)
            self._contents.update(contents)
        elif isinstance(body, Changed) and body.source:
            after = self.files.adopted(self.model, last, record, body, dict(entry.contents))
            self._contents.update(entry.contents)
        elif isinstance(body, Violated) and body.source:
            after = self.files.refused(last, record, body, dict(entry.contents))
        elif isinstance(body, Repeated):
            known = record.session in last.sessions or record.actor is Actor.UNKNOWN
            if body.violation not in last.violations or not known:
                raise Violation(f"record {record.seq} counts a refusal that never was")
            if record.request:
                after = replace(self._with_request(last, record), seq=record.seq)
        elif not isinstance(body, (Changed, Drafted, Violated)):
            raise Violation(f"record {record.seq} is something that nobody asked for: {body}")
        else:
            after = self._transact(last, record, body, dict(entry.contents))
        self.model.snapshots.append(after)
        self._records.append(record)
        self.generated.happened(record)
        chain = hashlib.blake2b(self.state.chain + entry.encoded, digest_size=32).digest()
        if chain != entry.chain or (record.seq == 1 and self.state.chain != CHAIN_START):
            raise Violation(f"record {record.seq} does not match its chain")
        apply_record(self.state, record, chain, 0.0)

    def _open(self, last: Snapshot, record: Record, body: SessionOpened) -> Snapshot:
        id = record.session
        opening = self._openings.get(id)
        if opening is None:
            raise Violation(f"record {record.seq} opens session {id}, which nobody asked for")
        if (opening.name, opening.actor) != (record.author, record.actor):
            raise Violation(f"session {id} of {opening.name} is {record.author}'s in the journal")
        if id in self._opened:
            raise Violation(f"session {id} is opened a second time")
        self._opened.add(id)
        agent = record.actor is Actor.AGENT
        if agent and body.predecessor != last.latest.get(record.author, ""):
            raise Violation(f"session {id} follows {body.predecessor!r}, not its predecessor")
        if agent and not body.ephemeral and last.holder(record.author):
            raise Violation(f"two sessions hold the name {record.author}")
        if self._superseded_by not in ("", id):
            raise Violation(f"{self._superseded_by} has superseded a session and does not open")
        self._superseded_by = ""
        session = ModelSession(record.actor, record.author, body.ephemeral, body.predecessor)
        latest = last.latest
        if agent and not body.ephemeral:
            latest = {**latest, record.author: id}
        return replace(last, seq=record.seq, sessions={**last.sessions, id: session}, latest=latest)

    def _close(self, last: Snapshot, record: Record, body: SessionClosed) -> Snapshot:
        if record.session not in last.sessions:
            raise Violation(f"record {record.seq} closes session {record.session}, not open")
        if body.reason.startswith("superseded by "):
            self._superseded_by = body.reason.removeprefix("superseded by ")
        elif body.reason != "expired" and not any(
            isinstance(sent.request, Close)
            for (session, _), candidates in self._sent.items()
            if session == record.session
            for sent in candidates
        ):
            raise Violation(f"session {record.session} was closed and nobody asked for it")
        sessions = {id: each for id, each in last.sessions.items() if id != record.session}
        leases = self.leases.closed(last, record, body)
        return replace(last, seq=record.seq, sessions=sessions, leases=leases)

    def _once(self, record: Record) -> None:
        """A request that is carried out is carried out once."""
        if not record.request:
            return
        if (record.session, record.request) in self._requests:
            raise Violation(f"request {record.request} of {record.session} is carried out twice")
        self._requests[record.session, record.request] = record

    def _with_request(self, last: Snapshot, record: Record) -> Snapshot:
        """Return the store with the number of a session's request taken note of."""
        session = last.sessions.get(record.session)
        if session is None:
            return last
        known = replace(session, request_high=max(session.request_high, record.request))
        return replace(last, sessions={**last.sessions, record.session: known})

    def _transact(
        self,
        last: Snapshot,
        record: Record,
        body: Changed | Drafted | Violated,
        contents: dict[int, bytes],
    ) -> Snapshot:
        session = last.sessions.get(record.session)
        if session is None:
            raise Violation(f"record {record.seq} is of session {record.session}, not open")
        if (session.name, session.actor) != (record.author, record.actor):
            raise Violation(f"record {record.seq} of {session.name} says {record.author}")
        self._once(record)
        sent = next(
            (
                each
                for each in self._sent.get((record.session, record.request), ())
                if each.fingerprint == record.fingerprint
            ),
            None,
        )
        if sent is None or not isinstance(sent.request, Transact):
            raise Violation(f"record {record.seq} is of a request that nobody sent")
        if record.seq <= sent.acked:
            raise Violation(
                f"record {record.seq} was asked for after record {sent.acked} was acknowledged"
            )
        self.refused_then_done_count += sent.refused
        self.writes_count += 1
        expected = execute(
            self.model,
            last,
            record.actor,
            record.author,
            sent.request.operations,
            seq=record.seq,
            time_ms=record.time_ms,
            rules=self.rules,
            session=record.session,
            tokens=sent.request.leases,
        )
        if sent.request.leases:
            self.leases.written_count += isinstance(body, Changed)
            self.leases.stale_count += isinstance(body, Drafted)
        after = replace(self._with_request(last, record), seq=record.seq)
        if isinstance(body, Violated):
            return self._refuse(after, record, body, sent.request, expected, contents)
        if isinstance(body, Drafted):
            return self._draft(after, record, body, expected, contents)
        return self._change(after, record, body, expected, contents)

    def _refuse(
        self,
        after: Snapshot,
        record: Record,
        body: Violated,
        request: Transact,
        expected: object,
        contents: dict[int, bytes],
    ) -> Snapshot:
        if expected != Rejected(body.code):
            raise Violation(f"record {record.seq} refuses {body.code}, the model says {expected}")
        kept = set(contents.values())
        for operation in request.operations:
            if isinstance(operation, Put) and operation.content and operation.content not in kept:
                raise Violation(f"record {record.seq} does not keep {operation.content!r}")
        return replace(after, violations=after.violations | {record.seq})

    def _draft(
        self,
        after: Snapshot,
        record: Record,
        body: Drafted,
        expected: object,
        contents: dict[int, bytes],
    ) -> Snapshot:
        if not isinstance(expected, Late) or body.code is not expected.code:
            raise Violation(f"record {record.seq} is a conflict, the model says {expected}")
        conflict = body.conflict
        texts = tuple(
            ModelText(
                kept.path,
                kept.document,
                kept.base_revision,
                contents.get(kept.content_key),
                kept.type,
            )
            for kept in body.kept
        )
        told = (conflict.path, conflict.expected, conflict.current, texts)
        if told != (expected.path, expected.expected, expected.current, expected.texts):
            raise Violation(f"record {record.seq} says {told}, the model says {expected}")
        if expected.merged is not None and conflict.merged != expected.merged:
            raise Violation(f"record {record.seq} says merged={conflict.merged}")
        if conflict.draft != f"draft-{record.seq}":
            raise Violation(f"record {record.seq} is kept as {conflict.draft}")
        draft = ModelDraft(record.author, expected.texts)
        if any(self._attempts[seq] == body.attempt for seq in after.drafts):
            raise Violation(f"record {record.seq} keeps once more what is kept")
        self._attempts[record.seq] = body.attempt
        return replace(after, drafts={**after.drafts, record.seq: draft})

    def _change(
        self,
        after: Snapshot,
        record: Record,
        body: Changed,
        expected: object,
        contents: dict[int, bytes],
    ) -> Snapshot:
        documents = dict(after.documents)
        if isinstance(expected, Unsure):
            expected = self._merged(after, record, body, contents)
        if not isinstance(expected, Accepted):
            raise Violation(f"record {record.seq} is a change, the model says {expected}")
        if len(expected.effects) != len(body.changes) or expected.draft != body.draft:
            raise Violation(f"record {record.seq} has {body}, the model says {expected}")
        for change, effect in zip(body.changes, expected.effects, strict=True):
            document = effect.after
            before = effect.before
            moved = before is not None and not before.deleted and before.path != document.path
            facts = (
                change.document,
                change.action,
                change.path,
                change.previous_path,
                change.type,
                change.revision,
                change.added,
                change.removed,
            )
            if facts != (
                document.id,
                effect.action,
                document.path,
                before.path if before is not None and moved else "",
                document.type,
                document.revision,
                effect.added,
                effect.removed,
            ):
                raise Violation(f"record {record.seq} has {change}, the model says {effect}")
            self._check_content(record, change.content_key, change.size, document, contents)
            documents[document.id] = document
            self.model.made[document.id, document.revision] = document
        live = {each.path for each in documents.values() if not each.deleted}
        passed = {effect.after.path for effect in expected.effects}
        leases = after.leases
        for effect in expected.effects:
            if effect.before is not None and effect.before.path != effect.after.path:
                leases = followed(leases, effect.before.path, effect.after.path)
        return replace(
            after,
            documents=documents,
            leases=leases,
            drafts={seq: draft for seq, draft in after.drafts.items() if seq != body.draft},
            foreign={
                path: text
                for path, text in after.foreign.items()
                if path not in live and path not in passed
            },
        )

    def _check_content(
        self,
        record: Record,
        key: int,
        size: int,
        document: ModelDocument,
        contents: dict[int, bytes],
    ) -> None:
        if document.deleted:
            if key:
                raise Violation(f"record {record.seq} keeps a content for a deletion")
            return
        brought = contents.get(key)
        if brought is None:
            # A move brings no content; it points to the one that was there.
            brought = self._contents.get(key)
        self._contents.update(contents)
        if brought is None or brought != document.content or size != len(brought):
            raise Violation(
                f"record {record.seq} makes {document.path} {brought!r}, "
                f"the model says {document.content!r}"
            )

    def _merged(
        self, after: Snapshot, record: Record, body: Changed, contents: dict[int, bytes]
    ) -> Accepted | None:
        """Take a merge that the model can not make on trust, if every line of it is somebody's."""
        draft = after.drafts.get(body.draft)
        change = body.changes[0]
        document = after.documents.get(change.document)
        text = contents.get(change.content_key)
        if draft is None or document is None or text is None or len(body.changes) != 1:
            return None
        mine = draft.texts[0].text or b""
        known = set(mine.splitlines()) | set(document.content.splitlines())
        if not set(text.splitlines()) <= known:
            return None
        merged = replace(
            document,
            revision=document.revision + 1,
            content=text,
            seq=record.seq,
            time_ms=record.time_ms,
            author=record.author,
        )
        return Accepted(
            [Effect(change.action, document, merged, change.added, change.removed)], body.draft
        )

    # -- replies ---------------------------------------------------------------------------

    def on_reply(self, peer: bytes, frames: tuple[bytes, bytes], now: float) -> None:
        """The coordinator sends a reply: whether or not it arrives, it has to be right."""
        self._note(now, peer + frames[0] + frames[1])
        envelope = decode_reply_envelope(frames[0])
        reply = decode_reply(frames[1])
        session = self._sessions[peer]
        if envelope.seq != self.seq:
            raise Violation(f"a reply says seq {envelope.seq}; {self.seq} is durable")
        if envelope.seq < self._reply_seq:
            raise Violation(f"seq went back from {self._reply_seq} to {envelope.seq}")
        self._reply_seq = envelope.seq
        candidates = self._candidates(session, envelope.number)
        if not candidates:
            raise Violation(f"request {envelope.number} of {session} was never sent")
        asked = (peer, envelope.number)
        if self._unanswered[asked] > 0 or asked not in self._may_wait:
            self._unanswered[asked] -= 1
        reasons = [self._check(sent, reply) for sent in candidates]
        if all(reasons):
            raise Violation(
                f"request {envelope.number} of {session}, {candidates[-1].request}, sent at seq "
                f"{candidates[-1].seq}, was answered {reply} at seq {self.seq}: "
                + "; or ".join(reasons)
            )

    def _sent_by(self, session: str) -> list[Sent]:
        return [each for (by, _), known in self._sent.items() if by == session for each in known]

    def _candidates(self, session: str, number: int) -> list[Sent]:
        return self._sent.get((session, number), [])

    def _record(self, seq: int) -> Record:
        if not 1 <= seq <= self.seq:
            raise Violation(f"record {seq} is not durable; {self.seq} is the last that is")
        return self._records[seq - 1]

    def _check(self, sent: Sent, reply: Reply) -> str:
        """Return why the reply can not be the request's; empty if it can."""
        if isinstance(reply, Refused):
            return self._check_refusal(sent, reply)
        request = sent.request
        record = self._requests.get((sent.session, sent.number))
        said = self.leases.check(sent, reply, self.model.snapshots[sent.seq :], record)
        if said is not None:
            return said
        if isinstance(request, Transact) and isinstance(reply, Committed):
            return self._check_committed(sent, request, reply)
        if isinstance(request, Open) and isinstance(reply, Opened):
            return self._check_opened(sent, request, reply)
        self.reads_count += 1
        snapshots = self.model.snapshots[sent.seq :]
        if isinstance(request, Read) and isinstance(reply, Document):
            if any(self._read(each, request) == reply for each in snapshots):
                return ""
            return "no state in between has this content"
        if isinstance(request, ListDocuments) and isinstance(reply, Page):
            told = [(each.path, each.id, each.revision, each.size) for each in reply.documents]
            if any(_listed(each, request.prefix) == told for each in snapshots):
                return ""
            return "no state in between has these documents"
        if isinstance(request, Log) and isinstance(reply, LogPage):
            return self._check_log(sent, request, reply)
        if isinstance(request, Events) and isinstance(reply, EventPage):
            return self.follow.check_events(request, reply, self._records)
        if isinstance(request, Violations) and isinstance(reply, ViolationPage):
            return self.follow.check_violations(request, reply, snapshots)
        if isinstance(request, (DiscardViolation, DiscardDraft)) and isinstance(reply, Done):
            done = record is not None and record.fingerprint == sent.fingerprint
            return "" if done else "nothing was thrown away"
        if isinstance(request, Sessions) and isinstance(reply, SessionList):
            named = {each.id for each in reply.sessions}
            if any(each.sessions.keys() <= named for each in snapshots):
                return ""
            return "no state in between has these sessions"
        if isinstance(request, Close) and isinstance(reply, Done):
            gone = sent.session not in self.model.last.sessions
            return "" if gone else "the session is still open"
        if isinstance(reply, Done) and not isinstance(request, (Transact, Open, Read)):
            return ""
        return "that is no answer to such a request"

    def _check_committed(self, sent: Sent, request: Transact, reply: Committed) -> str:
        if reply.seq > self.seq:
            return "the operation is not durable"
        record = self._record(reply.seq)
        body = record.body
        if (record.session, record.request) != (sent.session, sent.number):
            return f"record {reply.seq} is request {record.request} of {record.session}"
        if not isinstance(body, Changed) or record.fingerprint != sent.fingerprint:
            return f"record {reply.seq} is of another request"
        told = [(each.path, each.revision, each.action) for each in reply.results]
        if told != [(each.path, each.revision, each.action) for each in body.changes]:
            return f"record {reply.seq} did something else"
        if request.durability is Durability.GIT:
            if not reply.commit and not self.git_failed:
                return "it does not name the commit"
        plain = Committed(reply.seq, reply.results)
        if sent.committed not in (None, plain):
            return f"it was answered {sent.committed} before"
        sent.committed = plain
        return ""

    def _check_opened(self, sent: Sent, request: Open, reply: Opened) -> str:
        if reply.session != sent.session:
            return "it is another session"
        for snapshot in self.model.snapshots[sent.seq :]:
            session = snapshot.sessions.get(sent.session)
            if session is None:
                continue
            # What waits for a lease, or was refused without a record, has a number too.
            unused = reply.next_number - session.request_high - 1
            spent = (sent.session, reply.next_number - 1) in self._sent
            if unused == 0 or (spent and unused > 0):
                if reply.predecessor == session.predecessor:
                    return ""
        if request.ephemeral or self._read_only:
            return ""
        return "no state in between has the session open like this"

    def _read(self, snapshot: Snapshot, request: Read) -> Document | ErrorCode:
        document = snapshot.at(request.path)
        if document is None and request.revision:
            document = snapshot.deleted_at(request.path)
        if document is None or request.revision > document.revision:
            return ErrorCode.NOT_FOUND
        revision = request.revision or document.revision
        made = self.model.made[document.id, revision]
        if made.deleted:
            return ErrorCode.NOT_FOUND
        return Document(
            made.path, made.type, revision, made.content, made.seq, made.time_ms, made.author
        )

    def _check_log(self, sent: Sent, request: Log, reply: LogPage) -> str:
        seqs = [entry.seq for entry in reply.entries]
        if seqs != sorted(seqs, reverse=True):
            return "it is not in order"
        if seqs and seqs[0] > self.seq:
            return "it shows what is not durable"
        for entry in reply.entries:
            record = self._record(entry.seq)
            if (record.author, record.session) != (entry.author, entry.session):
                return f"entry {entry.seq} is somebody else's"
            if not entry.commit and not self.git_failed:
                return f"entry {entry.seq} names no commit"
        shown = [
            record.seq
            for record in self._records[: sent.seq]
            if isinstance(record.body, (Changed, SessionOpened, SessionClosed))
        ]
        if not request.path and shown and (not seqs or seqs[0] < shown[-1]):
            return f"operation {shown[-1]} is missing"
        return ""

    def _check_refusal(self, sent: Sent, reply: Refused) -> str:
        code = reply.error.code
        request = sent.request
        record = self._requests.get((sent.session, sent.number))
        snapshots = self.model.snapshots[sent.seq :]
        if code is ErrorCode.SESSION_UNKNOWN:
            known = all(sent.session in each.sessions for each in snapshots)
            return "the session is open" if known else ""
        if code in (ErrorCode.READ_ONLY, ErrorCode.BUSY):
            if code is ErrorCode.READ_ONLY and not self._read_only:
                return "the disk takes writes"
            if record is not None and record.fingerprint == sent.fingerprint:
                return f"it was carried out as record {record.seq}"
            sent.refused = True
            return ""
        if code is ErrorCode.SESSION_SUPERSEDED:
            # One that only waited for a lease is in no record.
            known = sent.session in self._opened or isinstance(request, AcquireLease)
            gone = sent.session not in self.model.last.sessions
            return "" if known and gone else "the session did not end"
        if isinstance(request, Open):
            return self._check_open_refusal(sent, request, code)
        said = self.leases.check(sent, reply, snapshots, record)
        if said is not None:
            return said
        if isinstance(request, Transact):
            return self._check_transact_refusal(sent, request, reply, record)
        if isinstance(request, (DiscardViolation, DiscardDraft)):
            if code is ErrorCode.REQUEST_REUSED:
                return self._check_reused(sent, record)
            if code is ErrorCode.NOT_FOUND:
                sent.refused = True
                return self.follow.check_absence(request, snapshots)
        if isinstance(request, (Read, Log)) and request.path and not is_path(request.path):
            return "" if code is ErrorCode.INVALID_PATH else "that is no path"
        if isinstance(request, Read) and code is ErrorCode.NOT_FOUND:
            if any(self._read(each, request) is code for each in snapshots):
                return ""
            return "the document was there all the time"
        if isinstance(request, Log) and code is ErrorCode.NOT_FOUND:
            path = request.path
            for each in snapshots:
                if each.at(path) is None and each.deleted_at(path) is None:
                    return ""
            return "the document was known all the time"
        return f"nothing here is {code}"

    def _check_open_refusal(self, sent: Sent, request: Open, code: ErrorCode) -> str:
        if code is ErrorCode.AGENT_BUSY:
            for each in self.model.snapshots[sent.seq :]:
                if each.holder(request.name) not in ("", sent.session):
                    return ""
            return "nobody else holds the name"
        return f"opening is not refused as {code}"

    def _check_transact_refusal(
        self, sent: Sent, request: Transact, reply: Refused, record: Record | None
    ) -> str:
        code = reply.error.code
        if code is ErrorCode.REQUEST_REUSED:
            return self._check_reused(sent, record)
        if record is not None:
            body = record.body
            if isinstance(body, Violated) and record.fingerprint == sent.fingerprint:
                return "" if code is body.code else "it is another refusal than before"
            if isinstance(body, Drafted) and record.fingerprint == sent.fingerprint:
                same = reply.error.lease == body.lease
                if body.lease is None:
                    same = reply.error.conflict == body.conflict
                return "" if same else "it is another conflict than before"
        # A copy may have been refused before another one was carried out: a repetition of what was
        # refused is judged afresh (docs/protocol.md, "Repeating").
        end = record.seq if record and record.fingerprint == sent.fingerprint else self.seq + 1
        for snapshot in self.model.snapshots[sent.seq : end]:
            session = self._openings[sent.session]
            expected = execute(
                self.model,
                snapshot,
                session.actor,
                session.name,
                request.operations,
                seq=snapshot.seq + 1,
                time_ms=0,
                rules=self.rules,
                session=sent.session,
                tokens=request.leases,
            )
            kept_before = (
                isinstance(expected, Late)
                and code is expected.code
                and self._names_draft(snapshot, reply, ModelDraft(session.name, expected.texts))
            )
            if kept_before or isinstance(expected, Unsure) or expected == Rejected(code):
                self.refused_then_done_count += end <= self.seq
                sent.refused = True
                return ""
        return "no state in between refuses it like this"

    def _check_reused(self, sent: Sent, record: Record | None) -> str:
        if record is not None:
            other = record.fingerprint != sent.fingerprint
            return "" if other else "the request is the same"
        # The one that came first under this number was refused without a record.
        sends = self._sent.get((sent.session, sent.number), ())
        others = any(each.fingerprint != sent.fingerprint for each in sends)
        return "" if others else "nothing else was sent under this number"

    def _names_draft(self, snapshot: Snapshot, reply: Refused, draft: ModelDraft) -> bool:
        """Return whether a refusal names the draft that keeps the same texts already."""
        kept = reply.error.lease or reply.error.conflict
        if kept is None or not kept.draft:
            return False
        return snapshot.drafts.get(int(kept.draft.removeprefix("draft-"))) == draft

    # -- the end ---------------------------------------------------------------------------

    def check_end(self, state: State) -> None:
        """Everything has healed and nothing is under way: the store is what the model says."""
        if state.seq != self.seq:
            raise Violation(
                f"operation {state.seq} is decided, {self.seq} is durable, and all rest"
            )
        missing = {each: count for each, count in self._unanswered.items() if count}
        if missing:
            raise Violation(f"requests were not answered, or more than once: {missing}")
        self._compare(state)
        if self.rules.generated:
            self.generated.check_end(self.model.last)
        model = self.model.last.documents
        if model.keys() != state.documents.keys():
            raise Violation("the documents are not the model's")
        for id, document in state.documents.items():
            mine = model[id]
            if (document.path, document.type, document.revision, document.deleted) != (
                mine.path,
                mine.type,
                mine.revision,
                mine.deleted,
            ):
                raise Violation(f"{document} is {mine} in the model")


def _waits(request: Request) -> bool:
    """Return whether a request may wait for long."""
    return isinstance(request, (AcquireLease, Events)) and request.wait_seconds > 0


def _listed(snapshot: Snapshot, prefix: str) -> list[tuple[str, int, int, int]]:
    return sorted(
        (each.path, each.id, each.revision, len(each.content))
        for each in snapshot.live()
        if each.path.startswith(prefix)
    )
