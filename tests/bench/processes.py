"""The processes of the bench, all ended and reaped when their `with` block ends, however it ends.

Every child leads a session of its own, so that Ctrl-C reaches the bench alone, which ends the
others in order.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self, TypeVar

import anyio
import msgspec

from agent_trace import connect
from agent_trace.launch import create_store, listening
from agent_trace_protocol import StatusReport

from .messages import Crewed, Join, Result, Task
from .results import Measured
from .slow_sync import environment_of_children

__all__ = ["BenchFailed", "Coordinator", "Crew", "make_store", "spawn"]

START_SECONDS_MAX: Final = 120.0
"""How long a coordinator may take until it listens."""

STOP_SECONDS_MAX: Final = 60.0
"""How long one may take to finish its work and leave."""

PATIENCE_SECONDS: Final = 120.0
"""How long clients may take beyond the time of their task."""

IDLE_SECONDS: Final = 900
"""A coordinator whose bench was killed leaves after so long by itself."""

_LEAD_SECONDS: Final = 0.05
"""Between an order and the moment from which all processes carry it out together."""

_TESTS: Final = Path(__file__).resolve().parents[1]

_Answer = TypeVar("_Answer", Crewed, Result)


class BenchFailed(Exception):
    """Something that is measured did not work at all."""


def spawn(
    arguments: Sequence[str],
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int | None = None,
    stderr: int | None = None,
) -> subprocess.Popen[bytes]:
    """Start a Python process that finds the bench and whatever this process finds."""
    path = [str(_TESTS), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return subprocess.Popen(
        [sys.executable, "-P", *arguments],
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=os.environ | environment_of_children() | {"PYTHONPATH": os.pathsep.join(path)},
        start_new_session=True,
    )


def make_store(root: Path) -> Path:
    """Make a directory and a store in it, and return it."""
    root.mkdir(parents=True)
    create_store(root, nested=True)
    return root


class Coordinator:
    """A coordinator of a store, as `agent-trace serve` starts it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.start_seconds = 0.0
        """From its start until it accepted a connection."""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.stop()
        else:
            self.kill()

    def start(self) -> None:
        """Start it and wait until it listens."""
        log = self.root / ".agent-trace" / "run" / "bench.log"
        began = time.monotonic()
        arguments = ["-m", "agent_trace_coordinator", "serve", "--store", str(self.root)]
        with log.open("ab") as file:
            self._process = spawn(
                [*arguments, "--idle-seconds", str(IDLE_SECONDS)],
                stdout=file.fileno(),
                stderr=file.fileno(),
            )
        pause = threading.Event()
        while True:
            info = listening(self.root)
            if info is not None and info.pid == self._process.pid:
                break
            if self._process.poll() is not None or time.monotonic() - began > START_SECONDS_MAX:
                self.kill()
                tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
                raise BenchFailed(f"the coordinator did not start: {tail}")
            pause.wait(0.001)
        self.start_seconds = time.monotonic() - began

    def stop(self) -> None:
        """Let it finish its work and leave."""
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            raise BenchFailed(f"the coordinator did not leave in {STOP_SECONDS_MAX:g} s") from None
        self._process = None

    def kill(self) -> None:
        """End it now, and the git that it started, which ends when its input does."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def status(self) -> StatusReport:
        """Return what it says of itself."""
        return anyio.run(_status, self.root)

    def settle(self) -> float:
        """Wait until everything is in git; return when it was, by the monotonic clock.

        A write that waits for its own commit asks for a checkpoint at once, where polling would
        wait for the next one that comes by itself.
        """
        return anyio.run(_settle, self.root)

    def resident_bytes(self) -> int:
        """Return its memory."""
        return self.status().rss_bytes


async def _status(root: Path) -> StatusReport:
    async with connect(root, user="bench", ephemeral=True, autostart=False) as user:
        return await user.status()


async def _settle(root: Path) -> float:
    async with connect(root, user="bench", autostart=False, program="bench") as user:
        written = await user.write("settled.md", f"{time.time_ns()}\n", durability="git")
        ended = time.monotonic()
        report = await user.status()
        if not written.seq <= report.git_seq:
            raise BenchFailed(f"git has {report.git_seq} where {written.seq} was promised")
        return ended


class Crew:
    """Agents, spread over client processes."""

    def __init__(self, store: Path, agents: int, processes: int, name: str = "agent") -> None:
        self._names = [
            [f"{name}-{index}" for index in range(first, agents, processes)]
            for first in range(min(processes, agents))
        ]
        self._store = store
        self._processes: list[subprocess.Popen[bytes]] = []
        self._run_count = 0

    def __enter__(self) -> Self:
        try:
            for names in self._names:
                process = spawn(["-m", "bench.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                self._processes.append(process)
                self._order(process, Join(str(self._store), names))
            for process in self._processes:
                self._answer(process, Crewed, PATIENCE_SECONDS)
        except BaseException:
            self._end(kill=True)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end(kill=error is not None)

    @property
    def pids(self) -> list[int]:
        """The client processes."""
        return [process.pid for process in self._processes]

    def _end(self, *, kill: bool) -> None:
        for process in self._processes:
            if kill:
                process.kill()
            if process.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
        for process in self._processes:
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self._processes.clear()

    def run(
        self,
        kind: Literal["put", "ping", "create", "contend"],
        *,
        agents: int,
        seconds: float = 0.0,
        count: int = 0,
        depth: int = 1,
        documents: int = 1,
        durability: Literal["journal", "git"] = "journal",
    ) -> tuple[Measured, int]:
        """Let agents work and return what was measured, and how often they were refused.

        The rate counts what was acknowledged until the last process ended.
        """
        shares = [
            len(range(first, agents, len(self._processes))) for first in range(len(self._processes))
        ]
        begin_at = time.monotonic() + _LEAD_SECONDS
        self._run_count += 1
        busy = [
            (process, share)
            for process, share in zip(self._processes, shares, strict=True)
            if share
        ]
        begun = documents_begun = 0
        for index, (process, share) in enumerate(busy):
            # `create` and `contend` divide what there is; the others share it.
            own = documents
            if kind == "create":
                own = documents // len(busy) + (index < documents % len(busy))
            first = documents_begun if kind == "create" else begun
            task = Task(
                kind=kind,
                agents=share,
                begin_at=begin_at,
                seconds=seconds,
                count=count if kind == "contend" else -(-count // len(busy)),
                depth=depth,
                first_document=first,
                documents=own,
                durability=durability,
                # Other documents and texts than in the run before: to write again what is there is
                # cheap for everybody.
                seed=(self._run_count * len(busy) + index) * 100_000,
            )
            begun += share
            documents_begun += own
            self._order(process, task)
        latencies: list[float] = []
        ended = begin_at
        refused = 0
        for process, _ in busy:
            result = self._answer(process, Result, seconds + PATIENCE_SECONDS)
            if result.problem:
                raise BenchFailed(f"the clients failed: {result.problem}")
            latencies += result.latencies
            ended = max(ended, result.ended)
            refused += result.refused
        return Measured(seconds or ended - begin_at, latencies), refused

    def _order(self, process: subprocess.Popen[bytes], order: Join | Task) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(msgspec.json.encode(order) + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise BenchFailed("a client process has ended; its words are above") from None

    def _answer(
        self, process: subprocess.Popen[bytes], kind: type[_Answer], seconds_max: float
    ) -> _Answer:
        assert process.stdout is not None
        # A pipe has no deadline of its own; a killed process ends it.
        watchdog = threading.Timer(seconds_max, process.send_signal, (signal.SIGKILL,))
        watchdog.start()
        try:
            line = process.stdout.readline()
        finally:
            watchdog.cancel()
        if not line:
            raise BenchFailed("a client process has ended or hung; its words are above")
        return msgspec.json.decode(line, type=kind)
