"""Tools: what one is, which of them a client sees, and how a call is carried out.

The tools themselves are in `reading`, `writing` and `coordination`. Their order and their texts
are constant: hosts keep them in caches, and people have approved them.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar, cast

import msgspec
from mcp.types import CallToolResult, TextContent, ToolAnnotations
from mcp.types import Tool as Definition

from agent_trace.client import Agent
from agent_trace_protocol import AgentTraceError

from .convert import error_text
from .schema import arguments_of, schema_of
from .seats import Seat

__all__ = [
    "Call",
    "Outcome",
    "Profile",
    "Told",
    "Tool",
    "Toolbox",
    "adding",
    "again",
    "changing",
    "destroying",
    "failed",
    "new_mark",
    "reading",
    "with_note",
]

_A = TypeVar("_A", bound=msgspec.Struct)

HANDLE: Final = "session"
"""The argument in which a client of a stateless transport says which of its sessions it means."""


class Profile(StrEnum):
    """How many tools a client is offered. Each costs its definition in every conversation."""

    MINIMAL = "minimal"
    DEFAULT = "default"
    FULL = "full"


def new_mark() -> str:
    """Return what stands around stored text in one answer: nobody can have written it there."""
    return secrets.token_hex(4)


async def _silent(done: float, total: float | None, message: str) -> None:
    """Tell nobody about progress."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool, and who makes it."""

    agent: Agent
    seat: Seat
    progress: Callable[[float, float | None, str], Awaitable[None]] = _silent
    """Tells a client that asked for it how far the call has come."""
    mark: str = field(default_factory=new_mark)
    """Stands around stored text in this answer; see `convert.fenced`."""


class Told(msgspec.Struct):
    """The result of a tool that answers with one long text.

    Hosts put either the text or the structure before their model, not both; so the structure
    carries the whole text, once (decision 15).
    """

    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call has to say."""

    text: str
    """Stands alone."""
    structured: msgspec.Struct | None = None
    """The same for programs; stands alone as well, for hosts show either to their model. None for
    what is one long text."""


@dataclass(frozen=True, slots=True)
class Tool(Generic[_A]):
    """One tool."""

    name: str
    description: str
    arguments: type[_A]
    run: Callable[[Call, _A], Awaitable[Outcome]]
    annotations: ToolAnnotations
    result: type[msgspec.Struct] = Told
    """What `Outcome.structured` is."""
    profiles: frozenset[Profile] = frozenset({Profile.DEFAULT, Profile.FULL})

    def definition(self, *, handles: bool = False) -> Definition:
        """Return the tool as clients see it.

        Args:
            handles: whether calls may name a session.
        """
        schema = schema_of(self.arguments)
        if handles:
            properties = {**schema.get("properties", {}), HANDLE: {"type": "string"}}
            schema = {**schema, "properties": properties}
        return Definition(
            name=self.name,
            description=self.description,
            input_schema=schema,
            output_schema=schema_of(self.result),
            annotations=self.annotations,
        )

    async def call(self, call: Call, given: dict[str, Any] | None) -> CallToolResult:
        """Carry a call out.

        Raises:
            AgentTraceError: it is refused.
        """
        outcome = await self.run(call, arguments_of(self.arguments, given))
        structured = outcome.structured or Told(outcome.text)
        return CallToolResult(
            content=[TextContent(type="text", text=outcome.text)],
            structured_content=msgspec.to_builtins(structured),
        )


def again(tool: str, given: msgspec.Struct, **changed: object) -> str:
    """Return the call that goes on where one has ended: its arguments, but for those changed."""
    arguments = msgspec.structs.asdict(given) | changed
    defaults = {field.name: field.default for field in msgspec.structs.fields(given)}
    told = ", ".join(
        f"{name}={msgspec.json.encode(value).decode()}"
        for name, value in arguments.items()
        if value != defaults[name]
    )
    return f"{tool}({told})"


def with_note(result: CallToolResult, note: str) -> CallToolResult:
    """Return the result of a tool that answers with one long text, with a note in both halves."""
    told = [*result.content, TextContent(type="text", text=note)]
    text = "\n".join(each.text for each in told if isinstance(each, TextContent))
    return CallToolResult(content=told, structured_content=msgspec.to_builtins(Told(text)))


def failed(error: AgentTraceError) -> CallToolResult:
    """Return a refusal as a result, for the model to read.

    Only text: hosts that show the structure, if there is one, would show no error.
    """
    text = error_text(error, new_mark())
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)


def reading() -> ToolAnnotations:
    """Return the hints of a tool that changes nothing."""
    return ToolAnnotations(read_only_hint=True, open_world_hint=False)


def adding(*, idempotent: bool = False) -> ToolAnnotations:
    """Return the hints of a tool that only adds to what is there."""
    return ToolAnnotations(
        read_only_hint=False,
        destructive_hint=False,
        idempotent_hint=idempotent,
        open_world_hint=False,
    )


def changing(*, idempotent: bool = False) -> ToolAnnotations:
    """Return the hints of a tool that makes a new revision of a document.

    Not destructive: every revision stays readable and can be restored, and a document is never
    replaced that the client has not seen as it is.
    """
    return adding(idempotent=idempotent)


def destroying() -> ToolAnnotations:
    """Return the hints of a tool that takes a document away, though its history stays."""
    return ToolAnnotations(
        read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=False
    )


class Toolbox:
    """The tools that the clients of one gateway see; fixed when it starts."""

    def __init__(self, tools: Sequence[Tool[Any]], profile: Profile) -> None:
        chosen = [tool for tool in tools if profile in tool.profiles]
        self._tools: Final[Mapping[str, Tool[Any]]] = {tool.name: tool for tool in chosen}
        self._plain = tuple(tool.definition() for tool in chosen)
        self._with_handles = tuple(tool.definition(handles=True) for tool in chosen)

    def __contains__(self, name: str) -> bool:
        return name in self._tools

    def __getitem__(self, name: str) -> Tool[Any]:
        return self._tools[name]

    def definitions(self, *, handles: bool = False) -> tuple[Definition, ...]:
        """Return the tools as clients see them, always in the same order."""
        return self._with_handles if handles else self._plain

    def schema(self, name: str) -> Mapping[str, Any] | None:
        """Return the schema of a tool's arguments; None if there is no such tool."""
        found = next((each for each in self._plain if each.name == name), None)
        return None if found is None else cast("Mapping[str, Any]", found.input_schema)
