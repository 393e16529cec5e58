"""Running asynchronous code, also where a sandbox denies sockets.

An event loop of asyncio wakes itself by a pair of sockets. Where these are denied it can not even
be made; where only sending is, it is made and then sleeps through whatever another thread tells it.
There, and only there, a loop that wakes itself by a pipe takes its place.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio

from .sandbox import denies_wake_ups

__all__ = ["PipeEventLoop", "loop_options", "run"]

_R = TypeVar("_R")


def loop_options() -> dict[str, Any]:
    """Return the options of anyio's asyncio backend that suit this process."""
    return {"loop_factory": PipeEventLoop} if denies_wake_ups() else {}


def run(work: Callable[..., Awaitable[_R]], *arguments: object) -> _R:
    """Run `work` to its end in an event loop of its own, and return its result."""
    return anyio.run(work, *arguments, backend_options=loop_options())


class _End:
    """One end of a pipe, with as much of a socket as the event loop uses."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def recv(self, size: int) -> bytes:
        return os.read(self._descriptor, size)

    def send(self, data: bytes) -> int:
        return os.write(self._descriptor, data)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class PipeEventLoop(asyncio.SelectorEventLoop):
    """asyncio's own event loop, made with a pipe where it takes a pair of sockets."""

    # The pair is made by a method that the loop's constructor calls, and is known by two
    # attributes only. All of these names are the same in every Python since 3.4, and a test runs
    # the loop.
    _ssock: Any
    _csock: Any
    _internal_fds: int
    _read_from_self: Callable[[], None]
    _add_reader: Callable[[int, Callable[[], None]], object]

    def _make_self_pipe(self) -> None:
        reading, writing = os.pipe()
        for descriptor in (reading, writing):
            os.set_blocking(descriptor, False)
        self._ssock, self._csock = _End(reading), _End(writing)
        self._internal_fds += 1
        self._add_reader(reading, self._read_from_self)
