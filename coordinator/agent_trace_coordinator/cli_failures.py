"""What the coordinator's own commands say when something went wrong, and what helps."""

from __future__ import annotations

import errno
from typing import Final

import click
import msgspec

from agent_trace_protocol import AgentTraceError

from .errors import AlreadyRunning, BackupInvalid, CorruptStore, GitFailed, StoreNested

__all__ = ["explain", "printable", "say"]

_HINTS: Final[tuple[tuple[type[AgentTraceError], str], ...]] = (
    # More particular classes come first.
    (AlreadyRunning, "there is nothing to do; to be the coordinator here: agent-trace stop, first"),
    (
        StoreNested,
        "leave init out and use that one, or allow a store in a store: agent-trace init --nested",
    ),
    (BackupInvalid, "nothing was put in place; take another backup"),
    (
        CorruptStore,
        "see what is wrong with: agent-trace doctor; put it right with: agent-trace repair",
    ),
    (
        GitFailed,
        "see that git works there; if .agent-trace/repo is damaged, agent-trace repair makes the "
        "history again from the journal",
    ),
)

_REASONS: Final = {
    errno.EACCES: "choose a directory that you can write to",
    errno.EPERM: "choose a directory that you can write to",
    errno.EROFS: "choose a directory on a file system that can be written",
    errno.ENOSPC: "free space on the disk",
    errno.EDQUOT: "free space on the disk",
    errno.ENOENT: "no directory can be made there; choose another path",
    errno.ENOTDIR: "a file is in the way; choose another path",
}
"""What helps against an error of the file system."""


def explain(error: AgentTraceError | OSError) -> tuple[str, str]:
    """Return what is wrong and what helps; the latter may be empty."""
    hint = next((text for kind, text in _HINTS if isinstance(error, kind)), "")
    cause = error if isinstance(error, OSError) else error.__cause__
    if not hint and isinstance(cause, OSError):
        hint = _REASONS.get(cause.errno or 0, "")
    if isinstance(error, OSError):
        return f"{error.filename or 'the store'}: {error.strerror or error}", hint
    return error.message, hint


def say(
    error: AgentTraceError | OSError, message: str, hint: str = "", *, as_json: bool = False
) -> None:
    """Say on standard error what went wrong, in the shape that all commands have for it."""
    if as_json:
        if isinstance(error, OSError):
            code = errno.errorcode.get(error.errno or 0, "os_error").lower()
        else:
            code = error.code.value
        told = {"code": code, "message": message, "hint": hint}
        click.echo(msgspec.json.encode({"error": told}), err=True)
        return
    click.echo(f"error: {printable(message)}", err=True)
    if hint:
        click.echo(f"hint: {hint}", err=True)


def printable(text: str) -> str:
    """Return text that a terminal only displays: paths may hold anything."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
