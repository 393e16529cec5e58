"""Deciding what operations do to documents: each either becomes a `Change` or is refused.

A transaction is decided operation by operation on the state itself, each on top of the one before,
and then taken back, so that the state only ever changes through `apply_record`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, assert_never

import msgspec

from agent_trace_protocol import (
    AcceptDraft,
    Action,
    Actor,
    Add,
    Append,
    Conflict,
    ConflictInfo,
    Delete,
    DocumentType,
    Edit,
    InvalidPath,
    InvalidRequest,
    Move,
    NoMatch,
    NotFound,
    Operation,
    PermissionDenied,
    Put,
    Restore,
    SectionEdit,
    TooLarge,
    fold_path,
    parse_path,
)
from agent_trace_protocol.limits import OPERATIONS_MAX

from .apply import document_after
from .inputs import Facts, Required
from .lines import count_changes
from .merge import merge, show_changes
from .permissions import check_write
from .records import Change, content_digest, content_key
from .sections import edit_section
from .state import DocumentState, State

__all__ = ["Decided", "LateWrite", "decide", "draft_id", "parse_draft_id", "required_for"]

DIFF_BYTES_MAX: Final = 4000
"""Bytes of the diff that a conflict shows."""

_Guarded = Put | Append | Edit | SectionEdit | Delete | Move | Restore


@dataclass(slots=True)
class Decided:
    """What a transaction comes to."""

    changes: list[Change] = field(default_factory=list[Change])
    contents: list[tuple[int, bytes]] = field(default_factory=list[tuple[int, bytes]])
    draft: int = 0
    """The draft that is accepted by it; 0 if none."""


class LateWrite(Conflict):
    """A conflict over a text that is worth keeping as a draft."""

    def __init__(self, message: str, info: ConflictInfo, document: int, text: bytes) -> None:
        super().__init__(message, info)
        self.info: ConflictInfo = info
        self.document = document
        self.text = text
        """What the document would have become."""


def parse_draft_id(text: str) -> int:
    """Return the seq of the record that keeps a draft, such as 17 for `draft-17`; 0 if none can."""
    digits = text.removeprefix("draft-")
    if digits == text or not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
        return 0
    return int(digits)


def draft_id(seq: int) -> str:
    """Return the id of the draft that record `seq` keeps."""
    return f"draft-{seq}"


def required_for(state: State, operations: tuple[Operation, ...]) -> Required:
    """Return what must be looked up before `decide` can judge these operations.

    Raises:
        InvalidPath: an operation's path is none.
    """
    required = Required()
    for operation in operations:
        if isinstance(operation, AcceptDraft):
            _require_draft(state, operation, required)
            continue
        path = parse_path(operation.path)
        document = state.document_at(path)
        if document is not None:
            required.contents[document.content_key] = document.digest
            if not isinstance(operation, Add) and operation.if_revision not in (
                None,
                document.revision,
            ):
                required.revisions.add((document.id, operation.if_revision))
        elif isinstance(operation, (Put, Append, Add)):
            required.files.add(path)
        if isinstance(operation, Move):
            new_path = parse_path(operation.new_path)
            if state.document_at(new_path) is None:
                required.files.add(new_path)
        elif isinstance(operation, Restore):
            past = document or state.deleted_at(path)
            if past is not None:
                required.revisions.add((past.id, operation.revision))
            if document is None:
                required.files.add(path)
    return required


def _require_draft(state: State, operation: AcceptDraft, required: Required) -> None:
    draft = state.drafts.get(parse_draft_id(operation.draft))
    if draft is None:
        return
    required.contents[draft.content_key] = draft.digest
    document = state.documents.get(draft.document)
    if document is not None and not document.deleted:
        required.contents[document.content_key] = document.digest
        required.revisions.add((document.id, draft.base_revision))


def decide(
    state: State,
    actor: Actor,
    author: str,
    operations: tuple[Operation, ...],
    facts: Facts,
    seq: int,
) -> Decided:
    """Return the changes that the operations make as operation `seq`; the state is left as it was.

    Raises:
        AgentTraceError: one of them is refused; then none is done.
    """
    if not operations:
        raise InvalidRequest("a transaction needs at least one operation")
    if len(operations) > OPERATIONS_MAX:
        raise TooLarge(f"{len(operations)} operations in one transaction; at most {OPERATIONS_MAX}")
    decision = _Decision(state, actor, author, facts, seq)
    try:
        for index, operation in enumerate(operations):
            decision.take(index, operation)
    finally:
        decision.take_back()
    return decision.decided


class _Decision:
    def __init__(self, state: State, actor: Actor, author: str, facts: Facts, seq: int) -> None:
        self.state = state
        self.actor = actor
        self.author = author
        self.facts = facts
        self.seq = seq
        self.decided = Decided()
        self.undo: list[tuple[DocumentState | None, DocumentState | None]] = []
        self.contents: dict[int, bytes] = {}

    def take(self, index: int, operation: Operation) -> None:
        match operation:
            case Put() | Append():
                self.write(index, operation)
            case Edit() | SectionEdit():
                self.edit(index, operation)
            case Delete():
                self.delete(operation)
            case Move():
                self.move(operation)
            case Restore():
                self.restore(index, operation)
            case Add():
                self.add(index, operation)
            case AcceptDraft():
                self.accept(index, operation)
            case _:
                assert_never(operation)

    def take_back(self) -> None:
        for before, after in reversed(self.undo):
            self.state.replace(after, before)

    # -- the operations --------------------------------------------------------------------

    def write(self, index: int, operation: Put | Append) -> None:
        path = parse_path(operation.path)
        document = self.state.document_at(path)
        type = operation.type or DocumentType.SCRATCH
        if document is None:
            check_write(self.actor, type, path, creates=True)
        else:
            check_write(self.actor, document.type, path, creates=False)
        self.check_revision(path, document, operation)
        if document is None:
            file = self.facts.files.get(path)
            if file is not None and file != operation.content:
                raise Conflict(
                    f"a file that is not a document lies at {path}; add it first "
                    f"(it then is revision 1), or choose another path",
                    ConflictInfo(path, operation.if_revision or 0, 0),
                )
            self.create(index, path, type, operation.content)
            return
        if operation.type is not None and operation.type is not document.type:
            raise InvalidRequest(
                f"{path} is a {document.type} document; writing it does not make it "
                f"{operation.type}"
            )
        before = self.content_of(document)
        action = Action.PUT if isinstance(operation, Put) else Action.APPEND
        self.change(index, document, action, before, _outcome(path, before, operation))

    def edit(self, index: int, operation: Edit | SectionEdit) -> None:
        document = self.existing(operation.path)
        check_write(self.actor, document.type, document.path, creates=False)
        self.check_revision(document.path, document, operation)
        before = self.content_of(document)
        after = _outcome(document.path, before, operation)
        self.change(index, document, Action.EDIT, before, after)

    def delete(self, operation: Delete) -> None:
        document = self.existing(operation.path)
        self.check_revision(document.path, document, operation)
        check_write(self.actor, document.type, document.path, creates=False)
        before = self.content_of(document)
        self.enter(
            document,
            Change(
                document=document.id,
                action=Action.DELETE,
                path=document.path,
                previous_path="",
                type=document.type,
                revision=document.revision + 1,
                content_key=0,
                digest=b"",
                size=0,
                added=0,
                removed=len(before.splitlines()),
            ),
        )

    def move(self, operation: Move) -> None:
        document = self.existing(operation.path)
        self.check_revision(document.path, document, operation)
        check_write(self.actor, document.type, document.path, creates=False)
        new_path = parse_path(operation.new_path)
        if new_path == document.path:
            raise InvalidRequest(f"{new_path} is its path already")
        # A change of letter case only is a clash with itself, and allowed.
        self.check_free(new_path, moving=document)
        if new_path in self.facts.files and fold_path(new_path) != fold_path(document.path):
            raise Conflict(
                f"a file that is not a document lies at {new_path}; choose another path",
                ConflictInfo(new_path, 0, 0),
            )
        self.enter(
            document,
            Change(
                document=document.id,
                action=Action.MOVE,
                path=new_path,
                previous_path=document.path,
                type=document.type,
                revision=document.revision + 1,
                content_key=document.content_key,
                digest=document.digest,
                size=document.size,
                added=0,
                removed=0,
            ),
        )

    def restore(self, index: int, operation: Restore) -> None:
        path = parse_path(operation.path)
        document = self.state.document_at(path)
        self.check_revision(path, document, operation)
        past = document or self.state.deleted_at(path)
        if past is None:
            raise NotFound(f"there is no document {path}, and none was deleted from there")
        content = self.facts.revisions.get((past.id, operation.revision))
        if content is None:
            raise NotFound(f"{path} has no revision {operation.revision} with content")
        if document is None:
            if self.facts.files.get(path, content) != content:
                raise Conflict(
                    f"a file that is not a document lies at {path}; move it away first",
                    ConflictInfo(path, 0, 0),
                )
            self.check_free(path)
            self.change(index, past, Action.RESTORE, b"", content)
        else:
            self.change(index, document, Action.RESTORE, self.content_of(document), content)

    def accept(self, index: int, operation: AcceptDraft) -> None:
        draft = self.state.drafts.get(parse_draft_id(operation.draft))
        if draft is None:
            raise NotFound(f"there is no draft {operation.draft!r}, or it was accepted before")
        if self.actor is Actor.AGENT and draft.author != self.author:
            raise PermissionDenied(
                f"draft {operation.draft} is {draft.author}'s; only {draft.author} or a user "
                "accepts it"
            )
        document = self.state.documents.get(draft.document)
        if document is None or document.deleted:
            raise NotFound(
                f"{draft.path}, which draft {operation.draft} changes, is gone; restore it first"
            )
        mine = self.facts.contents[draft.content_key]
        current = self.content_of(document)
        base = self.facts.revisions.get((document.id, draft.base_revision))
        merged = None if base is None else merge(base, mine, current)
        if merged is None:
            raise self.conflict(document, draft.base_revision, operation.draft)
        self.decided.draft = draft.seq
        self.change(index, document, Action.MERGE, current, merged)

    def add(self, index: int, operation: Add) -> None:
        path = parse_path(operation.path)
        document = self.state.document_at(path)
        if document is not None:
            raise Conflict(
                f"{path} is a document already",
                ConflictInfo(path, 0, document.revision, document.author, document.time_ms),
            )
        content = self.facts.files.get(path)
        if content is None:
            raise NotFound(f"there is no file {path} in the store's directory")
        self.create(index, path, operation.type, content)

    # -- what they share -------------------------------------------------------------------

    def create(self, index: int, path: str, type: DocumentType, content: bytes) -> None:
        check_write(self.actor, type, path, creates=True)
        self.check_free(path)
        self.check_content(path, content)
        key = content_key(self.seq, index)
        self.enter(
            None,
            Change(
                document=key,
                action=Action.CREATE,
                path=path,
                previous_path="",
                type=type,
                revision=1,
                content_key=key,
                digest=content_digest(content),
                size=len(content),
                added=len(content.splitlines()),
                removed=0,
            ),
            content,
        )

    def change(
        self, index: int, document: DocumentState, action: Action, before: bytes, after: bytes
    ) -> None:
        check_write(self.actor, document.type, document.path, creates=False)
        self.check_content(document.path, after)
        added, removed = count_changes(before, after)
        self.enter(
            document,
            Change(
                document=document.id,
                action=action,
                path=document.path,
                previous_path="",
                type=document.type,
                revision=document.revision + 1,
                content_key=content_key(self.seq, index),
                digest=content_digest(after),
                size=len(after),
                added=added,
                removed=removed,
            ),
            after,
        )

    def enter(
        self, before: DocumentState | None, change: Change, content: bytes | None = None
    ) -> None:
        after = document_after(change, self.seq, 0, self.author)
        self.state.replace(before, after)
        self.undo.append((before, after))
        self.decided.changes.append(change)
        if content is not None:
            self.contents[change.content_key] = content
            self.decided.contents.append((change.content_key, content))

    def existing(self, text: str) -> DocumentState:
        path = parse_path(text)
        document = self.state.document_at(path)
        if document is None:
            clash = self.state.by_fold.get(fold_path(path))
            raise NotFound(
                f"there is no document {path}" + (f"; there is {clash}" if clash else "")
            )
        return document

    def content_of(self, document: DocumentState) -> bytes:
        own = self.contents.get(document.content_key)
        return self.facts.contents[document.content_key] if own is None else own

    def check_revision(
        self, path: str, document: DocumentState | None, operation: _Guarded
    ) -> None:
        """Refuse an operation whose document is not at the revision it names.

        Raises:
            LateWrite: with the text that the operation would have made, if that can be known.
            Conflict: there is no text to keep.
        """
        expected = operation.if_revision
        if expected is None or expected == (0 if document is None else document.revision):
            return
        conflict = self.conflict(document, expected, "", path)
        if isinstance(operation, (Delete, Move, Restore)):
            raise conflict
        past = document or self.state.deleted_at(path)
        id = 0 if past is None else past.id
        base = b"" if expected == 0 else self.facts.revisions.get((id, expected))
        if isinstance(operation, Put):
            text = operation.content
        elif base is not None:
            text = _outcome(path, base, operation)
        else:
            raise conflict
        self.check_content(path, text)
        info = conflict.info
        assert info is not None
        if document is not None and base is not None and expected > 0:
            merged = merge(base, text, self.content_of(document)) is not None
            info = msgspec.structs.replace(info, merged=merged)
        raise LateWrite(conflict.message, info, id, text)

    def conflict(
        self, document: DocumentState | None, expected: int, draft: str, path: str = ""
    ) -> Conflict:
        """Return the error that shows what others changed since revision `expected`."""
        if document is None:
            return Conflict(
                f"there is no document {path}, so it is not at revision {expected}",
                ConflictInfo(path, expected, 0, draft=draft),
            )
        base = b"" if expected == 0 else self.facts.revisions.get((document.id, expected))
        diff = "" if base is None else show_changes(base, self.content_of(document), DIFF_BYTES_MAX)
        return Conflict(
            f"{document.path} is at revision {document.revision}, not {expected}; "
            f"{document.author} wrote it",
            ConflictInfo(
                path=document.path,
                expected=expected,
                current=document.revision,
                author=document.author,
                time_ms=document.time_ms,
                diff=diff,
                draft=draft,
            ),
        )

    def check_free(self, path: str, moving: DocumentState | None = None) -> None:
        """Refuse a new path that another document, or a folder, has or is."""
        folded = fold_path(path)
        clash = self.state.by_fold.get(folded)
        if clash is not None and (moving is None or clash != moving.path):
            if clash == path:
                raise Conflict(
                    f"there is a document {path} already",
                    ConflictInfo(path, 0, self.state.documents[self.state.by_path[path]].revision),
                )
            raise InvalidPath(f"{path!r} is the same name as {clash!r} on some systems")
        if folded in self.state.folders:
            raise InvalidPath(f"{path!r} is a folder: documents lie below it")
        parts = folded.split("/")
        for end in range(1, len(parts)):
            owner = self.state.by_fold.get("/".join(parts[:end]))
            if owner is not None:
                raise InvalidPath(f"{path!r} can not lie below {owner!r}, which is a document")

    def check_content(self, path: str, content: bytes) -> None:
        limit = self.state.rules.document_bytes_max
        if len(content) > limit:
            raise TooLarge(f"{path} would have {len(content)} bytes; the limit is {limit}")
        try:
            content.decode()
        except UnicodeDecodeError as error:
            raise InvalidRequest(
                f"{path} is not UTF-8 text (byte {error.start}); documents are text"
            ) from None


def _outcome(path: str, before: bytes, operation: Put | Append | Edit | SectionEdit) -> bytes:
    """Return what an operation makes of a text; raises `NoMatch` if it does not fit."""
    match operation:
        case Put():
            return operation.content
        case Append():
            joint = b"\n" if before and not before.endswith(b"\n") else b""
            return before + joint + operation.content
        case Edit():
            return _replace(path, before, operation)
        case SectionEdit():
            return edit_section(before, path, operation.heading, operation.content, operation.mode)
        case _:
            assert_never(operation)


def _replace(path: str, before: bytes, operation: Edit) -> bytes:
    if not operation.old:
        raise InvalidRequest("the text to replace is empty; use append, or put")
    count = before.count(operation.old)
    if count == 0:
        raise NoMatch(f"the text to replace is not in {path}; read it again")
    if count > 1 and not operation.all:
        raise NoMatch(
            f"the text to replace is in {path} {count} times; give more of the text around it, "
            "or replace all"
        )
    return before.replace(operation.old, operation.new)
