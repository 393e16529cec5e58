"""The asynchronous client: `connect` and `Agent`, one method per thing one can ask for.

No method has a timeout: wrap the call in `anyio.fail_after` or `anyio.move_on_after`. The deadline
travels with the request. A cancelled write is either not carried out, or carried out as a whole;
which of the two, `log` and `read` tell.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio

from agent_trace_protocol import (
    Actor,
    Done,
    LeaseInfo,
    Open,
    Ping,
    SessionKey,
    SessionKind,
    Stop,
)
from agent_trace_protocol.limits import SESSION_KEY_BYTES, TEXT_FIELD_LENGTH_MAX

from .calls.drafts import Drafting
from .calls.following import Following
from .calls.history import History
from .calls.leasing import Leasing
from .calls.overview import Overview
from .calls.reading import Reading
from .calls.resuming import Resuming
from .calls.rights import Rights
from .calls.scanning import Scanning
from .calls.search import Searching
from .calls.trace import Trace
from .config import Settings, find_identity, find_target
from .connector import SpoolConnector, connector_of
from .session import Session
from .transport.base import Connector

__all__ = ["Agent", "connect", "connect_with", "new_key"]


class Agent(
    Scanning,
    Drafting,
    History,
    Leasing,
    Reading,
    Resuming,
    Rights,
    Overview,
    Following,
    Searching,
    Trace,
):
    """A connected agent or user. Made by `connect`; may be used by many tasks at once."""

    @property
    def name(self) -> str:
        """The agent's or user's name."""
        return self._identity.name

    @property
    def session_id(self) -> str:
        """The public id of this session."""
        return self._session.opened.session

    @property
    def connected(self) -> bool:
        """Whether the coordinator is there just now; a lost one is waited for."""
        return self._session.connected

    @property
    def predecessor(self) -> str:
        """The id of the session of the same agent that this one follows, or empty."""
        return self._session.opened.predecessor

    @property
    def inherited(self) -> tuple[LeaseInfo, ...]:
        """The leases that this session held when it was opened: its predecessor's, with new
        tokens, or its own if it came back. Release those that are not needed."""
        return self._session.opened.leases

    @property
    def document_bytes_max(self) -> int:
        """Bytes that a document of this store may have."""
        return self._session.opened.document_bytes_max

    async def ping(self) -> None:
        """Return when the coordinator has answered."""
        await self._ask(Ping(), Done)

    async def wait_ended(self) -> None:
        """Wait until this session can go on no more, and raise why: it was evicted, superseded, or
        its coordinator did not come back."""
        raise await self._session.wait_end()

    def stop_renewing(self) -> None:
        """Give no more signs of life by itself, because what the agent runs in is gone.

        The session and its leases end when their time is over, unless requests renew them.
        """
        self._session.stop_renewing()

    async def stop(self) -> None:
        """Ask the coordinator to finish its work and leave; the session ends with it.

        Raises:
            PermissionDenied: only a user may.
        """
        await self._ask(Stop(), Done)
        self._session.abandon()


@asynccontextmanager
async def connect(
    store: str | os.PathLike[str] | None = None,
    *,
    agent: str | None = None,
    user: str | None = None,
    reader: str | None = None,
    kind: SessionKind = SessionKind.LIBRARY,
    program: str = "",
    model: str = "",
    ephemeral: bool = False,
    takeover: bool = False,
    autostart: bool = True,
) -> AsyncGenerator[Agent, None]:
    """Open a session on a store, and close it at the end of the block.

    Args:
        store: a directory in the store, or a coordinator's address; `AGENT_TRACE_STORE`, else the
            current directory if not given.
        agent: the agent's name; `AGENT_TRACE_AGENT` if neither it nor `user` is given.
        user: the user's name; the login name if there is no agent either.
        reader: the name of somebody who may read and change nothing, in the place of the two.
        kind: how the session reaches the coordinator; it sets its grace after a silence.
        program: what runs, for listings; the program's name if not given.
        model: the language model behind the agent, for listings.
        ephemeral: a one-shot: it leaves no trace of its own unless it changes something.
        takeover: supersede a live session of the same agent.
        autostart: start a coordinator if nobody serves the store.

    Raises:
        StoreNotFound: the directory is in no store.
        CoordinatorFailed: nobody serves the store, and no coordinator could be started.
        AgentBusy: the agent has a live session elsewhere.
    """
    root, endpoint = find_target(store)
    settings = Settings(
        identity=find_identity(agent, user, reader),
        root=root,
        endpoint=endpoint,
        kind=kind,
        program=program,
        model=model,
        ephemeral=ephemeral,
        takeover=takeover,
        autostart=autostart,
    )
    async with connect_with(settings) as connected:
        yield connected


@asynccontextmanager
async def connect_with(
    settings: Settings, connector: Connector | None = None
) -> AsyncGenerator[Agent, None]:
    """Open the session that `settings` describe; what `connect` is made of.

    Args:
        connector: where connections come from, if not from what the settings name.
    """
    if connector is None:
        connector = connector_of(
            settings.root,
            settings.endpoint,
            settings.autostart,
            name=settings.identity.name,
            starts_stopped=settings.identity.actor is Actor.USER,
        )
    spooled = isinstance(connector, SpoolConnector)
    session = Session(
        connector,
        _opening(settings, spooled=spooled),
        settings.key or new_key(),
        reconnect_seconds=settings.reconnect_seconds,
    )
    failure: Exception | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(session.run)
        try:
            await session.wait_opened()
            yield Agent(session, settings.identity, confirm=settings.confirm)
        except Exception as error:  # passed on: raised again outside of the task group
            # The task group would wrap what the caller's block raised in an exception group; it
            # goes on from outside of it, as itself.
            failure = error
        finally:
            if settings.keep:
                session.abandon()
            else:
                await session.close()
            group.cancel_scope.cancel()
    if failure is not None:
        raise failure


def new_key() -> SessionKey:
    """Return the key of a new session."""
    return SessionKey(secrets.token_bytes(SESSION_KEY_BYTES))


def _opening(settings: Settings, *, spooled: bool) -> Open:
    program = settings.program or os.path.basename(sys.argv[0] if sys.argv else "")
    return Open(
        name=settings.identity.name,
        actor=settings.identity.actor,
        kind=settings.kind,
        program=_field(program),
        model=_field(settings.model),
        host=_field(socket.gethostname()),
        # In a sandbox it may be a number that means another process outside, or none.
        pid=0 if spooled else os.getpid(),
        pid_started=0 if spooled else _process_started(),
        takeover=settings.takeover,
        ephemeral=settings.ephemeral,
        transport="spool" if spooled else transport_of(settings),
    )


def transport_of(settings: Settings) -> str:
    """Return by what a session is connected, as listings show it."""
    return settings.transport or settings.endpoint.partition(":")[0] or "ipc"


def _field(text: str) -> str:
    """Return a descriptive text so that the coordinator takes it: it must never cost a session."""
    shown = "".join(character if character.isprintable() else "?" for character in text)
    return shown[:TEXT_FIELD_LENGTH_MAX]


def _process_started() -> int:
    """Return this process's start in clock ticks since boot; 0 where that can not be told."""
    try:
        with open("/proc/self/stat", "rb") as file:
            # The program's name comes second, in brackets, and may hold anything.
            fields = file.read().rpartition(b")")[2].split()
        return int(fields[19])
    except (OSError, IndexError, ValueError):
        return 0
