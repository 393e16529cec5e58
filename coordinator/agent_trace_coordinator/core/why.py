"""Why a line is as it is: the operation that brought it, and what its writer had read.

The walk goes back through a document's revisions (`blame`), then through what the session that
made the revision had read. Both end at a limit; beyond it the answer says that it does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from agent_trace_protocol import Basis, NotFound

from .blame import Blame, LineOrigin
from .reads import READS_MAX
from .records import Change, Changed, Record
from .state import DocumentState

__all__ = ["REVISIONS_MAX", "basis_of", "origin_of"]

REVISIONS_MAX: Final = 1000
"""Revisions that are looked at for one line."""

_Find = Callable[[int], tuple[Record, Change] | None]


def origin_of(
    path: str, line: int, revision: int, find: _Find, content: Callable[[Change], bytes]
) -> LineOrigin:
    """Return where a line of a revision comes from; `find` returns what made a revision.

    Raises:
        NotFound: the revision has no content, or not so many lines.
    """
    found = find(revision)
    if found is None or not found[1].content_key:
        raise NotFound(f"{path} was deleted at revision {revision}")
    blame = Blame(revision, content(found[1]), lines=[line])
    earlier = revision - 1
    while not blame.done and earlier > 0 and revision - earlier <= REVISIONS_MAX:
        past = find(earlier)
        # A deletion has no content; the lines of a restored document are older than it.
        if past is not None and past[1].content_key:
            blame.look_back(earlier, content(past[1]))
        earlier -= 1
    origins = blame.origins(complete=earlier == 0)
    if not origins:
        raise NotFound(f"{path}@{revision} has no line {line}")
    return origins[0]


def basis_of(
    records: Iterable[Record], current: Callable[[int], DocumentState | None]
) -> tuple[Basis, ...]:
    """Return what a session had read, the last first; `records` are its own, newest first."""
    found: dict[int, Basis] = {}
    for record in records:
        if not isinstance(record.body, Changed):
            continue
        for read in reversed(record.body.based_on):
            if read.document not in found:
                now = current(read.document)
                revision = 0 if now is None or now.deleted else now.revision
                found[read.document] = Basis(read.path, read.revision, revision)
        if len(found) >= READS_MAX:
            break
    return tuple(found.values())[:READS_MAX]
