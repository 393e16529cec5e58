"""Refused writes: what goes on record of one, how often it was tried, and what is shown of it.

A refusal is a violation when the writer must not do what it tried: by the permission table, the
law of paths, or what a document may hold. It leaves one record with everything the writer brought.
What only does not fit (a conflict, a text that is not there, a size) is an ordinary error, and the
same attempt again is counted instead of recorded, so that a loop costs next to nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from agent_trace_protocol import (
    Action,
    Actor,
    AgentTraceError,
    DocumentType,
    ErrorInfo,
    NotFound,
    PermissionDenied,
    RefusedText,
    ViolationInfo,
    ViolationReport,
    error_from_info,
)
from agent_trace_protocol.limits import (
    DOCUMENT_BYTES_MAX,
    ERROR_MESSAGE_LENGTH_MAX,
    PATH_BYTES_MAX,
)

from .merge import show_changes
from .records import Kept, Record, Repeated, Violated, content_digest, content_key
from .state import DocumentState, State, ViolationState

__all__ = [
    "Attempt",
    "Text",
    "count_again",
    "find_violation",
    "info_of_violation",
    "named",
    "parse_violation_id",
    "refusal_again",
    "refusal_of",
    "report_of",
    "violated",
    "violation_id",
]

DIFF_BYTES_MAX: Final = 16_000
"""Bytes of the diff that a report shows."""

NAMED_MAX: Final = 5
"""Ids that an error names."""

_ROOM: Final = 60
"""Characters of a message that are left for the id of the violation."""


@dataclass(slots=True)
class Text:
    """One text that a refused write brought."""

    action: Action
    path: str
    type: DocumentType
    document: int
    base_revision: int
    brought: bytes
    outcome: bytes
    """What the document would have become; what was brought if that can not be known."""
    known: bool = True
    """Whether that could be known."""
    tried: bytes = b""
    """What tells it from another attempt on its path; empty if that is what was brought."""


@dataclass(slots=True)
class Attempt:
    """A write that was refused."""

    action: Action
    path: str
    texts: list[Text] = field(default_factory=list[Text])
    source: str = ""

    def digest(self, actor: Actor, author: str, rule: str) -> bytes:
        """Return what is the same whenever the same actor tries the same."""
        hasher = hashlib.blake2b(digest_size=16)
        parts = [actor.value, author, rule, self.action.value, self.path, self.source]
        for part in parts:
            encoded = part.encode("utf-8", "surrogatepass")
            hasher.update(len(encoded).to_bytes(8, "big") + encoded)
        for text in self.texts:
            hasher.update(content_digest(text.path.encode("utf-8", "surrogatepass")))
            hasher.update(content_digest(text.tried or text.brought))
        return hasher.digest()


def violation_id(seq: int) -> str:
    """Return the id of the violation that record `seq` keeps."""
    return f"violation-{seq}"


def parse_violation_id(text: str) -> int:
    """Return the seq of the record behind an id such as `violation-17`, or `17`; 0 if it can be
    none."""
    digits = text.removeprefix("violation-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
        return 0
    return int(digits)


def find_violation(state: State, text: str) -> ViolationState:
    """Return the refused write that waits under an id.

    Raises:
        NotFound: there is none; the message names those that there are.
    """
    violation = state.violations.get(parse_violation_id(text))
    if violation is None:
        waiting = named([violation_id(seq) for seq in reversed(state.violations)])
        raise NotFound(
            f"there is no violation {text[:64]!r}, or it was applied or discarded; {waiting}"
        )
    return violation


def named(ids: list[str]) -> str:
    """Return what waits, in a few words."""
    if not ids:
        return "none waits"
    more = f" and {len(ids) - NAMED_MAX} more" if len(ids) > NAMED_MAX else ""
    return f"those that wait: {', '.join(ids[:NAMED_MAX])}{more}"


def violated(
    state: State, attempt: Attempt, rule: str, error: AgentTraceError, digest: bytes, seq: int
) -> tuple[Violated, tuple[tuple[int, bytes], ...]]:
    """Return the body of the record `seq` about a refused write, and the contents beside it."""
    kept: list[Kept] = []
    contents: list[tuple[int, bytes]] = []
    room = state.rules.quarantine_bytes_max - state.quarantine_bytes
    lost = False
    for text in attempt.texts:
        key = 0
        if text.outcome and len(text.outcome) <= room:
            key = content_key(seq, len(contents))
            contents.append((key, text.outcome))
            room -= len(text.outcome)
        elif text.outcome:
            lost = True
        kept.append(
            Kept(
                action=text.action,
                path=text.path[:PATH_BYTES_MAX],
                type=text.type,
                document=text.document,
                base_revision=text.base_revision,
                content_key=key,
                digest=content_digest(text.outcome),
                size=len(text.outcome),
            )
        )
    reason = error.message
    if lost:
        reason = (
            f"{reason} (the quarantine is full, so the text was not kept; a user makes room with: "
            "agent-trace violations discard)"
        )
    body = Violated(
        rule=rule,
        code=error.code,
        reason=reason[: ERROR_MESSAGE_LENGTH_MAX - _ROOM],
        action=attempt.action,
        path=attempt.path[:PATH_BYTES_MAX],
        attempt=digest,
        kept=tuple(kept),
        source=attempt.source,
    )
    return body, tuple(contents)


def refusal_of(seq: int, body: Violated) -> ErrorInfo:
    """Return what the writer is told; the same every time."""
    id = violation_id(seq)
    kept = "its text is kept as" if any(text.content_key for text in body.kept) else "recorded as"
    error = error_from_info(ErrorInfo(body.code, f"{body.reason} ({kept} {id})"))
    error.violation = id
    return error.to_info()


def refusal_again(state: State, previous: Record) -> ErrorInfo:
    """Return what the writer was told whose refusal is on record: itself, or that it was counted
    once more. Of what was applied or discarded since, only the id is told."""
    body = previous.body
    if isinstance(body, Violated):
        return refusal_of(previous.seq, body)
    assert isinstance(body, Repeated), body
    violation = state.violations.get(body.violation)
    if violation is not None:
        return refusal_of(violation.seq, violation.body)
    id = violation_id(body.violation)
    error = PermissionDenied(f"it was refused before, as {id}, which does not wait any more")
    error.violation = id
    return error.to_info()


def count_again(state: State, violation: ViolationState) -> Repeated | None:
    """Count one more attempt; return the record about it when one is due: at powers of two."""
    count = state.repeats.get(violation.seq, violation.count) + 1
    if count & (count - 1) == 0:
        return Repeated(violation.seq, count)
    state.repeats[violation.seq] = count
    return None


def info_of_violation(state: State, violation: ViolationState) -> ViolationInfo:
    """Return a refused write as a listing shows it."""
    body = violation.body
    return ViolationInfo(
        id=violation_id(violation.seq),
        seq=violation.seq,
        time_ms=violation.time_ms,
        actor=violation.actor,
        author=violation.author,
        session=violation.session,
        action=body.action,
        path=body.path,
        rule=body.rule,
        code=body.code,
        reason=body.reason,
        size=violation.size,
        count=state.repeats.get(violation.seq, violation.count),
    )


def report_of(
    violation: ViolationState,
    info: ViolationInfo,
    current: DocumentState | None,
    content: Callable[[int, bytes], bytes],
) -> ViolationReport:
    """Return a refused write with its texts; `content` returns a content by key and digest."""
    texts: list[RefusedText] = []
    diff = ""
    room = DOCUMENT_BYTES_MAX
    for kept in violation.body.kept:
        text = content(kept.content_key, kept.digest) if kept.content_key else b""
        if not diff and kept.path == violation.body.path and (text or not kept.size):
            before = b"" if current is None else content(current.content_key, current.digest)
            diff = show_changes(before, text, DIFF_BYTES_MAX)
        shown = len(text) == kept.size and kept.size <= room
        room -= kept.size if shown else 0
        texts.append(
            RefusedText(
                path=kept.path,
                action=kept.action,
                base_revision=kept.base_revision,
                size=kept.size,
                kept=shown,
                content=text if shown else b"",
            )
        )
    return ViolationReport(info, tuple(texts), diff)
