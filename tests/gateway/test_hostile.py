"""What a careless model or a hostile client may send gets an answer, and the next one as well."""

from __future__ import annotations

import json
import random
from typing import Any, Final

import anyio
import httpx2
import pytest
from mcp.types import CallToolResult

from agent_trace.gateway.convert import ERROR_BYTES_MAX
from agent_trace.gateway.server import TOOLS
from support.mcp import Service, Stage, text_of

pytestmark = pytest.mark.integration

REQUESTS: Final = 108


@pytest.fixture
def service(stage: Stage) -> Service:
    return stage.service


VALUES: Final[tuple[Any, ...]] = (
    None, True, -1, 0, 1, 2**63, 2**200, 1.5, "", "x", "1", "a.md", "../a", "a\x00b", "\u202ea.md",
    "x" * 5000, "*", "**/[", "ß/é.md", ".agent-trace/state.db", [], ["a.md"], {}, {"path": "a.md"},
)  # fmt: skip
"""What may stand for any argument."""


def arguments(random: random.Random, names: list[str]) -> dict[str, Any]:
    chosen = random.sample(names, random.randint(0, len(names)))
    given = {name: random.choice(VALUES) for name in chosen}
    if "timeout_seconds" in names or "wait_seconds" in names:
        # Waiting is no answer.
        given |= {name: 0.01 for name in ("timeout_seconds", "wait_seconds") if name in names}
    if random.random() < 0.1:
        given["nonsense"] = random.choice(VALUES)
    return given


async def test_any_arguments_of_any_tool_get_a_bounded_answer(service: Service) -> None:
    draw = random.Random(7)
    async with service.client(name="vandal") as client:
        for number in range(REQUESTS):
            tool = TOOLS[number % len(TOOLS)]
            names = list(tool.definition().input_schema.get("properties", {}))
            given = arguments(draw, names)
            with anyio.fail_after(20):
                result = await client.call_tool(tool.name, given)
            assert isinstance(result, CallToolResult)
            if result.is_error:
                said = text_of(result)
                assert not said.startswith("internal"), (tool.name, given, said)
                assert len(said.encode()) <= ERROR_BYTES_MAX, (tool.name, given)


CALL: Final = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}


@pytest.mark.parametrize(
    "body",
    [
        "",
        "null",
        "[]",
        "{",
        "[" * 100_000,
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_file","arguments":'
        + '{"path":"\\ud800"}}}',
        '{"jsonrpc":"2.0","id":' + "9" * 5000 + ',"method":"ping"}',
        json.dumps([CALL, CALL]),
        json.dumps({**CALL, "params": []}),
        json.dumps({**CALL, "params": {"name": 7}}),
        json.dumps({**CALL, "params": {"name": "read_file", "arguments": "path"}}),
        json.dumps({**CALL, "id": {"a": 1}, "params": {"name": "read_file"}}),
        json.dumps({"jsonrpc": "2.0", "id": 1, "method": "store/destroy"}),
        json.dumps({"jsonrpc": "2.0", "id": 1, "result": {}}),
    ],
)
async def test_bodies_that_are_no_request_are_the_clients_fault(
    service: Service, body: str
) -> None:
    accept = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    async with httpx2.AsyncClient(headers=service.headers | accept, timeout=20) as http:
        for more in ({}, {"MCP-Protocol-Version": "2026-07-28"}):
            answer = await http.post(service.url, content=body.encode(), headers=more)
            assert 400 <= answer.status_code < 500, answer.text
    async with service.client(name="vandal") as client:
        assert not (await client.call_tool("list_documents", {})).is_error
