"""The trailers of records about writes that did not fit, and the way back.

They hold everything of the record: what the writer was told, line by line of the diff, and the
digests of the texts that are kept. The texts themselves are not history before somebody accepts
them: they are in state.db and, as files, in the store's `drafts` folder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from agent_trace_coordinator.core.records import Drafted
from agent_trace_protocol import ConflictInfo, ErrorCode

from .lease_trailers import parse_lost, render_lost
from .policy_trailers import TrailerFields, parse_kept, render_kept

__all__ = ["parse_drafted", "render_drafted"]

_DRAFT: Final = re.compile(r"(\S+) ([a-z_]+) ([0-9a-f]{32}) ([0-9]+) ([0-9]+) (.+)", re.ASCII)
_CURRENT: Final = re.compile(r"([0-9]+) ?(.*)", re.ASCII)


def render_drafted(body: Drafted, escape: Callable[[str], str]) -> Iterator[str]:
    """Yield the trailers of a record; `escape` makes one line of any text."""
    late = body.conflict
    yield (
        f"Draft: {late.draft} {body.code.value} {body.attempt.hex()} {late.expected} "
        f"{late.current} {escape(late.path)}\n"
    )
    for kept in body.kept:
        yield render_kept(kept, escape)
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
    current = fields.take_match("Current", _CURRENT) if "Current" in fields else None
    path = unescape(draft[6])
    return Drafted(
        code=ErrorCode(draft[2]),
        conflict=ConflictInfo(
            path=path,
            expected=int(draft[4]),
            current=int(draft[5]),
            author="" if current is None else unescape(current[2]),
            time_ms=0 if current is None else int(current[1]),
            diff="\n".join(unescape(line) for _, line in fields.take_all("Diff")),
            draft=draft[1],
            merged=fields.take("Merges", "no") == "yes",
        ),
        attempt=bytes.fromhex(draft[3]),
        kept=parse_kept(fields, unescape),
        lease=parse_lost(fields, path, unescape) if "Lost-Lease" in fields else None,
    )
