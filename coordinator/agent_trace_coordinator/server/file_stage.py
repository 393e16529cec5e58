"""The working tree: documents as files, brought up to date a moment after each batch.

Several changes of one document within that moment become one replacement. Files are written a few
at a time, and the coordinator's own documents before those of others: they tell of everything, and
must not wait for a hundred files that changed under load.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import islice
from typing import Final

import anyio
import anyio.to_thread

from agent_trace_coordinator.core.files import FILE_SOURCE
from agent_trace_coordinator.core.generated_names import protecting_type
from agent_trace_coordinator.core.records import Changed, Entry
from agent_trace_coordinator.storage.base import FileUpdate, SetAside, Signature, WorkTree
from agent_trace_protocol import Action

__all__ = ["FileStage"]

_NOT_IN_FILES: Final = (Action.RECLASSIFY, Action.ANNOTATE, Action.UNTRACK)
"""What leaves a document's file as it is."""

_log = logging.getLogger("agent_trace.coordinator.files")

GATHER_SECONDS: Final = 0.2
"""How long changes are gathered while nobody waits for them: a document that is written again and
again is replaced five times a second, and files are at most a quarter of a second behind."""

RETRY_SECONDS: Final = 1.0
"""Pause before the disk is tried again after it took no more."""


class FileStage:
    """Durable changes in, files out."""

    AT_ONCE = 32
    """Files that are written before it is looked whether a generated document has come up."""

    def __init__(
        self,
        tree: WorkTree,
        durable_seq: int,
        content: Callable[[int, bytes], bytes],
        *,
        on_progress: Callable[[], None],
        on_set_aside: Callable[[list[SetAside], int], None] | None = None,
    ) -> None:
        """`content` returns a content by key and digest; `on_progress` is called when
        `written_seq` or `failure` has changed; `on_set_aside` gets foreign content that was in the
        way, and the last operation that the files showed before."""
        self._tree = tree
        self._content = content
        self._on_progress = on_progress
        self._on_set_aside = on_set_aside
        self._captured: dict[str, Signature] = {}
        self._limiter = anyio.CapacityLimiter(1)
        self._updates: dict[str, bytes | None] = {}
        self._wake = anyio.Event()
        self._hurry = anyio.Event()
        self._progress = anyio.Event()
        self._under_way: dict[str, bytes | None] = {}
        """What is being written, in its order, and has not been yet."""
        self._under_way_captured: dict[str, Signature] = {}
        self._seq = durable_seq
        self._showing = durable_seq
        """The last record that the files show when what is under way is written."""
        self.written_seq = durable_seq
        """The last record that the files show."""
        self.failure = ""
        """Why files are behind; empty when they are not."""

    def add(self, batch: list[Entry]) -> None:
        """Take durable operations, in order."""
        for entry in batch:
            body = entry.record.body
            if isinstance(body, Changed):
                contents = dict(entry.contents)
                # What was taken from files is what they hold, unless it was joined with something.
                adopted = body.source == FILE_SOURCE
                for change in body.changes:
                    if adopted and change.action in (Action.PUT, Action.DELETE, Action.MOVE):
                        # What waits to be written there is older than what the file shows.
                        for path in (change.path, change.previous_path):
                            self._updates.pop(path, None)
                            self._captured.pop(path, None)
                            # Nor is it tried again if it fails.
                            self._under_way.pop(path, None)
                        continue
                    if change.action in _NOT_IN_FILES:
                        continue
                    if change.previous_path:
                        self._put(change.previous_path, None)
                    if change.action is Action.DELETE:
                        self._put(change.path, None)
                    else:
                        content = contents.get(change.content_key)
                        if content is None:
                            content = self._content(change.content_key, change.digest)
                        self._put(change.path, content)
        self._seq = batch[-1].record.seq
        self._wake.set()

    def put_back(self, path: str, content: bytes, captured: Signature | None) -> None:
        """Let a document's file show it again; `captured` lies there and is kept elsewhere."""
        self._put(path, content)
        if captured is not None:
            self._captured[path] = captured
        self._wake.set()
        self._hurry.set()

    def _put(self, path: str, content: bytes | None) -> None:
        # Re-inserted, so that the newest change of a path comes last.
        self._updates.pop(path, None)
        self._updates[path] = content

    def coming(self, path: str) -> bool:
        """Return whether something is on its way to this file."""
        return path in self._updates or path in self._under_way

    def want(self, seq: int) -> None:
        """Somebody waits for this record's files."""
        if seq > self.written_seq:
            self._hurry.set()

    async def run(self) -> None:
        """Write files until cancelled; files that were begun are finished first."""
        while True:
            await self._wake.wait()
            with anyio.move_on_after(GATHER_SECONDS):
                await self._hurry.wait()
            self._wake, self._hurry = anyio.Event(), anyio.Event()
            try:
                await self._write_round()
            except OSError as error:
                self._failed(error)
                await anyio.sleep(RETRY_SECONDS)
                self._wake.set()

    async def _write_round(self) -> None:
        while True:
            updates = self._take()
            kept = await anyio.to_thread.run_sync(self._tree.apply, updates, limiter=self._limiter)
            _tell(kept)
            self._written(updates, kept)
            if not self._under_way:
                return

    def _take(self) -> list[FileUpdate]:
        """Return what is to be written now: of what is under way, or of a new round."""
        if self._under_way:
            self._take_generated()
        else:
            # Removals first: a deleted document may have become a folder.
            self._under_way = dict(sorted(self._updates.items(), key=_turn))
            self._under_way_captured, self._captured = self._captured, {}
            self._updates = {}
            self._showing = self._seq
        return [
            FileUpdate(path, content, self._under_way_captured.get(path))
            for path, content in islice(self._under_way.items(), self.AT_ONCE)
        ]

    def _take_generated(self) -> None:
        """Let generated documents that have come up be the next under way."""
        if None in self._updates.values():
            # They may take a place that something else has to leave first.
            return
        urgent = {path: self._updates.pop(path) for path in [*self._updates] if _is_generated(path)}
        if not urgent:
            return
        rest = {path: self._under_way[path] for path in self._under_way if path not in urgent}
        self._under_way = urgent | rest
        for path in urgent:
            self._under_way_captured.pop(path, None)
            if path in self._captured:
                self._under_way_captured[path] = self._captured.pop(path)

    def _failed(self, error: OSError) -> None:
        self.failure = f"files can not be written: {error}"
        _log.error("files can not be written, trying again: %s", error)
        self._updates = self._under_way | self._updates
        self._captured = self._under_way_captured | self._captured
        self._under_way, self._under_way_captured = {}, {}
        self._move()

    def _written(self, updates: list[FileUpdate], kept: list[SetAside]) -> None:
        if kept and self._on_set_aside is not None:
            self._on_set_aside(kept, self.written_seq)
        for update in updates:
            self._under_way.pop(update.path, None)
            self._under_way_captured.pop(update.path, None)
        if not self._under_way:
            self.failure = ""
            self.written_seq = self._showing
            self._move()

    def _move(self) -> None:
        self._progress.set()
        self._progress = anyio.Event()
        self._on_progress()

    async def drained(self) -> None:
        """Return when the files show everything, or can not be written."""
        while self.written_seq < self._seq and not self.failure:
            self._hurry.set()
            await self._progress.wait()


def _turn(update: tuple[str, bytes | None]) -> int:
    path, content = update
    return 0 if content is None else 1 if _is_generated(path) else 2


def _is_generated(path: str) -> bool:
    return protecting_type(path) is not None


def _tell(kept: list[SetAside]) -> None:
    for each in kept:
        _log.warning(
            "foreign content at %s (%d bytes) kept as %s", each.path, each.size, each.kept_as
        )
