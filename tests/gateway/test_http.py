"""Who may ask the gateway over HTTP, and which client is which agent."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
from collections.abc import AsyncGenerator, Generator
from dataclasses import replace
from pathlib import Path
from typing import Final

import httpx2
import pytest

from agent_trace import InvalidRequest, connect
from agent_trace.gateway.http import TOKEN_VARIABLE
from agent_trace.listening import Place
from support.coordinator import running
from support.mcp import COMMAND, NEW, OLD, Service, called, http_gateway, refused

pytestmark = pytest.mark.integration

INITIALIZE: Final = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "raw", "version": "1"},
    },
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    root = tmp_path_factory.mktemp("store")
    with running(root):
        yield root


@pytest.fixture(scope="module")
def service(root: Path) -> Generator[Service]:
    with http_gateway(root) as running_service:
        yield running_service


@pytest.fixture
async def http(service: Service) -> AsyncGenerator[httpx2.AsyncClient]:
    accept = {"Accept": "application/json, text/event-stream"}
    async with httpx2.AsyncClient(headers=service.headers | accept, timeout=30) as client:
        yield client


async def names_of(root: Path) -> list[str]:
    async with connect(root, user="ada", ephemeral=True) as user:
        return sorted(each.name for each in await user.sessions() if each.kind == "mcp")


# ---- who may ask --------------------------------------------------------------------------------


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer wrong", "Basic {}", "{}"])
async def test_without_the_token_nobody_gets_in(service: Service, authorization: str) -> None:
    headers = {"Authorization": authorization.format(service.token)} if authorization else {}
    async with httpx2.AsyncClient(headers=headers) as client:
        for method in ("GET", "POST", "DELETE", "OPTIONS"):
            answer = await client.request(method, service.url)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert service.token not in answer.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example:80"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Content-Type": "text/plain"}, 400),
    ],
)
async def test_pages_of_others_get_nothing_even_with_the_token(
    service: Service, http: httpx2.AsyncClient, headers: dict[str, str], status: int
) -> None:
    body = json.dumps(INITIALIZE)
    plain = {"Content-Type": "application/json"}
    answer = await http.post(service.url, content=body, headers=plain | headers)
    assert answer.status_code == status
    modern = {"MCP-Protocol-Version": "2026-07-28"}
    answer = await http.post(service.url, content=body, headers=plain | modern | headers)
    assert answer.status_code == status


async def test_a_page_of_its_own_address_and_a_host_without_origin_get_in(
    service: Service, http: httpx2.AsyncClient
) -> None:
    origin = service.url.removesuffix("/mcp")
    for headers in ({}, {"Origin": origin}):
        answer = await http.post(service.url, json=INITIALIZE, headers=headers)
        assert answer.status_code == 200


async def test_a_body_above_4_mib_is_refused_before_it_is_read(
    service: Service, http: httpx2.AsyncClient
) -> None:
    body = b" " * (4 * 1024 * 1024 + 1)
    answer = await http.post(
        service.url, content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 413


async def test_a_session_that_is_not_there_is_not_found(
    service: Service, http: httpx2.AsyncClient
) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    answer = await http.post(service.url, json=body, headers={"Mcp-Session-Id": "made-up"})
    assert answer.status_code == 404


async def test_answers_leave_at_once_and_do_not_wait_for_acknowledgements() -> None:
    delays: list[int] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted: socket.socket = writer.get_extra_info("socket")
        delays.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    with Place().bind() as listener:
        async with await asyncio.start_server(answer, sock=listener):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            assert await reader.read() == b""
            writer.close()
    assert delays == [1]


def test_other_machines_are_let_in_only_with_a_token_that_somebody_chose() -> None:
    everywhere = Place("0.0.0.0")
    with pytest.raises(InvalidRequest, match="with --token-file FILE or AGENT_TRACE_MCP_TOKEN"):
        everywhere.check(TOKEN_VARIABLE, lasting=False)
    with pytest.raises(InvalidRequest, match="needs --allow-host NAME"):
        everywhere.check(TOKEN_VARIABLE, lasting=True)
    Place("0.0.0.0", hosts=("store.example",)).check(TOKEN_VARIABLE, lasting=True)
    Place("127.0.0.1").check(TOKEN_VARIABLE, lasting=False)


def test_a_gateway_that_may_not_listen_says_so_and_ends(root: Path) -> None:
    run = subprocess.run(
        [*COMMAND, "--http", "--host", "0.0.0.0", "--port", "0", "--store", str(root)],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert run.returncode == 1
    assert run.stderr.startswith("error: listening on 0.0.0.0 lets other machines in")


# ---- which client is which agent ----------------------------------------------------------------


@pytest.mark.parametrize("mode", [OLD, NEW])
async def test_clients_are_agents_of_their_own(service: Service, root: Path, mode: str) -> None:
    async with (
        service.client(mode=mode, name=f"first {mode}") as first,
        service.client(mode=mode, name=f"second {mode}") as second,
        service.client(mode=mode, agent=f"named-{mode}") as named,
    ):
        for client, path in ((first, "1"), (second, "2"), (named, "3")):
            await called(client, "write_file", path=f"{mode}/{path}.md", content="x\n")
        listed = await called(first, "list_documents", prefix=f"{mode}/")
    assert [line.split()[-1] for line in listed.splitlines()] == [
        f"first-{mode}",
        f"second-{mode}",
        f"named-{mode}",
    ]


async def test_namesakes_of_the_older_revisions_get_numbers_and_their_end_frees_the_name(
    service: Service, root: Path
) -> None:
    async with (
        service.client(mode=OLD, name="twin") as first,
        service.client(mode=OLD, name="twin") as second,
    ):
        await called(first, "list_documents")
        await called(second, "list_documents")
        assert {"twin", "twin-2"} <= set(await names_of(root))
    # The clients have said that they leave.
    assert not {"twin", "twin-2"} & set(await names_of(root))


async def test_a_session_that_is_not_ours_is_refused(service: Service) -> None:
    async with service.client() as client:
        said = await refused(client, "list_documents", session="made-up")
        assert said.startswith("not_found: there is no session made-up")


# ---- tokens of agents ---------------------------------------------------------------------------


async def test_a_token_of_one_agent_is_that_agent_whose_sessions_no_other_token_opens(
    root: Path, tmp_path: Path
) -> None:
    first, second, other = ("x" * 42 + each for each in "123")
    file = tmp_path / "tokens"
    file.touch(0o600)
    file.write_text(f"{first} agent=lead\n{other}\n")
    with http_gateway(root, "--token-file", str(file)) as service:
        as_lead = replace(service, token=first)
        as_other = replace(service, token=other)
        async with as_lead.client(mode=OLD) as client, as_other.client(mode=OLD) as stranger:
            await called(client, "append_file", path="lead.md", content="1\n")
            assert await called(stranger, "list_documents", prefix="lead.md") == (
                "lead.md scratch @1 2B by lead"
            )
            # The token is replaced: the agent goes on, and the old one opens nothing.
            file.write_text(f"{second} agent=lead\n{other}\n")
            as_lead = replace(service, token=second)
            async with as_lead.client(mode=NEW) as successor:
                begun = await successor.call_tool("get_resume_context", {})
                said = str(begun.content[-1])
                match = re.search(r'session \\?"([\w-]+)', said)
                assert match is not None, said
                handle = match.group(1)
                given = {"path": "lead.md", "content": "2\n", "session": handle}
                await called(successor, "append_file", **given)
        async with as_other.client(mode=NEW) as stranger:
            said = await refused(stranger, "append_file", **given)
            assert said.startswith("not_found: there is no session ")
        with pytest.raises(BaseExceptionGroup):
            async with replace(service, token=first).client(mode=OLD):
                pass
