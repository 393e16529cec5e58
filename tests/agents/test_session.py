"""How a session survives what happens to its connection."""

from __future__ import annotations

import anyio
import pytest

from agent_trace import (
    Agent,
    AgentBusy,
    ConnectionLost,
    InvalidRequest,
    PermissionDenied,
    SessionSuperseded,
    SessionUnknown,
    TooLarge,
    Unavailable,
    Written,
)
from agent_trace.errors import CoordinatorFailed
from agent_trace.testing import ScriptedCoordinator, accept_all, connect_scripted
from agent_trace.transport import Transport
from agent_trace_protocol import (
    Close,
    Done,
    Heartbeat,
    Open,
    Ping,
    Refused,
    Reply,
    Request,
    Transact,
)
from agent_trace_protocol.limits import BODY_BYTES_MAX, IN_FLIGHT_REQUESTS_MAX


def _silent(request: Request) -> Reply | None:
    """Answers nothing but what ends the session."""
    return Done() if isinstance(request, Close) else None


async def test_a_session_opens_first_and_closes_last() -> None:
    with anyio.fail_after(5):
        async with ScriptedCoordinator() as coordinator:
            async with connect_scripted(coordinator) as agent:
                await agent.ping()
                await agent.ping()
            kinds = [(number, type(request)) for number, request in coordinator.received]
    assert kinds == [(0, Open), (1, Ping), (2, Ping), (3, Close)]


async def test_unanswered_requests_are_sent_again_in_order_after_a_lost_connection() -> None:
    first: list[tuple[int, Request]] = []
    second: list[tuple[int, Request]] = []
    with anyio.fail_after(5):
        async with ScriptedCoordinator(_silent) as coordinator:
            async with connect_scripted(coordinator) as agent, anyio.create_task_group() as group:
                for index in range(3):
                    group.start_soon(agent.write, f"{index}.md", "text")
                await coordinator.wait_received(4)
                coordinator.drop()
                await coordinator.wait_received(8)
                first += coordinator.received[:4]
                second += coordinator.received[4:8]
                coordinator.script = accept_all
                coordinator.drop()
    assert [number for number, _ in first] == [0, 1, 2, 3]
    assert first == second
    assert coordinator.connections_count == 3


async def test_a_request_made_while_the_connection_is_lost_is_sent_when_it_is_back() -> None:
    with anyio.fail_after(5):
        async with ScriptedCoordinator() as coordinator:
            async with connect_scripted(coordinator) as agent:
                coordinator.drop()
                assert await agent.write("plan.md", "text") == await agent.write("plan.md", "text")
            assert coordinator.connections_count == 2


async def test_a_session_that_the_coordinator_forgot_is_opened_again() -> None:
    with anyio.fail_after(5):
        async with ScriptedCoordinator() as coordinator:
            async with connect_scripted(coordinator) as agent:
                coordinator.forget = True
                await agent.write("plan.md", "text")
            numbers = [number for number, _ in coordinator.received]
    assert numbers == [0, 1, 0, 1, 2]


async def test_a_coordinator_that_never_knows_the_session_is_not_asked_for_ever() -> None:
    def forgetful(request: Request) -> Reply | None:
        return Refused(SessionUnknown("who?").to_info())

    with anyio.fail_after(5):
        async with ScriptedCoordinator(forgetful) as coordinator:
            async with connect_scripted(coordinator) as agent:
                with pytest.raises(SessionUnknown, match="who"):
                    await agent.ping()


async def test_a_superseded_session_ends_for_all_its_callers() -> None:
    errors: list[SessionSuperseded] = []

    async def write(agent: Agent) -> None:
        with pytest.raises(SessionSuperseded, match="newer") as caught:
            await agent.write("plan.md", "text")
        errors.append(caught.value)

    with anyio.fail_after(5):
        async with ScriptedCoordinator(_silent) as coordinator:
            async with connect_scripted(coordinator) as agent:
                async with anyio.create_task_group() as group:
                    group.start_soon(write, agent)
                    group.start_soon(write, agent)
                    await coordinator.wait_received(3)
                    superseded = Refused(SessionSuperseded("a newer session").to_info())
                    coordinator.opening_answers.append(superseded)
                    coordinator.drop()
                await write(agent)
    assert len(errors) == 3


async def test_a_refused_opening_is_raised_by_connect_as_itself() -> None:
    with anyio.fail_after(5):
        async with ScriptedCoordinator() as coordinator:
            coordinator.opening_answers.append(Refused(AgentBusy("live elsewhere").to_info()))
            with pytest.raises(AgentBusy, match="live elsewhere"):
                async with connect_scripted(coordinator):
                    pytest.fail("the session must not open")


async def test_an_opening_that_is_refused_for_the_moment_is_tried_again() -> None:
    with anyio.fail_after(5):
        async with ScriptedCoordinator() as coordinator:
            coordinator.opening_answers.append(Refused(Unavailable("starting").to_info()))
            async with connect_scripted(coordinator) as agent:
                await agent.ping()
    assert coordinator.connections_count == 2


async def test_a_coordinator_that_stays_away_is_given_up_after_the_bound() -> None:
    with anyio.fail_after(5):
        async with ScriptedCoordinator() as coordinator:
            busy = Refused(Unavailable("not yet").to_info())
            coordinator.opening_answers.extend([busy] * 1000)
            with pytest.raises(Unavailable, match="not yet"):
                async with connect_scripted(coordinator, reconnect_seconds=0.1):
                    pytest.fail("the session must not open")


async def test_a_coordinator_that_can_not_be_started_ends_the_session() -> None:
    class Broken:
        async def connect(self) -> Transport:
            await anyio.lowlevel.checkpoint()
            raise CoordinatorFailed("no disk")

    from agent_trace.client import connect_with  # noqa: PLC0415 - only this test needs it
    from agent_trace.config import Settings, find_identity  # noqa: PLC0415 - likewise

    settings = Settings(identity=find_identity("a"), root=None)
    with anyio.fail_after(5), pytest.raises(CoordinatorFailed, match="no disk"):
        async with connect_with(settings, Broken()):
            pytest.fail("the session must not open")


async def test_silence_is_a_lost_connection() -> None:
    def deaf(request: Request) -> Reply | None:
        return None if coordinator.connections_count == 1 else accept_all(request)

    with anyio.fail_after(5):
        async with ScriptedCoordinator(deaf, heartbeat_seconds=0.05) as coordinator:
            async with connect_scripted(coordinator) as agent:
                assert str(await agent.write("plan.md", "text")) == "plan.md@1"
    assert coordinator.connections_count == 2


async def test_heartbeats_go_on_while_the_caller_does_nothing() -> None:
    with anyio.fail_after(5):
        async with ScriptedCoordinator(heartbeat_seconds=0.05) as coordinator:
            async with connect_scripted(coordinator):
                await coordinator.wait_received(4)
    assert [type(request) for _, request in coordinator.received[:4]] == [Open, *[Heartbeat] * 3]


async def test_beyond_the_limit_requests_wait_and_keep_their_order() -> None:
    total = IN_FLIGHT_REQUESTS_MAX + 20
    with anyio.fail_after(5):
        async with ScriptedCoordinator(_silent) as coordinator:
            async with connect_scripted(coordinator) as agent, anyio.create_task_group() as group:
                for index in range(total):
                    group.start_soon(agent.write, f"{index:03}.md", "text")
                await coordinator.wait_received(1 + IN_FLIGHT_REQUESTS_MAX)
                await anyio.wait_all_tasks_blocked()
                assert len(coordinator.received) == 1 + IN_FLIGHT_REQUESTS_MAX
                coordinator.script = accept_all
                coordinator.received.clear()
                coordinator.drop()
                await coordinator.wait_received(1 + total)
    assert [number for number, _ in coordinator.received[: 1 + total]] == list(range(1 + total))


async def test_a_request_cancelled_while_it_waits_for_room_is_never_sent() -> None:
    with anyio.fail_after(5):
        async with ScriptedCoordinator(_silent) as coordinator:
            async with connect_scripted(coordinator) as agent, anyio.create_task_group() as group:
                for _ in range(IN_FLIGHT_REQUESTS_MAX):
                    group.start_soon(agent.ping)
                await coordinator.wait_received(1 + IN_FLIGHT_REQUESTS_MAX)
                with anyio.move_on_after(0.01):
                    await agent.write("never.md", "text")
                coordinator.script = accept_all
                coordinator.drop()
    assert not any(isinstance(request, Transact) for request in coordinator.requests)


async def test_a_request_of_a_cancelled_scope_is_never_sent() -> None:
    with anyio.fail_after(5):
        async with ScriptedCoordinator() as coordinator:
            async with connect_scripted(coordinator) as agent:
                with anyio.CancelScope() as scope:
                    scope.cancel()
                    await agent.write("never.md", "text")
                with anyio.fail_after(1e300):
                    await agent.ping()
    assert [type(request) for request in coordinator.requests] == [Ping]


async def test_a_cancelled_request_keeps_its_number_and_is_still_sent_again() -> None:
    with anyio.fail_after(5):
        async with ScriptedCoordinator(_silent) as coordinator:
            async with connect_scripted(coordinator) as agent:
                with anyio.move_on_after(0.01):
                    await agent.write("perhaps.md", "text")
                coordinator.script = accept_all
                coordinator.drop()
                await agent.ping()
            kinds = [(number, type(request)) for number, request in coordinator.received]
    assert kinds == [
        *[(0, Open), (1, Transact)],
        *[(0, Open), (1, Transact), (2, Ping), (3, Close)],
    ]


async def test_a_session_that_comes_back_goes_on_with_the_number_it_is_told() -> None:
    with anyio.fail_after(5):
        async with ScriptedCoordinator() as coordinator:
            coordinator.next_number = 41
            async with connect_scripted(coordinator) as agent:
                await agent.ping()
    assert [number for number, _ in coordinator.received] == [0, 41, 42]


async def test_what_the_block_raises_comes_out_as_itself() -> None:
    with anyio.fail_after(5):
        async with ScriptedCoordinator() as coordinator:
            with pytest.raises(PermissionError, match="mine"):
                async with connect_scripted(coordinator):
                    raise PermissionError("mine")
    assert isinstance(coordinator.received[-1][1], Close)


async def test_a_cancelled_block_still_closes_the_session() -> None:
    with anyio.fail_after(5):
        async with ScriptedCoordinator() as coordinator:
            with anyio.CancelScope() as scope:
                async with connect_scripted(coordinator):
                    scope.cancel()
                    await anyio.sleep_forever()
    assert isinstance(coordinator.received[-1][1], Close)


async def test_an_agent_that_was_left_says_so() -> None:
    with anyio.fail_after(5):
        async with ScriptedCoordinator() as coordinator:
            async with connect_scripted(coordinator) as agent:
                pass
            with pytest.raises(SessionUnknown, match="closed"):
                await agent.ping()


async def test_a_stopped_coordinator_is_neither_called_back_nor_told_goodbye() -> None:
    with anyio.fail_after(5):
        async with ScriptedCoordinator() as coordinator:
            async with connect_scripted(coordinator) as agent:
                await agent.stop()
    assert coordinator.connections_count == 1
    assert not any(isinstance(request, Close) for _, request in coordinator.received)


async def test_a_refusal_of_the_stop_leaves_the_session_open() -> None:
    def strict(request: Request) -> Reply | None:
        if type(request).__name__ == "Stop":
            raise PermissionDenied("only a user may")
        return accept_all(request)

    with anyio.fail_after(5):
        async with ScriptedCoordinator(strict) as coordinator:
            async with connect_scripted(coordinator) as agent:
                with pytest.raises(PermissionDenied):
                    await agent.stop()
                await agent.ping()


@pytest.mark.parametrize("text", ["\ud800", b"x" * (BODY_BYTES_MAX + 1)])
async def test_what_can_not_travel_is_refused_before_it_is_sent(text: str | bytes) -> None:
    with anyio.fail_after(5):
        async with ScriptedCoordinator() as coordinator:
            async with connect_scripted(coordinator) as agent:
                with pytest.raises((InvalidRequest, TooLarge)):
                    await agent.write("plan.md", text)
                with pytest.raises(InvalidRequest):
                    await agent.write("\ud800.md", "text")
    assert coordinator.requests == []


async def test_garbage_from_the_coordinator_costs_the_connection_and_not_the_session() -> None:
    class Garbled(ScriptedCoordinator):
        async def connect(self) -> Transport:
            transport = await super().connect()
            if self.connections_count == 1:
                self._peers[-1].send(b"\xff\xff", b"")
            return transport

    with anyio.fail_after(5):
        async with Garbled() as coordinator:
            async with connect_scripted(coordinator) as agent:
                await agent.ping()
    assert coordinator.connections_count == 2


async def test_the_budget_of_the_caller_travels_with_the_request() -> None:
    budgets: list[int] = []

    class Watching(ScriptedCoordinator):
        async def connect(self) -> Transport:
            return _Spy(await super().connect(), budgets)

    with anyio.fail_after(5):
        async with Watching() as coordinator:
            async with connect_scripted(coordinator) as agent:
                budgets.clear()
                with anyio.fail_after(3):
                    await agent.ping()
                with anyio.CancelScope(shield=True):
                    await agent.ping()
    assert 2000 < budgets[0] <= 3000
    assert budgets[1] == 0


class _Spy:
    """A transport that notes the budgets that pass through it."""

    def __init__(self, inner: Transport, budgets: list[int]) -> None:
        self._inner = inner
        self._budgets = budgets
        self.run = inner.run
        self.close = inner.close

    def send_nowait(self, envelope: bytes, body: bytes) -> None:
        from agent_trace_protocol import decode_request_envelope  # noqa: PLC0415 - only here

        self._budgets.append(decode_request_envelope(envelope).budget_ms)
        self._inner.send_nowait(envelope, body)


async def test_a_connection_that_never_comes_back_raises_connection_lost() -> None:
    results: list[Written] = []

    class Gone(ScriptedCoordinator):
        async def connect(self) -> Transport:
            if self.connections_count:
                raise ConnectionLost("nobody listens")
            return await super().connect()

    with anyio.fail_after(5):
        async with Gone(_silent) as coordinator:
            async with connect_scripted(coordinator, reconnect_seconds=0.1) as agent:
                coordinator.drop()
                with pytest.raises(ConnectionLost, match=r"nobody listens \(tried \d+ times"):
                    results.append(await agent.write("plan.md", "text"))
    assert results == []
