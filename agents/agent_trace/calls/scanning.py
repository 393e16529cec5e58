"""Making documents of the files that lie in the store's directory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import anyio.to_thread

from agent_trace.scanning import Found, Scanned, Skipped, scan
from agent_trace_protocol import (
    Add,
    AgentTraceError,
    Annotate,
    Durability,
    Operation,
    Unavailable,
)
from agent_trace_protocol.limits import OPERATIONS_MAX

from .documents import Documents

__all__ = ["Scanning"]

_BATCH_BYTES_MAX: Final = 4 * 1024 * 1024
"""Bytes of documents added in one transaction: they become one journal record."""


class Scanning(Documents):
    """What a folder of files becomes documents with."""

    async def scan(
        self,
        root: str | os.PathLike[str],
        *,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Scanned:
        """Make documents of what lies in the store's directory and looks like one.

        Types, tags and descriptions come from each file's front matter, name and folder. What is a
        document already stays as it is. Cancelled, it leaves whole batches done; doing it again
        goes on.

        Args:
            root: the store's directory, on this machine.
            on_progress: is told how many of how many files were added or skipped.
        """
        known = {document.path async for document in self.documents()}
        added: list[Found] = []
        found: list[Found] = []
        skipped: list[Skipped] = []
        bytes_max = self._session.opened.document_bytes_max
        files = await anyio.to_thread.run_sync(lambda: list(scan(Path(root), bytes_max)))
        for each in files:
            if isinstance(each, Skipped):
                skipped.append(each)
            elif each.path not in known:
                found.append(each)
        done = 0
        for batch in _batches(found):
            made, refused = await self._add_batch(batch)
            added += made
            skipped += refused
            done += len(batch)
            if on_progress is not None:
                on_progress(done, len(found))
        return Scanned(tuple(added), tuple(skipped))

    async def _add_batch(self, batch: list[Found]) -> tuple[list[Found], list[Skipped]]:
        """Add a batch at once; if it is refused, one by one, so that one file costs only itself."""
        operations = [operation for each in batch for operation in _operations(each)]
        try:
            await self.transact(
                operations, durability=Durability.GIT, message="found by init --scan"
            )
        except Unavailable:
            raise
        except AgentTraceError as error:
            if len(batch) == 1:
                return [], [Skipped(batch[0].path, error.message)]
        else:
            return batch, []
        added: list[Found] = []
        skipped: list[Skipped] = []
        for each in batch:
            done, refused = await self._add_batch([each])
            added += done
            skipped += refused
        return added, skipped


def _batches(found: Sequence[Found]) -> Iterator[list[Found]]:
    batch: list[Found] = []
    batch_bytes = count = 0
    for each in found:
        operations = len(_operations(each))
        full = count + operations > OPERATIONS_MAX
        if batch and (full or batch_bytes + each.size > _BATCH_BYTES_MAX):
            yield batch
            batch, batch_bytes, count = [], 0, 0
        batch.append(each)
        batch_bytes += each.size
        count += operations
    if batch:
        yield batch


def _operations(found: Found) -> list[Operation]:
    """Return what makes a file a document, with the tags and description that it names."""
    operations: list[Operation] = [Add(found.path, found.type)]
    if found.tags or found.description:
        operations.append(Annotate(found.path, found.tags, (), found.description))
    return operations
