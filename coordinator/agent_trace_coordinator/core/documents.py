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
    ApplyViolation,
    Conflict,
    ConflictInfo,
    Delete,
    DocumentType,
    Edit,
    InvalidPath,
    InvalidRequest,
    LeaseRefusal,
    Move,
    NoMatch,
    NotFound,
    Operation,
    PermissionDenied,
    Permit,
    Put,
    Reclassify,
    Restore,
    SectionEdit,
    StaleLease,
    TooLarge,
    fold_path,
    parse_path,
)
from agent_trace_protocol.limits import OPERATIONS_MAX

from .apply import document_after
from .inputs import Facts, Required
from .lease_guard import Guard
from .lines import count_changes
from .merge import merge, show_changes
from .permissions import Forbidden, Verb, deny, effective_type, permit_of, protecting_type
from .records import Change, Kept, content_digest, content_key
from .secrets import find_secret
from .sections import edit_section
from .state import DocumentState, State
from .violations import Attempt, Text, parse_violation_id

__all__ = [
    "Decided",
    "LateWrite",
    "StaleWrite",
    "check_text",
    "decide",
    "draft_id",
    "parse_draft_id",
    "required_for",
]

DIFF_BYTES_MAX: Final = 4000
"""Bytes of the diff that a conflict shows."""

_Guarded = Put | Append | Edit | SectionEdit | Delete | Move | Restore | Reclassify


@dataclass(slots=True)
class Decided:
    """What a transaction comes to."""

    changes: list[Change] = field(default_factory=list[Change])
    contents: list[tuple[int, bytes]] = field(default_factory=list[tuple[int, bytes]])
    draft: int = 0
    """The draft that is accepted by it; 0 if none."""
    violation: int = 0
    """The refused write that is applied by it; 0 if none."""
    override: dict[str, None] = field(default_factory=dict[str, None])
    """The rules that were overridden, in order."""


class LateWrite(Conflict):
    """A conflict over a text that is worth keeping as a draft."""

    def __init__(self, message: str, info: ConflictInfo, document: int, text: bytes) -> None:
        super().__init__(message, info)
        self.info: ConflictInfo = info
        self.document = document
        self.text = text
        """What the document would have become."""


class StaleWrite(StaleLease):
    """A write under a lease that has ended, over a text that is worth keeping as a draft."""

    def __init__(
        self, message: str, info: LeaseRefusal, conflict: ConflictInfo, document: int, text: bytes
    ) -> None:
        super().__init__(message, info)
        self.refusal = info
        self.conflict = conflict
        self.document = document
        self.text = text
        """What the document would have become."""

    def kept_as(self, draft: str) -> LeaseRefusal:
        """Return what the writer is told, with the id of the draft."""
        # To the millisecond, so that the record's commit says exactly the same.
        left_seconds = round(self.refusal.left_seconds, 3)
        return msgspec.structs.replace(self.refusal, left_seconds=left_seconds, draft=draft)


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

    An operation whose path is none needs nothing: it is refused whatever there is.
    """
    required = Required()
    for operation in operations:
        try:
            _require(state, operation, required)
        except InvalidPath:
            continue
    return required


def _require(state: State, operation: Operation, required: Required) -> None:
    if isinstance(operation, AcceptDraft):
        _require_draft(state, operation, required)
        return
    if isinstance(operation, ApplyViolation):
        _require_violation(state, operation, required)
        return
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
        _require_file(state, path, required)
    if isinstance(operation, Move):
        new_path = parse_path(operation.new_path)
        if state.document_at(new_path) is None:
            _require_file(state, new_path, required)
    elif isinstance(operation, Restore):
        past = document or state.deleted_at(path)
        if past is not None:
            required.revisions.add((past.id, operation.revision))
        if document is None:
            _require_file(state, path, required)


def _require_file(state: State, path: str, required: Required) -> None:
    # Where documents lie below a path there is a directory of ours. Whether they are still there
    # when the operation's turn comes is known only then, for a transaction may remove them first.
    if fold_path(path) not in state.folders:
        required.files.add(path)


def _require_draft(state: State, operation: AcceptDraft, required: Required) -> None:
    draft = state.drafts.get(parse_draft_id(operation.draft))
    if draft is None:
        return
    required.contents[draft.content_key] = draft.digest
    document = state.documents.get(draft.document)
    if document is not None and not document.deleted:
        required.contents[document.content_key] = document.digest
        required.revisions.add((document.id, draft.base_revision))


def _require_violation(state: State, operation: ApplyViolation, required: Required) -> None:
    violation = state.violations.get(parse_violation_id(operation.violation))
    if violation is None:
        return
    for kept in violation.body.kept:
        if kept.content_key:
            required.contents[kept.content_key] = kept.digest
        document = state.documents.get(kept.document) or state.document_at(kept.path)
        if document is not None and not document.deleted:
            required.contents[document.content_key] = document.digest
            required.revisions.add((document.id, kept.base_revision))
        else:
            _require_file(state, parse_path(kept.path), required)


def decide(
    state: State,
    actor: Actor,
    author: str,
    operations: tuple[Operation, ...],
    facts: Facts,
    seq: int,
    confirm: bool = False,
    *,
    guard: Guard | None = None,
) -> Decided:
    """Return the changes that the operations make as operation `seq`; the state is left as it was.

    Raises:
        AgentTraceError: one of them is refused; then none is done. `Forbidden` if the refusal is to
            go on record; its `attempt` says what was tried.
    """
    if not operations:
        raise InvalidRequest("a transaction needs at least one operation")
    if len(operations) > OPERATIONS_MAX:
        raise TooLarge(f"{len(operations)} operations in one transaction; at most {OPERATIONS_MAX}")
    decision = _Decision(
        state, actor, author, facts, seq, confirm, guard or Guard(state, session="")
    )
    refused = 0
    try:
        decision.check_confirmation()
        for index, operation in enumerate(operations):
            refused = index
            decision.take(index, operation)
    except Forbidden as forbidden:
        texts = [decision.text_of(operation) for operation in operations]
        forbidden.attempt = Attempt(_action_of(operations[refused]), _path_of(operations[refused]))
        forbidden.attempt.texts += [text for text in texts if text is not None]
        raise
    finally:
        decision.take_back()
    return decision.decided


class _Decision:
    def __init__(
        self,
        state: State,
        actor: Actor,
        author: str,
        facts: Facts,
        seq: int,
        confirm: bool,
        guard: Guard,
    ) -> None:
        self.state = state
        self.guard = guard
        self.actor = actor
        self.author = author
        self.facts = facts
        self.seq = seq
        self.confirm = confirm
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
            case Reclassify():
                self.reclassify(operation)
            case ApplyViolation():
                self.apply(index, operation)
            case _:
                assert_never(operation)

    def take_back(self) -> None:
        for before, after in reversed(self.undo):
            self.state.replace(after, before)

    # -- the operations --------------------------------------------------------------------

    def write(self, index: int, operation: Put | Append) -> None:
        path = self.parsed(operation.path)
        document = self.state.document_at(path)
        type = operation.type or DocumentType.SCRATCH
        if document is None:
            self.allow(Verb.CREATE, type, path)
        else:
            verb = Verb.MODIFY if isinstance(operation, Put) else Verb.APPEND
            self.allow(verb, document.type, path, document)
        self.check_lease(path, document, operation)
        self.check_revision(path, document, operation)
        if document is None:
            self.check_blocked(path)
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
        self.allow(Verb.MODIFY, document.type, document.path, document)
        self.check_lease(document.path, document, operation)
        self.check_revision(document.path, document, operation)
        before = self.content_of(document)
        after = _outcome(document.path, before, operation)
        self.change(index, document, Action.EDIT, before, after)

    def delete(self, operation: Delete) -> None:
        document = self.existing(operation.path)
        self.allow(Verb.DELETE, document.type, document.path, document)
        self.guard.check(document.path)
        self.check_revision(document.path, document, operation)
        self.remove(document)

    def remove(self, document: DocumentState) -> None:
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
        self.allow(Verb.MOVE, document.type, document.path, document)
        new_path = self.parsed(operation.new_path)
        self.guard.check(document.path)
        self.guard.check(new_path)
        self.check_revision(document.path, document, operation)
        protected = protecting_type(new_path)
        if protected is not None:
            self.allow(Verb.CREATE, protected, new_path)
        self.check_blocked(new_path)
        if new_path == document.path:
            raise InvalidRequest(f"{new_path} is its path already")
        # A change of letter case only is a clash with itself, and allowed.
        self.check_free(new_path, moving=document)
        if new_path in self.facts.files and fold_path(new_path) != fold_path(document.path):
            raise Conflict(
                f"a file that is not a document lies at {new_path}; choose another path",
                ConflictInfo(new_path, 0, 0),
            )
        self.guard.follow(document.path, new_path)
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
        path = self.parsed(operation.path)
        document = self.state.document_at(path)
        past = document or self.state.deleted_at(path)
        if past is None:
            raise NotFound(f"there is no document {path}, and none was deleted from there")
        verb = Verb.CREATE if document is None else Verb.MODIFY
        self.allow(verb, past.type, path, document)
        self.guard.check(path)
        self.check_revision(path, document, operation)
        content = self.facts.revisions.get((past.id, operation.revision))
        if content is None:
            raise NotFound(f"{path} has no revision {operation.revision} with content")
        if document is None:
            self.check_blocked(path)
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
            raise Forbidden(
                "draft-of-another",
                PermissionDenied(
                    f"draft {operation.draft} is {draft.author}'s; only {draft.author} or a user "
                    "accepts it"
                ),
            )
        document = self.state.documents.get(draft.document)
        if document is None or document.deleted:
            raise NotFound(
                f"{draft.path}, which draft {operation.draft} changes, is gone; restore it first"
            )
        self.allow(Verb.MODIFY, document.type, document.path, document)
        self.guard.check(document.path)
        mine = self.facts.contents[draft.content_key]
        current = self.content_of(document)
        base = self.facts.revisions.get((document.id, draft.base_revision))
        merged = None if base is None else merge(base, mine, current)
        if merged is None:
            raise self.conflict(document, draft.base_revision, operation.draft)
        self.decided.draft = draft.seq
        self.change(index, document, Action.MERGE, current, merged)

    def add(self, index: int, operation: Add) -> None:
        path = self.parsed(operation.path)
        document = self.state.document_at(path)
        self.check_blocked(path)
        self.guard.check(path)
        if document is not None:
            raise Conflict(
                f"{path} is a document already",
                ConflictInfo(path, 0, document.revision, document.author, document.time_ms),
            )
        content = self.facts.files.get(path)
        if content is None:
            raise NotFound(f"there is no file {path} in the store's directory")
        self.create(index, path, operation.type, content)

    def reclassify(self, operation: Reclassify) -> None:
        document = self.existing(operation.path)
        self.allow(Verb.RECLASSIFY, document.type, document.path, document)
        self.guard.check(document.path)
        self.check_revision(document.path, document, operation)
        if operation.type is document.type:
            raise InvalidRequest(f"{document.path} is a {document.type} document already")
        self.enter(
            document,
            Change(
                document=document.id,
                action=Action.RECLASSIFY,
                path=document.path,
                previous_path="",
                type=operation.type,
                revision=document.revision + 1,
                content_key=document.content_key,
                digest=document.digest,
                size=document.size,
                added=0,
                removed=0,
            ),
        )

    def apply(self, index: int, operation: ApplyViolation) -> None:
        if self.actor is not Actor.USER:
            raise Forbidden(
                "only-users-apply",
                PermissionDenied(
                    f"only a user applies {operation.violation}; ask one: agent-trace violations "
                    f"apply {operation.violation}"
                ),
            )
        violation = self.state.violations.get(parse_violation_id(operation.violation))
        if violation is None:
            raise NotFound(
                f"there is no violation {operation.violation!r}, or it was applied or discarded"
            )
        if index or self.decided.violation:
            raise InvalidRequest("a violation is applied by a transaction of its own")
        if not violation.body.kept:
            raise InvalidRequest(
                f"{operation.violation} brought no text; do the {violation.body.action} yourself"
            )
        self.decided.violation = violation.seq
        for kept in violation.body.kept:
            self.apply_text(operation.violation, kept)

    def apply_text(self, id: str, kept: Kept) -> None:
        """Write one text of a refused write, joined with what has changed since."""
        index = len(self.decided.changes)
        document = self.state.documents.get(kept.document) or self.state.document_at(kept.path)
        if document is not None and document.deleted:
            document = self.state.document_at(kept.path)
        self.guard.check(kept.path if document is None else document.path)
        if kept.action is Action.DELETE and document is not None:
            self.allow(Verb.DELETE, document.type, document.path, document)
            self.remove(document)
            return
        if not kept.content_key:
            raise InvalidRequest(f"{id} has no text that could be applied to {kept.path}")
        text = self.facts.contents[kept.content_key]
        if document is None:
            path = parse_path(kept.path)
            self.check_blocked(path)
            if self.facts.files.get(path, text) != text:
                raise Conflict(
                    f"a file that is not a document lies at {path}; move it away first",
                    ConflictInfo(path, 0, 0),
                )
            self.create(index, path, kept.type, text)
            return
        current = self.content_of(document)
        merged: bytes | None = text
        if kept.base_revision != document.revision and text != current:
            base = self.facts.revisions.get((document.id, kept.base_revision))
            merged = None if base is None else merge(base, text, current)
        if merged is None:
            raise self.conflict(document, kept.base_revision, "")
        self.allow(Verb.MODIFY, document.type, document.path, document)
        action = Action.PUT if merged == text else Action.MERGE
        self.change(index, document, action, current, merged)

    # -- what they share -------------------------------------------------------------------

    def check_confirmation(self) -> None:
        if self.confirm and self.actor is not Actor.USER:
            raise Forbidden(
                "only-users-confirm",
                PermissionDenied(
                    f"only a user confirms an override, not {self.actor} {self.author}; nobody can "
                    "grant it: try without, and ask a user if that is refused"
                ),
            )

    def allow(
        self,
        verb: Verb,
        type: DocumentType,
        path: str,
        document: DocumentState | None = None,
    ) -> None:
        """Return if the actor may do this to a document of a type, at a path.

        Raises:
            Forbidden: it may not.
        """
        type = effective_type(path, type)
        permit = permit_of(type, self.actor, verb)
        if permit is Permit.YES:
            return
        refusal = deny(type, self.actor, verb, path)
        if permit is Permit.CONFIRM and self.confirm:
            self.decided.override[refusal.rule] = None
            return
        if self.actor is Actor.AGENT and document is not None and verb is not Verb.RECLASSIFY:
            for grant in self.state.grants.values():
                if grant.document == document.id and grant.agent in ("", self.author):
                    self.decided.override[f"unlock-{grant.seq}"] = None
                    return
        raise refusal

    def parsed(self, text: str) -> str:
        """Return a path in its canonical form, before any other rule sees it."""
        try:
            return parse_path(text)
        except InvalidPath as error:
            raise Forbidden("path-law", error) from error

    def check_blocked(self, path: str) -> None:
        """Refuse a path on which a symlink or a special file is in the way."""
        reason = self.facts.blocked.get(path)
        if reason is not None:
            raise Forbidden("file-in-the-way", InvalidPath(reason))

    def text_of(self, operation: Operation) -> Text | None:
        """Return what an operation brought, and what it would have made of its document."""
        match operation:
            case Put() | Append():
                brought, type = operation.content, operation.type
            case SectionEdit():
                brought, type = operation.content, None
            case Edit():
                brought, type = operation.new, None
            case Add():
                brought, type = self.facts.files.get(operation.path, b""), operation.type
            case Delete():
                brought, type = b"", None
            case _:
                # What these bring is in the store already.
                return None
        action = _action_of(operation)
        text = Text(action, operation.path, type or DocumentType.SCRATCH, 0, 0, brought, brought)
        try:
            document = self.state.document_at(parse_path(operation.path))
            if document is None:
                return text
            text.path, text.type, text.document = document.path, document.type, document.id
            text.base_revision = document.revision
            if isinstance(operation, (Put, Append, Edit, SectionEdit)):
                text.outcome = _outcome(text.path, self.content_of(document), operation)
        except (InvalidPath, InvalidRequest):
            # Not a path, or nothing there that the edit fits: what it brought is what is kept.
            pass
        return text

    def create(self, index: int, path: str, type: DocumentType, content: bytes) -> None:
        self.allow(Verb.CREATE, type, path)
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
        self.check_content(document.path, after, before)
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
        path = self.parsed(text)
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

    def check_lease(
        self,
        path: str,
        document: DocumentState | None,
        operation: Put | Append | Edit | SectionEdit,
    ) -> None:
        """Refuse a write that comes too late for its lease, and keep its text.

        Raises:
            StaleWrite: with the text that the operation would have made.
            StaleLease: that text can not be known.
            LeaseHeld: leases are enforced, and another session holds one on it.
        """
        try:
            self.guard.check(path)
        except StaleLease as stale:
            current = 0 if document is None else document.revision
            expected = current if operation.if_revision is None else operation.if_revision
            base: bytes | None = b"" if document is None else self.content_of(document)
            if expected != current:
                id = 0 if document is None else document.id
                base = self.facts.revisions.get((id, expected))
            if not isinstance(operation, Put) and base is None:
                raise
            try:
                text = _outcome(path, base or b"", operation)
            except InvalidRequest:
                raise stale from None
            self.check_content(path, text, base or b"")
            conflict = self.conflict(document, expected, "", path).info
            assert conflict is not None and stale.info is not None
            id = 0 if document is None else document.id
            raise StaleWrite(stale.message, stale.info, conflict, id, text) from None

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
        if isinstance(operation, (Delete, Move, Restore, Reclassify)):
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
        self.check_content(path, text, b"" if document is None else self.content_of(document))
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

    def check_content(self, path: str, content: bytes, before: bytes = b"") -> None:
        limit = self.state.rules.document_bytes_max
        if len(content) > limit:
            raise TooLarge(f"{path} would have {len(content)} bytes; the limit is {limit}")
        check_text(path, content)
        secret = find_secret(content, before)
        if secret is None:
            return
        rule = f"secret-{secret.rule}"
        if self.confirm:
            self.decided.override[rule] = None
            return
        raise Forbidden(
            rule,
            PermissionDenied(
                f"line {secret.line} of {path} holds what looks like a {secret.rule}; history is "
                "kept for ever, so it is not written. Take it out and try again; a user can let "
                "it in with --confirm, nobody else can"
            ),
        )


def check_text(path: str, content: bytes) -> None:
    """Return if a content is text: UTF-8 without NUL.

    Raises:
        Forbidden: it is not.
    """
    nul = content.find(0)
    try:
        content.decode()
    except UnicodeDecodeError as error:
        nul = error.start
        what = "not UTF-8 text"
    else:
        if nul < 0:
            return
        what = "binary (it holds NUL)"
    raise Forbidden(
        "not-text",
        InvalidRequest(
            f"{path} would be {what} at byte {nul}; documents are text, and nobody can grant it: "
            "keep such a file outside the store and name it in a document"
        ),
    )


_ACTIONS: Final[dict[type[Operation], Action]] = {
    Put: Action.PUT,
    Append: Action.APPEND,
    Edit: Action.EDIT,
    SectionEdit: Action.EDIT,
    Delete: Action.DELETE,
    Move: Action.MOVE,
    Restore: Action.RESTORE,
    Add: Action.CREATE,
    AcceptDraft: Action.MERGE,
    Reclassify: Action.RECLASSIFY,
    ApplyViolation: Action.MERGE,
}


def _action_of(operation: Operation) -> Action:
    return _ACTIONS[type(operation)]


def _path_of(operation: Operation) -> str:
    match operation:
        case AcceptDraft():
            return operation.draft
        case ApplyViolation():
            return operation.violation
        case Move():
            return f"{operation.path} -> {operation.new_path}"
        case _:
            return operation.path


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
