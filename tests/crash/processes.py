"""The processes that are killed: the coordinator, its git child, and the clients."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
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
    Open,
    RequestEnvelope,
    SessionKind,
    decode_reply_envelope,
    encode,
)
from crash.client import ClientConfig, read_endpoint
from crash.nursery import Forked, fork_client, fork_coordinator

__all__ = ["ClientProcess", "Coordinator", "Fell", "make_store"]

START_SECONDS: Final = 120.0
"""How long a coordinator may take until it answers: a machine that is busy with other things gives
a process that is nice a second of a core in a minute."""

LEAVE_SECONDS: Final = 120.0
"""How long a coordinator or a client may take to leave in order."""

EXEC_SHARE: Final = 0.05
"""Of the starts: those by a new interpreter; the others are forked off one."""

_POLL_SECONDS: Final = 0.005

_TESTS: Final = Path(__file__).resolve().parent.parent

_PRODUCT: Final = [sys.executable, "-m", "agent_trace_coordinator"]


class Fell(Exception):
    """The coordinator ended, or does not come up; the message says how."""


def _environment() -> dict[str, str]:
    paths = [str(_TESTS), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def make_store(root: Path) -> subprocess.Popen[bytes]:
    """Start `init` on a directory."""
    return subprocess.Popen(
        [*_PRODUCT, "init", str(root)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=_environment(),
    )


class Coordinator:
    """One store's coordinator, life after life."""

    def __init__(self, root: Path, log: Path, mutant: str = "") -> None:
        """What it says goes to `log`; `mutant` names a planted bug."""
        self.root = root
        self.log = log
        self.epoch = 0
        self._command = _PRODUCT
        if mutant:
            launcher = Path(__file__).with_name("mutant_coordinator.py")
            self._command = [sys.executable, str(launcher), mutant]
        self._process: subprocess.Popen[bytes] | Forked | None = None
        self._mutant = mutant
        self._random = Random(f"{root.name} {mutant}")

    @property
    def pid(self) -> int:
        """The process; there must be one."""
        assert self._process is not None
        return self._process.pid

    def begin(self, point: str = "", at: int = 0) -> None:
        """Start a life, without waiting for it; it ends by itself when it comes to a `point` of
        `crash.points` for the `at`-th time."""
        if point or self._random.random() >= EXEC_SHARE:
            arguments = ["serve", "--store", str(self.root)]
            self._process = fork_coordinator(arguments, self.log, self._mutant, point, at)
            return
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, "serve", "--store", str(self.root)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=_environment(),
                start_new_session=True,
            )

    def await_ready(self) -> None:
        """Return when it answers.

        Raises:
            Fell: it ended, or it does not answer in time.
        """
        deadline = time.monotonic() + START_SECONDS
        while True:
            self.check_alive()
            info = read_endpoint(self.root)
            if info is not None and info.pid == self.pid and _answers(info.endpoint):
                self.epoch = info.epoch
                return
            if time.monotonic() > deadline:
                raise Fell(f"the coordinator does not answer within {START_SECONDS} seconds")
            time.sleep(_POLL_SECONDS)

    def await_served(self, seconds: float) -> None:
        """Return when it answers or has ended.

        Raises:
            Fell: it does neither in time.
        """
        deadline = time.monotonic() + seconds
        while self.ended() is None:
            info = read_endpoint(self.root)
            if info is not None and info.pid == self.pid and _answers(info.endpoint):
                return
            if time.monotonic() > deadline:
                raise Fell(f"the coordinator neither answers within {seconds} seconds nor ends")
            time.sleep(_POLL_SECONDS)

    def check_alive(self) -> None:
        """Return if it runs; raises `Fell` if it ended by itself."""
        assert self._process is not None
        code = self._process.poll()
        if code is not None:
            said = self.log.read_bytes()[-1500:].decode("utf-8", "replace").strip()
            raise Fell(f"the coordinator ended by itself with code {code}; it said: ...{said}")

    def ended(self) -> int | None:
        """Return the code it ended with, None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; a process that is gone does not mind."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once, and only it."""
        if self._process is not None:
            # A stopped process dies of this too.
            self._process.kill()
            self._process.wait()

    def leave(self) -> None:
        """Ask it to leave in order; raises `Fell` unless it does."""
        assert self._process is not None
        self._process.terminate()
        try:
            code = self._process.wait(LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Fell(f"the coordinator does not leave within {LEAVE_SECONDS} seconds") from None
        if code:
            self.check_alive()

    def git_children(self) -> list[int]:
        """Return the git processes it has just now."""
        found: list[int] = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
                except OSError:
                    continue
                # After the name in parentheses: state, parent (proc(5)).
                name, _, rest = stat.partition("(")[2].rpartition(")")
                if name.startswith("git") and int(rest.split()[1]) == self.pid:
                    found.append(int(entry.name))
        return found

    def kill_git(self) -> int:
        """Kill its git processes only; return how many there were."""
        children = self.git_children()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        return len(children)


def _answers(endpoint: str) -> bool:
    """Open a session that leaves no trace; return whether anything comes back."""
    with zmq.Context() as context, context.socket(zmq.SocketType.DEALER) as socket:
        socket.set(zmq.SocketOption.LINGER, 0)
        socket.connect(endpoint)
        opening = Open("probe", Actor.USER, SessionKind.CLI, ephemeral=True)
        envelope = RequestEnvelope(PROTOCOL_VERSION, os.urandom(16), 1)
        socket.send_multipart((encode(envelope), encode(opening)))
        if not socket.poll(500):
            return False
        return decode_reply_envelope(socket.recv_multipart()[0]).number == 1


class ClientProcess:
    """One running client."""

    def __init__(self, config: ClientConfig, errors: Path) -> None:
        self.config = config
        self.process = fork_client(msgspec.json.encode(config), errors)

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()

    def await_begun(self) -> None:
        """Return when it is far enough to hear that it is to leave: it has noted its first line."""
        deadline = time.monotonic() + START_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            if Path(self.config.log).exists() and Path(self.config.log).stat().st_size:
                return
            time.sleep(_POLL_SECONDS)

    def leave(self) -> None:
        """Ask it to finish; `await_left` waits for that."""
        self.process.terminate()

    def await_left(self) -> int:
        """Return its exit code; one that does not leave is killed."""
        try:
            return self.process.wait(LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL
