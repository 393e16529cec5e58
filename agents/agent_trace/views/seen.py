"""What a person decides about what was looked at: done on that revision, or not at all."""

from __future__ import annotations

from agent_trace.client import Agent
from agent_trace.results import Transaction
from agent_trace_protocol import Conflict, ConflictInfo, Durability, InvalidPath, NotFound

__all__ = ["accept_seen", "apply_seen", "revision_now"]


async def revision_now(agent: Agent, path: str) -> int:
    """Return the revision that a document is at; 0 if there is none."""
    if not path:
        return 0
    try:
        return (await agent.info(path)).document.revision
    except (NotFound, InvalidPath):
        # A refused write may have named what can be no document.
        return 0


async def apply_seen(
    agent: Agent,
    id: str,
    seen: int,
    *,
    durability: Durability = Durability.JOURNAL,
    message: str = "",
    confirm: bool = False,
) -> Transaction:
    """Apply a refused write whose document somebody saw at revision `seen`.

    Raises:
        Conflict: the document has changed since it was looked at. Nothing was written.
    """
    report = await agent.violation(id)
    (only,) = report.texts if len(report.texts) == 1 else (None,)
    # What was made for the very revision that was seen takes its place, in one step.
    fits = only is not None and only.kept and only.base_revision == seen
    if not fits:
        await _check(agent, report.violation.path, seen)
    return await agent.apply_violation(
        id,
        if_revision=seen if fits else None,
        durability=durability,
        message=message,
        confirm=confirm,
    )


async def accept_seen(
    agent: Agent,
    id: str,
    seen: int,
    *,
    durability: Durability = Durability.JOURNAL,
    message: str = "",
) -> Transaction:
    """Accept a draft whose document somebody saw at revision `seen`.

    Raises:
        Conflict: as for `apply_seen`.
    """
    await _check(agent, (await agent.draft(id)).draft.path, seen)
    return await agent.accept(id, durability=durability, message=message)


async def _check(agent: Agent, path: str, seen: int) -> None:
    """Raise unless a document is as it was seen.

    What comes between this look and the write is joined with it by the coordinator, or refused: it
    is not overwritten.
    """
    current = await revision_now(agent, path)
    if current != seen:
        raise Conflict(
            f"nothing was done: {path} was at revision {seen} when you looked, and is at {current} "
            "now; look again, and decide again",
            ConflictInfo(path, seen, current),
        )
