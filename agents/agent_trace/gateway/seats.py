"""Seats: one for each connected MCP client, with its own session in the store.

Their law: a client acts as an agent of its own, never as another client and never as a person.
A session is opened when its client first needs it, and again after the coordinator was away; an
end that somebody else has decided (evicted, superseded) is final.
"""

from __future__ import annotations

import copy
import logging
import os
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Final

import anyio
import anyio.abc

from agent_trace.client import Agent, connect_with
from agent_trace.config import (
    AGENT_VARIABLE,
    NO_START_VARIABLE,
    Identity,
    Settings,
    find_target,
)
from agent_trace.naming import fitted_name, host_agent_name
from agent_trace_protocol import (
    Actor,
    AgentBusy,
    AgentName,
    AgentTraceError,
    InternalError,
    SessionError,
    SessionKind,
    TooMany,
    Unavailable,
    parse_agent_name,
)
from agent_trace_protocol.limits import AGENT_NAME_LENGTH_MAX

__all__ = ["Client", "Naming", "Seat", "Seats"]

_log = logging.getLogger("agent_trace.gateway.seats")

NAMESAKES_MAX: Final = 64
"""Clients with one name that are told apart by a number behind it."""

SEEN_MAX: Final = 4096
"""Documents of which a seat remembers what its client has seen; the oldest are forgotten."""

AGAIN_SECONDS: Final = 2.0
"""How long what runs beside a client waits after the loss of the session. The client's own next
request does not wait."""

_EXPIRED: Final = "(expired)"
"""In the message about a session that ended because nobody gave a sign of life for long, as after
a laptop's sleep: nobody decided that."""

_UNNAMED: Final = "mcp-client"


@dataclass(frozen=True, slots=True)
class Client:
    """What an MCP client says of itself."""

    name: str = ""
    version: str = ""

    @property
    def program(self) -> str:
        """As sessions are listed."""
        return " ".join(part for part in (self.name or _UNNAMED, self.version) if part)


@dataclass(frozen=True, slots=True)
class Naming:
    """Whose name an agent has."""

    wanted: AgentName
    exact: bool
    """Whether it must be this name: somebody gave it. Otherwise namesakes get a number."""

    @classmethod
    def find(
        cls, client: Client, given: str | None, environment: Mapping[str, str] | None = None
    ) -> Naming:
        """Return the name of a client's agent: the one that was given, else from the environment,
        else from the host's session, else after the client's program.

        Raises:
            InvalidRequest: the name that was given is not allowed.
        """
        variables = os.environ if environment is None else environment
        named = given or variables.get(AGENT_VARIABLE, "")
        if named:
            return cls(parse_agent_name(named), True)
        hosted = host_agent_name(variables)
        return cls(hosted or fitted_name(client.name) or AgentName(_UNNAMED), False)

    def candidates(self) -> Generator[AgentName]:
        """Yield the names to try, best first."""
        yield self.wanted
        if self.exact:
            return
        for number in range(2, NAMESAKES_MAX + 1):
            ending = f"-{number}"
            yield AgentName(self.wanted[: AGENT_NAME_LENGTH_MAX - len(ending)] + ending)


class Seat:
    """One client's place in the store."""

    def __init__(self, seats: Seats, key: str, client: Client, naming: Naming) -> None:
        self.key: Final = key
        self.client: Final = client
        self._seats = seats
        self._naming = naming
        self._agent: Agent | None = None
        self._leave = anyio.Event()
        self._left: anyio.Event | None = None
        """Set when the last session has ended at the coordinator; None before there was one."""
        self._opening = anyio.Lock()
        self._final: AgentTraceError | None = None
        self._given_up = False
        self._seen: OrderedDict[str, int] = OrderedDict()
        self._beside: anyio.CancelScope | None = None
        self.digest = b""
        """The hash of the token that its client came with last; empty: it needs none."""
        self.users = 0
        """Requests and streams of the client that are under way."""
        self.idle_since = anyio.current_time()
        self.told_seq: int | None = None
        """The last operation that an answer to the client could know of; None before the first."""

    @property
    def final(self) -> bool:
        """Whether somebody has ended its session for good."""
        return self._final is not None

    @property
    def open(self) -> bool:
        """Whether it has a session at present."""
        return self._agent is not None

    async def agent(self) -> Agent:
        """Return the session of this seat, opened if there is none.

        Raises:
            AgentTraceError: it can not be opened, or somebody has ended it for good.
        """
        async with self._opening:
            if self._seats.leaving:
                raise Unavailable("this gateway is leaving")
            if self._given_up:
                raise Unavailable("this client has left, or its token has ended")
            if self._final is not None:
                raise copy.copy(self._final)
            if self._agent is None:
                await self._open()
            if self._agent is None:
                raise Unavailable("the session was ended while it was being opened")
            return self._agent

    async def _open(self) -> None:
        if self._left is not None:
            # Its own last session would be one of the same name that is live.
            await self._left.wait()
        root, endpoint = find_target(self._seats.store)
        settings = Settings(
            identity=Identity(Actor.AGENT, self._naming.wanted),
            root=root,
            endpoint=endpoint,
            kind=SessionKind.MCP,
            program=self.client.program,
            autostart=os.environ.get(NO_START_VARIABLE, "") in ("", "0"),
        )
        refused: AgentBusy | None = None
        for name in self._naming.candidates():
            attempt = replace(settings, identity=Identity(Actor.AGENT, name))
            try:
                await self._seats.group.start(self._hold, attempt)
                # It keeps this name: after a restart of the coordinator it is the same agent.
                self._naming = Naming(name, self._naming.exact)
                return
            except AgentBusy as error:
                refused = refused or error
        assert refused is not None
        raise refused

    async def _hold(
        self,
        settings: Settings,
        task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Keep a session open until the seat is left or the session ends by itself."""
        leave, left = self._leave, self._left = anyio.Event(), anyio.Event()
        holding: Agent | None = None
        try:
            async with connect_with(settings) as agent, anyio.create_task_group() as group:
                self._agent = holding = agent
                group.start_soon(self._watch_end, agent, leave)
                task_status.started()
                await leave.wait()
                group.cancel_scope.cancel()
        finally:
            self._forget(holding)
            left.set()

    async def _watch_end(self, agent: Agent, leave: anyio.Event) -> None:
        try:
            await agent.wait_ended()
        except AgentTraceError as error:
            _log.info("the session of %s ended: %s", agent.name, error)
            if isinstance(error, SessionError) and _EXPIRED not in error.message:
                self._final = error
            self._forget(agent)
        leave.set()

    async def give_up(self) -> None:
        """End the session; none is opened any more, not even for what is still under way."""
        self._given_up = True
        await self.leave()

    def _forget(self, agent: Agent | None) -> None:
        if self._agent is agent:
            self._agent = None

    def keep_running(self, work: Callable[[Agent], Awaitable[None]]) -> None:
        """Run something beside the client's requests, with the session of the seat, and again
        after a loss of the session, until the seat is left. Nothing happens if something runs."""
        if self._beside is None:
            self._beside = anyio.CancelScope()
            self._seats.group.start_soon(self._keep_running, work, self._beside)

    async def _keep_running(
        self, work: Callable[[Agent], Awaitable[None]], scope: anyio.CancelScope
    ) -> None:
        with scope:
            while self._final is None and not self._given_up:
                try:
                    await work(await self.agent())
                except AgentTraceError as error:
                    _log.info("waiting for the session of %s: %s", self._naming.wanted, error)
                    await anyio.sleep(AGAIN_SECONDS)

    async def leave(self) -> None:
        """End the session, if there is one; the seat stays, and can open another."""
        if self._beside is not None:
            self._beside.cancel()
            self._beside = None
        # Who asks from here on waits for the end, and then gets another one.
        self._agent = None
        self._leave.set()
        if self._left is not None:
            await self._left.wait()

    # ---- what the client has seen -------------------------------------------------------------

    def saw(self, path: str, revision: int) -> None:
        """Remember that the client knows what a document said at a revision; 0: that it is gone."""
        self._seen[path] = revision
        self._seen.move_to_end(path)
        if len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)

    def seen(self, path: str) -> int | None:
        """Return the revision that the client has seen last; None if it has not seen any."""
        return self._seen.get(path)

    @contextmanager
    def present(self) -> Generator[None]:
        """Count the client as there for the length of a block."""
        self.users += 1
        try:
            yield
        finally:
            self.users -= 1
            self.idle_since = anyio.current_time()


class Seats:
    """The seats of a gateway. Used within `running`."""

    def __init__(
        self,
        store: str | None,
        agent: str | None = None,
        *,
        count_max: int = 1,
        idle_seconds_max: float | None = None,
        exact: bool = True,
    ) -> None:
        """
        Args:
            store: the store, as `find_target` takes it.
            agent: the name of the agent, or with `exact=False` what the names begin with.
            count_max: how many clients there may be at once.
            idle_seconds_max: after so long without anything under way a client's session ends.
        """
        self.store: Final = store
        self._agent = agent
        self._count_max = count_max
        self._idle_seconds_max = idle_seconds_max
        self._exact = exact
        self._seats: OrderedDict[str, Seat] = OrderedDict()
        self._group: anyio.abc.TaskGroup | None = None
        self.leaving = False
        """Whether no session is opened any more."""

    @property
    def group(self) -> anyio.abc.TaskGroup:
        """What sessions are held in."""
        if self._group is None:
            raise InternalError("the seats are not running")
        return self._group

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Hold sessions for the length of a block, and end them with it."""
        async with anyio.create_task_group() as group:
            self._group = group
            if self._idle_seconds_max is not None:
                group.start_soon(self._end_idle, self._idle_seconds_max)
            try:
                yield
            finally:
                await self.leave()
                group.cancel_scope.cancel()

    async def leave(self) -> None:
        """End all sessions at the coordinator, for good; also if the caller is cancelled."""
        self.leaving = True
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as group:
                for seat in self._seats.values():
                    group.start_soon(seat.leave)

    def find(self, key: str) -> Seat | None:
        """Return the seat of a client that has one."""
        return self._seats.get(key)

    def take(self, key: str, client: Client, agent: str | None = None) -> Seat:
        """Return the seat of a client, made if there is none.

        Args:
            key: what tells this client from others.
            agent: the name that this client was given, if it was.

        Raises:
            TooMany: all seats are taken by clients that are there.
            InvalidRequest: the name is not allowed.
        """
        seat = self._seats.get(key)
        if seat is None:
            if len(self._seats) >= self._count_max:
                self._free_one()
            naming = Naming.find(client, agent or self._agent)
            if not self._exact and not agent:
                naming = Naming(naming.wanted, False)
            seat = self._seats[key] = Seat(self, key, client, naming)
        self._seats.move_to_end(key)
        return seat

    async def give_up(self, key: str) -> None:
        """End a client's session, because the client has left for good."""
        seat = self._seats.pop(key, None)
        if seat is not None:
            await seat.give_up()

    async def give_up_of(self, digest: bytes) -> None:
        """End the sessions of all whose last token has this hash."""
        for key, seat in list(self._seats.items()):
            if seat.digest == digest:
                await self.give_up(key)

    def _free_one(self) -> None:
        for key, seat in self._seats.items():
            if not seat.users and not seat.open:
                del self._seats[key]
                return
        raise TooMany(
            f"{self._count_max} clients are connected to this gateway, which is its limit"
        )

    async def _end_idle(self, seconds: float) -> None:
        while True:
            await anyio.sleep(seconds / 4)
            now = anyio.current_time()
            for seat in list(self._seats.values()):
                if seat.open and not seat.users and now - seat.idle_since >= seconds:
                    await seat.leave()
