"""Deciding what operations do to documents: each either becomes a `Change` or is refused.

A transaction is decided operation by operation on the state itself, each on top of the one before,
and then taken back, so that the state only ever changes through `apply_record`. The rules that hold
for all operations are in `decision`.
"""

from __future__ import annotations

from typing import Final, assert_never

import msgspec

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
from .attempts import action_of, merges, path_of, texts_of
from .changes import annotated, removed, renamed, retyped, untracked
from .decision import Decided, Decision
from .drafts import Late, draft_id, find_draft
from .inputs import Facts
from .lease_guard import Guard
from .merge import merge
from .permissions import Forbidden, Verb, protecting_type
from .places import check_free
from .records import Kept
from .state import DocumentState, State
from .texts import outcome
from .violations import Attempt, Text, find_violation, violation_id

__all__ = ["Operations", "decide"]

_ALONE: Final = (AcceptDraft, ApplyViolation)
"""Operations that may change as many documents as a transaction can."""


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
            go on record; its `attempt` says what was tried. `Late` if it did not fit any more, and
            its `texts` are to be kept.
    """
    if not operations:
        raise InvalidRequest("a transaction needs at least one operation")
    if len(operations) > OPERATIONS_MAX:
        raise TooLarge(f"{len(operations)} operations in one transaction; at most {OPERATIONS_MAX}")
    if len(operations) > 1 and any(isinstance(each, _ALONE) for each in operations):
        raise InvalidRequest("what was kept is accepted or applied by a transaction of its own")
    decision = Operations(
        state, actor, author, facts, seq, confirm, guard or Guard(state, session="")
    )
    refused = 0
    failure: Forbidden | Late | None = None
    try:
        decision.check_confirmation()
        for index, operation in enumerate(operations):
            refused = index
            decision.take(operation)
    except (Forbidden, Late) as error:
        failure = error
    finally:
        decision.take_back()
    if failure is None:
        return decision.decided
    if isinstance(failure, Late):
        # What is added lies in its file, and stays there.
        wanted = tuple(each for each in operations if not isinstance(each, Add))
        try:
            decision.keep(failure, texts_of(state, facts, wanted))
        except Forbidden as error:
            failure = error
    if isinstance(failure, Forbidden):
        failure.attempt = Attempt(action_of(operations[refused]), path_of(operations[refused]))
        failure.attempt.texts = texts_of(state, facts, operations)
    raise failure


class Operations(Decision):
    """One method for each kind of operation."""

    def keep(self, late: Late, texts: list[Text]) -> None:
        """Let a refusal keep the texts of its transaction, if they are ones that may be kept.

        Raises:
            Forbidden: one of them may not be in the store at all.
            AgentTraceError: they can not be kept; this is what their writer is told.
        """
        brings = any(text.action is not Action.DELETE for text in texts)
        if not brings or not all(text.known for text in texts):
            raise late.error
        self.work = 0
        for text in texts:
            document = self.state.documents.get(text.document)
            before = b""
            if document is not None and not document.deleted:
                before = self.facts.contents[document.content_key]
            self.check_content(text.path, text.outcome, before)
        late.texts = texts
        if late.lease is None:
            late.conflict = msgspec.structs.replace(
                late.conflict, merged=all(merges(self.state, self.facts, text) for text in texts)
            )

    def take(self, operation: Operation) -> None:
        match operation:
            case Put() | Append():
                self.write(operation)
            case Edit() | SectionEdit():
                self.edit(operation)
            case Delete():
                self.delete(operation)
            case Move():
                self.move(operation)
            case Restore():
                self.restore(operation)
            case Add():
                self.add(operation)
            case AcceptDraft():
                self.accept(operation)
            case Reclassify():
                self.reclassify(operation)
            case Annotate():
                self.annotate(operation)
            case Untrack():
                self.untrack(operation)
            case ApplyViolation():
                self.apply(operation)
            case _:
                assert_never(operation)

    def write(self, operation: Put | Append) -> None:
        path = self.parsed(operation.path)
        document = self.state.document_at(path)
        type = operation.type or DocumentType.SCRATCH
        if document is None:
            self.allow(Verb.CREATE, type, path)
        else:
            verb = Verb.MODIFY if isinstance(operation, Put) else Verb.APPEND
            self.allow(verb, document.type, path, document)
        self.check_lease(path)
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
            self.create(path, type, operation.content)
            return
        if operation.type is not None and operation.type is not document.type:
            raise InvalidRequest(
                f"{path} is a {document.type} document; writing it does not make it "
                f"{operation.type}"
            )
        before = self.content_of(document)
        action = Action.PUT if isinstance(operation, Put) else Action.APPEND
        self.change(document, action, before, outcome(path, before, operation))

    def edit(self, operation: Edit | SectionEdit) -> None:
        document = self.existing(operation.path)
        self.allow(Verb.MODIFY, document.type, document.path, document)
        self.check_lease(document.path)
        self.check_revision(document.path, document, operation)
        before = self.content_of(document)
        after = outcome(document.path, before, operation)
        self.change(document, Action.EDIT, before, after)

    def delete(self, operation: Delete) -> None:
        document = self.existing(operation.path)
        self.allow(Verb.DELETE, document.type, document.path, document)
        self.check_lease(document.path)
        self.check_revision(document.path, document, operation)
        self.remove(document)

    def remove(self, document: DocumentState) -> None:
        content = self.content_of(document)
        self.take_work(len(content), 0, 0)
        self.enter(document, removed(document, content))

    def move(self, operation: Move) -> None:
        document = self.existing(operation.path)
        self.allow(Verb.MOVE, document.type, document.path, document)
        new_path = self.parsed(operation.new_path)
        self.check_lease(document.path)
        self.check_lease(new_path)
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

    def restore(self, operation: Restore) -> None:
        path = self.parsed(operation.path)
        document = self.state.document_at(path)
        past = document or self.state.deleted_at(path)
        if past is None:
            raise NotFound(f"there is no document {path}, and none was deleted from there")
        verb = Verb.CREATE if document is None else Verb.MODIFY
        self.allow(verb, past.type, path, document)
        self.check_lease(path)
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
            self.change(past, Action.RESTORE, b"", content)
        else:
            self.change(document, Action.RESTORE, self.content_of(document), content)

    def accept(self, operation: AcceptDraft) -> None:
        draft = find_draft(self.state, operation.draft, self.actor, self.author, "accepts")
        operation = msgspec.structs.replace(operation, draft=draft_id(draft.seq))
        if operation.if_revision is not None and len(draft.body.kept) > 1:
            raise InvalidRequest(
                f"{operation.draft} has {len(draft.body.kept)} texts, and one revision can not be "
                f"that of all of them; write them one by one: agent-trace drafts show "
                f"{operation.draft}"
            )
        self.decided.draft = draft.seq
        for kept in draft.body.kept:
            self.accept_text(operation, kept)

    def accept_text(self, operation: AcceptDraft, kept: Kept) -> None:
        """Write one text of a draft: joined with what has changed since, or as it is, if its writer
        has seen the revision that it replaces."""
        id, seen = operation.draft, operation.if_revision
        document = self.state.kept_document(kept)
        self.guard.check(kept.path if document is None else document.path)
        # What has its path by now may be another document, which its writer has never seen.
        same = document is not None and document.id == kept.document
        if kept.action is Action.DELETE and (document is None or not (same or seen)):
            # It was to be gone, and is: the others of its draft need not wait for it.
            return
        if document is None:
            if kept.base_revision and seen is None:
                raise NotFound(
                    f"{kept.path}, which {id} changes, is gone; restore it first, or make it anew "
                    f"with: agent-trace accept {id} --if-revision 0"
                )
            if seen:
                raise self.conflict(None, seen, id, kept.path)
            self.write_kept(kept)
            return
        current = self.content_of(document)
        if seen is not None and seen != document.revision:
            raise self.conflict(document, seen, id)
        if kept.action is Action.DELETE:
            self.allow(Verb.DELETE, document.type, document.path, document)
            if document.revision != (kept.base_revision if seen is None else seen):
                raise self.conflict(document, kept.base_revision, id)
            self.remove(document)
            return
        self.allow(Verb.MODIFY, document.type, document.path, document)
        mine = self.facts.contents[kept.content_key]
        if seen is not None:
            self.change(document, Action.PUT, current, mine)
            return
        base = self.facts.revisions.get((document.id, kept.base_revision)) if same else None
        merged = None if base is None else merge(base, mine, current)
        if merged is None:
            raise self.conflict(document, kept.base_revision, id)
        self.change(document, Action.MERGE, current, merged)

    def write_kept(self, kept: Kept) -> None:
        """Make a document of a text that was kept."""
        path = parse_path(kept.path)
        text = self.facts.contents[kept.content_key]
        self.check_blocked(path)
        if self.facts.files.get(path, text) != text:
            raise Conflict(
                f"a file that is not a document lies at {path}; move it away first",
                ConflictInfo(path, 0, 0),
            )
        self.create(path, kept.type, text)

    def add(self, operation: Add) -> None:
        path = self.parsed(operation.path)
        document = self.state.document_at(path)
        self.check_blocked(path)
        self.check_lease(path)
        if document is not None:
            raise Conflict(
                f"{path} is a document already",
                ConflictInfo(path, 0, document.revision, document.author, document.time_ms),
            )
        content = self.facts.files.get(path)
        if content is None:
            raise NotFound(f"there is no file {path} in the store's directory")
        self.create(path, operation.type, content)

    def reclassify(self, operation: Reclassify) -> None:
        document = self.existing(operation.path)
        self.allow(Verb.RECLASSIFY, document.type, document.path, document)
        self.check_lease(document.path)
        self.check_revision(document.path, document, operation)
        if operation.type is document.type:
            raise InvalidRequest(f"{document.path} is a {document.type} document already")
        self.enter(document, retyped(document, operation.type))

    def annotate(self, operation: Annotate) -> None:
        document = self.existing(operation.path)
        self.allow(Verb.MODIFY, document.type, document.path, document)
        self.check_lease(document.path)
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
        self.check_lease(document.path)
        self.check_revision(document.path, document, operation)
        self.enter(document, untracked(document, self.content_of(document)))

    def apply(self, operation: ApplyViolation) -> None:
        if self.actor is not Actor.USER:
            raise Forbidden(
                "only-users-apply",
                PermissionDenied(
                    f"only a user applies {operation.violation}; ask one: agent-trace violations "
                    f"apply {operation.violation}"
                ),
            )
        violation = find_violation(self.state, operation.violation)
        id, texts = violation_id(violation.seq), violation.body.kept
        if not texts:
            raise InvalidRequest(f"{id} brought no text; do the {violation.body.action} yourself")
        if operation.if_revision is not None and len(texts) > 1:
            raise InvalidRequest(
                f"{id} has {len(texts)} texts, and one revision can not be that of all of them; "
                f"write them one by one: agent-trace violations show {id}"
            )
        self.decided.violation = violation.seq
        try:
            for kept in texts:
                self.apply_text(id, kept, operation.if_revision)
        except Forbidden as forbidden:
            if not forbidden.confirmable:
                raise
            # It is on record already; all that it lacks is the word of the user.
            forbidden.error.violation = id
            raise forbidden.error from None

    def apply_text(self, id: str, kept: Kept, seen: int | None) -> None:
        """Write one text of a refused write: joined with what has changed since, or as it is, if
        who applies it has seen the revision that it replaces."""
        document = self.state.kept_document(kept)
        self.guard.check(kept.path if document is None else document.path)
        if seen is not None and seen != (0 if document is None else document.revision):
            raise self.conflict(document, seen, "", kept.path)
        # What has its path by now may be another document, which nobody meant who has not seen it.
        same = document is not None and (seen is not None or document.id == kept.document)
        if kept.action is Action.DELETE and document is not None:
            if not same:
                raise self.conflict(document, kept.base_revision, "")
            self.allow(Verb.DELETE, document.type, document.path, document)
            self.remove(document)
            return
        if not kept.content_key:
            raise InvalidRequest(f"{id} has no text that could be applied to {kept.path}")
        text = self.facts.contents[kept.content_key]
        if document is None:
            self.write_kept(kept)
            return
        current = self.content_of(document)
        merged: bytes | None = text
        fits = seen is not None or (same and kept.base_revision == document.revision)
        if not fits and text != current:
            base = self.facts.revisions.get((document.id, kept.base_revision)) if same else None
            merged = None if base is None else merge(base, text, current)
        if merged is None:
            raise self.conflict(document, kept.base_revision, "")
        self.allow(Verb.MODIFY, document.type, document.path, document)
        action = Action.PUT if merged == text else Action.MERGE
        self.change(document, action, current, merged)
