"""Whether the host that started this process is still there: its parent, and its standard input.

A lease must not be renewed by what an agent's host left behind. A gateway or a held command waits
for its host's end here, and then lets its session go.
"""

from __future__ import annotations

import os
import select
import sys
from typing import Final

import anyio

__all__ = ["wait_host_gone"]

_PARENT: Final = os.getppid()
"""Who started this process. Read as early as can be: whoever asks later, after the parent has
ended, is told of the process that takes orphans in."""

LOOK_SECONDS: Final = 1.0
"""How often to look where the system does not tell of itself."""


async def wait_host_gone(
    *, parent: bool = True, stdin: bool = True, descriptor: int | None = None
) -> str:
    """Wait until the host is gone, and return how that was noticed.

    Waits for ever if there is nothing to watch: no parent, and an input that is a file or nothing.
    Reads nothing of the input. Cancellation leaves nothing behind.

    Args:
        parent: whether to watch the process that started this one.
        stdin: whether to watch for the other end of standard input being closed.
        descriptor: another one for standard input, if something else is in its place by now.
    """
    reasons: list[str] = []
    async with anyio.create_task_group() as group:

        async def watch_parent() -> None:
            await _wait_parent_gone()
            reasons.append("the process that started it has ended")
            group.cancel_scope.cancel()

        async def watch_stdin() -> None:
            await _wait_hung_up(sys.stdin.fileno() if descriptor is None else descriptor)
            reasons.append("its standard input was closed")
            group.cancel_scope.cancel()

        # The first process has no parent, and its children are nobody's when their own has ended.
        if parent and _PARENT > 1:
            group.start_soon(watch_parent)
        there = descriptor is not None or (sys.stdin is not None and not sys.stdin.closed)
        if stdin and there:
            group.start_soon(watch_stdin)
        await anyio.sleep_forever()
    return reasons[0]


async def _wait_parent_gone() -> None:
    try:
        descriptor = os.pidfd_open(_PARENT)
    except (AttributeError, OSError):
        while os.getppid() == _PARENT:  # noqa: ASYNC110 - nothing tells of it here
            await anyio.sleep(LOOK_SECONDS)
        return
    try:
        # It may have ended before, and its number may be another's by now.
        if os.getppid() == _PARENT:
            await anyio.wait_readable(descriptor)
    finally:
        os.close(descriptor)


async def _wait_hung_up(descriptor: int) -> None:
    """Wait until the other end of a pipe, socket or terminal is closed, without reading."""
    try:
        # With no event asked for, only the end of the other side is told.
        poll = select.epoll()
    except (AttributeError, OSError):
        await _look_for_hang_up(descriptor)
        return
    try:
        try:
            poll.register(descriptor, 0)
        except OSError:
            # A file, or /dev/null: there is no other side.
            await anyio.sleep_forever()
        await anyio.wait_readable(poll.fileno())
    finally:
        poll.close()


async def _look_for_hang_up(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, 0)
    while not any(event & select.POLLHUP for _, event in poll.poll(0)):  # noqa: ASYNC110 - as above
        await anyio.sleep(LOOK_SECONDS)
