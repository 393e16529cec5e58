"""What documents say and what happened to them."""

from __future__ import annotations

from agent_trace.results import Document
from agent_trace_protocol import (
    Action,
    DocumentInfo,
    DocumentType,
    InvalidRequest,
    ListDocuments,
    Log,
    LogEntry,
    LogPage,
    Page,
    Read,
)
from agent_trace_protocol import replies as wire
from agent_trace_protocol.limits import (
    PAGE_ENTRIES_MAX,
)

from .base import Calls, choice

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

    async def list(
        self, *, prefix: str = "", type: DocumentType | str | None = None
    ) -> tuple[DocumentInfo, ...]:
        """Return what is known of all documents, ordered by path.

        Documents that come or go meanwhile may or may not be in it.

        Args:
            prefix: only paths that start with this text.
            type: only documents of this type.
        """
        documents: list[DocumentInfo] = []
        while True:
            after = documents[-1].path if documents else ""
            page = await self.document_page(after, prefix=prefix, type=type)
            documents += page.documents
            if not page.more or not page.documents:
                return tuple(documents)

    async def document_page(
        self,
        after: str = "",
        *,
        limit: int = PAGE_ENTRIES_MAX,
        prefix: str = "",
        type: DocumentType | str | None = None,
    ) -> Page:
        """Return what is known of the documents whose paths come after one, ordered by path.

        Args:
            limit: at most so many, up to 1000.

        Other arguments as for `list`, which goes on to the end.
        """
        kind = None if type is None else choice(DocumentType, type)
        return await self._ask(ListDocuments(after, limit, kind, prefix), Page)

    async def log(
        self,
        path: str | None = None,
        *,
        limit: int = 50,
        before: int | None = None,
        author: str = "",
        session: str = "",
        action: Action | str | None = None,
    ) -> tuple[LogEntry, ...]:
        """Return what happened, newest first.

        Args:
            path: only this document, followed through its moves.
            limit: at most so many entries.
            before: only entries with a smaller seq.
            author: only what this agent or user did.
            session: only what this session did.
            action: only entries of this kind.
        """
        if limit < 1:
            raise InvalidRequest(f"{limit} is no number of entries; ask for at least 1")
        kind = None if action is None else choice(Action, action)
        entries: list[LogEntry] = []
        while True:
            count = min(limit - len(entries), PAGE_ENTRIES_MAX)
            lowest = entries[-1].seq if entries else before or 0
            request = Log(path or "", count, lowest, author, session, kind)
            page = await self._ask(request, LogPage)
            entries += page.entries
            if not page.more or not page.entries or len(entries) >= limit:
                return tuple(entries)
