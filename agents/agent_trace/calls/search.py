"""Full-text search over what documents say, and what they once said."""

from __future__ import annotations

from datetime import datetime

from agent_trace.moments import Moment, moment
from agent_trace_protocol import DocumentType, InvalidRequest, Search, SearchPage

from .base import Calls, choice

__all__ = ["Searching"]


class Searching(Calls):
    """What is found by words."""

    async def search(
        self,
        query: str,
        *,
        type: DocumentType | str | None = None,
        author: str = "",
        since: Moment | str | datetime | None = None,
        until: Moment | str | datetime | None = None,
        limit: int = 20,
        history: bool = False,
    ) -> SearchPage:
        """Return what matches some words, the best first, as of now.

        Its `indexed_seq` is behind its `seq` only while the index of a large store is being made.

        Args:
            query: words that must all occur; `"several words"`, `begin*`, `-not`, `this OR that`.
            type: only documents of this type.
            author: only what this agent or user wrote.
            since: only what was written at this time or later; see `moments.moment`.
            until: only what was written before this time.
            limit: at most so many, up to 100.
            history: also what was added and removed in the past, late texts and refusals.

        Raises:
            InvalidRequest: the query can not be understood; the message says why.
        """
        kind = None if type is None else choice(DocumentType, type)
        first, last = moment(since), moment(until, end=True)
        if first.seq or last.seq:
            raise InvalidRequest("a search is bounded by times, not by operations")
        request = Search(query, kind, author, first.time_ms, last.time_ms, limit, history)
        return await self._ask(request, SearchPage)
