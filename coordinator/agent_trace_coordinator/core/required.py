"""What must be looked up before operations can be judged; the shell finds it by this alone."""

from __future__ import annotations

from agent_trace_protocol import (
    AcceptDraft,
    Add,
    Append,
    ApplyViolation,
    InvalidPath,
    Move,
    Operation,
    Put,
    Restore,
    fold_path,
    parse_path,
)

from .drafts import parse_draft_id
from .inputs import Required
from .records import Drafted, Violated
from .state import State
from .violations import parse_violation_id

__all__ = ["required_for"]


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
        draft = state.drafts.get(parse_draft_id(operation.draft))
        if draft is not None:
            _require_kept(state, draft.body, required)
            _require_seen(draft.body, operation.if_revision, required)
        return
    if isinstance(operation, ApplyViolation):
        violation = state.violations.get(parse_violation_id(operation.violation))
        if violation is not None:
            _require_kept(state, violation.body, required)
            _require_seen(violation.body, operation.if_revision, required)
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


def _require_seen(body: Drafted | Violated, seen: int | None, required: Required) -> None:
    # What others changed since is shown, if it is not the current one.
    if seen is not None:
        required.revisions |= {(kept.document, seen) for kept in body.kept}


def _require_kept(state: State, body: Drafted | Violated, required: Required) -> None:
    for kept in body.kept:
        if kept.content_key:
            required.contents[kept.content_key] = kept.digest
        document = state.kept_document(kept)
        if document is not None:
            required.contents[document.content_key] = document.digest
            required.revisions.add((document.id, kept.base_revision))
        else:
            _require_file(state, parse_path(kept.path), required)
