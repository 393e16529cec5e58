"""What documents say."""

from __future__ import annotations

from agent_trace.results import Document
from agent_trace_protocol import InvalidRequest, Read
from agent_trace_protocol import replies as wire

from .base import Calls

__all__ = ["Reading"]


class Reading(Calls):
    """What documents are read with."""

    async def read(self, path: str, revision: int | None = None) -> Document:
        """Return a document: the current revision, or an earlier one.

        Raises:
            NotFound: there is no such document or revision.
        """
        if revision is not None and revision < 1:
            raise InvalidRequest(f"{revision} is not a revision; they count from 1")
        found = await self._ask(Read(path, revision or 0), wire.Document)
        return Document(
            found.path,
            found.type,
            found.revision,
            found.content,
            found.seq,
            found.time_ms,
            found.author,
        )
