"""One session: opened, kept alive by heartbeats, and carried over every loss of the connection.

Its law: what is under way stays in the correlator until it is answered, and after each reconnect
the session is opened again with the same key and everything unanswered is sent again, in order,
with the same numbers. The coordinator answers a repeated number with its first answer, so a lost
connection is never seen by callers, only a lost coordinator is.
"""

from __future__ import annotations

import copy
import logging
import math
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import anyio
import anyio.lowlevel
import msgspec

from agent_trace_protocol import (
    PROTOCOL_VERSION_MIN,
    AgentTraceError,
    Close,
    ErrorCode,
    Heartbeat,
    InternalError,
    InvalidRequest,
    MalformedMessage,
    Open,
    Opened,
    Refused,
    Reply,
    Request,
    RequestEnvelope,
    SessionKey,
    SessionSuperseded,
    SessionUnknown,
    TooLarge,
    decode_reply,
    decode_reply_envelope,
    encode,
    error_from_info,
)
from agent_trace_protocol.limits import BODY_BYTES_MAX

from .backoff import retry_delay
from .config import RECONNECT_SECONDS
from .correlator import Correlator, InFlight
from .errors import ConnectionLost
from .transport.base import Connector, Transport

__all__ = ["Session", "boot_time"]

_log = logging.getLogger("agent_trace.session")

OPEN_SECONDS_MAX: Final = 10.0
"""How long a coordinator may take to answer `Open` before the connection counts as lost: it may
have just started and be replaying its journal."""

CLOSE_SECONDS_MAX: Final = 2.0
"""How long leaving may take: the coordinator ends a session that is not closed by itself."""

HEARTBEATS_MISSED_MAX: Final = 3
"""Intervals without any sign of the coordinator after which the connection counts as lost."""

UNANSWERED_HEARTBEATS_MAX: Final = 4
"""Intervals without an answer after which a request is sent again over the same connection, if the
coordinator was heard from meanwhile: its socket drops answers that a peer which reads too slowly
has no room for. Each further time it takes twice as long, for some answers are waited for."""

_REOPENS_MAX: Final = 3
"""Times in a row that a coordinator may open the session and then not know it."""

_BUDGET_MS_MAX: Final = 2**31 - 1
"""More than three weeks; a longer budget is none."""

_HEARTBEAT_SECONDS_MIN: Final = 0.05

_HEARTBEAT_BODY: Final = encode(Heartbeat())


class Session:
    """A session and its requests. `run` must be running in the background."""

    def __init__(
        self,
        connector: Connector,
        opening: Open,
        key: SessionKey,
        *,
        reconnect_seconds: float = RECONNECT_SECONDS,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """`draw` returns random numbers in [0, 1), for the delays between attempts."""
        self._connector = connector
        self._open_body = _encode_body(opening)
        self._key = key
        self._reconnect_seconds = reconnect_seconds
        self._draw = draw
        self._table = Correlator()
        self._waiting: deque[InFlight] = deque()
        # Set while the session is open on a live connection, and only then.
        self._transport: Transport | None = None
        self._opening: Transport | None = None
        self._scope = anyio.CancelScope()
        self._life = anyio.CancelScope(shield=True)
        self._settled = anyio.Event()
        self._ended = anyio.Event()
        self._opened: Opened | None = None
        self._end: AgentTraceError | None = None
        self._why_dropped = ""
        # Why the coordinator did not open the session, if that may change.
        self._refusal: AgentTraceError | None = None
        self._heartbeat: InFlight | None = None
        self._beat_seconds = math.inf
        self._hurry = anyio.Event()
        self._renewing = True
        self.alive_at = 0.0
        """When the last sign of life was sent that was answered, by `CLOCK_BOOTTIME`."""
        self._heard = False
        # On the event loop's clock.
        self._heard_at = -math.inf
        self._missed_count = 0
        self._reopen_count = 0
        self._seq = 0

    @property
    def opened(self) -> Opened:
        """What the coordinator last said when the session was opened."""
        if self._opened is None:
            raise InternalError("the session was never open")
        return self._opened

    @property
    def seq(self) -> int:
        """The last durable operation that this session has heard of."""
        return self._seq

    @property
    def connected(self) -> bool:
        """Whether the session is open on a live connection."""
        return self._transport is not None

    async def wait_end(self) -> AgentTraceError:
        """Wait until the session has ended, and return why."""
        await self._ended.wait()
        assert self._end is not None
        return copy.copy(self._end)

    def beat_every(self, seconds: float | None) -> None:
        """Give signs of life at least this often; None: as the coordinator asks for."""
        before, self._beat_seconds = self._beat_seconds, math.inf if seconds is None else seconds
        if self._beat_seconds < before:
            self._hurry.set()

    def stop_renewing(self) -> None:
        """Give no more signs of life by itself: the session ends when its time is over."""
        self._renewing = False

    # ---- requests ---------------------------------------------------------------------------

    async def wait_opened(self) -> None:
        """Wait until the session was opened for the first time, or raise why it was not."""
        await self._settled.wait()
        self._check_end()

    async def request(
        self, request: Request, *, undo: Callable[[int], Request] | None = None
    ) -> Reply:
        """Send a request and return its answer.

        Requests are carried out in the order of these calls. The caller's cancel scope is the
        budget: its deadline travels with the request. If cancelled while the session has no room
        for it yet, nothing happened; later, it may or may not be carried out.

        Args:
            undo: returns the request that takes the one with this number back; it is sent when the
                caller is cancelled, and nobody waits for its answer.

        Raises:
            AgentTraceError: the coordinator's refusal, or the end of the session.
        """
        body = _encode_body(request)
        self._check_end()
        deadline = anyio.current_effective_deadline()
        if deadline == -math.inf:
            # Already cancelled: this raises, before anything has happened.
            await anyio.lowlevel.checkpoint()
        answered = anyio.Event()
        entry = InFlight(body, deadline=deadline, notify=answered.set)
        if self._waiting or not self._table.has_room(len(body)):
            self._waiting.append(entry)
        else:
            self._table.enter(entry)
            self._send(entry)
        try:
            await answered.wait()
        except BaseException:
            # Only cancellation comes here. What has a number must stay in the table.
            if entry.number == 0 and entry in self._waiting:
                self._waiting.remove(entry)
                self._admit()
            elif entry.number and undo is not None and self._end is None:
                self._waiting.append(InFlight(_encode_body(undo(entry.number))))
                self._admit()
            raise
        return entry.result()

    async def close(self) -> None:
        """End the session at the coordinator, or give up after `CLOSE_SECONDS_MAX`; never raises.

        Runs to its end even if the caller is cancelled.
        """
        # What was never open needs no closing, and nobody should wait for it.
        if self._opened is not None and self._end is None:
            with anyio.move_on_after(CLOSE_SECONDS_MAX, shield=True):
                try:
                    await self.request(Close())
                except AgentTraceError as error:
                    _log.debug("the session could not be closed: %s", error)
        self.abandon()

    def abandon(self) -> None:
        """Stop here without a word to the coordinator; later requests raise `SessionUnknown`."""
        self._finish(SessionUnknown("this session was closed; connect anew"))

    def _check_end(self) -> None:
        if self._end is not None:
            raise copy.copy(self._end)

    def _send(self, entry: InFlight, *, again: bool = False) -> None:
        """Send a request if there is a connection; `again`: over one that it was sent over."""
        transport = self._transport
        if transport is None:
            return
        budget_ms = 0
        if entry.deadline != math.inf:
            left_ms = (entry.deadline - anyio.current_time()) * 1000
            budget_ms = int(min(max(left_ms, 1), _BUDGET_MS_MAX))
        envelope = RequestEnvelope(self.opened.protocol, self._key, entry.number, budget_ms)
        if not again:
            entry.sent_at = boot_time()
            entry.asked_count = 0
        entry.asked_at = anyio.current_time()
        entry.asked_count += 1
        try:
            transport.send_nowait(encode(envelope), entry.body)
        except ConnectionLost:
            # The receiving side notices the same and reconnects; the request is then sent again.
            self._transport = None

    def _ask_again(self) -> None:
        """Send again what was not answered for long, though the coordinator was heard from."""
        patience = UNANSWERED_HEARTBEATS_MAX * self.opened.heartbeat_seconds
        now = anyio.current_time()
        for entry in list(self._table):
            due_at = entry.asked_at + patience * 2 ** (entry.asked_count - 1)
            if due_at <= now and self._heard_at > entry.asked_at:
                _log.info("request %d is asked again: it was not answered", entry.number)
                self._send(entry, again=True)

    def _admit(self) -> None:
        """Let requests in that waited for room, in order."""
        while self._waiting and self._table.has_room(len(self._waiting[0].body)):
            entry = self._waiting.popleft()
            self._table.enter(entry)
            self._send(entry)

    # ---- what arrives -----------------------------------------------------------------------

    def _deliver(self, frames: Sequence[bytes]) -> None:
        try:
            if len(frames) != 2:
                raise MalformedMessage(f"a reply has two frames, not {len(frames)}")
            envelope = decode_reply_envelope(frames[0])
        except InvalidRequest as error:
            self._drop(f"it sent what is no reply: {error}")
            return
        self._heard = True
        self._heard_at = anyio.current_time()
        self._seq = max(self._seq, envelope.seq)
        number = envelope.number
        outcome: Reply | AgentTraceError
        try:
            outcome = decode_reply(frames[1])
        except InvalidRequest as error:
            outcome = error
        if isinstance(outcome, Refused):
            outcome = error_from_info(outcome.error)
        if number == 0:
            self._on_opening_answered(outcome)
        elif isinstance(outcome, SessionSuperseded):
            # Over for good, whatever else is under way.
            self._finish(outcome)
        elif isinstance(outcome, SessionUnknown) and outcome.code is ErrorCode.SESSION_UNKNOWN:
            self._on_unknown(number, outcome)
        else:
            entry = self._table.answer(number)
            if entry is not None:
                self.alive_at = max(self.alive_at, entry.sent_at)
                self._reopen_count = 0
                entry.finish(outcome)
                if self._waiting:
                    self._admit()

    def _on_opening_answered(self, outcome: Reply | AgentTraceError) -> None:
        if self._opening is None:
            # A coordinator that can not read a request's envelope knows no number to answer to.
            if isinstance(outcome, AgentTraceError):
                _log.warning("the coordinator refused a message it could not read: %s", outcome)
            return
        if isinstance(outcome, AgentTraceError):
            if outcome.retryable:
                self._drop(str(outcome))
                self._refusal = outcome
            else:
                self._finish(outcome)
            return
        if not isinstance(outcome, Opened):
            self._finish(MalformedMessage(f"open was answered with {type(outcome).__name__}"))
            return
        self._transport, self._opening = self._opening, None
        self._refusal = None
        self._opened = outcome
        self._missed_count = 0
        self._scope.deadline = math.inf
        self._table.continue_from(outcome.next_number)
        for entry in list(self._table):
            self._send(entry)
        self._admit()
        self._settled.set()

    def _on_unknown(self, number: int, error: AgentTraceError) -> None:
        if self._opening is not None or number not in self._table:
            return
        self._reopen_count += 1
        if self._reopen_count > _REOPENS_MAX:
            self._finish(error)
        else:
            self._drop(str(error))

    def _drop(self, why: str) -> None:
        """Give this connection up and make another."""
        self._why_dropped = why
        self._transport = None
        self._opening = None
        self._scope.cancel()

    def _finish(self, error: AgentTraceError) -> None:
        """End the session; every caller, waiting or to come, gets `error`."""
        if self._end is not None:
            return
        self._end = error
        self._ended.set()
        self._transport = None
        self._opening = None
        self._table.fail_all(error)
        while self._waiting:
            self._waiting.popleft().finish(copy.copy(error))
        self._settled.set()
        self._life.cancel()

    # ---- the background ---------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the session connected until it ends; its end is told to callers, not raised here.

        Cancellation has no effect: a caller that is cancelled must still be able to close the
        session. `close` and `abandon` end it.
        """
        try:
            with self._life:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._beat)
                    try:
                        await self._stay_connected()
                    except AgentTraceError as error:
                        self._finish(error)
        finally:
            self.abandon()

    async def _stay_connected(self) -> None:
        attempt = 0
        give_up_at = anyio.current_time() + self._reconnect_seconds
        while self._end is None:
            was_opened = self._opened
            try:
                await self._converse()
            except ConnectionLost as error:
                if self._end is not None:
                    return
                now = anyio.current_time()
                if self._opened is not was_opened:
                    attempt = 0
                    give_up_at = now + self._reconnect_seconds
                attempt += 1
                _log.info("reconnecting, attempt %d: %s", attempt, error)
                if now >= give_up_at:
                    if self._refusal is not None:
                        raise self._refusal from error
                    tried = f" (tried {attempt} times in {self._reconnect_seconds:g} s)"
                    raise ConnectionLost(f"{error}{tried if attempt > 1 else ''}") from error
                await anyio.sleep(retry_delay(attempt, self._draw()))

    async def _converse(self) -> None:
        """Make one connection and use it until it is lost; then raise `ConnectionLost`."""
        transport = await self._connector.connect()
        try:
            self._why_dropped = "it did not answer"
            with anyio.CancelScope() as self._scope:
                self._scope.deadline = anyio.current_time() + OPEN_SECONDS_MAX
                self._opening = transport
                # The oldest that is offered: whoever speaks any of the others can read it.
                envelope = RequestEnvelope(PROTOCOL_VERSION_MIN, self._key, 0)
                transport.send_nowait(encode(envelope), self._open_body)
                await transport.run(self._deliver)
            raise ConnectionLost(
                f"the connection to the coordinator was given up: {self._why_dropped}"
            )
        finally:
            self._transport = None
            self._opening = None
            transport.close()

    async def _beat(self) -> None:
        """Say that the session is alive, and notice when the coordinator is not."""
        await self._settled.wait()
        while self._end is None:
            self._hurry = anyio.Event()
            interval = min(self.opened.heartbeat_seconds, self._beat_seconds)
            with anyio.move_on_after(max(interval, _HEARTBEAT_SECONDS_MIN)):
                await self._hurry.wait()
                # The interval has become shorter; the sign of life that is due by it is sent.
            if self._transport is not None:
                self._ask_again()
            if self._transport is None or not self._renewing:
                continue
            if self._heartbeat is None or self._heartbeat.number not in self._table:
                # One at a time, and without asking for room: a sign of life must not wait.
                self._heartbeat = InFlight(_HEARTBEAT_BODY)
                self._heard = False
                self._missed_count = 0
                self._table.enter(self._heartbeat)
                self._send(self._heartbeat)
            elif self._heard:
                self._heard = False
                self._missed_count = 0
            else:
                self._missed_count += 1
                if self._missed_count >= HEARTBEATS_MISSED_MAX:
                    self._drop(f"it was silent for {self._missed_count} heartbeats")


def boot_time() -> float:
    """Return seconds that go on while the machine sleeps, where the system counts them."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _encode_body(request: Request) -> bytes:
    """Return the bytes of a request; raises `InvalidRequest` for what can not be written."""
    try:
        body = encode(request)
    except (UnicodeEncodeError, OverflowError, TypeError, msgspec.MsgspecError) as error:
        raise InvalidRequest(f"the request can not be encoded: {error}") from error
    # The coordinator's socket would cut the connection, and each repetition would do so again.
    if len(body) > BODY_BYTES_MAX:
        raise TooLarge(f"the request has {len(body)} bytes; the limit is {BODY_BYTES_MAX}")
    return body
