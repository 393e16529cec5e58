"""What the guard lets in: how much at once, how fast, and for how long. On a clock of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
from starlette.types import Message, Receive, Scope, Send
from trio.testing import MockClock

from agent_trace.gateway import shares
from agent_trace.gateway.http import BODY_SECONDS_MAX, LOOK_SECONDS, Guard
from agent_trace.gateway.seats import Seats
from agent_trace.gateway.tokens import Tokens

TOKEN: Final = "x" * 43
OTHER: Final = "y" * 43


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": MockClock(autojump_threshold=0)}


@dataclass
class Application:
    """Answers when it is told to."""

    answer: anyio.Event = field(default_factory=anyio.Event)
    begun: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun += 1
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await self.answer.wait()
        await send({"type": "http.response.body", "body": b"done"})


@dataclass
class Request:
    """What a guard answers to one request, and how its body comes."""

    said: list[Message] = field(default_factory=list[Message])
    body: list[bytes] = field(default_factory=lambda: [b""])
    token: str = TOKEN
    method: str = "POST"
    more: tuple[tuple[bytes, bytes], ...] = ()

    async def receive(self) -> Message:
        if not self.body:
            await anyio.sleep_forever()
        part = self.body.pop(0)
        return {"type": "http.request", "body": part, "more_body": part != b""}

    async def send(self, message: Message) -> None:
        self.said.append(message)

    async def ask(self, guard: Guard) -> None:
        headers = [(b"authorization", f"Bearer {self.token}".encode()), *self.more]
        scope = {"type": "http", "method": self.method, "path": "/mcp", "headers": headers}
        await guard(scope, self.receive, self.send)

    @property
    def status(self) -> int:
        return int(self.said[0]["status"]) if self.said else 0

    @property
    def ended(self) -> bool:
        return bool(self.said) and not self.said[-1].get("more_body", "headers" in self.said[-1])


@asynccontextmanager
async def asked(guard: Guard, requests: list[Request]) -> AsyncGenerator[None]:
    """Have these requests as far as they come, and end them with the block."""
    async with anyio.create_task_group() as group:
        for request in requests:
            group.start_soon(request.ask, guard)
        await anyio.wait_all_tasks_blocked()
        yield
        group.cancel_scope.cancel()


def guard_of(application: Application, tokens: Tokens | None = None) -> Guard:
    return Guard(application, tokens or Tokens.of(TOKEN), Seats(None))


async def test_a_token_has_so_many_requests_under_way_and_streams_apart() -> None:
    application = Application()
    guard = guard_of(application)
    streams = [Request(method="GET") for _ in range(shares.STREAMS_MAX - 1)]
    streams.append(Request(more=((b"mcp-method", b"subscriptions/listen"),)))
    requests = [Request() for _ in range(shares.UNDER_WAY_MAX)]
    late, late_stream = Request(), Request(method="GET")
    async with asked(guard, [*streams, *requests]):
        await late.ask(guard)
        await late_stream.ask(guard)
        assert (late.status, late_stream.status) == (429, 429)
        assert (b"retry-after", b"1") in late.said[0]["headers"]
        assert b"64 requests with this token are under way" in late.said[1]["body"]
        application.answer.set()
        await anyio.wait_all_tasks_blocked()
        assert {each.status for each in (*streams, *requests)} == {200}
        again = Request()
        await again.ask(guard)
        assert again.status == 200


async def test_a_token_has_so_many_requests_a_second_after_a_burst(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shares, "BURST", 3.0)
    application = Application()
    application.answer.set()
    guard = guard_of(application)

    async def statuses(count: int) -> list[int]:
        requests = [Request() for _ in range(count)]
        for each in requests:
            await each.ask(guard)
        return [each.status for each in requests]

    assert await statuses(5) == [200, 200, 200, 429, 429]
    await anyio.sleep(2 / shares.PER_SECOND)
    assert await statuses(3) == [200, 200, 429]
    await anyio.sleep(3600)
    assert await statuses(4) == [200, 200, 200, 429]


async def test_a_body_that_does_not_come_in_time_is_refused_and_a_long_answer_is_not() -> None:
    application = Application()
    guard = guard_of(application)
    late = Request(body=[b"part"])
    long = Request()
    async with asked(guard, [late, long]):
        await anyio.sleep(BODY_SECONDS_MAX + 1)
        assert (late.status, late.ended) == (408, True)
        assert (b"connection", b"close") in late.said[0]["headers"]
        await anyio.sleep(10 * BODY_SECONDS_MAX)
        assert (long.status, long.ended) == (200, False)
        application.answer.set()
        await anyio.wait_all_tasks_blocked()
        assert long.ended


async def test_who_is_in_is_shut_out_when_the_token_ends(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.touch(0o600)
    file.write_text(f"{TOKEN}\n{OTHER}\n")
    guard = guard_of(Application(), Tokens.find(str(file), "NOTHING"))
    stream, waiting, other = Request(), Request(body=[b"part"]), Request(token=OTHER)
    async with asked(guard, [stream, waiting, other]), anyio.create_task_group() as group:
        group.start_soon(guard.keep_watch)
        await anyio.sleep(2 * LOOK_SECONDS)
        assert (stream.status, stream.ended) == (200, False)
        file.write_text(f"{OTHER}\n")
        await anyio.sleep(2 * LOOK_SECONDS)
        assert (stream.status, stream.ended) == (200, True)
        assert (waiting.status, waiting.ended) == (401, True)
        assert not other.ended
        group.cancel_scope.cancel()


async def test_a_gateway_that_can_not_read_its_tokens_says_so(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    tokens = Tokens.find(str(file), "NOTHING")
    file.write_text("broken\n")
    request = Request()
    await request.ask(guard_of(Application(), tokens))
    assert request.status == 503
    assert str(tmp_path).encode() not in request.said[1]["body"]


async def test_a_token_of_one_agent_is_for_no_other(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.touch(0o600)
    file.write_text(f"{TOKEN} agent=planner\n")
    application = Application()
    application.answer.set()
    guard = guard_of(application, Tokens.find(str(file), "NOTHING"))
    statuses: list[int] = []
    for named in (b"planner", b"admin", b""):
        request = Request(more=((b"agent-trace-agent", named),))
        await request.ask(guard)
        statuses.append(request.status)
    assert statuses == [200, 403, 403]
    assert application.begun == 1
