"""Texts that came too late: what is kept of them, and under which id."""

from __future__ import annotations

import msgspec

from agent_trace_protocol import Conflict, ConflictInfo, LeaseRefusal, StaleLease

from .records import Drafted, content_digest, content_key

__all__ = ["LateWrite", "StaleWrite", "draft_id", "drafted", "parse_draft_id"]


class LateWrite(Conflict):
    """A conflict over a text that is worth keeping as a draft."""

    def __init__(self, message: str, info: ConflictInfo, document: int, text: bytes) -> None:
        super().__init__(message, info)
        self.info: ConflictInfo = info
        self.document = document
        self.text = text
        """What the document would have become."""


class StaleWrite(StaleLease):
    """A write under a lease that has ended, over a text that is worth keeping as a draft."""

    def __init__(
        self, message: str, info: LeaseRefusal, conflict: ConflictInfo, document: int, text: bytes
    ) -> None:
        super().__init__(message, info)
        self.refusal = info
        self.conflict = conflict
        self.document = document
        self.text = text
        """What the document would have become."""

    def kept_as(self, draft: str) -> LeaseRefusal:
        """Return what the writer is told, with the id of the draft."""
        # To the millisecond, so that the record's commit says exactly the same.
        left_seconds = round(self.refusal.left_seconds, 3)
        return msgspec.structs.replace(self.refusal, left_seconds=left_seconds, draft=draft)


def parse_draft_id(text: str) -> int:
    """Return the seq of the record that keeps a draft, such as 17 for `draft-17`; 0 if none can."""
    digits = text.removeprefix("draft-")
    if digits == text or not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
        return 0
    return int(digits)


def draft_id(seq: int) -> str:
    """Return the id of the draft that record `seq` keeps."""
    return f"draft-{seq}"


def drafted(
    late: LateWrite | StaleWrite, seq: int
) -> tuple[Drafted, tuple[tuple[int, bytes], ...]]:
    """Return the body of record `seq` about a text that came too late, and the text beside it."""
    key = content_key(seq, 0)
    draft = draft_id(seq)
    conflict = late.info if isinstance(late, LateWrite) else late.conflict
    body = Drafted(
        conflict=msgspec.structs.replace(conflict, draft=draft),
        document=late.document,
        content_key=key,
        digest=content_digest(late.text),
        size=len(late.text),
        lease=late.kept_as(draft) if isinstance(late, StaleWrite) else None,
    )
    return body, ((key, late.text),)
