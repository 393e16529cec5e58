"""`python -m conformance.serve STORE [fixture]`: the gateway for the suite, which has no token.

The gateway is the product's, with its guard; only the token is put into each request on its way.
"""

from __future__ import annotations

import secrets
import sys

import anyio
import uvicorn
from starlette.types import Receive, Scope, Send

from agent_trace.gateway.http import CLIENTS_MAX, make_app, security_of
from agent_trace.gateway.prompts import PROMPTS
from agent_trace.gateway.seats import Seats
from agent_trace.gateway.server import TOOLS, Gateway
from agent_trace.gateway.tokens import Tokens
from agent_trace.gateway.tools import Profile
from agent_trace.listening import Place

from .fixture import PROMPTS as TEST_PROMPTS
from .fixture import TOOLS as TEST_TOOLS


async def serve(store: str, fixture: bool) -> None:
    seats = Seats(store, count_max=CLIENTS_MAX, idle_seconds_max=600, exact=False)
    gateway = Gateway(
        seats,
        Profile.FULL,
        handles=True,
        tools=(*TOOLS, *(TEST_TOOLS if fixture else ())),
        prompts=(*PROMPTS, *(TEST_PROMPTS if fixture else ())),
    )
    token, place = secrets.token_urlsafe(32), Place()
    with place.bind() as listener:
        port = int(listener.getsockname()[1])
        app = make_app(gateway, Tokens.of(token), security_of(place, port))

        async def admit(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                proof = (b"authorization", f"Bearer {token}".encode())
                scope = {**scope, "headers": [*scope["headers"], proof]}
            await app(scope, receive, send)

        listener.listen()
        sys.stdout.write(f"http://localhost:{port}/mcp\n")
        sys.stdout.flush()
        config = uvicorn.Config(admit, log_level="warning", timeout_graceful_shutdown=1)
        await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    anyio.run(serve, sys.argv[1], sys.argv[2:] == ["fixture"])
