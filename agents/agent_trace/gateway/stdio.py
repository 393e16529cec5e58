"""The gateway as a host's child process: one client, on standard input and output.

It leaves when its host does. A session that outlived its host would hold leases for nobody.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import Final

import anyio
from mcp.server.stdio import stdio_server

from agent_trace.host import wait_host_gone

from .seats import Seats
from .server import Gateway
from .tools import Profile

__all__ = ["serve_stdio"]

_log = logging.getLogger("agent_trace.gateway.stdio")

LEAVE_SECONDS_MAX: Final = 0.5
"""How long saying goodbye to the coordinator may take once the host is gone."""


async def serve_stdio(store: str | None, agent: str | None, profile: Profile) -> None:
    """Serve the client on standard input and output until it leaves or its host is gone."""
    seats = Seats(store, agent)
    gateway = Gateway(seats, profile)
    # The transport puts another file in the place of descriptor 0.
    host_input = os.dup(sys.stdin.fileno())
    async with anyio.create_task_group() as group:
        group.start_soon(_leave_with_host, seats, host_input)
        group.start_soon(_leave_when_told, seats)
        async with stdio_server() as (read_stream, write_stream):
            server = gateway.server
            await server.run(read_stream, write_stream, server.create_initialization_options())
        group.cancel_scope.cancel()


async def _leave_with_host(seats: Seats, host_input: int) -> None:
    reason = await wait_host_gone(descriptor=host_input)
    await _leave(seats, reason)


async def _leave_when_told(seats: Seats) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async for number in signals:
            await _leave(seats, f"signal {number.name}")


async def _leave(seats: Seats, reason: str) -> None:
    """End the sessions, and the process, even while a call is under way.

    Not by cancellation: the transport reads standard input in a thread that nothing can cancel,
    and somebody else may hold the other end open.
    """
    _log.info("leaving: %s", reason)

    async def say_goodbye() -> None:
        await seats.leave()
        os._exit(0)

    async with anyio.create_task_group() as group:
        group.start_soon(say_goodbye)
        await anyio.sleep(LEAVE_SECONDS_MAX)
        os._exit(0)
