"""What documents are kept in order with: listing, tags, descriptions, replacing in many at once."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Final

import anyio.to_thread

from agent_trace.replacing import Replacer
from agent_trace.results import Replacement, Replacements, Transaction, Written
from agent_trace_protocol import (
    Annotate,
    DocumentInfo,
    DocumentReport,
    DocumentType,
    Durability,
    InvalidRequest,
    ListDocuments,
    NotFound,
    Page,
    PermissionReport,
    Permissions,
    Permit,
    Put,
    Read,
    ShowDocument,
    TooLarge,
    Untrack,
    parse_pattern,
)
from agent_trace_protocol import replies as wire
from agent_trace_protocol.limits import BODY_BYTES_MAX, OPERATIONS_MAX, PAGE_ENTRIES_MAX

from .base import choice
from .writing import Writing

__all__ = ["Documents"]

_FIRST_PAGE_ENTRIES: Final = 100
"""Documents of the first page of a listing: whoever shows them can begin at once."""


class Documents(Writing):
    """What documents are kept in order with."""

    async def document_page(
        self,
        after: str = "",
        *,
        limit: int = PAGE_ENTRIES_MAX,
        prefix: str = "",
        type: DocumentType | str | None = None,
        tag: str = "",
    ) -> Page:
        """Return a page of the documents, ordered by path; arguments as for `documents`.

        Args:
            after: the last path of the page before.
        """
        kind = None if type is None else choice(DocumentType, type)
        return await self._ask(ListDocuments(after, limit, kind, prefix, tag), Page)

    async def documents(
        self, *, prefix: str = "", type: DocumentType | str | None = None, tag: str = ""
    ) -> AsyncGenerator[DocumentInfo, None]:
        """Yield what is known of all documents, ordered by path, the first ones at once.

        Documents that come or go meanwhile may or may not be among them.

        Args:
            prefix: only paths that start with this text.
            type: only documents of this type.
            tag: only documents with this tag.
        """
        after, limit = "", _FIRST_PAGE_ENTRIES
        while True:
            page = await self.document_page(after, limit=limit, prefix=prefix, type=type, tag=tag)
            for document in page.documents:
                yield document
            if not page.more or not page.documents:
                return
            after, limit = page.documents[-1].path, PAGE_ENTRIES_MAX

    async def list(
        self, *, prefix: str = "", type: DocumentType | str | None = None, tag: str = ""
    ) -> tuple[DocumentInfo, ...]:
        """Return what is known of all documents, ordered by path; arguments as for `documents`."""
        found = self.documents(prefix=prefix, type=type, tag=tag)
        return tuple([document async for document in found])

    async def info(self, path: str) -> DocumentReport:
        """Return all that is known of a document except its content, also of a deleted one.

        Raises:
            NotFound: there is no such document.
        """
        return await self._ask(ShowDocument(path), DocumentReport)

    async def tag(
        self,
        path: str,
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
        *,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
        confirm: bool = False,
    ) -> Written:
        """Give a document tags, and take some from it; its content stays as it is.

        Raises:
            InvalidRequest: a text can not be a tag, it has none of those to remove, or nothing
                would change.
        """
        annotate = Annotate(path, tuple(add), tuple(remove))
        return await self._one(annotate, durability, message, confirm)

    async def describe(
        self,
        path: str,
        description: str,
        *,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
        confirm: bool = False,
    ) -> Written:
        """Say on one line what a document is for; an empty text takes the description away."""
        annotate = Annotate(path, description=description)
        return await self._one(annotate, durability, message, confirm)

    async def untrack(
        self,
        path: str,
        *,
        if_revision: int | None = None,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
        confirm: bool = False,
    ) -> Written:
        """End the document and leave its file where it is, as nobody's business.

        Its history stays, and `restore` brings it back, if the file has been moved away or is the
        same.
        """
        return await self._one(Untrack(path, if_revision), durability, message, confirm)

    # -- replacing in many documents ---------------------------------------------------------

    async def find_replacements(
        self,
        find: str,
        replacement: str,
        *,
        regex: bool = False,
        type: DocumentType | str | None = None,
        path: str = "**",
        on_progress: Callable[[int], None] | None = None,
    ) -> Replacements:
        """Return what a replacement would change, without changing anything.

        Documents that this session may not modify are left out, and named.

        Args:
            find: the text to find, or with `regex` a regular expression.
            type: only in documents of this type.
            path: only in documents that this glob matches.
            on_progress: is told of how many more documents were looked at.

        Raises:
            InvalidRequest: the expression is none, or takes too long.
        """
        replacer = Replacer.of(find, replacement, expression=regex)
        pattern = parse_pattern(path)
        found: list[Replacement] = []
        protected: list[str] = []
        async with aclosing(self.documents(type=type)) as documents:
            async for document in documents:
                if not pattern.matches(document.path):
                    continue
                if on_progress is not None:
                    on_progress(1)
                try:
                    read = await self._ask(Read(document.path), wire.Document)
                    before = read.content.decode("utf-8")
                except (NotFound, UnicodeDecodeError):
                    # It has gone meanwhile, or is no text.
                    continue
                after, count = await anyio.to_thread.run_sync(partial(replacer.apply, before))
                if after == before:
                    continue
                if not await self._may_modify(document.path):
                    protected.append(document.path)
                    continue
                found.append(Replacement(document.path, read.revision, count, before, after))
        return Replacements(tuple(found), tuple(protected))

    async def _may_modify(self, path: str) -> bool:
        report = await self._ask(Permissions(path), PermissionReport)
        allowed = (Permit.YES, Permit.CONFIRM) if self._confirm else (Permit.YES,)
        return any(entry.action == "modify" and entry.permit in allowed for entry in report.entries)

    async def apply_replacements(
        self,
        replacements: Replacements,
        *,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
    ) -> Transaction:
        """Write what was found, all or nothing: one journal record, one commit.

        Raises:
            Conflict: one of the documents has changed since it was looked at; nothing was done.
            TooLarge: it is too much for one transaction.
        """
        found = replacements.found
        if not found:
            raise InvalidRequest("there is nothing to replace")
        size = sum(len(each.after.encode("utf-8")) for each in found)
        if len(found) > OPERATIONS_MAX or size > BODY_BYTES_MAX // 2:
            raise TooLarge(
                f"{len(found)} documents with {size} bytes would change; one transaction holds at "
                f"most {OPERATIONS_MAX} documents and {BODY_BYTES_MAX // 2} bytes: narrow it by "
                "type or path"
            )
        operations = [Put(each.path, each.after.encode("utf-8"), each.revision) for each in found]
        return await self.transact(operations, durability=durability, message=message)
