"""Writes that did not fit: what is kept of them, under which id, and what their writer is told.

A write does not fit when its document has moved on from the revision it names, when the lease under
which it was made has ended, or when leases are enforced and somebody else holds one. Its texts are
kept, all of its transaction, and wait until they are accepted or discarded. Nothing is dropped to
make room: when there is none, the refusal says that the text was not kept, and its writer still has
it. The same write again is the same draft.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from agent_trace_protocol import (
    Action,
    Actor,
    AgentTraceError,
    Conflict,
    ConflictInfo,
    ErrorCode,
    ErrorInfo,
    LeaseHeld,
    LeaseRefusal,
    NotFound,
    PermissionDenied,
    StaleLease,
)

from .merge import show_changes
from .permissions import Forbidden
from .records import Drafted, Kept, content_digest, content_key
from .state import DraftCount, DraftState, State
from .violations import Text, named

__all__ = [
    "Late",
    "changes_since",
    "check_own",
    "draft_id",
    "drafted",
    "find_draft",
    "no_room",
    "parse_draft_id",
    "refusal_of_draft",
    "told_of",
]

DIFF_BYTES_MAX: Final = 4000
"""Bytes of the diff that a conflict shows."""


class Late(AgentTraceError):
    """A refusal of a write that did not fit. Never leaves the core."""

    def __init__(self, error: AgentTraceError, conflict: ConflictInfo) -> None:
        """`error` is what its writer is told if nothing is kept."""
        super().__init__(error.message)
        self.error = error
        self.conflict = conflict
        self.lease: LeaseRefusal | None = None
        self.texts: list[Text] = []
        """What the documents would have become."""

    def digest(self, actor: Actor, author: str) -> bytes:
        """Return what is the same whenever the same writer wants to write the same."""
        hasher = hashlib.blake2b(digest_size=16)
        parts: list[bytes] = [actor.value.encode(), author.encode("utf-8", "surrogatepass")]
        for text in self.texts:
            place = f"{text.action} {text.document} {text.base_revision} {text.path}"
            parts += [place.encode(), content_digest(text.outcome)]
        for part in parts:
            hasher.update(len(part).to_bytes(8, "big") + part)
        return hasher.digest()


def parse_draft_id(text: str) -> int:
    """Return the seq of the record that keeps a draft, such as 17 for `draft-17` or `17`; 0 if none
    can."""
    digits = text.removeprefix("draft-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
        return 0
    return int(digits)


def find_draft(state: State, text: str, actor: Actor, author: str, does: str) -> DraftState:
    """Return the draft that waits under an id, if it is the asker's own or the asker is a user.

    Raises:
        NotFound: there is none; the message names those of the asker.
        Forbidden: it is another one's; `does` is what was tried, such as `accepts`.
    """
    draft = state.drafts.get(parse_draft_id(text))
    if draft is not None:
        check_own(draft, actor, author, does)
        return draft
    own = [
        draft_id(each.seq)
        for each in reversed(state.drafts.values())
        if actor is Actor.USER or (each.actor, each.author) == (actor, author)
    ]
    raise NotFound(
        f"there is no draft {text[:64]!r}, or it was accepted or discarded; {named(own)}"
    )


def draft_id(seq: int) -> str:
    """Return the id of the draft that record `seq` keeps."""
    return f"draft-{seq}"


def check_own(draft: DraftState, actor: Actor, author: str, does: str) -> None:
    """Return if a draft is the asker's own, or the asker is a user.

    Raises:
        Forbidden: it is not; `does` is what was tried, such as `accepts`.
    """
    if actor is Actor.USER or (draft.actor, draft.author) == (actor, author):
        return
    raise Forbidden(
        "draft-of-another",
        PermissionDenied(
            f"{draft_id(draft.seq)} is {draft.author}'s; only {draft.author} or a user {does} it"
        ),
    )


def changes_since(base: bytes | None, current: bytes) -> str:
    """Return the bounded diff that a conflict shows; empty if there never was a base."""
    return "" if base is None else show_changes(base, current, DIFF_BYTES_MAX)


def no_room(state: State, late: Late, actor: Actor, author: str) -> str:
    """Return why a draft can not be kept; empty if there is room for it."""
    rules = state.rules
    size = sum(len(text.outcome) for text in late.texts)
    own = state.draft_counts.get((actor, author), DraftCount()).plus(1, size)
    everybody = state.drafts_total.plus(1, size)
    for whose, count, drafts_max, size_max in (
        (f"{author}'s", own, rules.drafts_of_writer_max, rules.drafts_of_writer_bytes_max),
        ("all", everybody, rules.drafts_max, rules.drafts_bytes_max),
    ):
        if count.drafts > drafts_max or count.size > size_max:
            return (
                f"your text was NOT kept, for {whose} drafts are {count.drafts - 1} with "
                f"{count.size - size} bytes, and may be {drafts_max} with {size_max}: keep it "
                "yourself, and make room with agent-trace drafts discard"
            )
    return ""


def drafted(late: Late, digest: bytes, seq: int) -> tuple[Drafted, tuple[tuple[int, bytes], ...]]:
    """Return the body of record `seq` about a write that did not fit, and the texts beside it."""
    kept: list[Kept] = []
    contents: list[tuple[int, bytes]] = []
    for text in late.texts:
        deletes = text.action is Action.DELETE
        key = 0 if deletes else content_key(seq, len(contents))
        if not deletes:
            contents.append((key, text.outcome))
        kept.append(
            Kept(
                action=text.action,
                path=text.path,
                type=text.type,
                document=text.document,
                base_revision=text.base_revision,
                content_key=key,
                digest=content_digest(text.outcome),
                size=len(text.outcome),
            )
        )
    body = Drafted(
        code=late.error.code,
        conflict=msgspec.structs.replace(late.conflict, draft=draft_id(seq)),
        attempt=digest,
        kept=tuple(kept),
        lease=late.lease and msgspec.structs.replace(late.lease, draft=draft_id(seq)),
    )
    return body, tuple(contents)


def refusal_of_draft(
    code: ErrorCode, conflict: ConflictInfo, lease: LeaseRefusal | None
) -> ErrorInfo:
    """Return what the writer of a draft is told; the same every time."""
    if lease is None:
        message = f"{conflict.path} is at revision {conflict.current}, not {conflict.expected}"
        if not conflict.current:
            message = (
                f"there is no document {conflict.path}, so it is not at revision "
                f"{conflict.expected}"
            )
        return Conflict(f"{message}; your text is kept as {conflict.draft}", conflict).to_info()
    if code is ErrorCode.LEASE_HELD:
        message = (
            f"{lease.holder} holds a lease on {lease.path} since operation {lease.since_seq}, and "
            f"leases are enforced here; your text is kept as {lease.draft}"
        )
        return LeaseHeld(message, lease).to_info()
    by = "nobody holds it now"
    if lease.holder:
        by = f"{lease.holder} holds it since operation {lease.since_seq}"
    message = (
        f"the lease under which {lease.path} was to be written is not held by this session any "
        f"more: {by}; your text is kept as {lease.draft}"
    )
    return StaleLease(message, lease).to_info()


def told_of(late: Late, draft: DraftState) -> ErrorInfo:
    """Return what a writer is told that wants to write again what is kept already."""
    id = draft_id(draft.seq)
    lease = late.lease and msgspec.structs.replace(late.lease, draft=id)
    conflict = msgspec.structs.replace(late.conflict, draft=id)
    return refusal_of_draft(late.error.code, conflict, lease)
