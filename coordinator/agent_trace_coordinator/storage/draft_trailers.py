"""The trailers of records about writes that came too late, and the way back.

They hold everything of the record: what the writer was told, line by line of the diff, and the
digest of the text that is kept. The text itself is in state.db only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from agent_trace_coordinator.core.records import Drafted
from agent_trace_protocol import ConflictInfo

from .lease_trailers import parse_lost, render_lost
from .policy_trailers import TrailerFields

__all__ = ["parse_drafted", "render_drafted"]

_DRAFT: Final = re.compile(r"([0-9]+) ([0-9]+) ([0-9]+) (.+)", re.ASCII)
_KEPT_AS: Final = re.compile(r"(\S*) ([0-9]+) ([0-9]+) ([0-9a-f]{64})", re.ASCII)
_CURRENT: Final = re.compile(r"([0-9]+) ?(.*)", re.ASCII)


def render_drafted(body: Drafted, escape: Callable[[str], str]) -> Iterator[str]:
    """Yield the trailers of a record; `escape` makes one line of any text."""
    late = body.conflict
    yield f"Draft: {body.document} {late.expected} {late.current} {escape(late.path)}\n"
    yield f"Kept-As: {late.draft} {body.content_key} {body.size} {body.digest.hex()}\n"
    if late.time_ms or late.author:
        yield f"Current: {late.time_ms} {escape(late.author)}\n"
    if late.merged:
        yield "Merges: yes\n"
    if late.diff:
        for line in late.diff.split("\n"):
            yield f"Diff: {escape(line)}\n"
    if body.lease is not None:
        yield render_lost(body.lease, late.path, escape)


def parse_drafted(fields: TrailerFields, unescape: Callable[[str], str]) -> Drafted:
    """Return the record's body; raises `ValueError` if the trailers are not what is rendered."""
    draft = fields.take_match("Draft", _DRAFT)
    kept = fields.take_match("Kept-As", _KEPT_AS)
    current = fields.take_match("Current", _CURRENT) if "Current" in fields else None
    path = unescape(draft[4])
    return Drafted(
        conflict=ConflictInfo(
            path=path,
            expected=int(draft[2]),
            current=int(draft[3]),
            author="" if current is None else unescape(current[2]),
            time_ms=0 if current is None else int(current[1]),
            diff="\n".join(unescape(line) for _, line in fields.take_all("Diff")),
            draft=kept[1],
            merged=fields.take("Merges", "no") == "yes",
        ),
        document=int(draft[1]),
        content_key=int(kept[2]),
        digest=bytes.fromhex(kept[4]),
        size=int(kept[3]),
        lease=parse_lost(fields, path, unescape) if "Lost-Lease" in fields else None,
    )
