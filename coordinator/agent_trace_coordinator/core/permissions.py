"""Who may write what: the permission table, and nothing else.

A refusal names the rule and what would help, so that an agent does not try again in vain.
"""

from __future__ import annotations

from typing import Final

from agent_trace_protocol import Actor, DocumentType, PermissionDenied

__all__ = ["check_write"]

_WRITERS: Final[dict[DocumentType, frozenset[Actor]]] = {
    DocumentType.PLAN: frozenset({Actor.USER, Actor.AGENT}),
    DocumentType.CONTEXT: frozenset({Actor.SYSTEM}),
    DocumentType.LOG: frozenset({Actor.SYSTEM}),
    DocumentType.REFERENCE: frozenset({Actor.USER}),
    DocumentType.SCRATCH: frozenset({Actor.USER, Actor.AGENT, Actor.SYSTEM}),
}

_AGENT_TYPES: Final = frozenset({DocumentType.PLAN, DocumentType.SCRATCH})


def check_write(actor: Actor, type: DocumentType, path: str, *, creates: bool) -> None:
    """Return if the actor may change a document of this type.

    Raises:
        PermissionDenied: it may not.
    """
    if actor in _WRITERS[type]:
        return
    if creates and actor is Actor.AGENT:
        raise PermissionDenied(
            f"an agent may not create {path} as {type}: agents create plan and scratch documents; "
            "ask a user to add it"
        )
    if type is DocumentType.REFERENCE:
        raise PermissionDenied(
            f"{path} is a reference document: only a user writes it; write your proposal to a "
            "plan or scratch document instead"
        )
    raise PermissionDenied(
        f"{path} is a {type} document: agent-trace itself writes it; it can not be edited"
    )
