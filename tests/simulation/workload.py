"""The clients: state machines that keep the client library's law, with simulated agents on top.

What is under way stays in the production `Correlator` until it is answered; after a silence or a
lost connection the session is opened again with the same key, and everything unanswered is sent
again with the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from random import Random
from typing import Final, Protocol

from agent_trace.backoff import retry_delay
from agent_trace.correlator import Correlator, InFlight
from agent_trace_protocol import (
    PROTOCOL_VERSION,
    AcceptDraft,
    Actor,
    Add,
    AgentTraceError,
    Append,
    Close,
    Committed,
    Conflict,
    Delete,
    Document,
    DocumentType,
    Durability,
    Edit,
    ErrorCode,
    Heartbeat,
    ListDocuments,
    Log,
    Move,
    NotFound,
    Open,
    Opened,
    Operation,
    Put,
    Read,
    Refused,
    Reply,
    Request,
    RequestEnvelope,
    Restore,
    SectionEdit,
    SectionMode,
    SessionKind,
    Sessions,
    SessionSuperseded,
    SessionUnknown,
    Transact,
    decode_reply,
    decode_reply_envelope,
    encode,
    error_from_info,
    session_id_of,
)

from .clock import Timeline
from .followwork import Place, discard_draft, discard_violation, follow
from .form import Profile, Taste
from .leasework import Task, ask_leases, rights, under_lease, write_protected
from .network import Network

__all__ = ["Client", "Watcher"]

HEARTBEAT_SECONDS: Final = 2.5
HEARTBEATS_MISSED_MAX: Final = 3
OPEN_SECONDS_MAX: Final = 4.0
ANSWER_SECONDS_MAX: Final = 8.0
"""How long one answer may be missing while others come. Single messages are lost here, which a
socket does not do: so everything is sent again on a new connection, as after a silence."""
BUSY_SECONDS: Final = 0.2
"""An agent with as much under way as it can looks for more this often, in the mean, at most."""
SESSIONS_MAX: Final = 12
"""Sessions after which a client that is superseded again and again gives up."""

ODD_PATHS: Final = ("notes", "Notes/A.md", "../out.md", ".agent-trace/x", "lost/found.md", "c.md")
"""Names that clash, are refused, or are rarely used."""


class Watcher(Protocol):
    """Who is told what clients send and get; see `checker.Checker`."""

    def on_sent(self, peer: bytes, session: str, number: int, body: bytes) -> None: ...
    def on_answered(self, session: str, number: int, body: bytes, reply: Reply) -> None: ...


class Client:
    """One client program, and the agent that uses it."""

    def __init__(
        self,
        timeline: Timeline,
        network: Network,
        random: Random,
        watcher: Watcher,
        board: list[str],
        own: Profile,
        taste: Taste,
        idle: Collection[int] = (),
    ) -> None:
        """`board` is where all agents write down the drafts they were offered; of its tasks, the
        client does not begin those whose numbers are in `idle`."""
        self._timeline = timeline
        self._network = network
        self._random = random
        self._watcher = watcher
        self._board = board
        self.profile = own
        self._taste = taste
        self._left = own.tasks
        self._idle = idle
        self._place = Place()
        self._known: dict[str, int] = {}
        """The revision of each document that this agent saw last."""
        self._lines: list[bytes] = []
        self._text_count = 0
        self._session_count = 0
        self._paused_until = 0.0
        self._incarnation = 0
        self._stopped = False
        self._key = b""
        self._begin_session()

    # -- the session -----------------------------------------------------------------------

    @property
    def drawn_count(self) -> int:
        """How many of its tasks it has come to."""
        return self.profile.tasks - self._left

    @property
    def done(self) -> bool:
        """Whether it has done all it wanted, and heard of everything it asked."""
        busy = self._tasks or self._table or self._sleeping_count
        return self._stopped or (self._left == 0 and not busy)

    def _begin_session(self) -> None:
        """Start anew, as somebody the coordinator does not know."""
        self._session_count += 1
        if self._session_count > SESSIONS_MAX:
            self._stop()
            return
        self._key = self._random.randbytes(16)
        self._restart()

    def _restart(self) -> None:
        """Start the program: what was under way is forgotten, the key is kept."""
        self._incarnation += 1
        self._session = session_id_of(self._key)
        self._table = Correlator()
        self._tasks: dict[int, Task] = {}
        self._sleeping_count = 0
        self._asked_at: dict[int, float] = {}
        self._heartbeat = 0
        self._missed_count = 0
        self._heard = False
        self._attempt = 0
        self._opened = False
        self._peer = b""
        takeover = self.profile.takes_over and self._random.random() < 0.7
        self._opening = encode(
            Open(
                self.profile.name,
                self.profile.actor,
                self.profile.kind,
                program="simulation",
                host=f"host-{self._session_count}",
                takeover=takeover,
                ephemeral=self.profile.ephemeral,
            )
        )
        self._soon(self._random.choice((0.001, 0.2)) * self._random.random(), self._connect)
        self._soon(HEARTBEAT_SECONDS, self._beat)
        self._soon(self._random.random() * self.profile.think_seconds, self._think)

    def _stop(self) -> None:
        self._stopped = True
        self._incarnation += 1
        self._network.disconnect(self._peer)

    def _soon(self, delay: float, action: Callable[[], None]) -> None:
        self._timeline.after(delay, partial(self._unless_gone, self._incarnation, action))

    def _unless_gone(self, incarnation: int, action: Callable[[], None]) -> None:
        if incarnation != self._incarnation:
            return
        now = self._timeline.now
        if now < self._paused_until:
            self._timeline.after(
                self._paused_until - now, partial(self._unless_gone, incarnation, action)
            )
            return
        action()

    def pause(self, seconds: float) -> None:
        """Stop the program for a while, as SIGSTOP or a closed lid does."""
        self._paused_until = self._timeline.now + seconds

    def restart(self) -> None:
        """Kill the program and start it again: with the old key if that is kept in a file."""
        if self._stopped:
            return
        self._network.disconnect(self._peer)
        if self.profile.kind is SessionKind.CLI and self._random.random() < 0.7:
            self._restart()
        else:
            self._begin_session()

    def _connect(self) -> None:
        if self._peer:
            self._network.disconnect(self._peer)
        self._attempt += 1
        self._opened = False
        self._peer = self._network.connect(self)
        self._send(0, self._opening)
        self._soon(OPEN_SECONDS_MAX, partial(self._give_up, self._peer))

    def _give_up(self, peer: bytes) -> None:
        if peer == self._peer and not self._opened:
            self._reconnect()

    def _reconnect(self) -> None:
        self._network.disconnect(self._peer)
        self._peer = b""
        self._opened = False
        self._soon(retry_delay(self._attempt, self._random.random()), self._connect)

    def _send(self, number: int, body: bytes) -> None:
        if not self._peer:
            return
        self._watcher.on_sent(self._peer, self._session, number, body)
        envelope = encode(RequestEnvelope(PROTOCOL_VERSION, self._key, number))
        self._network.ask(self._peer, [envelope, body])

    def _beat(self) -> None:
        self._soon(HEARTBEAT_SECONDS, self._beat)
        if not self._peer or not self._opened:
            return
        late = self._timeline.now - ANSWER_SECONDS_MAX
        if any(self._asked_at[entry.number] < late for entry in self._table):
            self._asked_at.update((entry.number, self._timeline.now) for entry in self._table)
            self._reconnect()
        elif self._heartbeat not in self._table:
            self._heard = False
            self._missed_count = 0
            self._heartbeat = self._enter(Heartbeat())
        elif self._heard:
            self._heard = False
            self._missed_count = 0
        else:
            self._missed_count += 1
            if self._missed_count >= HEARTBEATS_MISSED_MAX:
                self._missed_count = 0
                self._reconnect()

    def _enter(self, request: Request) -> int:
        entry = InFlight(encode(request))
        self._table.enter(entry)
        self._asked_at[entry.number] = self._timeline.now
        if self._opened:
            self._send(entry.number, entry.body)
        return entry.number

    # -- what arrives ----------------------------------------------------------------------

    def receive(self, peer: bytes, frames: tuple[bytes, bytes]) -> None:
        """Take a reply that arrived on connection `peer`."""
        self._unless_gone(self._incarnation, partial(self._take, peer, frames))

    def _take(self, peer: bytes, frames: tuple[bytes, bytes]) -> None:
        if peer != self._peer:
            return
        self._heard = True
        number = decode_reply_envelope(frames[0]).number
        reply = decode_reply(frames[1])
        outcome = error_from_info(reply.error) if isinstance(reply, Refused) else reply
        if number == 0:
            self._take_opening(outcome)
        elif isinstance(outcome, SessionSuperseded):
            if self._opened and number in self._table:
                self._take_end()
        elif isinstance(outcome, SessionUnknown):
            if self._opened and number in self._table:
                self._reconnect()
        else:
            entry = self._table.answer(number)
            if entry is not None:
                del self._asked_at[number]
                self._watcher.on_answered(self._session, number, entry.body, reply)
                self._continue(number, outcome)

    def _take_opening(self, outcome: Reply | AgentTraceError) -> None:
        if self._opened:
            return
        if isinstance(outcome, Opened):
            self._opened = True
            self._attempt = 0
            self._table.continue_from(outcome.next_number)
            for entry in list(self._table):
                self._send(entry.number, entry.body)
        elif isinstance(outcome, AgentTraceError) and outcome.retryable:
            self._reconnect()
        else:
            busy = isinstance(outcome, AgentTraceError) and outcome.code is ErrorCode.AGENT_BUSY
            self._take_end(self._random.uniform(1.0, 6.0) if busy else 0.5)

    def _take_end(self, delay: float = 0.5) -> None:
        """The session has ended, or the name is taken: the agent tries again as somebody new."""
        self._network.disconnect(self._peer)
        self._incarnation += 1
        self._soon(delay, self._begin_session)

    # -- the agent -------------------------------------------------------------------------

    def _think(self) -> None:
        seconds = self.profile.think_seconds
        if len(self._tasks) == self.profile.in_flight:
            seconds = max(seconds, BUSY_SECONDS)
        elif self._left > 0:
            self._left -= 1
            task = self._draw_task()
            if self.drawn_count not in self._idle:
                self._advance(task, None)
        if self._left > 0:
            self._soon(self._random.expovariate(1 / seconds), self._think)

    def _advance(self, task: Task, outcome: Reply | AgentTraceError | None) -> None:
        try:
            wanted = next(task) if outcome is None else task.send(outcome)
        except StopIteration:
            return
        if isinstance(wanted, (int, float)):
            self._sleeping_count += 1
            self._soon(wanted, partial(self._wake, task))
        else:
            self._tasks[self._enter(wanted)] = task

    def _wake(self, task: Task) -> None:
        self._sleeping_count -= 1
        self._advance(task, None)

    def _continue(self, number: int, outcome: Reply | AgentTraceError) -> None:
        task = self._tasks.pop(number, None)
        if task is not None:
            self._advance(task, outcome)

    def _draw_task(self) -> Task:
        if self.profile.looks_on:
            draw = self._random.random()
            if draw < 0.6:
                return follow(self._random, self._place)
            return (
                discard_violation(self._random)
                if draw < 0.85
                else discard_draft(self._random, self._board)
            )
        tasks = self._taste.tasks
        (kind,) = self._random.choices(list(tasks), list(tasks.values()))
        match kind:
            case "read_modify_write":
                return self._read_modify_write()
            case "write":
                return self._write()
            case "accept" if self._board:
                return self._accept(self._random.choice(self._board))
            case "transaction" | "accept":
                return self._transaction()
            case "look":
                return self._look()
            case "special":
                return self._special()
            case _:
                return self._leave()

    def _special(self) -> Task:
        """Something with leases or rights."""
        user = self.profile.actor is Actor.USER
        draw = self._random.random()
        if draw < 0.15:
            return ask_leases()
        if user and draw < 0.7:
            return rights(self._random, self._line)
        if draw < 0.4:
            return write_protected(self._random, self._line)
        return under_lease(self._random, self._line, steals=user)

    def _path(self) -> str:
        if self._random.random() < 0.12:
            return self._random.choice(ODD_PATHS)
        return self._random.choice(self._taste.paths)

    def _line(self) -> bytes:
        self._text_count += 1
        box = self._random.choice(("", "- [ ] "))
        line = f"{box}{self.profile.name} {self._session_count} {self._text_count}\n".encode()
        self._lines.append(line)
        return line

    def _text(self, path: str) -> bytes:
        if "plan" in path and self._random.random() < 0.5:
            return b"# Plan\n\n## Next\n" + self._line() + b"\n## Done\n"
        return b"".join(self._line() for _ in range(self._random.randrange(1, 4)))

    def _guard(self, path: str) -> int | None:
        draw = self._random.random()
        if draw < 0.5:
            return None
        return self._known.get(path, 0) if draw < 0.9 else self._random.randrange(6)

    def _type(self, path: str) -> DocumentType | None:
        draw = self._random.random()
        if draw < 0.5:
            return None
        if draw < 0.9:
            return DocumentType.REFERENCE if path == "ref.md" else DocumentType.PLAN
        return self._random.choice(list(DocumentType))

    def _durability(self) -> Durability:
        return Durability.GIT if self._random.random() < 0.2 else Durability.JOURNAL

    def _operation(self, path: str) -> Operation:
        """Draw one operation on a document."""
        kind = self._random.choice(self._taste.operations)
        guard = self._guard(path)
        match kind:
            case "put":
                return Put(path, self._text(path), guard, self._type(path))
            case "append":
                return Append(path, self._line(), guard)
            case "edit":
                everywhere = self._random.random() < 0.4
                if self._random.random() < 0.6 or not self._lines:
                    return Edit(path, b"[ ]", b"[x]", everywhere, guard)
                old = self._random.choice(self._lines)
                return Edit(path, old, self._line(), everywhere, guard)
            case "section":
                mode = self._random.choice(list(SectionMode))
                heading = self._random.choice(("## Next", "Done", "Plan"))
                return SectionEdit(path, heading, self._line(), mode, guard)
            case "delete":
                return Delete(path, guard)
            case "move":
                return Move(path, self._path(), guard)
            case "restore":
                return Restore(path, self._random.randrange(1, 6), guard)
            case _:
                return Add(path)

    def _note(self, outcome: Reply | AgentTraceError) -> None:
        if isinstance(outcome, Committed):
            for result in outcome.results:
                self._known[result.path] = result.revision
        elif isinstance(outcome, Document):
            self._known[outcome.path] = outcome.revision

    def _write(self) -> Task:
        outcome = yield Transact((self._operation(self._path()),), self._durability())
        self._note(outcome)
        yield from self._after_conflict(outcome)

    def _after_conflict(self, outcome: Reply | AgentTraceError) -> Task:
        """Accept the merge that a conflict offers, sometimes against advice."""
        if isinstance(outcome, Conflict) and outcome.info is not None and outcome.info.draft:
            self._board.append(outcome.info.draft)
            if outcome.info.merged or self._random.random() < 0.2:
                accepted = yield Transact((AcceptDraft(outcome.info.draft),))
                self._note(accepted)

    def _accept(self, draft: str) -> Task:
        """Accept a draft that may be somebody else's."""
        self._note((yield Transact((AcceptDraft(draft),), self._durability())))

    def _transaction(self) -> Task:
        paths = list(dict.fromkeys(self._path() for _ in range(4)))
        operations: list[Operation] = []
        for path in paths:
            operation = self._operation(path)
            # What a restore or a guard means after an earlier operation of the same transaction
            # touched the document is a question of its own; see the tests of the core.
            if not isinstance(operation, (Restore, Move)):
                operations.append(operation)
        if not operations:
            operations.append(Append("c.md", self._line()))
        message = "several" if self._random.random() < 0.5 else ""
        outcome = yield Transact(tuple(operations), self._durability(), message)
        self._note(outcome)

    def _read_modify_write(self) -> Task:
        """Add one line to a document, whatever others do to it meanwhile."""
        path = self._random.choice(("plan.md", "notes/a.md", "notes/b.md"))
        line = self._line()
        for _ in range(6):
            outcome = yield Read(path)
            self._note(outcome)
            if isinstance(outcome, Document):
                text, revision = outcome.content + line, outcome.revision
                if self._random.random() < 0.5:
                    text = line + outcome.content
            elif isinstance(outcome, NotFound):
                text, revision = line, 0
            else:
                return
            outcome = yield Transact((Put(path, text, revision),), self._durability())
            self._note(outcome)
            if not isinstance(outcome, Conflict):
                return
            if outcome.info is not None and outcome.info.draft:
                self._board.append(outcome.info.draft)
            if outcome.info is not None and outcome.info.merged:
                outcome = yield Transact((AcceptDraft(outcome.info.draft),))
                self._note(outcome)
                return

    def _look(self) -> Task:
        draw = self._random.random()
        if draw < 0.55:
            revision = 0 if self._random.random() < 0.6 else self._random.randrange(1, 8)
            request: Request = Read(self._path(), revision)
        elif draw < 0.75:
            request = ListDocuments(prefix=self._random.choice(("", "notes/")))
        elif draw < 0.9:
            request = Log(path=self._random.choice(("", "plan.md", "notes/a.md")), limit=20)
        else:
            request = Sessions()
        self._note((yield request))

    def _leave(self) -> Task:
        yield Close()
        # Everything else that was under way is now refused; the agent comes back as a new session.
        self._network.disconnect(self._peer)
        self._incarnation += 1
        self._begin_session()
