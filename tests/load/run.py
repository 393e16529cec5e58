"""One run: many sessions, reconnect storms, slow consumers, large frames, floods; and a client that
behaves, whose latency is measured all the while.

Every figure is a ratio or a size within this one run. The client that behaves must be served in all
of it: never refused, never without an answer.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import zmq

from agent_trace_protocol import (
    PROTOCOL_VERSION,
    Close,
    Committed,
    ErrorCode,
    Open,
    Opened,
    Put,
    Read,
    Refused,
    Reply,
    RequestEnvelope,
    SessionKind,
    Transact,
    decode_reply,
    encode,
)
from agent_trace_protocol.limits import BODY_BYTES_MAX, MIB
from agent_trace_protocol.model import Actor
from support.coordinator import Coordinator, Peer, running

PATIENCE_MS: Final = 30_000
RSS_GROWTH_MAX: Final = 400 * MIB
"""What the coordinator may have taken in the end: the bounds of its queues, together."""


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    sessions: int
    slow: int
    seconds: float


@dataclass
class Report:
    """What was found."""

    latencies: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    rss: dict[str, int] = field(default_factory=dict[str, int])
    floods: dict[str, str] = field(default_factory=dict[str, str])
    unanswered: dict[str, int] = field(default_factory=dict[str, int])

    def lines(self) -> list[str]:
        """Return the figures as text."""
        lines = [f"{name:<32} {size / MIB:8.1f} MiB resident" for name, size in self.rss.items()]
        for name, values in self.latencies.items():
            lines.append(
                f"{name:<32} p50 {percentile(values, 50):8.2f} ms  p99 "
                f"{percentile(values, 99):8.2f} ms  ({len(values)} writes)"
            )
        lines += [f"{name:<32} {told}" for name, told in self.floods.items()]
        return lines

    def problems(self, factor: float) -> list[str]:
        """Return what is not as promised; `factor` is by how much p99 may grow in a flood."""
        found = self.broken()
        alone = max(percentile(self.latencies["alone"], 99), 1.0)
        for name, values in self.latencies.items():
            grown = percentile(values, 99) / alone
            if grown > factor:
                found.append(f"{name}: p99 grew {grown:.1f} times; at most {factor:g}")
        return found

    def broken(self) -> list[str]:
        """Return what is not as promised, of what depends on no clock."""
        found = [
            f"{name}: {count} not answered" for name, count in self.unanswered.items() if count
        ]
        grown = max(self.rss.values()) - self.rss["at the start"]
        if grown > RSS_GROWTH_MAX:
            found.append(f"memory grew by {grown / MIB:.0f} MiB")
        return found


def percentile(values: list[float], percent: int) -> float:
    """Return a percentile, in the values' own unit."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def run(root: Path, plan: Plan) -> Report:
    """Do everything once."""
    report = Report()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A socket of ours takes three descriptors.
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
    with running(root) as served, Peer(served.endpoint, "steady") as steady:
        steady.opened()

        def look(name: str) -> None:
            report.rss[name] = resident(served)

        def measure(name: str, seconds: float) -> None:
            report.latencies[name] = writes_for(steady, seconds)

        look("at the start")
        measure("alone", plan.seconds)
        crowd = Crowd(served.endpoint, plan.sessions)
        try:
            report.unanswered["sessions"] = crowd.open()
            look(f"{plan.sessions} sessions")
            report.unanswered["their writes"] = crowd.write()
            crowd.reconnect()
            report.unanswered["reconnect storm"] = crowd.open()
            look("after a reconnect storm")
            report.unanswered["closing"] = crowd.ask(Close())
        finally:
            crowd.close()
        with slow_consumers(served, steady, plan.slow):
            measure(f"{plan.slow} that do not read", plan.seconds)
            look(f"{plan.slow} that do not read")
        report.floods["large frames"] = large_frames(served)
        look("after large frames")
        for kind in ("writes", "queries"):
            with flood(served, kind) as told:
                measure(f"flood of {kind}", plan.seconds)
                look(f"in a flood of {kind}")
            report.floods[f"flood of {kind}"] = told[0]
    return report


def resident(served: Coordinator) -> int:
    """Return the bytes of memory that a coordinator holds."""
    pages = Path(f"/proc/{served.process.pid}/statm").read_text().split()[1]
    return int(pages) * 4096


def writes_for(peer: Peer, seconds: float) -> list[float]:
    """Write in a closed loop; return the milliseconds that each write took."""
    taken: list[float] = []
    end = time.monotonic() + seconds
    while not taken or time.monotonic() < end:
        begin = time.monotonic()
        reply = peer.ask(Transact((Put("steady.md", b"%d\n" % peer.number),)))
        taken.append((time.monotonic() - begin) * 1000)
        assert isinstance(reply, Committed), reply
    return taken


class Crowd:
    """Many sessions of one process, each on a connection of its own."""

    def __init__(self, endpoint: str, count: int) -> None:
        self._endpoint = endpoint
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._context.set(zmq.ContextOption.MAX_SOCKETS, 2 * count + 10)
        self._keys = [b"crowd-%010d" % index for index in range(count)]
        self._number = 0
        self._sockets = [self._connected() for _ in self._keys]

    def _connected(self) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.SocketType.DEALER)
        socket.set(zmq.SocketOption.LINGER, 0)
        socket.connect(self._endpoint)
        return socket

    def reconnect(self) -> None:
        """All at once."""
        for socket in self._sockets:
            socket.close(0)
        self._sockets = [self._connected() for _ in self._keys]

    def close(self) -> None:
        self._context.destroy(linger=0)

    def open(self) -> int:
        """Open all sessions, or come back to them; return how many were not opened."""
        for index, (socket, key) in enumerate(zip(self._sockets, self._keys, strict=True)):
            opening = Open(f"agent-{index}", Actor.AGENT, SessionKind.LIBRARY)
            socket.send_multipart((envelope(key, 0), encode(opening)))
        return sum(not isinstance(reply, Opened) for reply in self._replies())

    def write(self) -> int:
        """Write a document in each session; return how many writes were not acknowledged."""
        self._number += 1
        for index, (socket, key) in enumerate(zip(self._sockets, self._keys, strict=True)):
            put = Transact((Put(f"crowd/{index}.md", b"here\n"),))
            socket.send_multipart((envelope(key, self._number), encode(put)))
        return sum(not isinstance(reply, Committed) for reply in self._replies())

    def ask(self, request: Close) -> int:
        """Ask the same in each session; return how many were refused or not answered."""
        self._number += 1
        for socket, key in zip(self._sockets, self._keys, strict=True):
            socket.send_multipart((envelope(key, self._number), encode(request)))
        return sum(reply is None or isinstance(reply, Refused) for reply in self._replies())

    def _replies(self) -> list[Reply | None]:
        return [
            decode_reply(socket.recv_multipart()[1]) if socket.poll(PATIENCE_MS) else None
            for socket in self._sockets
        ]


def envelope(key: bytes, number: int) -> bytes:
    """Return the first frame of a request."""
    return encode(RequestEnvelope(PROTOCOL_VERSION, key, number))


@contextmanager
def slow_consumers(served: Coordinator, steady: Peer, count: int) -> Generator[None]:
    """Clients that ask for a large document again and again, and read no answer."""
    steady.do(Put("large.md", b"x" * (MIB - 1024)))
    peers = [Peer(served.endpoint, f"slow-{index}").opened() for index in range(count)]
    try:
        for peer in peers:
            # libzmq would read ahead for us.
            peer.socket.set(zmq.SocketOption.RCVHWM, 1)
            peer.connect()
            for _ in range(200):
                peer.number += 1
                peer.send(Read("large.md"))
        yield
    finally:
        for peer in peers:
            peer.close()


def large_frames(served: Coordinator) -> str:
    """Send frames at the limit and above; return what became of them."""
    with Peer(served.endpoint, "large") as peer:
        peer.opened()
        peer.number += 1
        envelope_, body = envelope(peer.key, peer.number), b"\xc1" * BODY_BYTES_MAX
        _, reply = peer.exchange((envelope_, body))
        assert isinstance(reply, Refused) and reply.error.code is ErrorCode.MALFORMED, reply
        for _ in range(10):
            # Above it the connection is cut, before the frame is held.
            peer.socket.send_multipart((envelope_, b"x" * (16 * MIB)))
            assert not peer.socket.poll(50)
            peer.connect()
        opened = peer.open()
        assert isinstance(opened, Opened), opened
    return f"{BODY_BYTES_MAX} bytes: refused as malformed; 10 of 16 MiB: cut, others served"


@contextmanager
def flood(served: Coordinator, kind: str) -> Generator[list[str]]:
    """One client that sends as fast as it can, in a process of its own."""
    command = [sys.executable, "-m", "load.flooder", served.endpoint, kind]
    tests = str(Path(__file__).resolve().parent.parent)
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tests
    )
    assert process.stdin is not None and process.stdout is not None
    told: list[str] = []
    try:
        assert process.stdout.readline().strip() == "flooding"
        yield told
        process.stdin.close()
        sent, done, busy = process.stdout.readline().split()
        told.append(f"{sent} sent, {done} answered, {busy} refused as busy")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        if not process.stdin.closed:
            process.stdin.close()
