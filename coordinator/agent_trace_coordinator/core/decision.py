"""What all operations of a transaction share: the rules they are held to, and what comes of them.

Each operation is decided on top of the one before, on the state itself; `take_back` undoes that, so
that the state only ever changes through `apply_record`.
"""

from __future__ import annotations

from typing import Final

import msgspec

from agent_trace_protocol import (
    Action,
    Actor,
    Annotate,
    Append,
    Conflict,
    ConflictInfo,
    Delete,
    DocumentType,
    Edit,
    InvalidPath,
    LeaseError,
    Move,
    NotFound,
    PermissionDenied,
    Permit,
    Put,
    Reclassify,
    Restore,
    SectionEdit,
    TooLarge,
    Untrack,
    fold_path,
    parse_path,
)
from agent_trace_protocol.limits import BODY_BYTES_MAX, KIB

from .apply import document_after
from .changes import created, rewritten
from .drafts import Late, changes_since
from .inputs import Facts
from .lease_guard import Guard
from .lines import common_ends
from .permissions import Forbidden, Verb, deny, effective_type, permit_of
from .places import check_free
from .records import Annotation, Change, content_key
from .secrets import find_secret, find_suspicion, may_hold_secret, suspicion_notice
from .state import DocumentState, State
from .texts import check_text

__all__ = ["Decided", "Decision"]

Guarded = (
    Put | Append | Edit | SectionEdit | Delete | Move | Restore | Reclassify | Annotate | Untrack
)


WORK_BYTES_MAX: Final = 2 * BODY_BYTES_MAX
"""Bytes of text that one transaction may replace and bring: the largest document is replaced, and
64 small changes of large ones are made, but others do not wait for more at once."""

WHOLE_BYTES_MAX: Final = 16 * KIB
"""Bytes of a text that is looked through as a whole, whatever of it has changed."""


class Decided(msgspec.Struct):
    """What a transaction comes to."""

    changes: list[Change] = []
    contents: list[tuple[int, bytes]] = []
    annotations: list[Annotation] = []
    draft: int = 0
    """The draft that is accepted by it; 0 if none."""
    violation: int = 0
    """The refused write that is applied by it; 0 if none."""
    override: dict[str, None] = {}
    """The rules that were overridden, in order."""
    notices: list[str] = []
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
        self.work = 0

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
        refusal.confirmable = permit is Permit.CONFIRM
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

    def create(self, path: str, type: DocumentType, content: bytes) -> None:
        self.allow(Verb.CREATE, type, path)
        check_free(self.state, path)
        self.check_content(path, content)
        key = content_key(self.seq, len(self.decided.changes))
        self.enter(None, created(key, path, type, content), content)

    def change(self, document: DocumentState, action: Action, before: bytes, after: bytes) -> None:
        self.check_content(document.path, after, before)
        key = content_key(self.seq, len(self.decided.changes))
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

    def check_lease(self, path: str) -> None:
        """Return if the leases let this path be written.

        Raises:
            Late: they do not; the texts of the transaction are to be kept.
        """
        try:
            self.guard.check(path)
        except LeaseError as error:
            assert error.info is not None, "a guard says whose lease it is"
            late = Late(error, ConflictInfo(path, 0, 0))
            # To the millisecond, so that the record's commit says exactly the same.
            left_seconds = round(error.info.left_seconds, 3)
            late.lease = msgspec.structs.replace(error.info, left_seconds=left_seconds)
            raise late from None

    def check_revision(self, path: str, document: DocumentState | None, operation: Guarded) -> None:
        """Return if the document is at the revision that the operation names, if it names one.

        Raises:
            Late: it is not; the texts of the transaction are to be kept.
        """
        expected = operation.if_revision
        if expected is None or expected == (0 if document is None else document.revision):
            return
        conflict = self.conflict(document, expected, "", path)
        assert conflict.info is not None
        raise Late(conflict, conflict.info)

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
        return Conflict(
            f"{document.path} is at revision {document.revision}, not {expected}; "
            f"{document.author} wrote it",
            ConflictInfo(
                path=document.path,
                expected=expected,
                current=document.revision,
                author=document.author,
                time_ms=document.time_ms,
                diff=changes_since(base, self.content_of(document)),
                draft=draft,
            ),
        )

    def take_work(self, removed: int, brought: int, size: int) -> None:
        """Count the bytes that are compared, hashed and looked through for an operation.

        Raises:
            TooLarge: it is more than a transaction may cost those who wait for it.
        """
        self.work += max(0, removed) + brought + size // 16
        if self.work > WORK_BYTES_MAX:
            raise TooLarge(
                f"the transaction replaces more than {WORK_BYTES_MAX >> 20} MiB of text; make it "
                "several"
            )

    def check_content(self, path: str, content: bytes, before: bytes = b"") -> None:
        limit = self.state.rules.document_bytes_max
        if len(content) > limit:
            raise TooLarge(f"{path} would have {len(content)} bytes; the limit is {limit}")
        check_text(path, content)
        if len(content) > WHOLE_BYTES_MAX and before:
            # What stood there before was looked through then.
            head, tail = common_ends(before, content)
        else:
            head = tail = 0
        changed = content[head : len(content) - tail]
        self.take_work(len(before) - head - tail, len(changed), len(content))
        if not may_hold_secret(changed):
            return
        before = before[head : len(before) - tail]
        secret = find_secret(changed, before)
        if secret is None:
            suspicious = find_suspicion(changed, before)
            if suspicious:
                line = suspicious + content.count(b"\n", 0, head)
                self.decided.notices.append(suspicion_notice(path, line))
            return
        line = secret.line + content.count(b"\n", 0, head)
        rule = f"secret-{secret.rule}"
        if self.confirm:
            self.decided.override[rule] = None
            return
        refusal = Forbidden(
            rule,
            PermissionDenied(
                f"line {line} of {path} holds what looks like a credential "
                f"({secret.rule}); history is "
                "kept for ever, so it is not written. Take it out and try again; a user can let "
                "it in with --confirm, nobody else can"
            ),
        )
        refusal.confirmable = self.actor is Actor.USER
        raise refusal
