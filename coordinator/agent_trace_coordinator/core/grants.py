"""Unlocks: letting agents write one protected document for a while.

An unlock belongs to the document, not to its path, so it follows it when it moves. It ends when the
coordinator's monotonic clock says so; the wall clock can neither prolong nor end it. No monotonic
time survives a restart: the next life grants what the recorded times say is left, never more than
the whole, and the life after that nothing. However often a coordinator is restarted and whatever
its wall clock does, an unlock of n seconds holds for at most twice n.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Final

from agent_trace_protocol import GrantInfo

from .inputs import Now
from .records import Locked
from .state import GrantState, State

__all__ = ["GRANTS_MAX", "carry_over", "expired", "info_of_grant", "resume"]

GRANTS_MAX: Final = 1000
"""Unlocks that can hold at once: people make them, and each write of an agent looks at them."""


def resume(state: State, now: Now) -> None:
    """Set when the unlocks of earlier lives end; comes once, after a state was loaded."""
    for grant in list(state.grants.values()):
        lives = state.epoch - grant.epoch
        if lives == 0:
            continue
        # Recorded times never decrease, so a wall clock that was set back does not win time.
        elapsed = (max(now.wall_ms, state.time_ms) - grant.granted_ms) / 1000
        left = min(float(grant.seconds), max(0.0, grant.seconds - elapsed)) if lives == 1 else 0.0
        state.grants[grant.seq] = dataclasses.replace(grant, until=now.monotonic + left)


def carry_over(before: State, after: State) -> None:
    """Keep what is in no record when the state is loaded anew within one life: the ends of the
    unlocks, and what sessions have read."""
    for id in after.sessions.keys() & before.sessions.keys():
        after.sessions[id].reads = before.sessions[id].reads
        after.sessions[id].looked = before.sessions[id].looked
    for seq, grant in list(after.grants.items()):
        # The record of an unlock's end that could not be written does not give it new time. That
        # it is over even if somebody wanted to end it early errs on the safe side.
        over = dataclasses.replace(grant, until=-math.inf)
        after.grants[seq] = before.grants.get(seq, over)


def expired(state: State, now: Now) -> list[tuple[GrantState, Locked]]:
    """Return the unlocks whose time is over, and the record that ends each."""
    over: list[tuple[GrantState, Locked]] = []
    for grant in state.grants.values():
        if grant.until <= now.monotonic:
            path = state.documents[grant.document].path
            over.append((grant, Locked((grant.seq,), path, "expired")))
    return over


def info_of_grant(state: State, grant: GrantState, now: Now) -> GrantInfo:
    """Return an unlock as a report shows it."""
    return GrantInfo(
        path=state.documents[grant.document].path,
        agent=grant.agent,
        seconds_left=max(0.0, grant.until - now.monotonic),
        granted_by=grant.granted_by,
        seq=grant.seq,
    )
