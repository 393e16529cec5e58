"""A real coordinator process, and a peer that needs no client library to speak with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import zmq

from agent_trace_protocol import (
    PROTOCOL_VERSION,
    Actor,
    Committed,
    Durability,
    Open,
    Opened,
    Operation,
    Reply,
    ReplyEnvelope,
    Request,
    RequestEnvelope,
    SessionKind,
    Transact,
    decode_reply,
    decode_reply_envelope,
    encode,
)
from agent_trace_protocol.keys import JoinInfo
from agent_trace_protocol.layout import ENDPOINT_FILE, EndpointInfo

__all__ = ["Coordinator", "Peer", "make_store", "running"]

PATIENCE_MS: Final = 10_000


def make_store(root: Path) -> None:
    """Make a store, unless there is one."""
    if not (root / ".agent-trace").exists():
        command = [sys.executable, "-m", "agent_trace_coordinator", "init", str(root)]
        subprocess.run(command, check=True)


class Coordinator:
    """The coordinator of a store, as a child process."""

    def __init__(self, root: Path, *arguments: str) -> None:
        self.root = root
        self.arguments = arguments
        make_store(root)
        self.start()

    def start(self) -> None:
        """Start it and wait until it says that it serves."""
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "agent_trace_coordinator", "serve"),
                *("--store", str(self.root), *self.arguments),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert self.process.stderr is not None
        self.said: list[str] = []
        for line in self.process.stderr:
            self.said.append(line.decode())
            if b"serving" in line:
                return
        self.end()
        raise AssertionError(f"the coordinator did not start: {''.join(self.said)}")

    @property
    def endpoint(self) -> str:
        return self.info.endpoint

    @property
    def info(self) -> EndpointInfo:
        return msgspec.json.decode((self.root / ENDPOINT_FILE).read_bytes(), type=EndpointInfo)

    def end(self, by: signal.Signals = signal.SIGTERM) -> int:
        """End it by a signal, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(by)
        assert self.process.stderr is not None
        if not self.process.stderr.closed:
            self.said += [line.decode() for line in self.process.stderr]
            self.process.stderr.close()
        return self.process.wait(10)


@contextmanager
def running(root: Path, *arguments: str) -> Generator[Coordinator]:
    """Serve a store, made if needed, for the length of a block."""
    root.mkdir(parents=True, exist_ok=True)
    coordinator = Coordinator(root, *arguments)
    try:
        yield coordinator
    finally:
        coordinator.end(signal.SIGKILL)


@dataclass
class Peer:
    """One connection of one session, lock-step."""

    endpoint: str
    name: str = "planner"
    actor: Actor = Actor.AGENT
    key: bytes = field(default_factory=lambda: os.urandom(16))
    number: int = 0
    join: JoinInfo | None = None
    """The key to come with, over TCP."""

    def __post_init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self._connected()

    def connect(self) -> None:
        """Connect anew; what was under way on the connection before is lost."""
        self.socket.close(0)
        self.socket = self._connected()

    def _connected(self) -> zmq.Socket[bytes]:
        socket = self.context.socket(zmq.SocketType.DEALER)
        socket.set(zmq.SocketOption.LINGER, 0)
        if self.join is not None:
            secret = self.join.secret.encode()
            socket.set(zmq.SocketOption.CURVE_SERVERKEY, self.join.server.encode())
            socket.set(zmq.SocketOption.CURVE_SECRETKEY, secret)
            socket.set(zmq.SocketOption.CURVE_PUBLICKEY, zmq.curve_public(secret))
        socket.connect(self.endpoint)
        return socket

    def close(self) -> None:
        self.context.destroy(linger=0)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def exchange(self, frames: Sequence[bytes]) -> tuple[ReplyEnvelope, Reply]:
        """Send frames as they are, and return the answer."""
        self.socket.send_multipart(frames)
        assert self.socket.poll(PATIENCE_MS), "no answer"
        envelope, body = self.socket.recv_multipart()
        return decode_reply_envelope(envelope), decode_reply(body)

    def ask_as(self, number: int, request: Request) -> Reply:
        """Send a request under a number, and return its answer."""
        envelope = RequestEnvelope(PROTOCOL_VERSION, self.key, number)
        answered, reply = self.exchange([encode(envelope), encode(request)])
        assert answered.number == number
        return reply

    def send(self, request: Request) -> None:
        """Send a request under the present number, and do not wait."""
        envelope = RequestEnvelope(PROTOCOL_VERSION, self.key, self.number)
        self.socket.send_multipart([encode(envelope), encode(request)])

    def receive(self) -> Reply:
        """Return an answer that has arrived."""
        return decode_reply(self.socket.recv_multipart()[1])

    def ask(self, request: Request) -> Reply:
        """Send a request under the next number, and return its answer."""
        self.number += 1
        return self.ask_as(self.number, request)

    def open(self, *, takeover: bool = False) -> Reply:
        return self.ask_as(0, Open(self.name, self.actor, SessionKind.LIBRARY, takeover=takeover))

    def opened(self) -> Peer:
        """Open the session; it must be let in."""
        reply = self.open()
        assert isinstance(reply, Opened), reply
        return self

    def do(self, *operations: Operation, durability: Durability = Durability.JOURNAL) -> Committed:
        """Carry operations out; they must be accepted."""
        reply = self.ask(Transact(operations, durability))
        assert isinstance(reply, Committed), reply
        return reply
