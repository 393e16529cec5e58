"""Leases: acquired, renewed and released, and carried by the writes that they cover."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import anyio

from agent_trace.leases import Lease
from agent_trace.session import CLOSE_SECONDS_MAX
from agent_trace_protocol import (
    AcquireLease,
    CancelLease,
    Done,
    Leased,
    LeaseInfo,
    LeaseList,
    Leases,
    MalformedMessage,
    ReleaseLease,
    RenewLease,
    SessionError,
    StaleLease,
    Unavailable,
)
from agent_trace_protocol.limits import (
    LEASE_SECONDS_DEFAULT,
    PAGE_ENTRIES_MAX,
)

from .base import Calls

__all__ = ["Leasing"]


class Leasing(Calls):
    """What a session holds leases with."""

    async def acquire(
        self,
        path: str,
        *,
        shared: bool = False,
        ttl_seconds: float = LEASE_SECONDS_DEFAULT,
        wait_seconds: float = 0.0,
        steal: bool = False,
    ) -> Lease:
        """Get a lease on a path or a glob; `lease` does so for the length of a block.

        It is renewed for as long as this session lives. Cancelled, the request is undone.

        Args:
            path: a document's path, or a glob with `*`, `?` and `**`.
            shared: whether others may hold shared leases on the same documents.
            ttl_seconds: how long it lasts after the session's last sign of life, 1 s to a day.
            wait_seconds: how long to wait behind others, at most an hour.
            steal: end the leases that are in the way. Users only.

        Raises:
            LeaseHeld: it is not free; `info` says who has it, until when, and whether both wait
                for each other.
        """
        request = AcquireLease(path, shared, ttl_seconds, wait_seconds, steal)
        reply = await self._session.request(request, undo=CancelLease)
        if not isinstance(reply, Leased):
            raise MalformedMessage(f"AcquireLease was answered with {type(reply).__name__}")
        self._held.enter(reply.lease)
        self._keep_alive()
        return Lease(reply.lease, self._session)

    @asynccontextmanager
    async def lease(
        self,
        path: str,
        *,
        shared: bool = False,
        ttl_seconds: float = LEASE_SECONDS_DEFAULT,
        wait_seconds: float = 0.0,
        steal: bool = False,
    ) -> AsyncGenerator[Lease, None]:
        """Hold a lease for the length of a block. Arguments and errors as for `acquire`."""
        lease = await self.acquire(
            path, shared=shared, ttl_seconds=ttl_seconds, wait_seconds=wait_seconds, steal=steal
        )
        try:
            yield lease
        finally:
            with anyio.move_on_after(CLOSE_SECONDS_MAX, shield=True):
                try:
                    await self.release(lease)
                except (StaleLease, SessionError, Unavailable):
                    # It has ended already, or ends with its time: nothing is left to do.
                    pass

    async def renew(self, lease: Lease | int, *, ttl_seconds: float | None = None) -> LeaseInfo:
        """Let a lease last for its whole duration from here on, or for another one.

        Raises:
            StaleLease: this session does not hold it any more.
        """
        token = lease if isinstance(lease, int) else lease.token
        leased = await self._ask(RenewLease(token, ttl_seconds or 0.0), Leased)
        self._held.enter(leased.lease)
        self._keep_alive()
        return leased.lease

    async def release(self, lease: Lease | int) -> None:
        """End a lease of this session.

        Raises:
            StaleLease: this session does not hold it any more.
        """
        token = lease if isinstance(lease, int) else lease.token
        self._held.leave(token)
        self._keep_alive()
        await self._ask(ReleaseLease(token), Done)

    @property
    def held(self) -> dict[int, str]:
        """The leases whose tokens writes on their paths carry: the path or glob of each token."""
        return self._held.paths

    def hold_to(self, leases: Mapping[int, str]) -> None:
        """Carry the tokens of leases that another program acquired in this session before, also of
        those that have ended: then the next write under one is refused, and its text kept.

        Args:
            leases: `held` of that program; it takes the place of what was given before.
        """
        self._held.hold_to(leases)

    async def leases(self, path: str = "", *, session: str = "") -> LeaseList:
        """Return the leases in the order in which they were granted, and who waits for one.

        Args:
            path: only leases that cover this path, or overlap this glob.
            session: only this session's.
        """
        page = await self._ask(Leases(path, session, 0, PAGE_ENTRIES_MAX), LeaseList)
        leases, waiters = [*page.leases], page.waiters
        while page.more and page.leases:
            after = page.leases[-1].token
            page = await self._ask(Leases(path, session, after, PAGE_ENTRIES_MAX), LeaseList)
            leases += page.leases
        return LeaseList(tuple(leases), waiters, False)
