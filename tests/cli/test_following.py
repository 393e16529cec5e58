"""Commands that follow end with whoever reads them, also while nothing happens."""

from __future__ import annotations

import os

import anyio
import pytest

from agent_trace.cli.following import while_read
from agent_trace_protocol import NotFound


async def test_what_is_followed_ends_when_its_reader_is_gone() -> None:
    reading, writing = os.pipe()
    began = anyio.Event()

    async def follow() -> None:
        began.set()
        await anyio.sleep_forever()

    async def leave() -> None:
        await began.wait()
        os.close(reading)

    with os.fdopen(writing, "w") as output, anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(leave)
            with pytest.raises(BrokenPipeError):
                await while_read(follow, output)


async def test_what_ends_or_fails_by_itself_does_so_beside_a_reader() -> None:
    reading, writing = os.pipe()

    async def end() -> None:
        return

    async def fail() -> None:
        raise NotFound("it is gone")

    with os.fdopen(reading), os.fdopen(writing, "w") as output, anyio.fail_after(5):
        await while_read(end, output)
        with pytest.raises(NotFound, match="it is gone"):
            await while_read(fail, output)


async def test_a_file_has_no_reader_that_could_leave() -> None:
    with os.fdopen(os.open(os.devnull, os.O_WRONLY), "w") as output, anyio.fail_after(5):

        async def end() -> None:
            return

        await while_read(end, output)
