"""How fast a file that is changed past the coordinator is judged, and what waiting costs.

    python -m bench.out_of_band [--documents 10000] [--edits 50] [--idle-seconds 20]

from the folder `tests`, or with it in PYTHONPATH. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from agent_trace_protocol import (
    Actor,
    Document,
    DocumentType,
    Durability,
    Ping,
    Put,
    Read,
    Transact,
    ViolationPage,
    Violations,
)
from support.coordinator import Peer, running

BATCH = 50

PUT_BACKS_EACH = 10
"""How often one file is put back; a program that insists would be answered more slowly."""


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process and its threads have used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def until(peer: Peer, condition: Callable[[], bool]) -> float:
    """Return the seconds until the condition holds."""
    start = time.monotonic()
    while not condition():
        peer.ask(Ping())
        if time.monotonic() - start > 30:
            raise TimeoutError("it did not come about")
    return time.monotonic() - start


def spread(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "p50_ms": round(statistics.median(ordered) * 1000),
        "p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1000),
        "max_ms": round(ordered[-1] * 1000),
    }


def measure(root: Path, documents: int, edits: int, idle_seconds: float) -> dict[str, object]:
    """Return the figures."""
    with running(root) as coordinator, Peer(coordinator.endpoint, "ann", Actor.USER) as peer:
        peer.opened()
        names = [f"d{number % 100}/{number}.md" for number in range(documents)]
        for first in range(0, documents, BATCH):
            batch = names[first : first + BATCH]
            peer.do(*(Put(name, f"{name}\n".encode() * 50) for name in batch))
        protected = [f"logs/{number}.md" for number in range(-(-edits // PUT_BACKS_EACH))]
        puts = [Put(name, b"made\n", type=DocumentType.LOG) for name in protected]
        for first in range(0, len(puts), BATCH):
            made = tuple(puts[first : first + BATCH])
            peer.ask(Transact(made, Durability.GIT, confirm=True))
        # The directories that are new are watched a moment later.
        settled = time.monotonic() + 3
        until(peer, lambda: time.monotonic() > settled)

        adopted: list[float] = []
        for number in range(edits):
            name = names[number * 97 % documents]
            content = f"by hand {number}\n".encode()
            (root / name).write_bytes(content)

            def shows(name: str = name, content: bytes = content) -> bool:
                reply = peer.ask(Read(name))
                return isinstance(reply, Document) and reply.content == content

            adopted.append(until(peer, shows))
        reverted: list[float] = []
        for number in range(edits):
            file = root / protected[number % len(protected)]
            file.write_bytes(f"by hand {number}\n".encode())
            reverted.append(until(peer, lambda file=file: file.read_bytes() == b"made\n"))  # type: ignore[misc]
        page = peer.ask(Violations())
        assert isinstance(page, ViolationPage)
        pid = coordinator.process.pid
        before, start = cpu_seconds(pid), time.monotonic()
        # Nothing is asked meanwhile: this is what waiting costs.
        deadline = start + idle_seconds
        while time.monotonic() < deadline:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            _pause(deadline)
        used = (cpu_seconds(pid) - before) / (time.monotonic() - start)
        return {
            "documents": documents,
            "adopted": spread(adopted),
            "put_back": spread(reverted),
            "violations": len(page.violations),
            "idle_percent_of_a_core": round(used * 100, 2),
        }


def _pause(deadline: float) -> None:
    # An event that never comes, waited for with a bound.

    threading.Event().wait(min(1.0, max(0.0, deadline - time.monotonic())))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--edits", type=int, default=50)
    parser.add_argument("--idle-seconds", type=float, default=20.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder) / "store", given.documents, given.edits, given.idle_seconds)
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
