"""Tools by which agents keep out of each other's way: leases, and waiting for a change."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import count
from typing import Annotated, Any, Final, TypeVar

import anyio
import msgspec
from msgspec import Meta

from agent_trace.calls.following import CHANGES, is_beside
from agent_trace.leases import Lease
from agent_trace_protocol import AgentTraceError, LeaseInfo, LogEntry, NotFound
from agent_trace_protocol.limits import LEASE_SECONDS_DEFAULT

from .reading import HistoryEntry, event_line, history_entry
from .tools import Call, Outcome, Profile, Tool, adding, again, changing, reading

__all__ = ["TOOLS"]

WAIT_SECONDS_MAX: Final = 300.0
LEASE_WAIT_SECONDS_MAX: Final = 300.0

PROGRESS_SECONDS: Final = 5.0
"""How often a client that waits hears that somebody is there."""

ASK_SECONDS: Final = 10.0
"""How long one request to the coordinator waits: what a client has given up is under way, and
counts against what its session may have under way, for no longer than this."""

_FULL: Final = frozenset({Profile.FULL})


_T = TypeVar("_T")


async def _reporting(call: Call, seconds: float, work: Callable[[], Awaitable[_T]]) -> _T:
    """Return what something returns that may take so long, telling the client that it goes on."""
    if not seconds:
        return await work()
    done: list[_T] = []
    refusal: AgentTraceError | None = None

    async def report() -> None:
        for waited in count(0.0, PROGRESS_SECONDS):
            await call.progress(waited, seconds, "waiting")
            await anyio.sleep(PROGRESS_SECONDS)

    async with anyio.create_task_group() as group:
        group.start_soon(report)
        try:
            done.append(await work())
        except AgentTraceError as error:
            # The task group would wrap it in a group of its own.
            refusal = error
        group.cancel_scope.cancel()
    if refusal is not None:
        raise refusal
    return done[0]


# ---- leases -----------------------------------------------------------------------------------


class AcquireLease(msgspec.Struct, forbid_unknown_fields=True):
    path: Annotated[str, Meta(description="a document, or a glob such as src/**")]
    wait_seconds: Annotated[float, Meta(ge=0, le=LEASE_WAIT_SECONDS_MAX)] = 0
    shared: bool = False


class HeldLease(msgspec.Struct, omit_defaults=True):
    path: str
    token: int
    holder: str
    left_seconds: float
    shared: bool = False


class HeldLeases(msgspec.Struct, omit_defaults=True):
    leases: list[HeldLease]


def _held(info: LeaseInfo) -> HeldLease:
    return HeldLease(info.path, info.token, info.holder, round(info.left_seconds, 1), info.shared)


def _lease_line(info: LeaseInfo) -> str:
    kind = "shared lease" if info.shared else "lease"
    return f"{info.path}: {kind} {info.token} of {info.holder}, {info.left_seconds:.0f} s left"


async def acquire_lease(call: Call, given: AcquireLease) -> Outcome:
    async def acquire() -> Lease:
        return await call.agent.acquire(
            given.path,
            shared=given.shared,
            ttl_seconds=LEASE_SECONDS_DEFAULT,
            wait_seconds=given.wait_seconds,
        )

    lease = await _reporting(call, given.wait_seconds, acquire)
    text = f"{given.path}: lease {lease.token} is yours until you release it or this session ends"
    return Outcome(text, HeldLeases([_held(lease.info)]))


class ReleaseLease(msgspec.Struct, forbid_unknown_fields=True):
    path: str


async def release_lease(call: Call, given: ReleaseLease) -> Outcome:
    mine = await call.agent.leases(session=call.agent.session_id)
    found = [info for info in mine.leases if info.path == given.path]
    if not found:
        held = ", ".join(info.path for info in mine.leases) or "none"
        raise NotFound(f"you hold no lease on {given.path}; those you hold: {held}")
    for info in found:
        await call.agent.release(info.token)
    return Outcome(f"{given.path}: released", HeldLeases([]))


class ListLeases(msgspec.Struct, forbid_unknown_fields=True):
    path: Annotated[str, Meta(description="only those that cover it; else all")] = ""


async def list_leases(call: Call, given: ListLeases) -> Outcome:
    found = await call.agent.leases(given.path)
    lines = [_lease_line(info) for info in found.leases]
    lines += [f"{each.path}: {each.name} waits" for each in found.waiters]
    leases = [_held(info) for info in found.leases]
    return Outcome("\n".join(lines) or "no leases", HeldLeases(leases))


# ---- wait_for_change --------------------------------------------------------------------------


class WaitForChange(msgspec.Struct, forbid_unknown_fields=True):
    path: Annotated[str, Meta(description="a document or a glob; else any")] = ""
    since: Annotated[int | None, Meta(description="else: your last call")] = None
    timeout_seconds: Annotated[float, Meta(gt=0, le=WAIT_SECONDS_MAX)] = 30


class Changes(msgspec.Struct):
    cursor: int
    changes: list[HistoryEntry]


async def wait_for_change(call: Call, given: WaitForChange) -> Outcome:
    cursor = call.seat.told_seq if given.since is None else given.since
    if cursor is None:
        await call.agent.ping()
        cursor = call.agent.seq
    position: int = cursor
    others: list[LogEntry] = []

    def is_news(event: LogEntry) -> bool:
        # What the caller did itself is none to it, and what follows from that in documents that
        # the coordinator makes is none to who does not ask for them.
        mine = event.session == call.agent.session_id
        return not mine and (bool(given.path) or not is_beside(event))

    async def wait() -> None:
        nonlocal position
        while not others:
            page = await call.agent.event_page(
                position,
                wait_seconds=min(given.timeout_seconds, ASK_SECONDS),
                path=given.path,
                actions=CHANGES,
            )
            position = page.cursor
            others.extend(each for each in page.events if is_news(each))

    with anyio.move_on_after(given.timeout_seconds):
        await _reporting(call, given.timeout_seconds, wait)
    lines = [event_line(each) for each in others] or ["nothing changed"]
    lines.append(f"next: {again('wait_for_change', given, since=position)}")
    return Outcome("\n".join(lines), Changes(position, [history_entry(each) for each in others]))


TOOLS: Final[tuple[Tool[Any], ...]] = (
    Tool(
        "wait_for_change",
        "Wait until somebody else changes a document. Says what changed, and the cursor for the "
        "next wait.",
        WaitForChange,
        wait_for_change,
        reading(),
        Changes,
        _FULL,
    ),
    Tool(
        "acquire_lease",
        "Tell others that you work on a document or glob, for as long as you are connected.",
        AcquireLease,
        acquire_lease,
        adding(),
        HeldLeases,
        _FULL,
    ),
    Tool(
        "release_lease",
        "Give a lease of yours back.",
        ReleaseLease,
        release_lease,
        changing(idempotent=True),
        HeldLeases,
        _FULL,
    ),
    Tool(
        "list_leases",
        "Who works on what, and who waits.",
        ListLeases,
        list_leases,
        reading(),
        HeldLeases,
        _FULL,
    ),
)
