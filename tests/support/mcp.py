"""The SDK's own client, connected to a gateway that is a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2
from mcp.client import Client
from mcp.client.session import MessageHandlerFnT
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, Implementation, TextContent

from .coordinator import Coordinator

__all__ = [
    "COMMAND",
    "ERAS",
    "NEW",
    "OLD",
    "REVISIONS",
    "Service",
    "Stage",
    "called",
    "http_gateway",
    "refused",
    "stdio_gateway",
    "text_of",
]

OLD: Final = "legacy"
NEW: Final = "auto"
ERAS: Final = (OLD, NEW)
"""The handshake of the revisions up to 2025-11-25, and the envelopes of those since 2026-07-28, for
which the client asks first."""

REVISIONS: Final = {OLD: "2025-11-25", NEW: "2026-07-28"}


COMMAND: Final = (sys.executable, "-m", "agent_trace", "mcp")


@asynccontextmanager
async def stdio_gateway(
    root: Path,
    *arguments: str,
    mode: str = NEW,
    name: str = "scribe",
    environment: Mapping[str, str] | None = None,
    heard: MessageHandlerFnT | None = None,
) -> AsyncGenerator[Client, None]:
    """Connect to a gateway on standard input and output, as a host named `name` does."""
    parameters = StdioServerParameters(
        command=COMMAND[0],
        args=[*COMMAND[1:], "--store", str(root), *arguments],
        env={**(environment or {}), "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
    )
    info = Implementation(name=name, version="1.0")
    async with Client(
        stdio_client(parameters), mode=mode, client_info=info, message_handler=heard
    ) as client:
        yield client


@dataclass
class Stage:
    """A store with its coordinator, and a gateway over HTTP that offers every tool."""

    root: Path
    coordinator: Coordinator
    service: Service


@dataclass
class Service:
    """A gateway over HTTP that is running."""

    process: subprocess.Popen[bytes]
    url: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    @asynccontextmanager
    async def client(
        self,
        *,
        mode: str = NEW,
        name: str = "scribe",
        agent: str = "",
        heard: MessageHandlerFnT | None = None,
    ) -> AsyncGenerator[Client, None]:
        """Connect as a host named `name` does; `heard` is given what the server says by itself."""
        headers = self.headers | ({"Agent-Trace-Agent": agent} if agent else {})
        info = Implementation(name=name, version="1.0")
        async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
            transport = streamable_http_client(self.url, http_client=http)
            async with Client(
                transport, mode=mode, client_info=info, message_handler=heard
            ) as client:
                yield client


@contextmanager
def http_gateway(root: Path, *arguments: str) -> Generator[Service]:
    """Serve a store over HTTP, on a port that is free, for the length of a block; then it ends its
    sessions and itself, because it is told to."""
    process = subprocess.Popen(
        [*COMMAND, "--http", "--port", "0", "--json", "--store", str(root), *arguments],
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        yield Service(process, told["url"], told["token"])
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        process.stdout.close()
        code = process.wait(10)
    assert code in (0, -signal.SIGTERM), f"told to end, it ended with {code}"


def text_of(result: CallToolResult) -> str:
    """Return the one text that a result has."""
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


async def called(client: Client, tool: str, **arguments: Any) -> str:
    """Call a tool, which must succeed, and return its text."""
    result = await client.call_tool(tool, arguments)
    text = text_of(result)
    assert not result.is_error, text
    return text


async def refused(client: Client, tool: str, **arguments: Any) -> str:
    """Call a tool, which must be refused, and return what is said."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error, text_of(result)
    assert result.structured_content is None
    return text_of(result)
