"""Prompts: what a person starts, resumes or hands over work with. Hosts show them as commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from mcp.types import GetPromptResult, Prompt, PromptArgument, PromptMessage, TextContent

from agent_trace_protocol import InvalidRequest, NotFound

__all__ = ["PROMPTS", "Offer", "prompt"]

ARGUMENT_LENGTH_MAX: Final = 4000


@dataclass(frozen=True, slots=True)
class Offer:
    """One prompt."""

    definition: Prompt
    text: str
    """What is asked of the agent."""
    added: Mapping[str, str] = field(default_factory=dict[str, str])
    """What is added for each argument that is given; `{}` stands for it."""


PROMPTS: Final = (
    Offer(
        Prompt(
            name="start",
            title="Start work on the project",
            description="Look at where the project stands, make a plan and begin.",
            arguments=[PromptArgument(name="goal", description="What is to be achieved")],
        ),
        "Begin work on this project. Call get_resume_context and read the plans that it names. "
        "Then write down a plan of type plan (write_file): the goal, the steps as check boxes, and "
        "what is open. If a plan for this goal exists, continue that one instead of writing "
        "another. Tell me the first step before you take it.",
        {"goal": "\n\nThe goal: {}"},
    ),
    Offer(
        Prompt(
            name="resume",
            title="Resume where the last session stopped",
            description="Find out what was being done, what changed since, and go on.",
            arguments=[],
        ),
        "Resume the work of the last session. Call get_resume_context. Deal first with what it "
        "lists as refused, as drafts and as lost leases; read again what others changed; then go "
        "on with the next step. Tell me in three sentences where we stand before you change "
        "anything.",
    ),
    Offer(
        Prompt(
            name="hand_over",
            title="Hand the work over",
            description="Write down what the next session needs, and let go of what is held.",
            arguments=[PromptArgument(name="to", description="Who takes over, if known")],
        ),
        "Hand this work over to whoever comes next. Bring the plan up to date (edit_file): tick "
        "what is done, say what is half done and where, the next step, open questions, and what "
        "you decided and why. Accept or give up your drafts, and release your leases. Then tell me "
        "what you wrote down.",
        {"to": "\n\nIt goes to: {}"},
    ),
)


def prompt(offers: Sequence[Offer], name: str, given: Mapping[str, str] | None) -> GetPromptResult:
    """Return a prompt's message.

    Raises:
        NotFound: there is no such prompt.
        InvalidRequest: it has no such argument, or the argument is too long.
    """
    found = next((each for each in offers if each.definition.name == name), None)
    if found is None:
        raise NotFound(f"there is no prompt {name!r}")
    text = found.text
    for argument, value in (given or {}).items():
        if argument not in found.added:
            takes = ", ".join(found.added) or "none"
            raise InvalidRequest(f"{name} has no argument {argument!r}; it takes: {takes}")
        if len(value) > ARGUMENT_LENGTH_MAX:
            raise InvalidRequest(f"{argument} is longer than {ARGUMENT_LENGTH_MAX} characters")
        if value:
            # Not `format`: what a person has typed may hold braces.
            text += found.added[argument].replace("{}", value)
    message = PromptMessage(role="user", content=TextContent(type="text", text=text))
    return GetPromptResult(description=found.definition.description, messages=[message])
