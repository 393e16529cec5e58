"""Documents as resources, what is told of their changes in both eras, completion, prompts."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest
from mcp import types
from mcp.client import IncomingMessage
from mcp.client.subscriptions import ResourcesListChanged, ResourceUpdated
from mcp.shared.exceptions import MCPError

from agent_trace import Agent, connect
from support.mcp import ERAS, OLD, Service, Stage, stdio_gateway

pytestmark = pytest.mark.integration


@pytest.fixture
def root(stage: Stage) -> Path:
    return stage.root


@pytest.fixture
def service(stage: Stage) -> Service:
    return stage.service


@pytest.fixture
async def other(root: Path) -> AsyncGenerator[Agent]:
    async with connect(root, agent="other") as agent:
        yield agent


@pytest.mark.parametrize("mode", ERAS)
async def test_documents_are_listed_read_and_completed_as_resources(
    service: Service, other: Agent, mode: str
) -> None:
    await other.write(f"{mode}/with space ü.md", "hello\n", type="plan")
    address = f"agent-trace://doc/{mode}/with%20space%20%C3%BC.md"
    async with service.client(mode=mode, name="reader") as client:
        listed = (await client.list_resources()).resources
        found = {each.uri: each for each in listed}
        assert "agent-trace://index" in found
        assert found[address].name == f"{mode}/with space ü.md"
        assert found[address].mime_type == "text/markdown"
        assert found[address].size == 6
        (content,) = (await client.read_resource(address)).contents
        assert isinstance(content, types.TextResourceContents)
        assert content.text == "hello\n"
        for made, said in (("briefing", "Briefing for agent "), ("context", "# Context\n")):
            (text,) = (await client.read_resource(f"agent-trace://{made}")).contents
            assert isinstance(text, types.TextResourceContents)
            assert text.text.startswith(said)
        (index,) = (await client.read_resource("agent-trace://index")).contents
        assert isinstance(index, types.TextResourceContents)
        assert f"- {mode}/with space ü.md (plan, revision 1)\n" in index.text
        (template,) = (await client.list_resource_templates()).resource_templates
        assert template.uri_template == "agent-trace://doc/{+path}"
        completed = await client.complete(
            types.ResourceTemplateReference(uri=template.uri_template),
            {"name": "path", "value": f"{mode}/w"},
        )
        assert completed.completion.values == [f"{mode}/with space ü.md"]


async def test_resources_come_in_pages(service: Service, root: Path) -> None:
    async with connect(root, agent="many") as agent:
        async with anyio.create_task_group() as group:
            for number in range(210):
                group.start_soon(agent.write, f"many/{number:03d}.md", "x\n")
    async with service.client(name="reader") as client:
        names: list[str] = []
        cursor: str | None = None
        while True:
            page = await client.list_resources(cursor=cursor)
            assert len(page.resources) <= 203
            names += [each.name for each in page.resources]
            cursor = page.next_cursor
            if cursor is None:
                break
    assert len(names) == len(set(names))
    assert sum(name.startswith("many/") for name in names) == 210


@pytest.mark.parametrize(
    "address",
    [
        "agent-trace://doc/none.md",
        "agent-trace://doc/..%2Fx",
        "agent-trace://doc/%FF",
        "agent-trace://doc/.agent-trace/config.toml",
        "agent-trace://nothing",
        "file:///etc/passwd",
    ],
)
async def test_an_address_of_nothing_is_the_callers_fault(service: Service, address: str) -> None:
    async with service.client(name="reader") as client:
        with pytest.raises(MCPError) as caught:
            await client.read_resource(address)
    assert caught.value.error.code == types.INVALID_PARAMS
    assert caught.value.error.data == {"uri": address}


async def test_a_stream_tells_what_was_subscribed_to_and_nothing_else(
    service: Service, other: Agent
) -> None:
    await other.write("told.md", "1\n")
    address = "agent-trace://doc/told.md"
    async with service.client(name="reader") as client:
        with anyio.fail_after(20):
            async with client.listen(
                resources_list_changed=True, resource_subscriptions=[address]
            ) as told:
                await other.write("untold.md", "1\n")
                assert await anext(told) == ResourcesListChanged()
                await other.append("untold.md", "2\n")
                await other.append("told.md", "2\n")
                assert await anext(told) == ResourceUpdated(uri=address)


@pytest.mark.parametrize("over", ["http", "stdio"])
async def test_a_connection_of_the_older_revisions_is_told_what_it_subscribed_to(
    service: Service, root: Path, other: Agent, over: str
) -> None:
    path = f"old-{over}.md"
    await other.write(path, "1\n")
    address = f"agent-trace://doc/{path}"
    send, heard = anyio.create_memory_object_stream[IncomingMessage](100)

    async def hear(message: IncomingMessage) -> None:
        await send.send(message)

    connected = (
        service.client(mode=OLD, name="reader", heard=hear)
        if over == "http"
        else stdio_gateway(root, mode=OLD, name="reader", heard=hear)
    )
    async with connected as client, send, heard:
        with anyio.fail_after(20):
            capabilities = client.server_capabilities
            assert capabilities.resources is not None
            assert capabilities.resources.subscribe and capabilities.resources.list_changed
            assert capabilities.tools is not None and not capabilities.tools.list_changed
            subscribed = types.SubscribeRequestParams(uri=address)
            await client.session.send_request(
                types.SubscribeRequest(params=subscribed), types.EmptyResult
            )
            await other.write(f"new-{over}.md", "1\n")
            assert isinstance(await heard.receive(), types.ResourceListChangedNotification)
            await other.append(path, "2\n")
            message = await heard.receive()
            assert isinstance(message, types.ResourceUpdatedNotification)
            assert message.params.uri == address
            unsubscribed = types.UnsubscribeRequestParams(uri=address)
            await client.session.send_request(
                types.UnsubscribeRequest(params=unsubscribed), types.EmptyResult
            )


@pytest.mark.parametrize("mode", ERAS)
async def test_prompts_are_listed_and_take_what_they_say(service: Service, mode: str) -> None:
    async with service.client(mode=mode, name="reader") as client:
        prompts = (await client.list_prompts()).prompts
        assert [each.name for each in prompts] == ["start", "resume", "hand_over"]
        got = await client.get_prompt("start", {"goal": "ship {it}"})
        (message,) = got.messages
        assert isinstance(message.content, types.TextContent)
        assert message.content.text.endswith("The goal: ship {it}")
        assert "get_resume_context" in message.content.text
        for name, given in (
            ("nothing", {}),
            ("resume", {"x": "y"}),
            ("start", {"goal": "x" * 5000}),
        ):
            with pytest.raises(MCPError) as caught:
                await client.get_prompt(name, given)
            assert caught.value.error.code == types.INVALID_PARAMS
