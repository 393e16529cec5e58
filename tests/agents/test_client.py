"""What the agent's methods ask for and return."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from agent_trace import (
    AcceptDraft,
    Action,
    Actor,
    Add,
    Agent,
    Append,
    Conflict,
    ConflictInfo,
    Delete,
    Document,
    DocumentInfo,
    DocumentType,
    Durability,
    Edit,
    InvalidRequest,
    LogEntry,
    Move,
    Operation,
    Put,
    Restore,
    SectionEdit,
    SectionMode,
    Transaction,
    Written,
)
from agent_trace.testing import ScriptedCoordinator, accept_all, connect_scripted
from agent_trace_protocol import (
    Committed,
    Done,
    ListDocuments,
    Log,
    LogPage,
    MalformedMessage,
    Page,
    Read,
    Reply,
    Request,
    Transact,
    WriteResult,
)
from agent_trace_protocol import replies as wire
from agent_trace_protocol.limits import PAGE_ENTRIES_MAX


@pytest.fixture
async def coordinator() -> AsyncIterator[ScriptedCoordinator]:
    async with ScriptedCoordinator() as scripted:
        yield scripted


def _operations(coordinator: ScriptedCoordinator) -> list[Operation]:
    return [
        operation
        for request in coordinator.requests
        if isinstance(request, Transact)
        for operation in request.operations
    ]


async def test_each_method_asks_for_its_operation(coordinator: ScriptedCoordinator) -> None:
    with anyio.fail_after(5):
        async with connect_scripted(coordinator) as agent:
            await agent.write("a.md", "é", if_revision=0, type="plan")
            await agent.append("a.md", b"\xff", type=DocumentType.LOG)
            await agent.edit("a.md", "old", "new", all=True, if_revision=2)
            await agent.edit_section("a.md", "## Next", "text", mode="append")
            await agent.delete("a.md", if_revision=3)
            await agent.move("a.md", "b.md")
            await agent.restore("b.md", 2)
            await agent.add("c.md", "reference")
            await agent.accept("draft-1")
    assert _operations(coordinator) == [
        Put("a.md", "é".encode(), 0, DocumentType.PLAN),
        Append("a.md", b"\xff", None, DocumentType.LOG),
        Edit("a.md", b"old", b"new", True, 2),
        SectionEdit("a.md", "## Next", b"text", SectionMode.APPEND),
        Delete("a.md", 3),
        Move("a.md", "b.md"),
        Restore("b.md", 2),
        Add("c.md", DocumentType.REFERENCE),
        AcceptDraft("draft-1"),
    ]


async def test_durability_and_message_travel_with_a_write(coordinator: ScriptedCoordinator) -> None:
    with anyio.fail_after(5):
        async with connect_scripted(coordinator) as agent:
            await agent.write("a.md", "x", durability="git", message="why")
    assert coordinator.requests == [Transact((Put("a.md", b"x"),), Durability.GIT, "why")]


async def test_a_write_returns_what_it_made(coordinator: ScriptedCoordinator) -> None:
    def script(request: Request) -> Reply | None:
        if isinstance(request, Transact):
            return Committed(9, (WriteResult("a.md", 3, Action.PUT, 5, 2),), "c0ffee")
        return accept_all(request)

    coordinator.script = script
    with anyio.fail_after(5):
        async with connect_scripted(coordinator) as agent:
            written = await agent.write("a.md", "x")
    assert written == Written("a.md", 3, 9, "c0ffee", Action.PUT, 5, 2)
    assert str(written) == "a.md@3"


async def test_a_transaction_returns_one_result_per_operation(
    coordinator: ScriptedCoordinator,
) -> None:
    with anyio.fail_after(5):
        async with connect_scripted(coordinator) as agent:
            made = await agent.transact([Put("a.md", b"1"), Delete("b.md")])
    assert made == Transaction(
        1,
        "",
        (
            Written("a.md", 1, 1, "", Action.PUT, 1, 0),
            Written("b.md", 1, 1, "", Action.PUT, 1, 0),
        ),
    )
    assert str(made) == "a.md@1, b.md@1"


@pytest.mark.parametrize("count", [0, 65])
async def test_a_transaction_has_one_to_64_operations(
    coordinator: ScriptedCoordinator, count: int
) -> None:
    with anyio.fail_after(5):
        async with connect_scripted(coordinator) as agent:
            with pytest.raises(InvalidRequest, match=f"not {count}"):
                await agent.transact([Delete("a.md")] * count)
    assert coordinator.requests == []


async def test_a_word_that_is_none_of_the_choices_is_refused_with_the_choices(
    coordinator: ScriptedCoordinator,
) -> None:
    with anyio.fail_after(5):
        async with connect_scripted(coordinator) as agent:
            with pytest.raises(InvalidRequest, match="'tape' is not one of journal, git"):
                await agent.write("a.md", "x", durability="tape")
            with pytest.raises(InvalidRequest, match="plan, context, log, reference, scratch"):
                await agent.add("a.md", "novel")


async def test_a_document_has_its_text(coordinator: ScriptedCoordinator) -> None:
    def script(request: Request) -> Reply | None:
        if isinstance(request, Read):
            content = b"\xff" if request.revision == 1 else "é".encode()
            return wire.Document("a.md", DocumentType.PLAN, 2, content, 7, 1000, "ann")
        return accept_all(request)

    coordinator.script = script
    with anyio.fail_after(5):
        async with connect_scripted(coordinator) as agent:
            document = await agent.read("a.md")
            binary = await agent.read("a.md", 1)
            with pytest.raises(InvalidRequest, match="0 is not a revision"):
                await agent.read("a.md", 0)
    assert document == Document("a.md", DocumentType.PLAN, 2, "é".encode(), 7, 1000, "ann")
    assert (document.text, str(document)) == ("é", "a.md@2")
    with pytest.raises(InvalidRequest, match="not UTF-8"):
        _ = binary.text
    assert coordinator.requests == [Read("a.md"), Read("a.md", 1)]


def _info(number: int) -> DocumentInfo:
    return DocumentInfo(number, f"{number:05}.md", DocumentType.PLAN, 1, 1, number, 0, "ann")


async def test_a_listing_is_put_together_from_all_its_pages(
    coordinator: ScriptedCoordinator,
) -> None:
    everything = [_info(number) for number in range(PAGE_ENTRIES_MAX + 5)]

    def script(request: Request) -> Reply | None:
        if isinstance(request, ListDocuments):
            rest = [each for each in everything if each.path > request.after]
            return Page(tuple(rest[: request.limit]), len(rest) > request.limit)
        return accept_all(request)

    coordinator.script = script
    with anyio.fail_after(5):
        async with connect_scripted(coordinator) as agent:
            assert await agent.list(prefix="0", type="plan") == tuple(everything)
    assert len(coordinator.requests) == 2


def _entry(seq: int) -> LogEntry:
    return LogEntry(seq, 0, Actor.AGENT, "ann", "s", Action.PUT, "a.md", seq, 1, 0, "", "")


async def test_a_log_is_read_page_by_page_up_to_its_limit(
    coordinator: ScriptedCoordinator,
) -> None:
    def script(request: Request) -> Reply | None:
        if isinstance(request, Log):
            newest = request.before - 1 if request.before else 5000
            entries = tuple(_entry(newest - index) for index in range(request.limit))
            return LogPage(entries, True)
        return accept_all(request)

    coordinator.script = script
    with anyio.fail_after(5):
        async with connect_scripted(coordinator) as agent:
            entries = await agent.log("a.md", limit=PAGE_ENTRIES_MAX + 3, action="put")
            with pytest.raises(InvalidRequest):
                await agent.log(limit=0)
    assert [entry.seq for entry in entries] == list(range(5000, 5000 - PAGE_ENTRIES_MAX - 3, -1))
    assert coordinator.requests == [
        Log("a.md", PAGE_ENTRIES_MAX, 0, action=Action.PUT),
        Log("a.md", 3, 5001 - PAGE_ENTRIES_MAX, action=Action.PUT),
    ]


async def test_a_refusal_is_raised_with_what_it_carries(coordinator: ScriptedCoordinator) -> None:
    info = ConflictInfo("a.md", 1, 2, "bob", 5, "-old\n+new", "draft-1", True)

    def script(request: Request) -> Reply | None:
        if isinstance(request, Transact):
            raise Conflict("a.md is at revision 2, not 1", info)
        return accept_all(request)

    coordinator.script = script
    with anyio.fail_after(5):
        async with connect_scripted(coordinator) as agent:
            with pytest.raises(Conflict, match="at revision 2") as caught:
                await agent.write("a.md", "x", if_revision=1)
    assert caught.value.info == info


async def test_an_answer_of_the_wrong_kind_is_named(coordinator: ScriptedCoordinator) -> None:
    def script(request: Request) -> Reply | None:
        return Done()

    coordinator.script = script
    with anyio.fail_after(5):
        async with connect_scripted(coordinator) as agent:
            with pytest.raises(MalformedMessage, match="Read was answered with Done"):
                await agent.read("a.md")


async def test_many_tasks_share_an_agent(coordinator: ScriptedCoordinator) -> None:
    paths: list[str] = []

    async def write(agent: Agent, path: str) -> None:
        paths.append((await agent.write(path, "x")).path)

    with anyio.fail_after(5):
        async with connect_scripted(coordinator) as agent, anyio.create_task_group() as group:
            for index in range(200):
                group.start_soon(write, agent, f"{index}.md")
    assert sorted(paths) == sorted(f"{index}.md" for index in range(200))
