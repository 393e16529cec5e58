"""What every command shares: the global options, paths as people type them, and a session."""

from __future__ import annotations

import os
import shlex
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio
import click
from click.shell_completion import CompletionItem

from agent_trace.client import Agent, connect_with
from agent_trace.config import (
    NO_START_VARIABLE,
    RECONNECT_SECONDS,
    Identity,
    Settings,
    find_identity,
    find_target,
)
from agent_trace.errors import StoreNotFound
from agent_trace.loop import run
from agent_trace_protocol import (
    AgentTraceError,
    InvalidPath,
    InvalidRequest,
    SessionKey,
    SessionKind,
    StaleLease,
)

from .kept import KeptFile, open_kept

__all__ = [
    "Face",
    "durability_option",
    "find_trouble",
    "following_options",
    "global_options",
    "keeping",
    "message_option",
    "pass_face",
    "run_in_session",
    "run_kept",
]

ROOTED: Final = ":/"
"""What a path that is meant from the store's root begins with, wherever one is."""

STATUS_SECONDS_MAX: Final = 2.0
"""How long a command whose work is done waits to be told why git is behind."""

_R = TypeVar("_R")
_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass
class Face:
    """The global options, and what follows from them."""

    store: str | None = None
    agent: str | None = None
    reader: str | None = None
    json: bool = False
    confirm: bool = False
    """Whether a user confirms what this command writes."""
    json_given: bool = False
    """Whether `--json` stands anywhere: for what is said before the options were parsed."""
    one_shot: bool = True
    """Whether the session of `run` ends with the command; known when its work begins."""
    _below: str | None = None
    """The current directory in the store, `.` at its root or outside; None until it is needed."""

    def identity(self) -> Identity:
        """Return who acts."""
        try:
            return find_identity(self.agent, reader=self.reader)
        except InvalidRequest as error:
            raise click.UsageError(error.message) from error

    def root(self) -> Path:
        """Return the store's root.

        Raises:
            StoreNotFound: there is none.
        """
        root, endpoint = find_target(self.store)
        if root is None:
            raise InvalidRequest(f"{endpoint} is an address; this needs the store's directory")
        return root

    def document_path(self, argument: str) -> str:
        """Return the store path that a person means.

        Inside the store, paths are relative to the current directory, as with git; outside of it,
        to the store's root; behind `:/`, also as with git, always to the root. Of a store that is
        known by its coordinator's address only, paths are those of the store.

        Raises:
            InvalidPath: it lies outside of the store.
        """
        path = self.attempted_path(argument)
        root, _ = find_target(self.store)
        if root is not None and (path == os.pardir or path.startswith(f"{os.pardir}/")):
            raise InvalidPath(f"{argument!r} is outside of the store {root}")
        return path

    def attempted_path(self, argument: str) -> str:
        """Return the store path that a person wants to write, in the way of `document_path`.

        One outside of the store is returned too: the coordinator refuses the write, and so it is on
        record.
        """
        root, _ = find_target(self.store)
        from_root = argument.startswith(ROOTED)
        if root is None:
            return argument.removeprefix(ROOTED)
        here = Path.cwd().resolve()
        base = here if here.is_relative_to(root) else root
        # Only `..` is resolved here: a symbolic link must be seen, and refused, as one.
        if from_root:
            full = os.path.normpath(f"{root}/{argument.removeprefix(ROOTED)}")
        else:
            full = os.path.normpath(os.path.join(base, os.path.expanduser(argument)))
        relative = os.path.relpath(full, root)
        if relative == os.curdir:
            raise InvalidPath(f"{argument!r} is the store itself, not a document")
        return Path(relative).as_posix()

    def typed_path(self, path: str) -> str:
        """Return a store path as a person types it in a shell."""
        return shlex.quote(self.path_here(path))

    def path_here(self, path: str) -> str:
        """Return a store path, or a glob, as it is called where the command runs: what
        `document_path` takes. Every text for people has these; JSON has the store's own."""
        if self._below is None:
            try:
                root, _ = find_target(self.store)
                here = Path.cwd().resolve()
            except (StoreNotFound, OSError):
                return path
            inside = root is not None and here.is_relative_to(root)
            self._below = here.relative_to(root).as_posix() if root is not None and inside else "."
        # A refused write may have named what is no path of the store.
        if self._below == "." or not path or path.startswith("/") or ".." in path.split("/"):
            return path
        return os.path.relpath(path, self._below)

    def settings(
        self,
        *,
        identity: Identity | None = None,
        autostart: bool = True,
        ephemeral: bool = True,
        patient: bool = True,
    ) -> Settings:
        """Return what the session of one command is made from.

        `patient` is whether it waits for a coordinator that it has lost to come back.
        """
        root, endpoint = find_target(self.store)
        may_start = os.environ.get(NO_START_VARIABLE, "") in ("", "0")
        return Settings(
            identity=identity or self.identity(),
            root=root,
            endpoint=endpoint,
            confirm=self.confirm,
            kind=SessionKind.CLI,
            program="agent-trace",
            ephemeral=ephemeral,
            autostart=autostart and may_start,
            reconnect_seconds=RECONNECT_SECONDS if patient else 0.0,
        )

    def run(
        self,
        work: Callable[[Agent], Awaitable[_R]],
        *,
        identity: Identity | None = None,
        autostart: bool = True,
        patient: bool = True,
    ) -> _R:
        """Run `work` in the kept session of whoever acts, or in one that ends with the command."""
        settings = self.settings(identity=identity, autostart=autostart, patient=patient)
        if settings.root is None:
            return run_in_session(settings, work)
        with open_kept(settings.root, settings.identity) as kept:
            key = kept.key if kept is not None else None
            if kept is None or key is None:
                return run_in_session(settings, work)
            self.one_shot = False
            return run_kept(kept, keeping(settings, key), work)


def keeping(
    settings: Settings, key: SessionKey, *, takeover: bool = False, keep: bool = True
) -> Settings:
    """Return the settings for the session of `key`, which outlives the command if `keep` is set."""
    return replace(settings, key=key, keep=keep, ephemeral=False, takeover=takeover)


def run_kept(kept: KeptFile, settings: Settings, work: Callable[[Agent], Awaitable[_R]]) -> _R:
    """Run `work` in the session of a kept key; its writes carry the leases of earlier commands."""

    async def main(agent: Agent) -> _R:
        agent.hold_to(kept.leases)
        try:
            return await work(agent)
        except StaleLease:
            # It was told, and its text is kept; what is written from here on is written knowingly.
            agent.hold_to({})
            raise
        finally:
            kept.hold_to(agent.held)

    return run_in_session(settings, main)


def run_in_session(settings: Settings, work: Callable[[Agent], Awaitable[_R]]) -> _R:
    """Run `work` in the session that `settings` describe."""

    async def main() -> _R:
        async with connect_with(settings) as agent:
            return await work(agent)

    return run(main)


async def find_trouble(agent: Agent) -> str:
    """Return why git is behind, if the coordinator says so in time; else nothing.

    Never raises: what it explains is done.
    """
    with anyio.move_on_after(STATUS_SECONDS_MAX):
        try:
            return (await agent.status()).trouble
        except AgentTraceError:
            # The explanation is a courtesy; its loss must not look like the loss of the write.
            return ""
    return ""


def _take(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Keep a global option wherever it stands; the one nearest to the end counts."""
    face = context.find_root().ensure_object(Face)
    if value == "" and parameter.name in ("agent", "reader"):
        # A script's unset variable must not make its agent the user.
        raise click.UsageError(
            f"--{parameter.name} is empty; name the {parameter.name}, or leave the option out"
        )
    if value:
        setattr(face, str(parameter.name), value)


def _names(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    from .completing import AGENT, AUTHOR  # noqa: PLC0415 - it needs what is here

    kind = AUTHOR if parameter.name == "author" else AGENT
    return kind.shell_complete(context, parameter, incomplete)


_JSON: Final = click.option(
    "--json", is_flag=True, expose_value=False, callback=_take, help="Print JSON."
)
_AGENT: Final = click.option(
    "--agent",
    metavar="NAME",
    shell_complete=_names,
    expose_value=False,
    callback=_take,
    help="Act as this agent (else AGENT_TRACE_AGENT, else you as the user).",
)
_READER: Final = click.option(
    "--reader",
    metavar="NAME",
    expose_value=False,
    callback=_take,
    help="Act as this reader, who changes nothing.",
)
_STORE: Final = click.option(
    "--store",
    metavar="DIR",
    expose_value=False,
    callback=_take,
    help="A directory in the store (else AGENT_TRACE_STORE, else the current one).",
)


def global_options(command: _F) -> _F:
    """Add the options that may stand before and after the command's name."""
    return _JSON(_AGENT(_READER(_STORE(command))))


def following_options(command: _F) -> _F:
    """Add the same to a command that shows what others do: there, `--agent` says whose doings."""
    whose = click.option(
        "--agent",
        "whose",
        metavar="NAME",
        shell_complete=_names,
        default="",
        help="Only what this agent did. To act as an agent, put --agent before the command.",
    )
    author = click.option(
        "--author", default="", shell_complete=_names, help="Only what this agent or user did."
    )
    return whose(author(_JSON(_READER(_STORE(command)))))


pass_face = click.make_pass_decorator(Face, ensure=True)

durability_option = click.option(
    "--durability",
    type=click.Choice(["journal", "git"]),
    default="git",
    show_default=True,
    help="How far the write has got when the command returns; both survive a power cut.",
)


def message_option(command: _F) -> _F:
    """Add what goes on record with every write: why, and whether a user confirms it."""
    confirm = click.option(
        "--confirm",
        is_flag=True,
        expose_value=False,
        callback=_take,
        help="Override what only needs a user's confirmation, on record.",
    )
    why = click.option("-m", "--message", default="", help="One line about why.")
    return why(confirm(command))
