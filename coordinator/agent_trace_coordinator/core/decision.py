"""What all operations of a transaction share: the rules they are held to, and what comes of them.

Each operation is decided on top of the one before, on the state itself; `take_back` undoes that, so
that the state only ever changes through `apply_record`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

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
    InvalidPath,
    InvalidRequest,
    Move,
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
    Untrack,
    fold_path,
    parse_path,
)

from .apply import document_after
from .changes import created, rewritten
from .drafts import LateWrite, StaleWrite
from .inputs import Facts
from .lease_guard import Guard
from .merge import merge, show_changes
from .permissions import Forbidden, Verb, deny, effective_type, permit_of
from .places import check_free
from .records import Annotation, Change, content_key
from .secrets import find_secret, find_suspicion, suspicion_notice
from .state import DocumentState, State
from .texts import check_text, outcome
from .violations import Text

__all__ = ["Decided", "Decision", "action_of", "path_of"]

DIFF_BYTES_MAX: Final = 4000
"""Bytes of the diff that a conflict shows."""

_Guarded = (
    Put | Append | Edit | SectionEdit | Delete | Move | Restore | Reclassify | Annotate | Untrack
)


@dataclass(slots=True)
class Decided:
    """What a transaction comes to."""

    changes: list[Change] = field(default_factory=list[Change])
    contents: list[tuple[int, bytes]] = field(default_factory=list[tuple[int, bytes]])
    annotations: list[Annotation] = field(default_factory=list[Annotation])
    draft: int = 0
    """The draft that is accepted by it; 0 if none."""
    violation: int = 0
    """The refused write that is applied by it; 0 if none."""
    override: dict[str, None] = field(default_factory=dict[str, None])
    """The rules that were overridden, in order."""
    notices: list[str] = field(default_factory=list[str])
    """What was done and should be looked at, one sentence each."""


class Decision:
    """A transaction that is being decided. `documents.Operations` has one method for each kind of
    operation; here is what they stand on."""

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

    def take_back(self) -> None:
        for before, after in reversed(self.undo):
            self.state.replace(after, before)

    # -- the rules ---------------------------------------------------------------------------

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
        action = action_of(operation)
        text = Text(action, operation.path, type or DocumentType.SCRATCH, 0, 0, brought, brought)
        try:
            document = self.state.document_at(parse_path(operation.path))
            if document is None:
                return text
            text.path, text.type, text.document = document.path, document.type, document.id
            text.base_revision = document.revision
            if isinstance(operation, (Put, Append, Edit, SectionEdit)):
                text.outcome = outcome(text.path, self.content_of(document), operation)
        except (InvalidPath, InvalidRequest):
            # Not a path, or nothing there that the edit fits: what it brought is what is kept.
            pass
        return text

    def create(self, index: int, path: str, type: DocumentType, content: bytes) -> None:
        self.allow(Verb.CREATE, type, path)
        check_free(self.state, path)
        self.check_content(path, content)
        key = content_key(self.seq, index)
        self.enter(None, created(key, path, type, content), content)

    def change(
        self, index: int, document: DocumentState, action: Action, before: bytes, after: bytes
    ) -> None:
        self.check_content(document.path, after, before)
        key = content_key(self.seq, index)
        self.enter(document, rewritten(document, action, key, before, after), after)

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
                text = outcome(path, base or b"", operation)
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
        if isinstance(operation, (Delete, Move, Restore, Reclassify, Annotate, Untrack)):
            raise conflict
        past = document or self.state.deleted_at(path)
        id = 0 if past is None else past.id
        base = b"" if expected == 0 else self.facts.revisions.get((id, expected))
        if isinstance(operation, Put):
            text = operation.content
        elif base is not None:
            text = outcome(path, base, operation)
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

    def check_content(self, path: str, content: bytes, before: bytes = b"") -> None:
        limit = self.state.rules.document_bytes_max
        if len(content) > limit:
            raise TooLarge(f"{path} would have {len(content)} bytes; the limit is {limit}")
        check_text(path, content)
        secret = find_secret(content, before)
        if secret is None:
            suspicious = find_suspicion(content, before)
            if suspicious:
                self.decided.notices.append(suspicion_notice(path, suspicious))
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
    Annotate: Action.ANNOTATE,
    Untrack: Action.UNTRACK,
    ApplyViolation: Action.MERGE,
}


def action_of(operation: Operation) -> Action:
    return _ACTIONS[type(operation)]


def path_of(operation: Operation) -> str:
    match operation:
        case AcceptDraft():
            return operation.draft
        case ApplyViolation():
            return operation.violation
        case Move():
            return f"{operation.path} -> {operation.new_path}"
        case _:
            return operation.path
