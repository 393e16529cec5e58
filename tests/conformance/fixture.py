"""What the conformance suite's scenarios call by name, on the gateway's own building blocks."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from mcp.types import Prompt, PromptArgument

from agent_trace import InvalidRequest
from agent_trace.gateway.prompts import Offer
from agent_trace.gateway.tools import Call, Outcome, Profile, Told, Tool, reading

__all__ = ["PROMPTS", "TOOLS"]


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """No arguments."""


async def simple_text(call: Call, given: Nothing) -> Outcome:
    return Outcome("This is a simple text response for testing.")


async def error_handling(call: Call, given: Nothing) -> Outcome:
    raise InvalidRequest("This tool intentionally returns an error for testing")


async def with_progress(call: Call, given: Nothing) -> Outcome:
    for done in (0, 50, 100):
        await call.progress(done, 100, "")
    return Outcome("done")


_EVERYWHERE: Final = frozenset(Profile)

TOOLS: Final[tuple[Tool[Any], ...]] = tuple(
    Tool(name, "For the conformance suite.", Nothing, run, reading(), Told, _EVERYWHERE)
    for name, run in (
        ("test_simple_text", simple_text),
        ("test_error_handling", error_handling),
        ("test_tool_with_progress", with_progress),
    )
)

PROMPTS: Final = (
    Offer(Prompt(name="test_simple_prompt"), "This is a simple prompt for testing."),
    Offer(
        Prompt(
            name="test_prompt_with_arguments",
            arguments=[
                PromptArgument(name="arg1", required=True),
                PromptArgument(name="arg2", required=True),
            ],
        ),
        "Prompt with arguments:",
        {"arg1": " arg1='{}'", "arg2": " arg2='{}'"},
    ),
)
