"""The mirrors are pushed to by a process of its own, started here when there is something new."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Final

import anyio

from agent_trace_coordinator.errors import StoreInvalid
from agent_trace_coordinator.repair.mirrors import mirror_states
from agent_trace_coordinator.storage.store import Store
from agent_trace_protocol.upkeep import MirrorState

__all__ = ["PushStage"]

_log = logging.getLogger("agent_trace.coordinator.mirrors")

GATHER_SECONDS: Final = 5.0
"""How often it is looked whether there is something to push: a push is a process and a pack."""

LAST_SECONDS_MAX: Final = 10.0
"""How long a coordinator that leaves holds its store for a last push."""


class PushStage:
    """Starts a push when git has what a mirror lacks. A push that hangs is in nobody's way."""

    def __init__(self, store: Store, git_seq: Callable[[], int], now_ms: Callable[[], int]) -> None:
        self._store = store
        self._git_seq = git_seq
        self._now_ms = now_ms
        self._failure = ""

    def states(self) -> list[MirrorState]:
        """Return the mirrors and how far each has come."""
        try:
            states = mirror_states(self._store)
        except StoreInvalid as error:
            if error.message != self._failure:
                _log.warning("%s", error.message)
                self._failure = error.message
            return []
        return states

    async def run(self) -> None:
        """Push until cancelled; a push that runs then is ended, and repeated by the next life."""
        while True:
            await anyio.sleep(GATHER_SECONDS)
            if await anyio.to_thread.run_sync(self._due):
                await self._push()

    def finish(self) -> None:
        """Push what is left, once git has everything; for at most `LAST_SECONDS_MAX`.

        What does not arrive in that time is pushed by the next life. A mirror that could not be
        reached is left alone until it is due again, so it delays nobody.
        """
        if not self._due():
            return
        with subprocess.Popen(
            self._command(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            try:
                process.wait(LAST_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                _log.warning("the last push was given up after %g s", LAST_SECONDS_MAX)
                # It leads a process group of its own, with git and what git started.
                os.killpg(process.pid, signal.SIGKILL)

    def _due(self) -> bool:
        seq, now_ms = self._git_seq(), self._now_ms()
        return any(each.seq < seq and each.next_ms <= now_ms for each in self.states())

    def _command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "agent_trace_coordinator"),
            *("mirror", "push", "--due", "--store", str(self._store.root)),
        ]

    async def _push(self) -> None:
        # Its own process group: a Ctrl-C in a terminal is for the coordinator.
        await anyio.run_process(
            self._command(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            start_new_session=True,
        )
