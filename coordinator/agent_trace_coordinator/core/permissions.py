"""Who may do what to which document: one table, type x actor x action, and the words of a refusal.

A refusal names its rule and says whether anyone can grant it, and how, so that an agent does not
try the same again. Whatever the table does not know is refused.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from agent_trace_protocol import (
    Actor,
    AgentTraceError,
    DocumentType,
    PermissionDenied,
    Permit,
)

from .generated_names import protecting_type
from .violations import Attempt

__all__ = ["Forbidden", "Verb", "deny", "effective_type", "explain", "permit_of", "protecting_type"]


class Verb(StrEnum):
    """What the table distinguishes. Writing again, editing and restoring all modify."""

    CREATE = "create"
    APPEND = "append"
    MODIFY = "modify"
    DELETE = "delete"
    MOVE = "move"
    RECLASSIFY = "reclassify"


class Forbidden(AgentTraceError):
    """A refusal that goes on record; `error` is what the writer is told. Never leaves the core."""

    def __init__(self, rule: str, error: AgentTraceError) -> None:
        super().__init__(error.message)
        self.rule = rule
        self.error = error
        self.attempt: Attempt | None = None
        """What was tried, for the record; None if it was not a write."""
        self.confirmable = False
        """Whether all that lacks is the confirmation of the user who tried it."""


_YES, _CONFIRM, _NO = Permit.YES, Permit.CONFIRM, Permit.NO
_LETTERS: Final = {"y": _YES, "c": _CONFIRM, "-": _NO}

# The columns are the verbs in their order: create append modify delete move reclassify.
_TABLE: Final[dict[DocumentType, dict[Actor, str]]] = {
    DocumentType.PLAN: {
        Actor.USER: "yyyyyy",
        Actor.AGENT: "yyyyy-",
    },
    DocumentType.CONTEXT: {
        Actor.USER: "cccccc",
        Actor.SYSTEM: "yyyyy-",
    },
    DocumentType.LOG: {
        Actor.USER: "cccccc",
        Actor.SYSTEM: "yy----",
    },
    DocumentType.REFERENCE: {
        Actor.USER: "yyyyyy",
    },
    DocumentType.SCRATCH: {
        Actor.USER: "yyyyyy",
        Actor.AGENT: "yyyyy-",
        Actor.SYSTEM: "yyyyy-",
    },
}

_COLUMN: Final = {verb: column for column, verb in enumerate(Verb)}


def permit_of(type: DocumentType, actor: Actor, verb: Verb) -> Permit:
    """Return what the table says; what it does not know is refused."""
    letters = _TABLE[type].get(actor)
    return _NO if letters is None else _LETTERS[letters[_COLUMN[verb]]]


def effective_type(path: str, type: DocumentType) -> DocumentType:
    """Return the type whose rules hold for a document of type `type` at a path."""
    return protecting_type(path) or type


def explain(type: DocumentType, actor: Actor, verb: Verb, path: str) -> tuple[str, str]:
    """Return the rule that refuses, and what to say: why, who can grant it, what to do instead.

    An empty `path` means any document of the type.
    """
    what = f"{path} is a {type} document" if path else f"of {type} documents"
    if actor is Actor.READER:
        return "reader", (
            f"a reader may {verb} nothing{f' ({path})' if path else ''}; nobody can grant it to "
            "this session: connect as an agent or a user"
        )
    if actor is Actor.USER:
        return f"{type}-needs-confirmation", (
            f"{what}: agent-trace itself writes it; a user may {verb} it only with an explicit "
            "confirmation, which is recorded (--confirm)"
        )
    if verb is Verb.RECLASSIFY:
        return "only-users-reclassify", (
            f"an agent may not change the type of {path or 'a document'}; ask a user: "
            f"agent-trace reclassify {path or 'PATH'} TYPE"
        )
    if verb is Verb.CREATE:
        return f"{type}-not-by-agents", (
            f"an agent may not create {path or 'documents'} as {type}: agents create plan and "
            "scratch documents. Nobody can unlock a document that does not exist; ask a user to "
            "create it, or choose another path or type"
        )
    unlock = f"agent-trace unlock {path or 'PATH'} --for agent"
    if type is DocumentType.REFERENCE:
        instead = "write your proposal to a plan or scratch document instead"
        owner = "only users write it"
    else:
        instead = "write your own notes to a plan or scratch document instead"
        owner = "agent-trace itself writes it"
    return f"{type}-not-by-agents", (
        f"{what}: {owner}, an agent may not {verb} it. A user can allow it for a while with: "
        f"{unlock}; without that the same attempt fails again, so {instead}"
    )


def deny(type: DocumentType, actor: Actor, verb: Verb, path: str) -> Forbidden:
    """Return the refusal of an action that the table does not allow."""
    rule, message = explain(type, actor, verb, path)
    return Forbidden(rule, PermissionDenied(message))
