"""One agent as a process of its own, speaking the protocol without the client library.

`python -m crash.client '<ClientConfig as JSON>'`. It writes until it gets SIGTERM, then waits for
what is unanswered and leaves. When the coordinator is gone it looks for the next one, opens the
same session again and resends what was not answered; now and then it resends without need.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from random import Random
from typing import Final

import msgspec
import zmq

from agent_trace_protocol import (
    PROTOCOL_VERSION,
    Actor,
    AgentTraceError,
    Append,
    Close,
    Committed,
    Delete,
    Durability,
    Edit,
    ErrorCode,
    Move,
    Open,
    Opened,
    Put,
    Refused,
    Reply,
    ReplyEnvelope,
    Request,
    RequestEnvelope,
    SessionKind,
    Transact,
    decode_reply,
    decode_reply_envelope,
    encode,
    session_id_of,
)
from agent_trace_protocol.layout import ENDPOINT_FILE, EndpointInfo
from crash.history import (
    Answer,
    Begun,
    Call,
    LogReader,
    LogWriter,
    Noticed,
    Resumed,
    decode_call,
)
from crash.workload import Workload

__all__ = ["ClientConfig", "read_endpoint"]

OPEN_WAIT_MS: Final = 200
"""How long the answer to `Open` is waited for before the endpoint is looked up again."""

POLL_MS: Final = 25
"""How long answers are waited for before the endpoint is looked up again."""

RESEND_SECONDS: Final = 1.0
"""After this long without an answer everything is sent again."""

DRAIN_SECONDS: Final = 30.0
"""How long the last answers are waited for."""

_RETRYABLE: Final = frozenset({ErrorCode.BUSY, ErrorCode.READ_ONLY, ErrorCode.UNAVAILABLE})
_DISK_FAILS: Final = _RETRYABLE | {ErrorCode.CORRUPT}
_NO_SESSION: Final = frozenset({ErrorCode.SESSION_UNKNOWN})


class ClientConfig(msgspec.Struct, frozen=True):
    """What a client is told when it is started."""

    root: str
    log: str
    name: str
    actor: Actor
    key: bytes
    seed: int
    life: int
    window: int
    """Requests under way at a time; only with 1 does the agent know its own documents exactly."""
    think_ms: float
    """Mean pause between two requests."""
    pid_started: int
    disk_may_fail: bool
    """Whether a file may be behind its commit, because it can not be written."""
    continues: tuple[str, ...] = ()
    """Logs of killed processes of the same session, whose unanswered requests are sent again."""


def read_endpoint(root: Path) -> EndpointInfo | None:
    """Return where the coordinator says it listens; None if nothing sensible is there."""
    try:
        return msgspec.json.decode((root / ENDPOINT_FILE).read_bytes(), type=EndpointInfo)
    except (OSError, msgspec.MsgspecError):
        return None


class _Client:
    def __init__(self, config: ClientConfig) -> None:
        self.config = config
        self.root = Path(config.root)
        self.random = Random(config.seed)
        self.log = LogWriter(Path(config.log))
        self.context = zmq.Context(io_threads=1)
        self.socket: zmq.Socket[bytes] | None = None
        self.endpoint: EndpointInfo | None = None
        self.workload = Workload(self.random, config.name, config.life)
        self.waiting: dict[int, Call] = {}
        self.sent_at = 0.0
        self.number = 0
        self.committed_max = 0
        self.leaving = False
        self.leave_by = 0.0

    def run(self) -> None:
        config = self.config
        self.log.note(Begun(config.name, config.actor, config.key, str(session_id_of(config.key))))
        self.take_over()
        while not (self.leaving and not self.waiting):
            if self.leaving and time.monotonic() > self.leave_by:
                return
            if self.socket is None and not self.connect():
                continue
            if not self.leaving and len(self.waiting) < config.window:
                self.call()
            self.listen(self.pause_ms())
        if self.socket is not None and self.random.random() < 0.5:
            self.send(0, Close("done"))
            self.socket.close(linger=500)

    def leave(self) -> None:
        self.leaving = True
        self.leave_by = time.monotonic() + DRAIN_SECONDS

    def take_over(self) -> None:
        """Know what earlier processes of this session called and were not answered."""
        for name in self.config.continues:
            for line in LogReader(Path(name)).read():
                if isinstance(line, Call):
                    self.waiting[line.number] = line
                    self.number = max(self.number, line.number)
                elif isinstance(line, Answer):
                    self.waiting.pop(line.number, None)
                    if isinstance(line.reply, Committed):
                        self.committed_max = max(self.committed_max, line.number)

    # -- the connection --------------------------------------------------------------------

    def connect(self) -> bool:
        """Try once to open the session; resend everything unanswered if that works."""
        self.endpoint = read_endpoint(self.root)
        if self.endpoint is None:
            # Nothing to wait on: the file appears when the coordinator is up.
            time.sleep(0.02)
            return False
        socket = self.socket = self.context.socket(zmq.SocketType.DEALER)
        socket.set(zmq.SocketOption.LINGER, 0)
        # One connection for each socket: what libzmq would resend by itself on a later one could
        # overtake what is resent here.
        socket.set(zmq.SocketOption.RECONNECT_IVL, -1)
        try:
            socket.connect(self.endpoint.endpoint)
        except zmq.ZMQError:
            self.disconnect()
            return False
        config = self.config
        opening = Open(
            config.name,
            config.actor,
            SessionKind.LIBRARY,
            program="crash",
            pid_started=config.pid_started,
            takeover=True,
        )
        self.send(0, opening)
        deadline = time.monotonic() + OPEN_WAIT_MS / 1000
        while (left := deadline - time.monotonic()) > 0:
            if not socket.poll(int(left * 1000) + 1):
                break
            envelope, body = self.receive()
            reply = decode_reply(body)
            if envelope.number == 0 and isinstance(reply, Opened):
                self.note_opened(reply)
                self.resend()
                return True
            if envelope.number == 0 and isinstance(reply, Refused):
                if self.config.disk_may_fail and reply.error.code in _DISK_FAILS:
                    break  # the disk is made to fail
                self.notice(0, f"the session can not be opened: {reply.error.message}")
                break
            self.take(envelope, body, reply)
        self.disconnect()
        return False

    def disconnect(self) -> None:
        if self.socket is not None:
            self.socket.close(linger=0)
            self.socket = None

    def note_opened(self, opened: Opened) -> None:
        self.log.note(Resumed(opened.next_number))
        if opened.next_number <= self.committed_max:
            # What was acknowledged is gone: rightly so if that was said while the power was being
            # cut, which is not this process's to judge. What the documents hold is unknown.
            self.committed_max = 0
            self.workload.forget()

    def resend(self) -> None:
        for number in sorted(self.waiting):
            self.send_bytes(number, self.waiting[number].body)
        self.sent_at = time.monotonic()

    def send(self, number: int, request: Request) -> None:
        self.send_bytes(number, encode(request))

    def send_bytes(self, number: int, body: bytes) -> None:
        assert self.socket is not None
        envelope = encode(RequestEnvelope(PROTOCOL_VERSION, self.config.key, number))
        try:
            self.socket.send_multipart((envelope, body), zmq.Flag.NOBLOCK)
        except zmq.Again:
            # The connection is gone; what was to be sent is resent on the next one.
            return

    def receive(self) -> tuple[ReplyEnvelope, bytes]:
        assert self.socket is not None
        envelope, body = self.socket.recv_multipart()
        return decode_reply_envelope(envelope), body

    # -- calls and answers -----------------------------------------------------------------

    def call(self) -> None:
        request, sure = self.workload.next()
        self.number += 1
        body = encode(request)
        sure = sure and self.config.window == 1
        call = Call(self.number, time.monotonic(), body, sure)
        self.log.note(call)
        self.waiting[self.number] = call
        self.sent_at = time.monotonic()
        self.send_bytes(self.number, body)
        if self.random.random() < 0.02:
            self.send_bytes(self.number, body)

    def pause_ms(self) -> int:
        if self.leaving or len(self.waiting) >= self.config.window:
            return POLL_MS
        return int(self.random.expovariate(1 / self.config.think_ms)) if self.config.think_ms else 0

    def listen(self, wait_ms: int) -> None:
        socket = self.socket
        if socket is None:
            return
        if socket.poll(wait_ms):
            while self.socket is socket and socket.poll(0):
                envelope, body = self.receive()
                self.take(envelope, body, decode_reply(body))
        elif wait_ms >= POLL_MS and self.waiting:
            found = read_endpoint(self.root)
            if found is None or found != self.endpoint:
                self.disconnect()
            elif time.monotonic() - self.sent_at > RESEND_SECONDS:
                if self.random.random() < 0.5:
                    self.disconnect()
                else:
                    self.resend()

    def take(self, envelope: ReplyEnvelope, body: bytes, reply: Reply) -> None:
        received = time.monotonic()
        if isinstance(reply, Refused):
            if reply.error.code in _NO_SESSION:
                self.disconnect()
                return
            if reply.error.code in _RETRYABLE:
                # It is resent when nothing has come for a while.
                return
        call = self.waiting.pop(envelope.number, None)
        if call is None:
            return
        self.log.note(Answer(envelope.number, received, envelope.seq, envelope.epoch, body))
        self.workload.settle(reply)
        if isinstance(reply, Committed):
            self.committed_max = max(self.committed_max, envelope.number)
            files_hold = self.config.window == 1 and not self.config.disk_may_fail
            if files_hold and reply.commit:
                self.check_files(envelope.number, call)

    def check_files(self, number: int, call: Call) -> None:
        """A request that waited for git has written its files as well."""
        since = time.monotonic()
        request: Transact = decode_call(call)
        assert request.durability is Durability.GIT
        for operation in request.operations:
            if not isinstance(operation, (Put, Append, Edit, Delete, Move)):
                continue
            path = operation.path
            expected = self.workload.text_of(path)
            if expected is None and not isinstance(operation, (Delete, Move)):
                continue
            try:
                found = (self.root / path).read_bytes()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                found = None
            except OSError:
                # The power was cut meanwhile.
                return
            if found != expected:
                problem = f"after its commit {path} holds {found!r}, not {expected!r}"
                self.notice(number, problem, since)

    def notice(self, number: int, problem: str, since: float | None = None) -> None:
        now = time.monotonic()
        self.log.note(Noticed(number, now if since is None else since, now, problem))


def main() -> None:
    """Run the client that the first argument describes."""
    client = _Client(msgspec.json.decode(sys.argv[1], type=ClientConfig))

    def leave(number: int, frame: object) -> None:
        client.leave()

    signal.signal(signal.SIGTERM, leave)
    # Ctrl-C in a terminal is for the controller, which then ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        client.run()
    except AgentTraceError as error:
        client.notice(0, f"the client met {type(error).__name__}: {error}")
        raise


if __name__ == "__main__":
    main()
