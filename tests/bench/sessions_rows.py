"""Figures about sessions and leases: what idle ones cost, and how fast a dead agent is followed.

Run with `PYTHONPATH=tests python -m bench.sessions_rows`.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from agent_trace_protocol import (
    AcquireLease,
    Done,
    Heartbeat,
    Leased,
    RequestEnvelope,
    decode_reply,
    encode,
)
from support.coordinator import Peer, running
from support.holder import Holder

__all__ = ["idle_sessions_cpu_share", "takeover_seconds"]

HEARTBEAT_SECONDS: Final = 2.5
"""The default interval."""

_HERTZ: Final = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _HERTZ


def idle_sessions_cpu_share(
    directory: Path, sessions_count: int = 1000, seconds: float = 30.0
) -> float:
    """Return the share of one core that a coordinator uses for sessions that do nothing but give
    their signs of life, each over a connection of its own."""
    with running(directory / "idle") as coordinator:
        peers = [
            Peer(coordinator.endpoint, f"agent-{number}").opened()
            for number in range(sessions_count)
        ]
        body = encode(Heartbeat())
        pid = coordinator.process.pid
        rounds = round(seconds / HEARTBEAT_SECONDS)
        started = time.monotonic()
        used = cpu_seconds(pid)
        for round_number in range(rounds):
            for index, peer in enumerate(peers):
                due = started + HEARTBEAT_SECONDS * (round_number + index / sessions_count)
                # Waits for the answer of the round before, which is there already.
                wait_ms = max(0, round((due - time.monotonic()) * 1000))
                peer.socket.poll(wait_ms if round_number == 0 else 0)
                while time.monotonic() < due:
                    peer.socket.poll(1, 0)
                if round_number:
                    _, answer = peer.socket.recv_multipart()
                    assert decode_reply(answer) == Done()
                peer.number += 1
                envelope = RequestEnvelope(1, peer.key, peer.number)
                peer.socket.send_multipart([encode(envelope), body])
        used = cpu_seconds(pid) - used
        elapsed = time.monotonic() - started
        for peer in peers:
            peer.close()
    return used / elapsed


def takeover_seconds(directory: Path, trials_count: int = 10, *, told: bool = False) -> list[float]:
    """Return how long after the SIGKILL of a holder the next in line had its lease, at the default
    duration of leases; `told`: the holder had said which process of this machine it is."""
    with running(directory / f"takeover-{told}") as coordinator:
        holders = [
            Holder(coordinator.endpoint, f"holder-{number}", f"{number}.md", 10.0, told=told)
            for number in range(trials_count)
        ]
        waiters: list[tuple[Peer, float]] = []
        for number, holder in enumerate(holders):
            for _ in range(3):
                holder.line()
            waiter = Peer(coordinator.endpoint, f"waiter-{number}").opened()
            waiter.number += 1
            envelope = RequestEnvelope(1, waiter.key, waiter.number)
            request = AcquireLease(holder.path, wait_seconds=60)
            waiter.socket.send_multipart([encode(envelope), encode(request)])
            holder.kill()
            waiters.append((waiter, time.monotonic()))
        taken: list[float] = []
        beaten = time.monotonic()
        while waiters:
            for waiter, killed_at in list(waiters):
                if waiter.socket.poll(1):
                    _, body = waiter.socket.recv_multipart()
                    reply = decode_reply(body)
                    if isinstance(reply, Leased):
                        taken.append(time.monotonic() - killed_at)
                        waiters.remove((waiter, killed_at))
                        waiter.close()
                    else:
                        assert isinstance(reply, Done), reply
            if time.monotonic() - beaten > HEARTBEAT_SECONDS:
                beaten = time.monotonic()
                for waiter, _ in waiters:
                    waiter.number += 1
                    envelope = RequestEnvelope(1, waiter.key, waiter.number)
                    waiter.socket.send_multipart([encode(envelope), encode(Heartbeat())])
    return taken


def main() -> None:
    """Measure everything and print it, one line each."""
    with tempfile.TemporaryDirectory(prefix="agent-trace-") as name:
        directory = Path(name)
        share = idle_sessions_cpu_share(directory)
        sys.stdout.write(f"1,000 idle sessions: {100 * share:.2f} % of one core\n")
        for told in (False, True):
            taken = takeover_seconds(directory, told=told)
            where = "known process of this machine" if told else "unknown process"
            sys.stdout.write(
                f"lease of a killed holder, {where}: median {statistics.median(taken):.2f} s, "
                f"longest {max(taken):.2f} s, {len(taken)} trials\n"
            )


if __name__ == "__main__":
    main()
