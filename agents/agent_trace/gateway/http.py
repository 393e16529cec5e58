"""The gateway as a service: many clients over Streamable HTTP, each of whom has the token."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Final

from mcp.server.transport_security import TransportSecuritySettings
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent_trace.listening import Place, Token, serve

from .seats import Seats
from .server import SESSION_HEADER, Gateway, seat_key
from .tools import Profile

__all__ = ["TOKEN_VARIABLE", "Guard", "make_app", "security_of", "serve_http"]

TOKEN_VARIABLE: Final = "AGENT_TRACE_MCP_TOKEN"

PATH: Final = "/mcp"

BODY_BYTES_MAX: Final = 4 * 1024 * 1024

CLIENTS_MAX: Final = 64
IDLE_SECONDS_MAX: Final = 600.0
"""After so long without a request or an open stream a client's session ends, and with it its
leases. The client does not notice: its next request opens another one."""


class Guard:
    """Lets requests in that carry the token, and notes whose client is there."""

    def __init__(self, app: ASGIApp, token: Token, seats: Seats) -> None:
        self._app = app
        self._token = token
        self._seats = seats

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not self._token.proves(headers.get("authorization", "")):
            refusal = JSONResponse(
                {"error": "a bearer token is needed: Authorization: Bearer TOKEN"},
                status_code=401,
                headers={"WWW-Authenticate": 'Bearer realm="agent-trace"'},
            )
            await refusal(scope, receive, send)
            return
        session = headers.get(SESSION_HEADER)
        seat = self._seats.find(seat_key(session)) if session else None

        async def watch(message: Message) -> None:
            deleted = scope["method"] == "DELETE" and message.get("status", 500) < 300
            if session and deleted:
                # The client has said that it leaves; it may rely on it that it has left.
                await self._seats.give_up(seat_key(session))
            await send(message)

        # A stream that is open shows that its client is there, though it asks for nothing.
        with seat.present() if seat is not None else nullcontext():
            await self._app(scope, receive, watch)


def make_app(gateway: Gateway, token: Token, security: TransportSecuritySettings) -> ASGIApp:
    """Return the application that serves a gateway's clients at `/mcp`."""
    app = gateway.server.streamable_http_app(
        streamable_http_path=PATH,
        max_request_body_size=BODY_BYTES_MAX,
        max_sessions=CLIENTS_MAX,
        # It is the older revisions' clients that these end; they open another one by themselves.
        session_idle_timeout=IDLE_SECONDS_MAX,
        transport_security=security,
    )
    return Guard(app, token, gateway.seats)


def security_of(place: Place, port: int) -> TransportSecuritySettings:
    """Return a place's checks of `Host` and `Origin` in the SDK's words."""
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=place.allowed_hosts(port),
        allowed_origins=place.allowed_origins(port),
    )


async def serve_http(
    store: str | None,
    agent: str | None,
    profile: Profile,
    place: Place,
    token: Token,
    started: Callable[[str], None],
) -> None:
    """Serve clients over HTTP until the process is told to end.

    Args:
        started: is told the address as soon as it listens.

    Raises:
        InvalidRequest: the place is open to other machines and the token was not chosen.
        OSError: nothing can be bound there.
    """
    place.check(token, TOKEN_VARIABLE)
    seats = Seats(
        store, agent, count_max=CLIENTS_MAX, idle_seconds_max=IDLE_SECONDS_MAX, exact=False
    )
    with place.bind() as listener:
        port = int(listener.getsockname()[1])
        app = make_app(Gateway(seats, profile, handles=True), token, security_of(place, port))
        await serve(app, listener, lambda: started(f"{place.address(port)}{PATH}"))
