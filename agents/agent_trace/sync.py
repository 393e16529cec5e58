"""The blocking twin: the same client, driven from ordinary code through a thread of its own.

Every method is made from the asynchronous one, with its signature and documentation; nothing of
it is written twice. Heartbeats go on in that thread while the caller computes.
"""

from __future__ import annotations

import atexit
import functools
import os
from collections.abc import (
    AsyncGenerator,
    Callable,
    Coroutine,
    Generator,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import ExitStack, contextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from agent_trace_protocol import Action, LeaseInfo, LogEntry
from agent_trace_protocol.limits import LEASE_SECONDS_DEFAULT, PAGE_ENTRIES_MAX

from .calls.following import POLL_SECONDS
from .client import Agent, connect
from .errors import RequestTimedOut
from .leases import Lease
from .loop import loop_options

__all__ = ["SyncAgent", "connect_sync"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _blocking(
    method: Callable[Concatenate[Agent, _P], Coroutine[Any, Any, _R]],
) -> Callable[Concatenate[SyncAgent, _P], _R]:
    """Return the blocking form of one of the agent's methods."""

    @functools.wraps(method)
    def call(agent: SyncAgent, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        return agent.call(functools.partial(method, agent.asynchronous, *args, **kwargs))

    return call


def _yielding(
    method: Callable[Concatenate[Agent, _P], AsyncGenerator[_R, None]],
) -> Callable[Concatenate[SyncAgent, _P], Generator[_R, None, None]]:
    """Return the blocking form of a method that yields; each item is one call."""

    @functools.wraps(method)
    def call(agent: SyncAgent, /, *args: _P.args, **kwargs: _P.kwargs) -> Generator[_R, None, None]:
        found = method(agent.asynchronous, *args, **kwargs)

        async def following() -> tuple[_R, ...]:
            # In a tuple, so that no value can be taken for the end.
            async for item in found:
                return (item,)
            return ()

        try:
            while item := agent.call(following):
                yield item[0]
        finally:
            agent.call(found.aclose)

    return call


class SyncAgent:
    """A connected agent or user for ordinary code. Made by `connect_sync`; any thread may use it.

    Each method is the method of `Agent` with the same name, and returns when its answer is there.
    """

    def __init__(
        self, portal: BlockingPortal, agent: Agent, call_seconds_max: float | None
    ) -> None:
        self._portal = portal
        self._agent = agent
        self._call_seconds_max = call_seconds_max

    @property
    def asynchronous(self) -> Agent:
        """The agent behind this one; it lives in the event loop of another thread."""
        return self._agent

    @property
    def name(self) -> str:
        """The agent's or user's name."""
        return self._agent.name

    @property
    def session_id(self) -> str:
        """The public id of this session."""
        return self._agent.session_id

    @property
    def predecessor(self) -> str:
        """The id of the session of the same agent that this one follows, or empty."""
        return self._agent.predecessor

    @property
    def inherited(self) -> tuple[LeaseInfo, ...]:
        """The leases that this session held when it was opened; see `Agent.inherited`."""
        return self._agent.inherited

    @property
    def held(self) -> dict[int, str]:
        """The leases whose tokens writes carry; see `Agent.held`."""
        return self._agent.held

    def hold_to(self, leases: Mapping[int, str]) -> None:
        """Carry the tokens of leases of before; see `Agent.hold_to`."""
        self._portal.call(self._agent.hold_to, leases)

    @property
    def document_bytes_max(self) -> int:
        """Bytes that a document of this store may have."""
        return self._agent.document_bytes_max

    @property
    def seq(self) -> int:
        """The last durable operation of the store that this session has heard of."""
        return self._agent.seq

    def call(self, method: Callable[[], Coroutine[Any, Any, _R]]) -> _R:
        """Run something of the asynchronous agent in its event loop and return its result.

        Raises:
            RequestTimedOut: it took longer than `call_seconds_max`.
        """
        result: _R = self._portal.call(self._bounded, method)
        return result

    async def _bounded(self, method: Callable[[], Coroutine[Any, Any, _R]]) -> _R:
        if self._call_seconds_max is None:
            return await method()
        with anyio.move_on_after(self._call_seconds_max):
            return await method()
        raise RequestTimedOut(
            f"no answer within {self._call_seconds_max:g} s; a write may or may not be carried out"
        )

    write = _blocking(Agent.write)
    append = _blocking(Agent.append)
    edit = _blocking(Agent.edit)
    edit_section = _blocking(Agent.edit_section)
    delete = _blocking(Agent.delete)
    move = _blocking(Agent.move)
    restore = _blocking(Agent.restore)
    add = _blocking(Agent.add)
    accept = _blocking(Agent.accept)
    reclassify = _blocking(Agent.reclassify)
    apply_violation = _blocking(Agent.apply_violation)
    transact = _blocking(Agent.transact)
    read = _blocking(Agent.read)
    document_page = _blocking(Agent.document_page)
    documents = _yielding(Agent.documents)
    list = _blocking(Agent.list)
    info = _blocking(Agent.info)
    tag = _blocking(Agent.tag)
    describe = _blocking(Agent.describe)
    untrack = _blocking(Agent.untrack)
    find_replacements = _blocking(Agent.find_replacements)
    apply_replacements = _blocking(Agent.apply_replacements)
    log = _blocking(Agent.log)
    diff = _blocking(Agent.diff)
    blame = _blocking(Agent.blame)
    snapshot_pages = _yielding(Agent.snapshot_pages)
    snapshot = _blocking(Agent.snapshot)
    trace_page = _blocking(Agent.trace_page)
    trace_pages = _yielding(Agent.trace_pages)
    scan = _blocking(Agent.scan)
    export = _blocking(Agent.export)
    export_json = _blocking(Agent.export_json)
    export_traces = _blocking(Agent.export_traces)
    briefing = _blocking(Agent.briefing)
    recap = _blocking(Agent.recap)
    why = _blocking(Agent.why)
    permissions = _blocking(Agent.permissions)
    unlock = _blocking(Agent.unlock)
    lock = _blocking(Agent.lock)
    drafts = _blocking(Agent.drafts)
    draft = _blocking(Agent.draft)
    discard_draft = _blocking(Agent.discard_draft)
    violations = _blocking(Agent.violations)
    violation = _blocking(Agent.violation)
    discard_violation = _blocking(Agent.discard_violation)
    status = _blocking(Agent.status)
    sessions = _blocking(Agent.sessions)
    evict = _blocking(Agent.evict)
    wait_ended = _blocking(Agent.wait_ended)
    acquire = _blocking(Agent.acquire)
    renew = _blocking(Agent.renew)
    release = _blocking(Agent.release)
    leases = _blocking(Agent.leases)
    event_page = _blocking(Agent.event_page)
    search = _blocking(Agent.search)
    refresh = _blocking(Agent.refresh)
    steer = _blocking(Agent.steer)
    drop_statement = _blocking(Agent.drop_statement)
    statements = _blocking(Agent.statements)
    ping = _blocking(Agent.ping)
    stop = _blocking(Agent.stop)

    def stop_renewing(self) -> None:
        """Give no more signs of life by itself; see `Agent.stop_renewing`."""
        self._portal.call(self._agent.stop_renewing)

    @contextmanager
    def lease(
        self,
        path: str,
        *,
        shared: bool = False,
        ttl_seconds: float = LEASE_SECONDS_DEFAULT,
        wait_seconds: float = 0.0,
        steal: bool = False,
    ) -> Generator[Lease, None, None]:
        """Hold a lease for the length of a block. Arguments and errors as for `acquire`."""
        holding = self._agent.lease(
            path, shared=shared, ttl_seconds=ttl_seconds, wait_seconds=wait_seconds, steal=steal
        )
        with self._portal.wrap_async_context_manager(holding) as lease:
            yield lease

    def events(
        self,
        since: int | None = None,
        *,
        follow: bool = False,
        path: str = "",
        author: str = "",
        actions: Sequence[Action | str] = (),
    ) -> Iterator[LogEntry]:
        """Yield what happened after operation `since`; see `Agent.events`."""
        cursor = since if since is not None else self.seq if follow else 0
        # A bound on each call must not end one that waits as it should.
        wait_seconds = min(POLL_SECONDS, (self._call_seconds_max or 2 * POLL_SECONDS) / 2)
        while True:
            page = self.event_page(
                cursor,
                limit=PAGE_ENTRIES_MAX,
                wait_seconds=wait_seconds if follow else 0.0,
                path=path,
                author=author,
                actions=actions,
            )
            yield from page.events
            cursor = page.cursor
            if not (follow or page.more):
                return


@contextmanager
def connect_sync(
    store: str | os.PathLike[str] | None = None,
    *,
    agent: str | None = None,
    user: str | None = None,
    reader: str | None = None,
    program: str = "",
    model: str = "",
    ephemeral: bool = False,
    takeover: bool = False,
    autostart: bool = True,
    call_seconds_max: float | None = None,
) -> Generator[SyncAgent, None, None]:
    """Open a session on a store, and close it at the end of the block.

    Arguments and errors as for `connect`; blocking code has no cancel scopes, so in addition:

    Args:
        call_seconds_max: how long each call may take before it raises `RequestTimedOut`; None for
            no bound.
    """
    with ExitStack() as stack:
        # Who entered by hand and ended without closing is closed while the session's thread still
        # runs: later, with the interpreter half gone, a farewell would wait for it for ever.
        atexit.register(stack.close)
        stack.callback(atexit.unregister, stack.close)
        portal = stack.enter_context(start_blocking_portal("asyncio", loop_options()))
        opening = connect(
            store,
            agent=agent,
            user=user,
            reader=reader,
            program=program,
            model=model,
            ephemeral=ephemeral,
            takeover=takeover,
            autostart=autostart,
        )
        connected = stack.enter_context(portal.wrap_async_context_manager(opening))
        yield SyncAgent(portal, connected, call_seconds_max)
