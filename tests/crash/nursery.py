"""Where processes come from that are soon killed: forked off one that has imported everything.

A new interpreter with our imports takes a third of a second of a core, a fork of one a hundredth;
what runs in it is the same. The parent is the standard library's fork server, a small process
without threads, so that a child is what it would be had it been started anew. Now and then one is
(`processes.EXEC_SHARE`), because how a process starts belongs to what is tried.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Final

from crash.points import die_at

__all__ = ["Forked", "fork_client", "fork_coordinator"]

_PRELOADED: Final = [
    "agent_trace_coordinator.cli",
    "crash.client",
    "crash.mutant_coordinator",
    "crash.points",
    "crash.nursery",
    "anyio._backends._asyncio",
]


class Forked:
    """A process that was forked, with the part of `Popen` that the harness uses."""

    def __init__(self, target: Callable[..., None], *arguments: object) -> None:
        self._process = _context().Process(target=target, args=arguments, daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """Return the code it ended with, negative for a signal; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Return the code it ended with.

        Raises:
            subprocess.TimeoutExpired: it did not end in time.
        """
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(["forked"], timeout or 0.0)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def fork_coordinator(arguments: list[str], log: Path, mutant: str, point: str, at: int) -> Forked:
    """Start a coordinator; it kills itself when it comes to the `at`-th time of a `point`, if one
    is given."""
    environment = dict(os.environ)
    return Forked(_coordinate, arguments, str(log), mutant, point, at, environment)


def fork_client(encoded: bytes, log: Path) -> Forked:
    """Start a client with a configuration."""
    return Forked(_be_client, encoded, str(log), dict(os.environ))


@functools.cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def _settle(log: str, environment: dict[str, str]) -> None:
    """Let this process be as if it had been started by itself."""
    os.environ.clear()
    os.environ.update(environment)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    nowhere = os.open(os.devnull, os.O_RDWR)
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for source, target in ((nowhere, 0), (nowhere, 1), (said, 2)):
        os.dup2(source, target)
    os.close(nowhere)
    os.close(said)


def _coordinate(
    arguments: list[str], log: str, mutant: str, point: str, at: int, environment: dict[str, str]
) -> None:
    from agent_trace_coordinator.cli import main  # noqa: PLC0415 - of the fork server only
    from crash.mutant_coordinator import MUTANTS  # noqa: PLC0415

    os.setsid()
    _settle(log, environment)
    if mutant:
        MUTANTS[mutant]()
    if point:
        die_at(point, at)
    sys.argv = ["agent_trace_coordinator", *arguments]
    _end(main)


def _be_client(encoded: bytes, log: str, environment: dict[str, str]) -> None:
    from crash.client import main  # noqa: PLC0415 - of the fork server only

    _settle(log, environment)
    sys.argv = ["crash.client", encoded.decode()]
    _end(main)


def _end(main: Callable[[], object]) -> None:
    """Run a program to its end, without what multiprocessing would do then."""
    code = 1
    try:
        main()
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)
