"""A process that takes a lease and writes under it as fast as it can, until it is refused.

Run as a program: it prints its token, then the seq of each write that was acknowledged, then the
code of the refusal that ended it. Told to stop by SIGSTOP it knows nothing of the time that passed.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from agent_trace_protocol import (
    AcquireLease,
    Actor,
    Committed,
    Leased,
    Open,
    Opened,
    Put,
    Refused,
    SessionKind,
    Transact,
)
from support.coordinator import Peer

__all__ = ["Holder", "process_started"]


def process_started(pid: int) -> int:
    """Return a process's start in clock ticks since boot."""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return int(text.rpartition(")")[2].split()[19])


class Holder:
    """The process, from outside."""

    def __init__(
        self, endpoint: str, name: str, path: str, ttl_seconds: float, *, told: bool = False
    ) -> None:
        """`told`: whether it says which process it is, so that its end is noticed at once."""
        self.path = path
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "support.holder"),
                *(endpoint, name, path, str(ttl_seconds), str(int(told))),
            ],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        )
        self.session = self.line()
        self.token = int(self.line())

    def line(self) -> str:
        """Return the next line that it prints."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the holder ended"
        return line.strip()

    def rest(self) -> list[str]:
        """Return what it prints until it ends by itself."""
        assert self.process.stdout is not None
        with self.process.stdout as output:
            lines = output.read().split()
        assert self.process.wait(10) == 0
        return lines

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.process.kill()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


def _say(word: object) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def _main() -> None:
    endpoint, name, path, ttl_seconds, told = sys.argv[1:]
    with Peer(endpoint, name) as peer:
        pid = os.getpid() if told == "1" else 0
        started = process_started(pid) if pid else 0
        opened = peer.ask_as(
            0,
            Open(
                name,
                Actor.AGENT,
                SessionKind.LIBRARY,
                host=socket.gethostname(),
                pid=pid,
                pid_started=started,
            ),
        )
        assert isinstance(opened, Opened), opened
        leased = peer.ask(AcquireLease(path, ttl_seconds=float(ttl_seconds)))
        assert isinstance(leased, Leased), leased
        token = leased.lease.token
        _say(opened.session)
        _say(token)
        count = 0
        while True:
            count += 1
            text = f"{name} {count}\n".encode()
            reply = peer.ask(Transact((Put(path, text),), leases=(token,)))
            if isinstance(reply, Committed):
                _say(reply.seq)
                continue
            assert isinstance(reply, Refused), reply
            _say(reply.error.code)
            return


if __name__ == "__main__":
    _main()
