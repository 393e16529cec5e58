"""What changes documents: one method for each operation, and the transaction of several."""

from __future__ import annotations

from collections.abc import Sequence

from agent_trace.results import Transaction, Written
from agent_trace_protocol import (
    AcceptDraft,
    Add,
    Append,
    ApplyViolation,
    Committed,
    Delete,
    DocumentType,
    Durability,
    Edit,
    InvalidRequest,
    MalformedMessage,
    Move,
    Operation,
    Put,
    Reclassify,
    Restore,
    SectionEdit,
    SectionMode,
    TooLarge,
    Transact,
)
from agent_trace_protocol.limits import (
    OPERATIONS_MAX,
)

from .base import Calls, choice, content

__all__ = ["Writing"]


class Writing(Calls):
    """What an agent or user changes documents with."""

    async def write(
        self,
        path: str,
        text: str | bytes,
        *,
        if_revision: int | None = None,
        type: DocumentType | str | None = None,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
        confirm: bool = False,
    ) -> Written:
        """Make the document's content exactly `text`; create the document if there is none.

        Args:
            path: from the store's root, with `/`.
            text: the content; text is written as UTF-8.
            if_revision: only if the document is at this revision; 0: only if there is none.
            type: the type of a document that this creates; scratch if not given.
            durability: `"journal"`: synced to disk; `"git"`: also committed, and the result names
                the commit.
            message: one line about why, kept in the commit.
            confirm: override what only needs a user's confirmation; it is recorded. Users only.

        Raises:
            Conflict: the document is not at `if_revision`; `info` says what changed.
            PermissionDenied: this actor may not write documents of this type.
        """
        kind = None if type is None else choice(DocumentType, type)
        return await self._one(
            Put(path, content(text), if_revision, kind), durability, message, confirm
        )

    async def append(
        self,
        path: str,
        text: str | bytes,
        *,
        if_revision: int | None = None,
        type: DocumentType | str | None = None,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
        confirm: bool = False,
    ) -> Written:
        """Add `text` to the end of the document; create the document if there is none.

        Arguments and errors as for `write`.
        """
        kind = None if type is None else choice(DocumentType, type)
        return await self._one(
            Append(path, content(text), if_revision, kind), durability, message, confirm
        )

    async def edit(
        self,
        path: str,
        old: str | bytes,
        new: str | bytes,
        *,
        all: bool = False,
        if_revision: int | None = None,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
        confirm: bool = False,
    ) -> Written:
        """Replace the exact text `old`, which must occur once, by `new`.

        Args:
            all: replace every occurrence; there must be at least one.

        Other arguments and errors as for `write`.

        Raises:
            NoMatch: `old` does not occur, or occurs more than once without `all`.
            NotFound: there is no such document.
        """
        edit = Edit(path, content(old), content(new), all, if_revision)
        return await self._one(edit, durability, message, confirm)

    async def edit_section(
        self,
        path: str,
        heading: str,
        text: str | bytes,
        *,
        mode: SectionMode | str = SectionMode.REPLACE,
        if_revision: int | None = None,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
        confirm: bool = False,
    ) -> Written:
        """Replace the text under a Markdown heading, or with `mode="append"` add to its end.

        Args:
            heading: the heading's text, or its line with the leading `#`s.

        Other arguments and errors as for `edit`.
        """
        edit = SectionEdit(path, heading, content(text), choice(SectionMode, mode), if_revision)
        return await self._one(edit, durability, message, confirm)

    async def delete(
        self,
        path: str,
        *,
        if_revision: int | None = None,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
        confirm: bool = False,
    ) -> Written:
        """Remove the document; its history stays, and `restore` brings it back."""
        return await self._one(Delete(path, if_revision), durability, message, confirm)

    async def move(
        self,
        path: str,
        new_path: str,
        *,
        if_revision: int | None = None,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
        confirm: bool = False,
    ) -> Written:
        """Rename the document; it keeps its type and history."""
        return await self._one(Move(path, new_path, if_revision), durability, message, confirm)

    async def restore(
        self,
        path: str,
        revision: int,
        *,
        if_revision: int | None = None,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
        confirm: bool = False,
    ) -> Written:
        """Make an earlier revision's content the newest revision, also of a deleted document."""
        return await self._one(Restore(path, revision, if_revision), durability, message, confirm)

    async def add(
        self,
        path: str,
        type: DocumentType | str = DocumentType.SCRATCH,
        *,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
        confirm: bool = False,
    ) -> Written:
        """Make a file that lies in the store's directory a document, with the content it has."""
        return await self._one(Add(path, choice(DocumentType, type)), durability, message, confirm)

    async def accept(
        self,
        draft: str,
        *,
        if_revision: int | None = None,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
        confirm: bool = False,
    ) -> Transaction:
        """Write what a draft keeps; its id is the `info.draft` of the error.

        Each text is joined with what others have changed since. With `if_revision` the draft's one
        text takes the place of that revision as it is: for an author who has seen it.

        Raises:
            Conflict: two changes collide, or the document is not at `if_revision`. The draft stays.
        """
        return await self.transact(
            (AcceptDraft(draft, if_revision),),
            durability=durability,
            message=message,
            confirm=confirm,
        )

    async def reclassify(
        self,
        path: str,
        type: DocumentType | str,
        *,
        if_revision: int | None = None,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
        confirm: bool = False,
    ) -> Written:
        """Change the document's type, and with it who may write it. Users only."""
        change = Reclassify(path, choice(DocumentType, type), if_revision)
        return await self._one(change, durability, message, confirm)

    async def apply_violation(
        self,
        violation: str,
        *,
        if_revision: int | None = None,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
        confirm: bool = False,
    ) -> Transaction:
        """Write what was refused, joined with what has changed since. Users only.

        With `if_revision` its one text takes the place of that revision as it is: for a user who
        has seen it.

        Raises:
            Conflict: what was refused touches what has changed since, or the document is not at
                `if_revision`. It still waits.
        """
        return await self.transact(
            (ApplyViolation(violation, if_revision),),
            durability=durability,
            message=message,
            confirm=confirm,
        )

    async def transact(
        self,
        operations: Sequence[Operation],
        *,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
        confirm: bool = False,
        leases: Sequence[int] | None = None,
    ) -> Transaction:
        """Do several operations in order, all or nothing: one journal record, one commit.

        Args:
            leases: tokens of the leases under which it is done; those that cover a path of it if
                none are given.

        Raises:
            StaleLease: one of the leases has ended; `info` says who holds it, and the draft that
                keeps the text.
            AgentTraceError: the first refusal; nothing was done.
        """
        if not 1 <= len(operations) <= OPERATIONS_MAX:
            raise InvalidRequest(
                f"a transaction has 1 to {OPERATIONS_MAX} operations, not {len(operations)}"
            )
        limit = self._session.opened.document_bytes_max
        for operation in operations:
            if isinstance(operation, Put | Append | SectionEdit) and len(operation.content) > limit:
                # The coordinator would say the same, if the request were not too large for that.
                raise TooLarge(
                    f"{operation.path} would have {len(operation.content)} bytes or more; the "
                    f"limit of this store is {limit}"
                )
        request = Transact(
            tuple(operations),
            choice(Durability, durability),
            message,
            self._tokens(operations) if leases is None else tuple(leases),
            confirm=confirm or self._confirm,
        )
        committed = await self._ask(request, Committed)
        seq, commit = committed.seq, committed.commit
        written = tuple(
            Written(
                made.path,
                made.revision,
                seq,
                commit,
                made.action,
                made.added,
                made.removed,
                committed.warnings,
                committed.notices,
            )
            for made in committed.results
        )
        return Transaction(seq, commit, written, committed.warnings, committed.notices)

    async def _one(
        self, operation: Operation, durability: Durability | str, why: str, confirm: bool
    ) -> Written:
        request = Transact(
            (operation,),
            choice(Durability, durability),
            why,
            self._tokens((operation,)),
            confirm=confirm or self._confirm,
        )
        committed = await self._ask(request, Committed)
        if not committed.results:
            raise MalformedMessage("the coordinator's answer names no document")
        made = committed.results[0]
        return Written(
            made.path,
            made.revision,
            committed.seq,
            committed.commit,
            made.action,
            made.added,
            made.removed,
            committed.warnings,
            committed.notices,
        )

    def _tokens(self, operations: Sequence[Operation]) -> tuple[int, ...]:
        paths: list[str] = []
        for operation in operations:
            if not isinstance(operation, AcceptDraft | ApplyViolation):
                paths.append(operation.path)
            if isinstance(operation, Move):
                paths.append(operation.new_path)
        return self._held.covering(paths)[:OPERATIONS_MAX]
