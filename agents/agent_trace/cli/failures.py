"""The one table from exceptions to what a person reads: message, hint and exit code.

Exit codes: 0 done, 1 refused or failed, 2 the command was used wrongly, 130 interrupted.
"""

from __future__ import annotations

import errno
import re
import shlex
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import click
import msgspec

from agent_trace.errors import (
    ConnectionLost,
    CoordinatorFailed,
    CoordinatorNotRunning,
    CoordinatorStopped,
    SocketsDenied,
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
    LeaseError,
    LeaseRefusal,
    NoMatch,
    NotFound,
    PermissionDenied,
    ReadOnlyStore,
    SessionError,
    StaleLease,
    TooLarge,
    TooMany,
    UnsupportedVersion,
)

from .output import as_builtins, shown

__all__ = [
    "EXIT_FAILED",
    "EXIT_INTERRUPTED",
    "EXIT_USAGE",
    "Failure",
    "describe",
    "describe_group",
    "hinting",
    "report",
]

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130

_HINTS: Final[tuple[tuple[type[AgentTraceError], str], ...]] = (
    # More particular classes come first.
    (StoreNotFound, "or name the store with --store DIR"),
    (
        CoordinatorNotRunning,
        "any command starts one, unless --no-start or AGENT_TRACE_NO_START keeps it from that",
    ),
    (
        SocketsDenied,
        "a coordinator that runs outside of the sandbox is reached by files in the store",
    ),
    (CoordinatorStopped, "a person starts it: agent-trace serve"),
    (CoordinatorFailed, "its log is .agent-trace/run/coordinator.log in the store"),
    (ConnectionLost, "agent-trace log shows what was done before"),
    (NoMatch, "quote the text exactly, with enough around it to be unique"),
    (
        PermissionDenied,
        "a person does it or grants it; as an agent, ask for that",
    ),
    (InvalidPath, "name documents by their path from the store's root, such as notes/plan.md"),
    (TooLarge, "split the document"),
    (
        AgentBusy,
        "end the other session, act under another --agent, or: agent-trace connect --takeover",
    ),
    (TooMany, "see what there is with: agent-trace lease ls"),
    (StaleLease, "see who holds what with: agent-trace lease ls"),
    (SessionError, "start a new session with: agent-trace connect"),
    (UnsupportedVersion, "stop the coordinator with the version that started it, or upgrade"),
    (ReadOnlyStore, "free space on the disk; writes return by themselves"),
    (Busy, "try again shortly"),
    (
        CorruptStore,
        "see what is wrong with: agent-trace doctor; put it right with: agent-trace repair",
    ),
)


_LISTINGS: Final = (
    ("no violation", "list those that wait with: agent-trace violations"),
    ("no draft", "list those that wait with: agent-trace drafts"),
    ("session", "list them with: agent-trace sessions"),
    ("not unlocked", "see what is unlocked with: agent-trace permissions"),
    ("no revision", "see which there are with: agent-trace log PATH"),
    ("has revisions", "see them with: agent-trace log PATH"),
    ("has no line", "see its lines with: agent-trace blame PATH"),
    ("not yet at", "see the last operations with: agent-trace log"),
)
"""Where to look for what was not found, by words of the message."""

_NAMES_REVISION: Final = re.compile(r"no document .+@[0-9]+(,|$)")

_LISTING: Final = "list what there is with: agent-trace ls"


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, for a person or a program."""

    code: str
    message: str
    hint: str
    exit_code: int
    conflict: ConflictInfo | None = None
    lease: LeaseRefusal | None = None
    violation: str = ""
    """The id under which a refused write is on record."""


@contextmanager
def hinting(kind: type[AgentTraceError], hint: str) -> Generator[None, None, None]:
    """Give errors of a kind that are raised in the block this hint, instead of the table's."""
    try:
        yield
    except kind as error:
        error.add_note(hint)
        raise


def describe(error: Exception, typed: Callable[[str], str] = shlex.quote) -> Failure | None:
    """Return what to say about an error; None for one that nobody foresaw.

    `typed` returns a document's path as a person types it.
    """
    if isinstance(error, AgentTraceError):
        info = error.info if isinstance(error, Conflict) else None
        lease = error.info if isinstance(error, LeaseError) else None
        hint = _hint(error, typed)
        return Failure(
            error.code.value, error.message, hint, EXIT_FAILED, info, lease, error.violation
        )
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


def describe_group(error: click.UsageError) -> Failure:
    """Return what to say when a group of commands was called without one of them."""
    context = error.ctx
    assert context is not None
    command = context.command
    names = command.list_commands(context) if isinstance(command, click.Group) else []
    path = context.command_path
    message = f"{path} needs a command: {', '.join(names)}"
    return Failure("usage", message, f"see: {path} --help", EXIT_USAGE)


def _hint(error: AgentTraceError, typed: Callable[[str], str]) -> str:
    notes: list[str] = getattr(error, "__notes__", [])
    if notes:
        return notes[0]
    if isinstance(error, StoreNotCreated):
        return error.hint
    if isinstance(error, Conflict):
        return _conflict_hint(error.info, typed)
    if isinstance(error, LeaseError) and error.info is not None:
        return _lease_hint(error.info, typed)
    if isinstance(error, InvalidPath) and "not a regular file" in error.message:
        return "a document is a file of its own: name the file that a link points to, or copy it"
    if type(error) is NotFound and _NAMES_REVISION.search(error.message):
        return "PATH@N, for revision N, is for read, show, diff, blame and restore"
    if type(error) is NotFound:
        return next((text for words, text in _LISTINGS if words in error.message), _LISTING)
    if isinstance(error, PermissionDenied) and error.violation and "--confirm" in error.message:
        return (
            f"a person lets it in: agent-trace violations apply {error.violation} --confirm; as an "
            "agent, ask for that"
        )
    if isinstance(error, PermissionDenied) and "nobody can grant it" in error.message:
        return "the same attempt fails again: go on without it"
    if isinstance(error, PermissionDenied) and error.message.startswith("only a user"):
        return "the same attempt fails again; as an agent, go on without, or ask a person"
    return next((text for kind, text in _HINTS if isinstance(error, kind)), "")


def _conflict_hint(info: ConflictInfo | None, typed: Callable[[str], str]) -> str:
    """Return the step that fits what stands in the way."""
    if info is None:
        return "read the document again, and repeat the change on what it says now"
    path = typed(info.path)
    if info.draft and info.merged:
        return f"the two changes merge; keep both with: agent-trace accept {info.draft}"
    if info.draft and info.current:
        return (
            "the two changes do not merge as they are: repeat yours on what it says now, or see "
            f"both with: agent-trace drafts show {info.draft}"
        )
    if info.draft:
        return f"what you wrote is there: agent-trace drafts show {info.draft}"
    if info.expected and not info.current:
        return (
            f"it was removed or never there (agent-trace log {path}); to make it anew, write it "
            "without --if-revision"
        )
    if not info.current:
        return (
            f"agent-trace add {path} makes the file a document; else choose another path, or move "
            "the file away"
        )
    if not info.expected:
        return f"work with what is there (agent-trace read {path}), or choose another path"
    return f"read it again (agent-trace read {path}), and repeat the change on what it says now"


def _lease_hint(info: LeaseRefusal, typed: Callable[[str], str]) -> str:
    """Return the step that gets a lease, or the text that came too late for one."""
    path = typed(info.path)
    if info.draft:
        return (
            f"read it again (agent-trace read {path}); when it is free, "
            f"agent-trace accept {info.draft} writes your text, which agent-trace drafts show "
            f"{info.draft} shows"
        )
    if info.deadlock:
        return (
            "release what another one waits for, then ask again: agent-trace lease ls shows it, "
            "agent-trace lease release PATH gives it up"
        )
    if info.holder:
        return (
            f"wait for it with: agent-trace lease acquire {path} --wait 5m; a user takes it away "
            f"with: agent-trace lease steal {path}"
        )
    return "see who holds what with: agent-trace lease ls"


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
        if failure.lease is not None:
            told["lease"] = as_builtins(failure.lease)
        if failure.violation:
            told["violation"] = failure.violation
        click.echo(msgspec.json.encode({"error": told}), err=True)
        return
    click.echo(f"error: {shown(failure.message, lines=True)}", err=True)
    if failure.conflict is not None and failure.conflict.diff:
        click.echo(shown(failure.conflict.diff, lines=True).rstrip("\n"), err=True)
    if failure.hint:
        click.echo(f"hint: {failure.hint}", err=True)
