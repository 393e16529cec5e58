"""Looking after a store from a program: examine it, repair it, back it up, mirror it.

Each function runs the coordinator's own command as a process, and returns what that prints as JSON:
these work on the store's files, also where no coordinator can be started any more.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import anyio

from agent_trace_protocol import AgentTraceError, ErrorCode

__all__ = [
    "UpkeepFailed",
    "add_mirror",
    "back_up",
    "doctor",
    "mirrors",
    "push_mirrors",
    "remove_mirror",
    "repair",
    "restore_backup",
]

_Json = dict[str, Any]


class UpkeepFailed(AgentTraceError):
    """The command could not do it; the message is its own."""

    code = ErrorCode.CORRUPT


async def doctor(store: Path) -> _Json:
    """Examine a store and change nothing; `healthy` says whether all is well, `findings` what is
    not. Raises `UpkeepFailed`."""
    return cast("_Json", await _run("doctor", "--store", str(store)))


async def repair(store: Path, *, dry_run: bool = False) -> _Json:
    """Put a store right that nobody serves; `losses` name what was found nowhere.

    Raises:
        UpkeepFailed: a coordinator has the store, or it could not be done; it can be run again.
    """
    how = "--dry-run" if dry_run else "--yes"
    return cast("_Json", await _run("repair", how, "--store", str(store)))


async def back_up(store: Path, file: Path) -> _Json:
    """Write a store, served or not, to one new file; raises `UpkeepFailed`."""
    return cast("_Json", await _run("backup", str(file), "--store", str(store)))


async def restore_backup(file: Path, directory: Path) -> _Json:
    """Make a store in a new directory from a backup; raises `UpkeepFailed`."""
    return cast("_Json", await _run("restore-backup", str(file), str(directory)))


async def add_mirror(store: Path, url: str) -> list[_Json]:
    """Push the history to `url` from now on; return all mirrors. Raises `UpkeepFailed`."""
    return await _mirror("add", "--store", str(store), "--", url)


async def remove_mirror(store: Path, url: str) -> list[_Json]:
    """Push to `url` no more; return the mirrors that are left. Raises `UpkeepFailed`."""
    return await _mirror("remove", "--store", str(store), "--", url)


async def mirrors(store: Path) -> list[_Json]:
    """Return the mirrors and how far each has come; raises `UpkeepFailed`."""
    return await _mirror("ls", "--store", str(store))


async def push_mirrors(store: Path) -> list[_Json]:
    """Push to all mirrors now; a `failure` says which could not be. Raises `UpkeepFailed`."""
    return await _mirror("push", "--store", str(store))


async def _mirror(*arguments: str) -> list[_Json]:
    return cast("list[_Json]", await _run("mirror", *arguments))


async def _run(command: str, *arguments: str) -> object:
    """Run a command of the coordinator's; return its JSON, or raise its error."""
    # `--json` goes before anything that may look like an option.
    subcommand = [arguments[0]] if command == "mirror" else []
    rest = arguments[len(subcommand) :]
    whole = [
        *(sys.executable, "-P", "-m", "agent_trace_coordinator"),
        *(command, *subcommand, "--json", *rest),
    ]
    done = await anyio.run_process(whole, stdin=subprocess.DEVNULL, check=False)
    try:
        value: object = json.loads(done.stdout)
    except ValueError:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise UpkeepFailed(
            said[-1] if said else f"{command} ended with {done.returncode}"
        ) from None
    if isinstance(value, dict):
        error = cast("_Json", value).get("error")
        if error is not None:
            raise UpkeepFailed(str(error))
        return cast("_Json", value)
    return value
