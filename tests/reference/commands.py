"""The page of the command line, made from the commands themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Final

import click

from agent_trace.cli.main import cli
from agent_trace.cli.sections import sections_of

__all__ = ["VARIABLES", "command_page"]

WIDTH: Final = 100
"""Columns of a usage line."""

VARIABLES: Final = {
    "AGENT_TRACE_AGENT": "The agent that acts, where `--agent` does not name one.",
    "AGENT_TRACE_GENERATED": "0 keeps a coordinator from writing documents of its own.",
    "AGENT_TRACE_MCP_TOKEN": "The token of `mcp --http`, where `--token-file` does not name one.",
    "AGENT_TRACE_NO_START": "Keeps commands from starting a coordinator, unless empty or 0.",
    "AGENT_TRACE_STORE": "The store, where `--store` does not name one.",
    "AGENT_TRACE_WEB_TOKEN": "The token of `web`, where `--token-file` does not name one.",
}
"""The environment variables of the program, by name."""

HEAD: Final = """\
# The command line

`agent-trace COMMAND`, from anywhere in a store. This page is made from the program by
`make reference`; `agent-trace COMMAND --help` says the same.

With every command, before or after its name:

"""

REST: Final = """
Exit codes: 0 done; 1 refused or failed; 2 used wrongly; 130 interrupted; `serve` has 3, another
coordinator serves this store, and 74, the journal could not be synced. Results go to standard
output, everything else to standard error; an error says the next step, and is one JSON object with
`--json`.

| variable | what it does |
| --- | --- |
"""


def command_page() -> str:
    """Return docs/reference-cli.md."""
    context = _context(cli, "agent-trace", None)
    shared = {_record(each, context) for each in cli.params}
    variables = "".join(f"| `{name}` | {text} |\n" for name, text in VARIABLES.items())
    parts = [HEAD + _table("option", [_record(each, context) for each in cli.params])]
    parts.append(REST.strip("\n") + "\n" + variables)
    commands = {
        name: command
        for name in cli.list_commands(context)
        if (command := cli.get_command(context, name)) is not None and not command.hidden
    }
    for title, names in sections_of(commands):
        parts.append(f"## {title}\n")
        for name in names:
            parts += _described(commands[name], _context(commands[name], name, context), 3, shared)
    return "\n".join(parts)


def _context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    return click.Context(
        command, info_name=name, parent=parent, terminal_width=WIDTH, max_content_width=WIDTH
    )


def _described(
    command: click.Command, context: click.Context, level: int, shared: set[tuple[str, str]]
) -> Iterator[str]:
    """Yield the parts of a command's entry, and of those below it."""
    usage = "\n".join(
        line.removeprefix("Usage: ").rstrip() for line in command.get_usage(context).splitlines()
    )
    yield f"{'#' * level} {context.command_path}\n"
    yield f"```\n{inspect.cleandoc(usage)}\n```\n"
    yield _prose(command.help or "")
    own = [record for each in command.params if (record := _record(each, context)) not in shared]
    own = [record for record in own if record[1] or record[0].startswith("-")]
    if own:
        yield _table("option", own)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                yield from _described(below, _context(below, name, context), level + 1, shared)


def _record(parameter: click.Parameter, context: click.Context) -> tuple[str, str]:
    """Return how an option is written, and its help; neither for an argument."""
    return parameter.get_help_record(context) or ("", "")


def _table(what: str, records: list[tuple[str, str]]) -> str:
    rows = "".join(f"| `{_cell(name)}` | {_text(text)} |\n" for name, text in records)
    return f"| {what} | what it does |\n| --- | --- |\n{rows}"


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def _text(text: str) -> str:
    """Return what stands outside of code, where Markdown would see marks in it."""
    return re.sub(r"([<*])", r"\\\1", _cell(text))


def _prose(text: str) -> str:
    """Return a command's help as Markdown: paragraphs, and what is kept line by line as it is."""
    paragraphs: list[str] = []
    for each in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        if each.startswith("\b\n"):
            paragraphs.append("```\n" + each.removeprefix("\b\n") + "\n```\n")
        else:
            paragraphs.append(_text(each).replace("\\|", "|") + "\n")
    return "\n".join(paragraphs)
