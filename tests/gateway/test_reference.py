"""The table of tools in docs/mcp.md says what the code does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from agent_trace.gateway.server import TOOLS
from agent_trace.gateway.tools import Profile, Tool

DOCUMENT: Final = Path(__file__).resolve().parents[2] / "docs" / "mcp.md"

BEGIN: Final = "<!-- tools: made by tests/gateway/test_reference.py --regenerate -->\n"
END: Final = "<!-- /tools -->\n"


def parameters(tool: Tool[Any]) -> str:
    """Return a tool's parameters as a list, those that may be left out with a question mark."""
    schema = tool.definition().input_schema
    required = schema.get("required", [])
    return ", ".join(
        f"`{name}{'' if name in required else '?'}`" for name in schema.get("properties", {})
    )


def smallest(tool: Tool[Any]) -> Profile:
    """Return the smallest profile that has the tool."""
    return next(profile for profile in Profile if profile in tool.profiles)


def reference() -> str:
    lines = ["| tool | from | parameters | what it does |", "| --- | --- | --- | --- |"]
    lines += [
        f"| `{tool.name}` | {smallest(tool)} | {parameters(tool)} | {tool.description} |"
        for tool in TOOLS
    ]
    return "\n".join(["", *lines, "", ""])


def test_the_reference_says_what_the_code_does(regenerate: bool) -> None:
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    told, _, after = rest.partition(END)
    if regenerate:
        DOCUMENT.write_text(f"{before}{BEGIN}{reference()}{END}{after}", encoding="utf-8")
        return
    assert told == reference()
