"""The page of the MCP gateway, made from its tools, resources and prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from agent_trace.gateway.prompts import PROMPTS
from agent_trace.gateway.resources import TEMPLATES
from agent_trace.gateway.server import AGENT_HEADER, INSTRUCTIONS, TOOLS
from agent_trace.gateway.tools import Profile, Told, Tool

__all__ = ["gateway_page"]

HEAD: Final = """\
# Tools, resources and prompts

What [the MCP gateway](mcp.md) offers, made from the program by `make reference`. The column *from*
says which `--tools` has a tool: each profile has those before it too. `?` marks what may be left
out.

"""


def gateway_page() -> str:
    """Return docs/reference-mcp.md."""
    rows = "".join(
        f"| [`{each.name}`](#{each.name}) | {_smallest(each)} | {each.description} |\n"
        for each in TOOLS
    )
    parts = [f"{HEAD}| tool | from | what it does |\n| --- | --- | --- |\n{rows}"]
    parts += [_tool(each) for each in TOOLS]
    templates = "".join(
        f"| `{each.uri_template}` | {each.title}: {each.description} |\n" for each in TEMPLATES
    )
    parts.append(f"## Resources\n\n| template | what it is |\n| --- | --- |\n{templates}")
    prompts = "".join(
        f"| `{each.definition.name}` | {each.definition.description} | "
        + (
            ", ".join(f"`{a.name}`: {a.description}" for a in each.definition.arguments or ())
            or "none"
        )
        + " |\n"
        for each in PROMPTS
    )
    parts.append(
        f"## Prompts\n\n| prompt | what it is for | arguments |\n| --- | --- | --- |\n{prompts}"
    )
    parts.append(
        "## Instructions\n\nWhat a host may show its model about the server, once. Over HTTP the "
        f"header `{AGENT_HEADER}` names a client's agent.\n\n```\n{INSTRUCTIONS.strip()}\n```\n"
    )
    return "\n".join(parts)


def _smallest(tool: Tool[Any]) -> Profile:
    """Return the smallest profile that has the tool."""
    return next(profile for profile in Profile if profile in tool.profiles)


def _tool(tool: Tool[Any]) -> str:
    definition = tool.definition()
    hints = tool.annotations
    kind = (
        "reads"
        if hints.read_only_hint
        else ("takes away" if hints.destructive_hint else "writes")
        + (", may be repeated" if hints.idempotent_hint else "")
    )
    lines = [f"### {tool.name}\n", f"{tool.description} ({kind})\n"]
    arguments = list(_rows(definition.input_schema))
    if arguments:
        lines.append("| argument | type |\n| --- | --- |\n" + "".join(arguments))
    if tool.result is Told:
        lines.append("Result: one text.\n")
    else:
        result = "".join(_rows(definition.output_schema or {}))
        lines.append(f"| result | type |\n| --- | --- |\n{result}")
    return "\n".join(lines)


def _rows(schema: Mapping[str, Any], prefix: str = "") -> Sequence[str]:
    """Return a row for each property, and for those of objects below it."""
    required = schema.get("required", ())
    rows: list[str] = []
    for name, each in schema.get("properties", {}).items():
        optional = "" if name in required else "?"
        # That of an enumeration is about the code, not about this value.
        told = each.get("description", "") if "enum" not in each else ""
        about = f"; {told}" if told else ""
        rows.append(f"| `{prefix}{name}{optional}` | {_kind(each)}{about} |\n")
        below = each.get("items", each)
        if "properties" in below:
            rows += _rows(below, f"{prefix}{name}{'[]' if below is not each else ''}.")
    return rows


def _kind(schema: Mapping[str, Any]) -> str:
    """Return what a value may be, in words."""
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"array of {_kind(schema.get('items', {}))}"
    limits = [
        f"{word} {schema[key]}"
        for key, word in (("minimum", "from"), ("maximum", "to"), ("maxLength", "up to"))
        if key in schema
    ]
    return " ".join([str(schema.get("type", "anything")), *limits])
