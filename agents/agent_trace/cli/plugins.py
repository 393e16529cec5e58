"""Commands that other packages bring, by the entry-point group `agent_trace.commands`.

An entry point names a list of click commands. They are loaded only when a command is asked for
that is not built in, or when all commands are listed: looking for them costs more than running
most commands. What cannot be loaded is left out, since a broken plugin must not cost the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final, cast

import click

__all__ = ["load_commands"]

_GROUP: Final = "agent_trace.commands"
_log = logging.getLogger("agent_trace.cli.plugins")


def load_commands() -> dict[str, click.Command]:
    """Return the commands of all installed plugins by name."""
    from importlib.metadata import entry_points  # noqa: PLC0415 - slow, and rarely needed

    commands: dict[str, click.Command] = {}
    for entry_point in entry_points(group=_GROUP):
        try:
            loaded: object = entry_point.load()
        except (ImportError, AttributeError) as error:
            _log.warning("the commands of %s can not be loaded: %s", entry_point.value, error)
            continue
        if isinstance(loaded, list | tuple):
            for command in cast("Iterable[object]", loaded):
                if isinstance(command, click.Command) and command.name:
                    commands.setdefault(command.name, command)
    return commands
