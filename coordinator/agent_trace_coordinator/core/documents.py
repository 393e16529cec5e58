"""Deciding what operations do to documents: each either becomes a `Change` or is refused.

A transaction is decided operation by operation on the state itself, each on top of the one before,
and then taken back, so that the state only ever changes through `apply_record`. The rules that hold
for all operations are in `decision`.
"""

from __future__ import annotations

from typing import assert_never

from agent_trace_protocol import (
    AcceptDraft,
    Action,
    Actor,
    Add,
    Annotate,
    Append,
    ApplyViolation,
    Conflict,
    ConflictInfo,
    Delete,
    DocumentType,
    Edit,
    InvalidRequest,
    Move,
    NotFound,
    Operation,
    PermissionDenied,
    Put,
    Reclassify,
    Restore,
    SectionEdit,
    TooLarge,
    Untrack,
    fold_path,
    parse_path,
)
from agent_trace_protocol.limits import OPERATIONS_MAX

from .annotations import annotation_after
from .changes import annotated, removed, renamed, retyped, untracked
from .decision import Decided, Decision, action_of, path_of
from .drafts import parse_draft_id
from .inputs import Facts
from .lease_guard import Guard
from .merge import merge
from .permissions import Forbidden, Verb, protecting_type
from .places import check_free
from .records import Kept
from .state import DocumentState, State
from .texts import outcome
from .violations import Attempt, parse_violation_id

__all__ = ["Operations", "decide"]


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
    decision = Operations(
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
        forbidden.attempt = Attempt(action_of(operations[refused]), path_of(operations[refused]))
        forbidden.attempt.texts += [text for text in texts if text is not None]
        raise
    finally:
        decision.take_back()
    return decision.decided


class Operations(Decision):
    """One method for each kind of operation."""

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
            case Annotate():
                self.annotate(operation)
            case Untrack():
                self.untrack(operation)
            case ApplyViolation():
                self.apply(index, operation)
            case _:
                assert_never(operation)

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
        self.change(index, document, action, before, outcome(path, before, operation))

    def edit(self, index: int, operation: Edit | SectionEdit) -> None:
        document = self.existing(operation.path)
        self.allow(Verb.MODIFY, document.type, document.path, document)
        self.check_lease(document.path, document, operation)
        self.check_revision(document.path, document, operation)
        before = self.content_of(document)
        after = outcome(document.path, before, operation)
        self.change(index, document, Action.EDIT, before, after)

    def delete(self, operation: Delete) -> None:
        document = self.existing(operation.path)
        self.allow(Verb.DELETE, document.type, document.path, document)
        self.guard.check(document.path)
        self.check_revision(document.path, document, operation)
        self.remove(document)

    def remove(self, document: DocumentState) -> None:
        self.enter(document, removed(document, self.content_of(document)))

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
        check_free(self.state, new_path, moving=document)
        if new_path in self.facts.files and fold_path(new_path) != fold_path(document.path):
            raise Conflict(
                f"a file that is not a document lies at {new_path}; choose another path",
                ConflictInfo(new_path, 0, 0),
            )
        self.guard.follow(document.path, new_path)
        self.enter(document, renamed(document, new_path))

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
            check_free(self.state, path)
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
        self.enter(document, retyped(document, operation.type))

    def annotate(self, operation: Annotate) -> None:
        document = self.existing(operation.path)
        self.allow(Verb.MODIFY, document.type, document.path, document)
        self.guard.check(document.path)
        self.check_revision(document.path, document, operation)
        before = self.state.annotations.get(document.id)
        for made in self.decided.annotations:
            before = made if made.document == document.id else before
        annotation, summary = annotation_after(document, before, operation)
        self.decided.annotations.append(annotation)
        self.enter(document, annotated(document, summary))

    def untrack(self, operation: Untrack) -> None:
        document = self.existing(operation.path)
        self.allow(Verb.DELETE, document.type, document.path, document)
        self.guard.check(document.path)
        self.check_revision(document.path, document, operation)
        self.enter(document, untracked(document, self.content_of(document)))

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
