"""What a transaction that was refused had wanted to write."""

from __future__ import annotations

from typing import Final

from agent_trace_protocol import (
    AcceptDraft,
    Action,
    Add,
    Annotate,
    Append,
    ApplyViolation,
    Delete,
    DocumentType,
    Edit,
    InvalidPath,
    InvalidRequest,
    Move,
    Operation,
    Put,
    Reclassify,
    Restore,
    SectionEdit,
    Untrack,
    parse_path,
)

from .inputs import Facts
from .merge import merge
from .records import content_digest
from .state import State
from .texts import outcome
from .violations import Text

__all__ = ["action_of", "merges", "path_of", "texts_of"]


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


def texts_of(state: State, facts: Facts, operations: tuple[Operation, ...]) -> list[Text]:
    """Return what the operations brought, and what they would have made of each document.

    Several operations on one document make one text. It is based on the revision that the first of
    them names, or else on the current one. `state` is as it was before any of them.
    """
    texts: dict[object, Text] = {}
    for operation in operations:
        match operation:
            case Put() | Append():
                brought, type = operation.content, operation.type
            case SectionEdit():
                brought, type = operation.content, None
            case Edit():
                brought, type = operation.new, None
            case Add():
                brought, type = facts.files.get(operation.path, b""), operation.type
            case Delete():
                brought, type = b"", None
            case _:
                # What these bring is in the store already.
                continue
        text = _text(state, facts, texts, operation, brought, type or DocumentType.SCRATCH)
        texts.setdefault(text.document or text.path, text)
    return list(texts.values())


def _text(
    state: State,
    facts: Facts,
    texts: dict[object, Text],
    operation: Put | Append | SectionEdit | Edit | Add | Delete,
    brought: bytes,
    type: DocumentType,
) -> Text:
    """Return the text that an operation makes, on top of what others have made of its document."""
    action = action_of(operation)
    fresh = Text(action, operation.path, type, 0, 0, brought, brought)
    fresh.tried = tried = _tried(operation, brought)
    before: bytes | None = b""
    try:
        path = parse_path(operation.path)
    except InvalidPath:
        fresh.known = False
        return fresh
    expected = None if isinstance(operation, Add) else operation.if_revision
    document = state.document_at(path) or (state.deleted_at(path) if expected else None)
    text = texts.get(path if document is None else document.id)
    if text is not None:
        before = text.outcome if text.known else None
        text.action, text.brought = action, text.brought + brought
        text.tried += tried
    else:
        text = fresh
        text.path = path
        if document is not None:
            text.path, text.type, text.document = document.path, document.type, document.id
            text.base_revision = document.revision if expected is None else expected
            if text.base_revision == document.revision and not document.deleted:
                before = facts.contents[document.content_key]
            elif text.base_revision:
                before = facts.revisions.get((document.id, text.base_revision))
    if isinstance(operation, (Add, Delete, Put)):
        text.outcome, text.known = brought, True
        return text
    text.known = False
    if before is not None:
        try:
            text.outcome = outcome(text.path, before, operation)
            text.known = True
        except InvalidRequest:
            # Nothing there that the edit fits: what it brought is what there is to keep.
            text.outcome = brought
    return text


def _tried(operation: Put | Append | SectionEdit | Edit | Add | Delete, brought: bytes) -> bytes:
    """Return what tells an operation from others on its path: the text that it brings, and where
    in the document that was to go."""
    place = b""
    if isinstance(operation, Edit):
        place = b"%d %b" % (operation.all, content_digest(operation.old))
    elif isinstance(operation, SectionEdit):
        heading = operation.heading.encode("utf-8", "surrogatepass")
        place = b"%b %b" % (operation.mode.value.encode(), content_digest(heading))
    return content_digest(b"%b %b" % (content_digest(brought), place))


def merges(state: State, facts: Facts, text: Text) -> bool:
    """Return whether a text can be joined with what its document is now."""
    document = state.documents.get(text.document)
    if document is None or document.deleted:
        if text.action is Action.DELETE:
            return True
        return text.document == 0 and state.document_at(text.path) is None
    if text.base_revision == document.revision:
        return True
    if text.action is Action.DELETE or not text.base_revision:
        return False
    base = facts.revisions.get((document.id, text.base_revision))
    current = facts.contents[document.content_key]
    return base is not None and merge(base, text.outcome, current) is not None
