"""The mirrors are pushed to by a process of its own, started here when there is something new."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Final

import anyio

from agent_trace_coordinator.errors import StoreInvalid
from agent_trace_coordinator.repair.mirrors import MirrorState, mirror_states
from agent_trace_coordinator.storage.store import Store

__all__ = ["PushStage"]

_log = logging.getLogger("agent_trace.coordinator.mirrors")

GATHER_SECONDS: Final = 5.0
"""How often it is looked whether there is something to push: a push is a process and a pack."""


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
            if any(
                state.seq < self._git_seq() and state.next_ms <= self._now_ms()
                for state in await anyio.to_thread.run_sync(self.states)
            ):
                await self._push()

    async def _push(self) -> None:
        command = [
            *(sys.executable, "-m", "agent_trace_coordinator"),
            *("mirror", "push", "--due", "--store", str(self._store.root)),
        ]
        # Its own process group: a Ctrl-C in a terminal is for the coordinator.
        await anyio.run_process(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            start_new_session=True,
        )
