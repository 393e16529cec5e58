"""Looking after a store from a program: examine it, repair it, back it up, mirror it.

Each function runs the coordinator's own command as a process, and returns what that prints as JSON:
these work on the store's files, also where no coordinator can be started any more.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TypeVar

import anyio
import msgspec

from agent_trace_protocol import AgentTraceError, ErrorCode
from agent_trace_protocol.upkeep import BackupReport, Examination, MirrorState, Outcome

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

_Answer = TypeVar("_Answer")


class UpkeepFailed(AgentTraceError):
    """The command could not do it; the message is its own, a note says what helps."""

    code = ErrorCode.CORRUPT


async def doctor(store: Path) -> Examination:
    """Examine a store and change nothing; `healthy` says whether all is well, `findings` what is
    not. Raises `UpkeepFailed`."""
    return await _run(Examination, "doctor", "--store", str(store))


async def repair(store: Path, *, dry_run: bool = False) -> Outcome:
    """Put a store right that nobody serves; `losses` name what was found nowhere.

    Raises:
        UpkeepFailed: a coordinator has the store, or it could not be done; it can be run again.
    """
    how = "--dry-run" if dry_run else "--yes"
    return await _run(Outcome, "repair", how, "--store", str(store))


async def back_up(store: Path, file: Path) -> BackupReport:
    """Write a store, served or not, to one new file; raises `UpkeepFailed`."""
    return await _run(BackupReport, "backup", "--store", str(store), "--", str(file))


async def restore_backup(file: Path, directory: Path) -> BackupReport:
    """Make a store in a new directory from a backup; raises `UpkeepFailed`."""
    return await _run(BackupReport, "restore-backup", "--", str(file), str(directory))


async def add_mirror(store: Path, url: str) -> list[MirrorState]:
    """Push the history to `url` from now on; return all mirrors. Raises `UpkeepFailed`."""
    return await _run(list[MirrorState], "mirror", "add", "--store", str(store), "--", url)


async def remove_mirror(store: Path, url: str) -> list[MirrorState]:
    """Push to `url` no more; return the mirrors that are left. Raises `UpkeepFailed`."""
    return await _run(list[MirrorState], "mirror", "remove", "--store", str(store), "--", url)


async def mirrors(store: Path) -> list[MirrorState]:
    """Return the mirrors and how far each has come; raises `UpkeepFailed`."""
    return await _run(list[MirrorState], "mirror", "ls", "--store", str(store))


async def push_mirrors(store: Path) -> list[MirrorState]:
    """Push to all mirrors now; a `failure` says which could not be. Raises `UpkeepFailed`."""
    return await _run(list[MirrorState], "mirror", "push", "--store", str(store))


class _Error(msgspec.Struct):
    message: str
    hint: str = ""


class _Refusal(msgspec.Struct):
    error: _Error


async def _run(answer: type[_Answer], *arguments: str) -> _Answer:
    """Run a command of the coordinator's; return what its JSON says, or raise its error."""
    # Before anything that may look like an option.
    words = list(arguments)
    words.insert(words.index("--") if "--" in words else len(words), "--json")
    command = [sys.executable, "-P", "-m", "agent_trace_coordinator", *words]
    done = await anyio.run_process(command, stdin=subprocess.DEVNULL, check=False)
    try:
        return msgspec.json.decode(done.stdout, type=answer)
    except msgspec.MsgspecError:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    last = said[-1] if said else f"{words[0]} ended with {done.returncode}"
    try:
        told = msgspec.json.decode(last, type=_Refusal).error
    except msgspec.MsgspecError:
        raise UpkeepFailed(last) from None
    failure = UpkeepFailed(told.message)
    if told.hint:
        failure.add_note(told.hint)
    raise failure
