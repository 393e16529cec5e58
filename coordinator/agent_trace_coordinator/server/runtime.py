"""The coordinator process: sockets, core and storage put together.

One task receives requests, asks the core, and hands its effects to the stages. An answer leaves
when the stage it depends on has got as far as the answer says, never before: that is the whole of
the order law as the shell sees it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Final, NamedTuple, Protocol, assert_never

import anyio
import msgspec

from agent_trace_coordinator import __version__
from agent_trace_coordinator.core.apply import document_after
from agent_trace_coordinator.core.effects import (
    Answer,
    AnswerContent,
    AnswerDrafts,
    AnswerEvents,
    AnswerHistory,
    AnswerQuery,
    AnswerSearch,
    AnswerSessions,
    AnswerStatus,
    AnswerTrace,
    AnswerViolation,
    Append,
    Effect,
    Leave,
    PutBack,
)
from agent_trace_coordinator.core.grants import carry_over
from agent_trace_coordinator.core.inputs import (
    RECORDED_REQUESTS,
    Credential,
    Now,
    Received,
    Refresh,
    Tick,
)
from agent_trace_coordinator.core.machine import step
from agent_trace_coordinator.core.mirror import render_mirror
from agent_trace_coordinator.core.records import (
    Entry,
    request_fingerprint,
)
from agent_trace_coordinator.core.sessions import TICK_SECONDS
from agent_trace_coordinator.core.state import DocumentState, State
from agent_trace_coordinator.core.violations import report_of
from agent_trace_coordinator.errors import (
    JournalFull,
)
from agent_trace_coordinator.storage.base import FileSigns
from agent_trace_protocol import (
    PROTOCOL_VERSION,
    PROTOCOL_VERSION_MIN,
    AgentTraceError,
    Busy,
    Close,
    Committed,
    Document,
    InternalError,
    LogPage,
    MalformedMessage,
    NotFound,
    Open,
    ReadOnlyStore,
    Refused,
    Reply,
    ReplyEnvelope,
    Request,
    SessionId,
    SessionList,
    Traces,
    UnsupportedVersion,
    decode_request,
    decode_request_envelope,
    encode,
    session_id_of,
)

from .adoption import Adoption
from .briefings import Briefings
from .event_feed import EventFeed
from .figures import Load
from .file_stage import FileStage
from .git_stage import GitStage
from .journal_stage import JournalStage
from .lookup import Lookup
from .observer import Observer
from .quarantine_stage import QuarantineStage
from .queries import Queries
from .shares import SHARE_QUERIES_MAX, Shares

__all__ = ["Runtime", "Sender"]

_log = logging.getLogger("agent_trace.coordinator")

PENDING_RECORDS_MAX: Final = 10_000
"""Operations accepted and not durable; beyond it writers are told to come back."""

PENDING_BYTES_MAX: Final = 64 << 20
"""Their contents."""

QUERIES_MAX: Final = 1000
"""Queries waiting for the index; beyond it askers are told to come back."""

CROWD_COUNT: Final = 16
"""Operations that are waited for and not durable, from which on requests are read in groups."""

KEYS_CACHED_MAX: Final = 10_000
"""Session keys whose id is remembered."""


class Sender(Protocol):
    """Where replies go."""

    def has_room(self, peer: bytes, size: int) -> bool:
        """Return whether a reply of so many bytes would be sent, and not dropped because the peer
        has not read what it asked for before."""
        ...

    def send(self, peer: bytes, envelope: bytes, body: bytes) -> None:
        """Send a reply, or drop it: whoever does not get it asks again."""
        ...

    def sent(self) -> None:
        """Replies were sent outside of `receive`."""
        ...


_Query = AnswerQuery | AnswerSearch | AnswerSessions | AnswerStatus | AnswerDrafts


class _Held(NamedTuple):
    """What is to be done for a request once an operation is durable."""

    peer: bytes
    number: int
    action: Callable[[], None]
    again: Callable[[], None] | None = None
    """What to do if it can not become durable; None: the asker is told that nothing was done."""


class Runtime:
    """Answers requests. Built by `serve`, which owns what is passed in."""

    def __init__(
        self,
        state: State,
        lookup: Lookup,
        journal: JournalStage,
        git: GitStage,
        files: FileStage,
        queries: Queries,
        sender: Sender,
        clock: Callable[[], Now],
        *,
        signs: FileSigns,
        reload: Callable[[], State],
        git_lag_records_max: int,
        idle_seconds: float | None,
        briefings: Briefings | None = None,
        quarantine: QuarantineStage | None = None,
        on_batch: Callable[[list[Entry]], None] | None = None,
        known_keys: Callable[[], frozenset[str]] = frozenset,
        observers: Sequence[Observer] = (),
    ) -> None:
        """`known_keys` returns the short names of the keys that may be used at this moment;
        `observers` are told what is accepted and what is refused;
        `quarantine` writes refused texts as files; `on_batch` is told of every durable batch;
        `signs` knows files as ours."""
        self._known_keys = known_keys
        self._observers = observers
        self._briefings = briefings
        self._quarantine = quarantine
        self._on_batch = on_batch
        self.stopped_by = ""
        """The user who asked for the end."""
        self._state = state
        self._lookup = lookup
        self._journal = journal
        self._git = git
        self._files = files
        self._queries = queries
        self._sender = sender
        self._clock = clock
        self._reload = reload
        self._idle_seconds = idle_seconds
        self._held: dict[int, list[_Held]] = {}
        """By seq: what to do once it is durable."""
        self._in_git: list[tuple[int, Callable[[], None]]] = []
        """What to do once a seq is in git and on disk."""
        self._received: tuple[bytes, list[bytes], Credential | None] = b"", [], None
        """The message whose effects are carried out."""
        self._repeated = False
        """Whether it was carried out before."""
        self._sessions: dict[bytes, SessionId] = {}
        self._query_count = 0
        self._queries_of: dict[bytes, int] = {}
        """The same, by connection."""
        self._shares = Shares()
        self._flooded = False
        self._read_only = ""
        self._provisional: set[SessionId] = set()
        """Sessions that were opened while the disk took no writes, and hold no name."""
        self._asked_at = self._clock().monotonic
        self._leaving = anyio.Event()
        self._tasks: anyio.abc.TaskGroup | None = None
        self._git_lag_records_max = git_lag_records_max
        self._feed = EventFeed(
            journal.durable_seq,
            records_after=queries.records_after,
            commit=self._commit_of,
            send=self._send,
            start=self._start,
        )
        self.adoption = Adoption(
            self, lookup, journal, files, clock, quarantine=quarantine, signs=signs
        )
        """Files that were changed past us."""
        journal.hold_while(partial(git.behind, git_lag_records_max))

    async def run(self, listen: Callable[[], Coroutine[object, object, None]]) -> None:
        """Serve until somebody asks to stop, then finish everything that was accepted.

        `listen` hands requests to `receive` until it is cancelled.
        """
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            for stage in (self._journal, self._git, self._files):
                tasks.start_soon(stage.run)
            tasks.start_soon(self._journal.run_tidy)
            async with anyio.create_task_group() as intake:
                intake.start_soon(listen)
                intake.start_soon(self._tick)
                await self._leaving.wait()
                intake.cancel_scope.cancel()
            self.refresh_generated()
            await self._journal.drained()
            with anyio.move_on_after(self.DRAIN_SECONDS_MAX):
                await self._git.drained()
                await self._files.drained()
            await self._journal.flush_commits()
            tasks.cancel_scope.cancel()

    DRAIN_SECONDS_MAX: Final = 30.0
    """How long leaving waits for git and files; what they lack, the next start replays."""

    @property
    def paths(self) -> list[str]:
        """The paths of the documents, sorted."""
        return self._state.paths

    @property
    def crowded(self) -> bool:
        """Whether many requests wait for the disk."""
        return len(self._held) >= CROWD_COUNT

    @property
    def load(self) -> Load:
        """What waits here."""
        return Load(self._query_count, len(self._in_git), bool(self._read_only))

    def take_flooded(self) -> bool:
        """Return whether somebody was refused for asking too much, since this was asked last."""
        flooded, self._flooded = self._flooded, False
        return flooded

    def mirror(self) -> str:
        """Return the readable mirror of sessions and leases."""
        return render_mirror(self._state, self._journal.durable_seq, self._clock())

    def leave(self) -> None:
        """Stop taking requests, finish what was accepted, and return from `run`."""
        self._leaving.set()

    def refresh_generated(self) -> None:
        """Bring the documents that the coordinator writes up to date, if the disk takes writes."""
        busy = self._journal.pending_count >= PENDING_RECORDS_MAX
        if self._read_only or busy or not self._state.rules.generated:
            return
        before = self._state.seq
        try:
            facts = self._lookup.facts_of_generated(self._state)
            effects = step(self._state, Refresh(facts), self._clock())
        except Exception:  # top level: what is only derived must not end the service
            _log.exception("generated documents can not be brought up to date")
            if self._state.seq != before:
                raise
            return
        self._perform(b"", 0, effects)
        if effects:
            seq = self._state.seq
            self._when_durable(seq, b"", 0, partial(self._files.want, seq))

    # -- requests in -----------------------------------------------------------------------

    def receive(
        self, peer: bytes, frames: list[bytes], credential: Credential | None = None
    ) -> None:
        """Take a message: the frames after the identity of the peer that sent it, and what the
        key of its connection allows, if it needed one."""
        number = 0
        try:
            if len(frames) != 2:
                raise MalformedMessage(f"a message has 2 frames, not {len(frames)}")
            envelope = decode_request_envelope(frames[0])
            number = envelope.number
            if not PROTOCOL_VERSION_MIN <= envelope.version <= PROTOCOL_VERSION:
                older = "coordinator" if envelope.version > PROTOCOL_VERSION else "client"
                raise UnsupportedVersion(
                    f"the message is in protocol {envelope.version}; this coordinator "
                    f"({__version__}) speaks {PROTOCOL_VERSION_MIN} to {PROTOCOL_VERSION}: "
                    f"the {older} is older; upgrade it and start it again"
                )
            session = self._sessions.get(envelope.key) or self._session_of(envelope.key)
            request = decode_request(frames[1])
            effects = self._decide(session, number, frames[1], request, peer, credential)
        except AgentTraceError as error:
            self._send(peer, number, Refused(error.to_info()))
            return
        self._received = peer, frames, credential
        self._perform(peer, number, effects)

    def _session_of(self, key: bytes) -> SessionId:
        id = session_id_of(key)
        if len(self._sessions) >= KEYS_CACHED_MAX:
            self._sessions.clear()
        self._sessions[key] = id
        return id

    def _decide(
        self,
        session: SessionId,
        number: int,
        body: bytes,
        request: Request,
        peer: bytes,
        credential: Credential | None,
    ) -> list[Effect]:
        fingerprint = b""
        now = self._clock()
        self._asked_at = now.monotonic
        if isinstance(request, RECORDED_REQUESTS):
            fingerprint = request_fingerprint(body)
        elif isinstance(request, Open) and self._read_only:
            # It can not be made durable; it may read until it can.
            if not request.ephemeral and session not in self._state.sessions:
                self._provisional.add(session)
            request = msgspec.structs.replace(request, ephemeral=True)
        seq = self._state.seq
        try:
            facts = self._lookup.facts(self._state, session, number, request)
            # What was carried out before is answered as before, whatever is wrong by now.
            self._repeated = facts.previous is not None
            if not self._repeated:
                self._check_takes(session, request, peer)
            if self._read_only:
                facts = msgspec.structs.replace(facts, takes_writes=False)
            received = Received(session, number, fingerprint, request, facts, peer, credential)
            return step(self._state, received, now)
        except AgentTraceError:
            raise
        except Exception as error:  # top level: a fault must not end the service
            # A fault in deciding has changed nothing: the client is told, and the next request is
            # served. After a change was begun nobody knows what the state is, so the process ends
            # and the journal tells the next one.
            _log.exception("internal error")
            if self._state.seq != seq:
                raise
            raise InternalError(f"internal error: {type(error).__name__}: {error}") from error

    def _check_takes(self, session: SessionId, request: Request, peer: bytes) -> None:
        """Refuse what would have to become durable, when that is not possible in due time.

        Raises:
            ReadOnlyStore: the disk takes no writes.
            Busy: too much waits for the disk or for git.
        """
        if isinstance(request, Close):
            known = self._state.sessions.get(session)
            if self._read_only and known is not None and known.journaled:
                raise ReadOnlyStore(f"the session can not be ended now: {self._read_only}")
        if not isinstance(request, RECORDED_REQUESTS):
            return
        if self._read_only:
            raise ReadOnlyStore(f"the store takes no writes now: {self._read_only}")
        if (
            self._journal.pending_count >= PENDING_RECORDS_MAX
            or self._journal.pending_bytes >= PENDING_BYTES_MAX
        ):
            raise Busy("too many operations wait for the disk; try again in a moment")
        if self._shares.is_full(peer):
            self._flooded = True
            raise Busy("too many operations of this connection wait for the disk; wait for them")
        if self._git.failure and self._git.lag_count >= self._git_lag_records_max:
            raise Busy(
                f"git lacks {self._git.lag_count} operations and does not follow: "
                f"{self._git.failure}"
            )

    async def _tick(self) -> None:
        while True:
            # Twice as often as the core counts on: what ends by its time, a dead agent's lease, is
            # so with whoever waits for it well within a second of that.
            await anyio.sleep(TICK_SECONDS / 2)
            self.tick()

    def tick(self) -> None:
        """Let time pass: sessions expire, an idle coordinator leaves."""
        if not self._read_only:
            gone = self._lookup.gone_sessions(self._state)
            revoked = self._revoked_sessions()
            self._perform(b"", 0, step(self._state, Tick(gone, revoked), self._clock()))
        self._feed.tick(self._clock().monotonic)
        self._sender.sent()
        idle = self._clock().monotonic - self._asked_at
        if self._idle_seconds is not None and idle > self._idle_seconds:
            _log.info("nobody has asked for anything for %.0f s: leaving", idle)
            self.leave()

    def _revoked_sessions(self) -> frozenset[str]:
        keyed = [each for each in self._state.sessions.values() if each.key]
        if not keyed:
            return frozenset()
        known = self._known_keys()
        return frozenset(each.id for each in keyed if each.key not in known)

    # -- effects out -----------------------------------------------------------------------

    def _perform(self, peer: bytes, number: int, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Append():
                    self._lookup.pend(effect.entry)
                    self._journal.submit(effect.entry)
                    self._shares.add(peer, effect.entry)
                    for observer in self._observers:
                        # What nobody asked for begins when it is decided.
                        asked = self._asked_at if peer else self._clock().monotonic
                        observer.accepted(effect.entry, asked)
                case Answer():
                    self._answer(peer, number, effect)
                case AnswerContent():
                    self._answer_content(peer, number, effect)
                case AnswerQuery():
                    self._answer_query(peer, number, effect)
                case AnswerHistory():
                    self._answer_history(peer, number, effect)
                case AnswerSearch() | AnswerSessions() | AnswerStatus() | AnswerDrafts():
                    start = partial(self._start_query, peer, number, effect)
                    self._when_durable(effect.after, peer, number, start)
                case AnswerEvents():
                    self._feed.ask(peer, number, effect.request, self._clock().monotonic)
                case AnswerTrace():
                    ask = partial(self._start, partial(self._ask, effect), peer, number)
                    self._when_durable(effect.after, peer, number, ask)
                case AnswerViolation():
                    self._answer_violation(peer, number, effect)
                case PutBack():
                    self.adoption.put_back(effect)
                case Leave():
                    self.stopped_by = effect.by
                    self.leave()
                case _:
                    assert_never(effect)

    def _when_durable(
        self,
        seq: int,
        peer: bytes,
        number: int,
        action: Callable[[], None],
        again: Callable[[], None] | None = None,
    ) -> None:
        if seq <= self._journal.durable_seq:
            action()
        else:
            self._held.setdefault(seq, []).append(_Held(peer, number, action, again))

    def _when_in_git(self, seq: int, action: Callable[[], None]) -> None:
        if self._shown_seq() >= seq:
            action()
            return
        self._in_git.append((seq, action))
        self._git.want(seq)
        self._files.want(seq)

    def _answer(self, peer: bytes, number: int, answer: Answer) -> None:
        if answer.to is not None:
            peer, number = answer.to.peer, answer.to.number
        if not answer.in_git:
            send = partial(self._send, peer, number, answer.reply)
            # What was carried out before is decided afresh if this can not become durable: to say
            # that nothing was done would be false.
            repeated = self._repeated and answer.to is None
            again = partial(self.receive, *self._received) if repeated else None
            self._when_durable(answer.after, peer, number, send, again)
            return
        seq = answer.after
        finish = partial(self._send_with_commit, peer, number, seq, answer.reply)
        self._when_durable(seq, peer, number, partial(self._when_in_git, seq, finish))

    def _send_with_commit(self, peer: bytes, number: int, seq: int, reply: Reply) -> None:
        assert isinstance(reply, Committed)
        self._send(peer, number, msgspec.structs.replace(reply, commit=self._commit_of(seq)))

    def _commit_of(self, seq: int) -> str:
        # While git fails nobody waits for it, and a commit that is not durable is not named.
        if seq > self._git.git_seq:
            return ""
        # One that an earlier life made, or that this one made long ago, is in the index only.
        return self._queries.commit(seq) or self._lookup.commit(seq)

    def _answer_content(self, peer: bytes, number: int, answer: AnswerContent) -> None:
        try:
            shown = self._revision_of(answer.document, answer.revision)
            if not self._sender.has_room(peer, shown.size):
                # Whoever reads nothing and asks on must not make us work for it.
                return
            reply: Reply = Document(
                path=shown.path,
                type=shown.type,
                revision=shown.revision,
                content=self._lookup.content(shown.content_key, shown.digest),
                seq=shown.seq,
                time_ms=shown.time_ms,
                author=shown.author,
            )
        except AgentTraceError as error:
            reply = Refused(error.to_info())
        send = partial(self._send, peer, number, reply)
        self._when_durable(answer.after, peer, number, send)

    def _revision_of(self, current: DocumentState, revision: int) -> DocumentState:
        if revision == current.revision and not current.deleted:
            return current
        found = self._lookup.record_of(current.id, revision)
        if found is None or not found[1].content_key:
            raise NotFound(f"{current.path} was deleted at revision {revision}")
        record, change = found
        return document_after(change, record.seq, record.time_ms, record.author)

    def _answer_violation(self, peer: bytes, number: int, answer: AnswerViolation) -> None:
        content = self._lookup.content
        try:
            reply: Reply = report_of(answer.violation, answer.info, answer.current, content)
        except AgentTraceError as error:
            reply = Refused(error.to_info())
        send = partial(self._send, peer, number, reply)
        self._when_durable(answer.after, peer, number, send)

    # -- what the adoption of changed files needs --------------------------------------------

    @property
    def state(self) -> State:
        """The state, with what is accepted and not durable."""
        return self._state

    @property
    def takes_files(self) -> bool:
        """Whether what was changed past us may be recorded at this moment."""
        busy = self._journal.pending_bytes >= PENDING_BYTES_MAX
        return not (self._read_only or busy or self._leaving.is_set())

    def perform(self, effects: list[Effect]) -> None:
        """Carry out effects that nobody asked for."""
        self._perform(b"", 0, effects)

    def when_durable(self, seq: int, action: Callable[[], None]) -> None:
        """Do something once an operation is durable; never, if it turns out that it can not be."""
        self._when_durable(seq, b"", 0, action)

    def _answer_query(self, peer: bytes, number: int, answer: AnswerQuery) -> None:
        if len(self._in_git) >= PENDING_RECORDS_MAX:
            error = Busy("too many queries wait for git; try again in a moment")
            self._send(peer, number, Refused(error.to_info()))
            return
        # Whoever was told of an operation finds its commit in the history.
        start = partial(self._start_query, peer, number, answer)
        start = partial(self._when_in_git, answer.after, start)
        self._when_durable(answer.after, peer, number, start)

    def _answer_history(self, peer: bytes, number: int, answer: AnswerHistory) -> None:
        history = self._queries.history
        assert history is not None, "whoever serves no history is not asked for it"
        start = partial(
            self._start, partial(history.answer, answer, self._state.store), peer, number
        )
        if isinstance(answer.request, Traces):
            # A trace names the commit.
            start = partial(self._when_in_git, min(answer.request.until, answer.after), start)
        self._when_durable(answer.after, peer, number, start)

    def _start_query(self, peer: bytes, number: int, query: _Query) -> None:
        self._start(partial(self._query, query), peer, number)

    def _start(self, work: Callable[[], Awaitable[Reply | None]], peer: bytes, number: int) -> None:
        own = self._queries_of.get(peer, 0)
        if self._query_count >= QUERIES_MAX or own >= SHARE_QUERIES_MAX:
            self._flooded = True
            whose = " of this connection" if own >= SHARE_QUERIES_MAX else ""
            error = Busy(f"too many queries{whose} wait; try again in a moment")
            self._send(peer, number, Refused(error.to_info()))
            return
        self._query_count += 1
        self._queries_of[peer] = own + 1
        assert self._tasks is not None
        self._tasks.start_soon(self._finish, work, peer, number)

    async def _finish(
        self, work: Callable[[], Awaitable[Reply | None]], peer: bytes, number: int
    ) -> None:
        try:
            reply = await work()
        except AgentTraceError as error:
            reply = Refused(error.to_info())
        finally:
            self._query_count -= 1
            self._queries_of[peer] -= 1
            if not self._queries_of[peer]:
                del self._queries_of[peer]
        if reply is not None:
            self._send(peer, number, reply)
        self._sender.sent()

    async def _ask(self, question: AnswerTrace) -> Reply:
        if self._briefings is None:
            raise InternalError("this coordinator does not answer questions about the trace")
        return await self._briefings.answer(question)

    async def _query(self, query: _Query) -> Reply:
        match query:
            case AnswerSessions():
                ended = await self._queries.ended_sessions(
                    query.request, query.request.limit - len(query.sessions)
                )
                return SessionList((*query.sessions, *ended))
            case AnswerQuery():
                entries, more = await self._queries.log(query.request, query.document, query.after)
                return LogPage(tuple(entries), more)
            case AnswerDrafts():
                return await self._queries.drafts(query)
            case AnswerSearch():
                assert self._queries.search is not None, "whoever has no index is not asked"
                return await self._queries.search.answer(query.request, query.after)
            case AnswerStatus():
                trouble = self._read_only or self._git.failure or self._files.failure
                store, epoch = self._state.store, self._state.epoch
                return await self._queries.status(query, store, epoch, self._read_only, trouble)
            case _:
                assert_never(query)

    def _send(self, peer: bytes, number: int, reply: Reply) -> None:
        envelope = ReplyEnvelope(
            PROTOCOL_VERSION, number, self._journal.durable_seq, self._state.epoch
        )
        try:
            body = encode(reply)
        except AgentTraceError as error:
            # Too large a reply is the asker's problem, not everybody's.
            reply = Refused(error.to_info())
            body = encode(reply)
        if isinstance(reply, Refused):
            for observer in self._observers:
                observer.refused(reply.error.code)
        self._sender.send(peer, encode(envelope), body)

    # -- what the stages report ------------------------------------------------------------

    def on_durable(self, batch: list[Entry]) -> None:
        """A batch is durable: now, and not before, it may be seen."""
        self._git.add(batch)
        # Before what waited for it: a file that is then put back must not be taken for adopted.
        self._files.add(batch)
        for entry in batch:
            self._lookup.settle(entry)
            self._shares.settle(entry)
            for held in self._held.pop(entry.record.seq, ()):
                held.action()
        self._feed.add(batch)
        if self._quarantine is not None:
            self._quarantine.add(batch)
        if self._on_batch is not None:
            self._on_batch(batch)
        self._sender.sent()

    def on_full(self, error: JournalFull) -> None:
        """Nothing of what was pending is durable: take it all back and go read-only."""
        self._read_only = str(error)
        self._provisional.clear()
        held, self._held = self._held, {}
        self._lookup.forget()
        self._shares.forget()
        self.adoption.forget()
        before, self._state = self._state, self._reload()
        carry_over(before, self._state)
        refusal = Refused(ReadOnlyStore(f"nothing was done: {error}").to_info())
        for waiting in held.values():
            for each in waiting:
                # What nobody asked for, such as bringing a file back, has nobody to tell.
                if each.again is not None:
                    each.again()
                elif each.peer:
                    self._send(each.peer, each.number, refusal)
        for waiter in before.waiters.values():
            self._send(waiter.peer, waiter.number, refusal)
        self._sender.sent()

    def on_healed(self) -> None:
        """The disk takes writes again."""
        self._read_only = ""
        for id in self._provisional:
            # Its client opens it again when it is told that it is unknown, and is then told as
            # well whether the agent's name is free.
            self._state.sessions.pop(id, None)
        self._provisional.clear()

    def on_committed(self, commits: list[tuple[int, str]]) -> None:
        """Records have become commits, not durable yet."""
        self._journal.note_commits(commits)
        self._queries.note_commits(commits)

    def _shown_seq(self) -> int:
        """Return the last operation that nobody has to wait for any more: it is in git and on
        disk, or the one that lacks it does not work, which `status` says."""
        durable = self._journal.durable_seq
        git = durable if self._git.failure else self._git.git_seq
        return min(git, durable if self._files.failure else self._files.written_seq)

    def on_shown(self) -> None:
        """Git or the files have moved on, or failed."""
        if not self._in_git:
            return
        shown = self._shown_seq()
        due = [action for seq, action in self._in_git if seq <= shown]
        self._in_git = [waiting for waiting in self._in_git if waiting[0] > shown]
        for action in due:
            action()
        self._sender.sent()
