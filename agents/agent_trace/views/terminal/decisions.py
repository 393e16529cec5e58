"""What a person may decide from the view: a question, and what is done after a yes.

None of it knows the screen. Each function asks the coordinator what it has to know first, so that
the question says what will happen, overrides included.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from agent_trace.client import Agent
from agent_trace.results import Transaction
from agent_trace.views.seen import accept_seen, apply_seen, revision_now
from agent_trace.wording import counted
from agent_trace_protocol import DraftInfo, Durability, Permit, SessionInfo, ViolationInfo

__all__ = [
    "Decision",
    "accept_draft",
    "apply_violation",
    "discard_draft",
    "discard_violation",
    "evict",
    "unlock",
]

UNLOCK_SECONDS: Final = 600


@dataclass(frozen=True, slots=True)
class Decision:
    """Something that is done if a question is answered with yes."""

    question: str
    carry_out: Callable[[str], Awaitable[str]]
    """Gets what was typed, does it, and returns what to say about it."""
    asks: str | None = None
    """What is to be typed, if anything is."""


def _made(done: Transaction) -> str:
    return ", ".join(
        f"{each.action.value} {each} (+{each.added} -{each.removed})" for each in done.results
    )


async def _needs_confirmation(agent: Agent, path: str) -> bool:
    report = await agent.permissions(path)
    return any(entry.permit is Permit.CONFIRM for entry in report.entries)


async def apply_violation(agent: Agent, about: ViolationInfo) -> Decision:
    """Write what was refused."""
    # A credential is let in by a confirmation, too.
    confirm = about.rule.startswith("secret-") or await _needs_confirmation(agent, about.path)
    override = (
        f"\n\nRule {about.rule} stands against it. A yes overrides that, and stands on record."
        if confirm
        else ""
    )

    seen = await revision_now(agent, about.path)

    async def carry_out(typed: str) -> str:
        made = await apply_seen(agent, about.id, seen, durability=Durability.GIT, confirm=confirm)
        return _made(made)

    now = f"at revision {seen} now" if seen else "not there now"
    question = (
        f"Apply {about.id}: {about.action.value} {about.path}, as {about.author} tried? "
        f"The document is {now}; if that changes before your yes, nothing is done."
    )
    return Decision(question + override, carry_out)


async def discard_violation(agent: Agent, about: ViolationInfo) -> Decision:
    """Throw a refused text away."""

    async def carry_out(typed: str) -> str:
        await agent.discard_violation(about.id)
        return f"{about.id} is discarded"

    question = (
        f"Discard {about.id}: what {about.author} wanted to {about.action.value} in {about.path}?"
        "\n\nThe text is gone for good; that it was refused stays on record."
    )
    return Decision(question, carry_out)


async def accept_draft(agent: Agent, about: DraftInfo) -> Decision:
    """Write a draft."""

    async def carry_out(typed: str) -> str:
        made = await accept_seen(agent, about.id, about.current, durability=Durability.GIT)
        return _made(made)

    question = (
        f"Accept {about.id}: what {about.author} wrote for {about.path}@{about.base_revision}, "
        f"joined with what others changed up to @{about.current}?"
    )
    return Decision(question, carry_out)


async def discard_draft(agent: Agent, about: DraftInfo) -> Decision:
    """Throw a draft away."""

    async def carry_out(typed: str) -> str:
        await agent.discard_draft(about.id)
        return f"{about.id} is discarded"

    question = (
        f"Discard {about.id}: what {about.author} wrote for {about.path}?"
        "\n\nThe text is gone for good; that there was one stays on record."
    )
    return Decision(question, carry_out)


async def evict(agent: Agent, session: SessionInfo) -> Decision:
    """End somebody's session."""

    async def carry_out(typed: str) -> str:
        await agent.evict(session.id, reason=typed)
        return f"{session.actor.value} {session.name} is evicted"

    held = f", its {counted(session.leases, 'lease')} are free" if session.leases else ""
    question = (
        f"Evict {session.actor.value} {session.name}, session {session.id}?\n\n"
        f"It ends{held}, and its process can change nothing any more."
    )
    return Decision(question, carry_out, "why, for the record; may stay empty")


async def unlock(agent: Agent, path: str) -> Decision:
    """Let agents write a protected document for a while."""

    async def carry_out(typed: str) -> str:
        await agent.unlock(path, agent=typed, seconds=UNLOCK_SECONDS)
        return f"{path} is unlocked for {typed or 'every agent'}, {UNLOCK_SECONDS // 60} min"

    question = f"Unlock {path} for {UNLOCK_SECONDS // 60} minutes?"
    return Decision(question, carry_out, "which agent; empty for every agent")
