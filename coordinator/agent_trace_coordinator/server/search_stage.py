"""The full-text index beside the writing: kept up to date when it is quiet, or somebody asks.

While documents are written it does nothing, so it costs writers nothing; whoever searches waits
until it has what they can know of, within a bound, and is told how far it is.
"""

from __future__ import annotations

import time
from typing import Final

import anyio
import anyio.to_thread

from agent_trace_coordinator.core.records import Entry
from agent_trace_coordinator.core.search_query import match_expression
from agent_trace_coordinator.storage.search import SearchIndex
from agent_trace_protocol import Search, SearchPage

__all__ = ["SearchStage"]

QUIET_SECONDS: Final = 1.0
"""Without a record for this long it is quiet."""

WAIT_SECONDS_MAX: Final = 20.0
"""How long one search waits for the index; a large store's first one may take several."""

STINT_SECONDS: Final = 0.05
"""How long the index is worked on before it is looked whether it still is quiet."""


class SearchStage:
    """Durable records in, answers to searches out."""

    def __init__(self, index: SearchIndex, durable_seq: int) -> None:
        self._index = index
        self._durable_seq = durable_seq
        self._limiter = anyio.CapacityLimiter(1)
        self._wake = anyio.Event()
        self._wake.set()
        self._last = time.monotonic()

    def add(self, batch: list[Entry]) -> None:
        """Take durable operations."""
        self._durable_seq = batch[-1].record.seq
        self._last = time.monotonic()
        self._wake.set()

    async def run(self) -> None:
        """Keep the index up to date until cancelled, whenever it is quiet."""
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            while self._index.seq < self._durable_seq:
                quiet = self._last + QUIET_SECONDS - time.monotonic()
                if quiet > 0:
                    await anyio.sleep(quiet)
                    continue
                before = self._index.seq
                await self._work(self._durable_seq, STINT_SECONDS)
                if self._index.seq <= before:
                    # The disk is full, or something is damaged: the next record tries again.
                    break

    async def _work(self, seq: int, seconds: float) -> None:
        end = time.monotonic() + seconds
        await anyio.to_thread.run_sync(
            self._index.catch_up, seq, lambda: time.monotonic() > end, limiter=self._limiter
        )

    async def answer(self, request: Search, seq: int) -> SearchPage:
        """Return what matches, as of operation `seq` or later, or as far as the index got in time.

        Raises:
            InvalidRequest: the query can not be understood, or takes too long.
        """
        match_expression(request.query)
        if self._index.seq < seq:
            await self._work(seq, WAIT_SECONDS_MAX)
        hits, more = await anyio.to_thread.run_sync(
            self._index.search, request, limiter=self._limiter
        )
        return SearchPage(hits, more, self._index.seq, seq)
