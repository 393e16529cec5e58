"""The one table from exceptions to what a person reads: message, hint and exit code.

Exit codes: 0 done, 1 refused or failed, 2 the command was used wrongly, 130 interrupted.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Final

import click
import msgspec

from agent_trace.errors import (
    ConnectionLost,
    CoordinatorFailed,
    StoreNotCreated,
    StoreNotFound,
)
from agent_trace_protocol import (
    AgentBusy,
    AgentTraceError,
    Busy,
    Conflict,
    ConflictInfo,
    CorruptStore,
    InvalidPath,
    NoMatch,
    NotFound,
    PermissionDenied,
    ReadOnlyStore,
    SessionError,
    TooLarge,
    UnsupportedVersion,
)

from .output import as_builtins, shown

__all__ = ["EXIT_FAILED", "EXIT_INTERRUPTED", "EXIT_USAGE", "Failure", "describe", "report"]

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130

_HINTS: Final[tuple[tuple[type[AgentTraceError], str], ...]] = (
    # More particular classes come first.
    (StoreNotFound, "or name the store with --store DIR"),
    (
        StoreNotCreated,
        "choose a directory that you can write to; --nested allows a store in another one",
    ),
    (CoordinatorFailed, "its log is .agent-trace/run/coordinator.log in the store"),
    (ConnectionLost, "agent-trace log shows what was done before"),
    (Conflict, "read the document again and repeat the change on what it says now"),
    (NoMatch, "quote the text exactly, with enough around it to be unique"),
    (NotFound, "list what there is with: agent-trace ls"),
    (PermissionDenied, "act as a user, without --agent, or ask one to do it"),
    (InvalidPath, "name documents by their path from the store's root, such as notes/plan.md"),
    (TooLarge, "split the document"),
    (
        AgentBusy,
        "end the other session, act under another --agent, or: agent-trace connect --takeover",
    ),
    (SessionError, "start a new session with: agent-trace connect"),
    (UnsupportedVersion, "stop the coordinator with the version that started it, or upgrade"),
    (ReadOnlyStore, "free space on the disk; writes return by themselves"),
    (Busy, "try again shortly"),
    (CorruptStore, "make a copy of the store before anything else"),
)


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, for a person or a program."""

    code: str
    message: str
    hint: str
    exit_code: int
    conflict: ConflictInfo | None = None


def describe(error: Exception) -> Failure | None:
    """Return what to say about an error; None for one that nobody foresaw."""
    if isinstance(error, AgentTraceError):
        hint = next((text for kind, text in _HINTS if isinstance(error, kind)), "")
        info = error.info if isinstance(error, Conflict) else None
        if info is not None and info.draft and info.merged:
            hint = f"keep both changes with: agent-trace accept {info.draft}"
        return Failure(error.code.value, error.message, hint, EXIT_FAILED, info)
    if isinstance(error, click.UsageError):
        context = error.ctx
        path = context.command_path if context is not None else "agent-trace"
        return Failure("usage", error.format_message(), f"see: {path} --help", EXIT_USAGE)
    if isinstance(error, click.ClickException):
        return Failure("failed", error.format_message(), "", error.exit_code)
    if isinstance(error, OSError):
        name = f": {error.filename}" if error.filename else ""
        reason = error.strerror or str(error)
        code = errno.errorcode.get(error.errno or 0, "os_error").lower()
        return Failure(code, f"{reason}{name}", "", EXIT_FAILED)
    return None


def report(failure: Failure, *, as_json: bool) -> None:
    """Say what went wrong on stderr."""
    if as_json:
        told: dict[str, object] = {
            "code": failure.code,
            "message": failure.message,
            "hint": failure.hint,
        }
        if failure.conflict is not None:
            told["conflict"] = as_builtins(failure.conflict)
        click.echo(msgspec.json.encode({"error": told}), err=True)
        return
    click.echo(f"error: {shown(failure.message, lines=True)}", err=True)
    if failure.conflict is not None and failure.conflict.diff:
        click.echo(shown(failure.conflict.diff, lines=True).rstrip("\n"), err=True)
    if failure.hint:
        click.echo(f"hint: {failure.hint}", err=True)
