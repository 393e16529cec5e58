"""What every command shares: the global options, paths as people type them, and a session."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import anyio
import click

from agent_trace.client import Agent, connect_with
from agent_trace.config import Identity, Settings, find_identity, find_target
from agent_trace_protocol import InvalidPath, InvalidRequest, SessionKey, SessionKind

from .kept import open_kept

__all__ = [
    "Face",
    "durability_option",
    "global_options",
    "keeping",
    "message_option",
    "pass_face",
    "run_in_session",
]

_R = TypeVar("_R")
_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass
class Face:
    """The global options, and what follows from them."""

    store: str | None = None
    agent: str | None = None
    json: bool = False

    def identity(self) -> Identity:
        """Return who acts."""
        return find_identity(self.agent)

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
        to the store's root. Of a store that is known by its coordinator's address only, paths
        are those of the store.

        Raises:
            InvalidPath: it lies outside of the store.
        """
        root, _ = find_target(self.store)
        if root is None:
            return argument
        here = Path.cwd().resolve()
        base = here if here.is_relative_to(root) else root
        # Only `..` is resolved here: a symbolic link must be seen, and refused, as one.
        full = os.path.normpath(os.path.join(base, os.path.expanduser(argument)))
        relative = os.path.relpath(full, root)
        if relative == os.pardir or relative.startswith(os.pardir + os.sep):
            raise InvalidPath(f"{argument!r} is outside of the store {root}")
        if relative == os.curdir:
            raise InvalidPath(f"{argument!r} is the store itself, not a document")
        return Path(relative).as_posix()

    def settings(
        self, *, identity: Identity | None = None, autostart: bool = True, ephemeral: bool = True
    ) -> Settings:
        """Return what the session of one command is made from."""
        root, endpoint = find_target(self.store)
        return Settings(
            identity=identity or self.identity(),
            root=root,
            endpoint=endpoint,
            kind=SessionKind.CLI,
            program="agent-trace",
            ephemeral=ephemeral,
            autostart=autostart,
        )

    def run(
        self,
        work: Callable[[Agent], Awaitable[_R]],
        *,
        identity: Identity | None = None,
        autostart: bool = True,
    ) -> _R:
        """Run `work` in the kept session of whoever acts, or in one that ends with the command."""
        settings = self.settings(identity=identity, autostart=autostart)
        if settings.root is None:
            return run_in_session(settings, work)
        with open_kept(settings.root, settings.identity) as kept:
            key = kept.key if kept is not None else None
            if key is not None:
                settings = keeping(settings, key)
            return run_in_session(settings, work)


def keeping(
    settings: Settings, key: SessionKey, *, takeover: bool = False, keep: bool = True
) -> Settings:
    """Return the settings for the session of `key`, which outlives the command if `keep` is set."""
    return replace(settings, key=key, keep=keep, ephemeral=False, takeover=takeover)


def run_in_session(settings: Settings, work: Callable[[Agent], Awaitable[_R]]) -> _R:
    """Run `work` in the session that `settings` describe."""

    async def main() -> _R:
        async with connect_with(settings) as agent:
            return await work(agent)

    return anyio.run(main)


def _take(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Keep a global option wherever it stands; the one nearest to the end counts."""
    face = context.find_root().ensure_object(Face)
    if value:
        setattr(face, str(parameter.name), value)


def global_options(command: _F) -> _F:
    """Add the options that may stand before and after the command's name."""
    for option in (
        click.option(
            "--json", is_flag=True, expose_value=False, callback=_take, help="Print JSON."
        ),
        click.option(
            "--agent",
            metavar="NAME",
            expose_value=False,
            callback=_take,
            help="Act as this agent (else AGENT_TRACE_AGENT, else you as the user).",
        ),
        click.option(
            "--store",
            metavar="DIR",
            expose_value=False,
            callback=_take,
            help="A directory in the store (else AGENT_TRACE_STORE, else the current one).",
        ),
    ):
        command = option(command)
    return command


pass_face = click.make_pass_decorator(Face, ensure=True)

durability_option = click.option(
    "--durability",
    type=click.Choice(["journal", "git"]),
    default="git",
    show_default=True,
    help="How far the write has got when the command returns; both survive a power cut.",
)

message_option = click.option("-m", "--message", default="", help="One line about why.")
