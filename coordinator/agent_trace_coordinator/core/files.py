"""Files that were changed past the coordinator: adopted as revisions, or refused and put back.

Nobody proves who saved a file, so the record never names an agent for it. The author is what the
store's settings say, and the message names the sessions that were live. What an unproven author
may do is the table's word for a user, with two exceptions: generated files and logs would need a
confirmation that a file can not give, and while only agents are live a `reference` document is
as protected as from them.

A file that was renamed takes its document with it, if it is certainly the same file and the
document may be there. A deleted file is a deletion only while a user is live; otherwise the file
comes back. Who only watches is not live in this sense: nobody edits by looking on. What is not a
document is nobody's business here.
"""

from __future__ import annotations

from typing import Final

from agent_trace_protocol import (
    Action,
    Actor,
    Conflict,
    DocumentType,
    InvalidPath,
    LeaseHeld,
    PermissionDenied,
    Permit,
    SessionState,
    TooLarge,
    fold_path,
    parse_path,
)
from agent_trace_protocol.limits import OPERATIONS_MAX, TEXT_FIELD_LENGTH_MAX

from .changes import removed, renamed, rewritten
from .effects import Effect, PutBack
from .inputs import FilesChanged, FoundFile, Now
from .lease_guard import Guard
from .merge import merge
from .permissions import Forbidden, Verb, effective_type, permit_of, protecting_type
from .places import check_free
from .policy import author_without_session, end_grants, keep
from .recording import append
from .records import Change, Changed, content_key
from .secrets import find_secret, find_suspicion, suspicion_notice
from .sessions import session_state
from .state import DocumentState, State
from .texts import check_text
from .violations import Attempt, Text

__all__ = ["FILE_SOURCE", "take_files"]

FILE_SOURCE: Final = "file"
"""The `source` of records about changes that were made in files."""


def take_files(state: State, input: FilesChanged, now: Now) -> list[Effect]:
    """Judge files that were changed past the coordinator."""
    effects = end_grants(state, now)
    judge = _Judge(state, input, now)
    for file in input.files:
        judge.take(file)
    return [*effects, *judge.finish()]


class _Judge:
    """Takes files one by one; what is allowed of them becomes transactions, the rest violations."""

    def __init__(self, state: State, input: FilesChanged, now: Now) -> None:
        self.state = state
        self.facts = input.facts
        self.now = now
        self.effects: list[Effect] = []
        self.touched: set[int] = set()
        self._begin()
        live = [
            session
            for session in state.sessions.values()
            if session_state(state, session, now) is SessionState.LIVE
        ]
        self.user_live = any(
            session.actor is Actor.USER and not session.watching for session in live
        )
        self.only_agents = not self.user_live and any(
            session.actor is Actor.AGENT for session in live
        )
        unknown = state.rules.out_of_band_author == "unknown"
        self.author = author_without_session(
            Actor.UNKNOWN if unknown else Actor.USER, "unknown" if unknown else "user"
        )
        names = sorted({f"{session.actor.value} {session.name}" for session in live})
        message = (
            "changed in the file, by whom is not proven; live sessions: "
            f"{', '.join(names) or 'none'}"
        )
        self.message = message

    def _begin(self) -> None:
        """Begin a transaction."""
        self.changes: list[Change] = []
        self.contents: list[tuple[int, bytes]] = []
        self.remarks: dict[str, None] = {}
        """What its record says besides, in order."""
        self.guard = Guard(self.state, session="", now=self.now)
        self.taken: set[str] = set()
        """The folded paths that it moves documents to."""

    def take(self, file: FoundFile) -> None:
        document = self.state.document_at(file.path) or self.state.documents.get(file.left_by)
        if document is None or document.id in self.touched:
            return
        if len(self.changes) == OPERATIONS_MAX:
            self.flush()
        try:
            change = self.change(document, file)
        except Forbidden as forbidden:
            self.flush()
            self.refuse(document, file, forbidden)
            return
        self.touched.add(document.id)
        if change is not None:
            self.changes.append(change)

    def change(self, document: DocumentState, file: FoundFile) -> Change | None:
        """Return the change that a file makes; None if it makes none."""
        if file.problem:
            raise Forbidden("file-in-the-way", InvalidPath(f"{file.path}: {file.problem}"))
        base = self.facts.revisions.get((document.id, file.base_revision))
        if not file.moved_to and base is not None and file.content == base:
            # It holds what it showed, so nobody changed it; the document may have moved on, or be
            # gone.
            return None
        if document.deleted:
            raise Forbidden(
                "file-was-behind",
                PermissionDenied(
                    f"{file.path} was changed in its file while {document.author} deleted it; "
                    f"agent-trace restore {document.path} brings the document back"
                ),
            )
        if file.moved_to:
            return self.move(document, file.moved_to)
        if file.content is None:
            return self.deletion(document)
        current = self.facts.contents[document.content_key]
        if file.content == current:
            return None
        self.allow(document, Verb.MODIFY)
        text, action = file.content, Action.PUT
        self.check_content(document.path, text, current)
        if file.base_revision != document.revision:
            merged = None if base is None else merge(base, text, current)
            if merged is None:
                raise Forbidden(
                    "file-was-behind",
                    PermissionDenied(
                        f"{document.path} was changed in its file, which showed revision "
                        f"{file.base_revision}, while {document.author} made revision "
                        f"{document.revision}; both touch the same lines"
                    ),
                )
            if merged == current:
                return None
            text, action = merged, Action.MERGE
            self.check_content(document.path, text, current)
        index = len(self.changes)
        key = content_key(self.state.seq + 1, index)
        self.contents.append((key, text))
        suspicious = find_suspicion(text, current)
        if suspicious:
            self.remarks[suspicion_notice(document.path, suspicious)] = None
        return rewritten(document, action, key, current, text)

    def deletion(self, document: DocumentState) -> Change:
        self.allow(document, Verb.DELETE)
        if not self.user_live:
            raise Forbidden(
                "file-was-deleted",
                PermissionDenied(
                    f"the file of {document.path} was deleted while no user was live, so it came "
                    f"back; to delete the document: agent-trace rm {document.path}"
                ),
            )
        self.remarks["what was renamed without a proof counts as deleted"] = None
        return removed(document, self.facts.contents[document.content_key])

    def move(self, document: DocumentState, new_path: str) -> Change:
        self.allow(document, Verb.MOVE)
        try:
            if parse_path(new_path) != new_path:
                raise InvalidPath(f"{new_path!r} is not in the form in which paths are stored")
            if protecting_type(new_path) is not None:
                raise InvalidPath(f"{new_path} is a name of a file that agent-trace itself writes")
            check_free(self.state, new_path, moving=document)
            if fold_path(new_path) in self.taken:
                raise InvalidPath(f"{new_path!r} is the same name as another on some systems")
            self.guard.follow(document.path, new_path)
        except (InvalidPath, Conflict, LeaseHeld) as error:
            raise Forbidden(
                "file-was-renamed",
                PermissionDenied(
                    f"the file of {document.path} was renamed to where its document can not be "
                    f"({error.message}), so it came back; what lies there now is left alone"
                ),
            ) from error
        self.taken.add(fold_path(new_path))
        return renamed(document, new_path)

    def allow(self, document: DocumentState, verb: Verb) -> None:
        type = effective_type(document.path, document.type)
        if permit_of(type, Actor.USER, verb) is not Permit.YES:
            raise Forbidden(
                f"{type}-not-in-files",
                PermissionDenied(
                    f"{document.path} is a {type} document: agent-trace itself writes it, so a "
                    "change in its file is put back; a user can adopt it with: agent-trace "
                    "violations apply --confirm"
                ),
            )
        if type is DocumentType.REFERENCE and self.only_agents:
            if any(grant.document == document.id for grant in self.state.grants.values()):
                return
            raise Forbidden(
                "reference-while-only-agents",
                PermissionDenied(
                    f"{document.path} is a reference document and was changed in its file while "
                    "only agents were live; a user can adopt it with: agent-trace violations apply"
                ),
            )

    def check_content(self, path: str, text: bytes, current: bytes) -> None:
        limit = self.state.rules.document_bytes_max
        if len(text) > limit:
            raise Forbidden(
                "too-large", TooLarge(f"{path} would have {len(text)} bytes; the limit is {limit}")
            )
        check_text(path, text)
        secret = find_secret(text, current)
        if secret is not None:
            raise Forbidden(
                f"secret-{secret.rule}",
                PermissionDenied(
                    f"line {secret.line} of the file {path} holds what looks like a credential "
                    f"({secret.rule}); "
                    "history is kept for ever, so it was put back. A user can let it in with: "
                    "agent-trace violations apply --confirm"
                ),
            )

    def refuse(self, document: DocumentState, file: FoundFile, forbidden: Forbidden) -> None:
        action, path = Action.DELETE, document.path
        if file.moved_to:
            action, path = Action.MOVE, f"{document.path} -> {file.moved_to}"
        elif file.content is not None or file.problem:
            action = Action.PUT
        attempt = Attempt(action, path, source=FILE_SOURCE)
        content = file.content or b""
        if not file.moved_to:
            attempt.texts.append(
                Text(
                    action=action,
                    path=document.path,
                    type=document.type,
                    document=document.id,
                    base_revision=file.base_revision or document.revision,
                    brought=content,
                    outcome=content,
                )
            )
        forbidden.error.message = f"{forbidden.error.message} ({self.message})"
        unproven = author_without_session(Actor.UNKNOWN, "unknown")
        self.effects += keep(self.state, unproven, attempt, forbidden, self.now)
        if not document.deleted:
            self.effects.append(PutBack(document.path, self.state.seq))

    def flush(self) -> None:
        """Make one transaction of the changes so far."""
        if not self.changes:
            return
        message = "; ".join((self.message, *self.remarks))
        if len(message) > TEXT_FIELD_LENGTH_MAX:
            message = message[: TEXT_FIELD_LENGTH_MAX - 3] + "..."
        body = Changed(tuple(self.changes), message, source=FILE_SOURCE)
        contents = tuple(self.contents)
        self._begin()
        self.effects.append(append(self.state, self.author, body, self.now, contents=contents))

    def finish(self) -> list[Effect]:
        self.flush()
        return self.effects
