"""The one place where a `Change` is made: what is recorded of an operation on one document.

Whoever decides it, for a request or for a file that was changed past the coordinator, says what
happens; what follows from that (the next revision, digest, size and lines) is worked out here.
"""

from __future__ import annotations

import msgspec

from agent_trace_protocol import Action, DocumentType

from .lines import compare
from .records import Change, content_digest
from .state import DocumentState
from .substance import substance_of, substance_of_text

__all__ = [
    "annotated",
    "created",
    "removed",
    "renamed",
    "retyped",
    "rewritten",
    "untracked",
]


def created(key: int, path: str, type: DocumentType, content: bytes) -> Change:
    """Return the change that makes a new document; `key` is that of its content, and its id."""
    return Change(
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
        summary=substance_of_text(content),
    )


def rewritten(
    document: DocumentState, action: Action, key: int, before: bytes, after: bytes
) -> Change:
    """Return the change that gives a document another content, which lies under `key`."""
    comparison = compare(before, after)
    return Change(
        document=document.id,
        action=action,
        path=document.path,
        previous_path="",
        type=document.type,
        revision=document.revision + 1,
        content_key=key,
        digest=content_digest(after),
        size=len(after),
        added=len(comparison.new),
        removed=len(comparison.old),
        summary=substance_of(comparison),
    )


def removed(document: DocumentState, before: bytes) -> Change:
    """Return the change that deletes a document, whose content was `before`."""
    return Change(
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
    )


def renamed(document: DocumentState, path: str) -> Change:
    """Return the change that moves a document to another path."""
    return Change(
        document=document.id,
        action=Action.MOVE,
        path=path,
        previous_path=document.path,
        type=document.type,
        revision=document.revision + 1,
        content_key=document.content_key,
        digest=document.digest,
        size=document.size,
        added=0,
        removed=0,
    )


def retyped(document: DocumentState, type: DocumentType) -> Change:
    """Return the change that makes a document one of another type."""
    return Change(
        document=document.id,
        action=Action.RECLASSIFY,
        path=document.path,
        previous_path="",
        type=type,
        revision=document.revision + 1,
        content_key=document.content_key,
        digest=document.digest,
        size=document.size,
        added=0,
        removed=0,
    )


def annotated(document: DocumentState, summary: str) -> Change:
    """Return the change under which a document gets other tags or another description."""
    same = retyped(document, document.type)
    return msgspec.structs.replace(same, action=Action.ANNOTATE, summary=summary)


def untracked(document: DocumentState, before: bytes) -> Change:
    """Return the change that ends a document, whose content was `before`, and leaves its file."""
    return msgspec.structs.replace(
        removed(document, before), action=Action.UNTRACK, summary="untracked it, its file stays"
    )
