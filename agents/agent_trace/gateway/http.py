"""The gateway as a service: many clients over Streamable HTTP, each of whom has a token."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Final, NoReturn

import anyio
import anyio.lowlevel
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.transport_security import TransportSecuritySettings
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent_trace.listening import Place, serve
from agent_trace_protocol import Unavailable

from .seats import Seats
from .server import AGENT_HEADER, GRANT, SESSION_HEADER, Gateway, seat_key
from .shares import Share
from .tokens import Tokens
from .tools import Profile

__all__ = ["TOKEN_VARIABLE", "Guard", "make_app", "security_of", "serve_http"]

TOKEN_VARIABLE: Final = "AGENT_TRACE_MCP_TOKEN"

PATH: Final = "/mcp"

BODY_BYTES_MAX: Final = 4 * 1024 * 1024
BODY_SECONDS_MAX: Final = 30.0
"""How long a request's body may take to come."""

CLIENTS_MAX: Final = 64
IDLE_SECONDS_MAX: Final = 600.0
"""After so long without a request or an open stream a client's session ends, and with it its
leases. The client does not notice: its next request opens another one."""

LOOK_SECONDS: Final = 1.0
"""How often it is looked whether the tokens of those who are in are still good."""

_LISTEN: Final = "subscriptions/listen"


class Guard:
    """Lets requests in that carry a token, as many as its share allows, and shuts out who is in
    when the token ends."""

    def __init__(self, app: ASGIApp, tokens: Tokens, seats: Seats) -> None:
        self._app = app
        self._tokens = tokens
        self._seats = seats
        self._shares: dict[bytes, Share] = {}
        self._changes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            grant = self._tokens.grant_of(headers.get("authorization", ""))
        except Unavailable as error:
            await _refusal(503, error.message, {"Retry-After": "5"})(scope, receive, send)
            return
        if self._tokens.changes != self._changes:
            # Before the bearer of a new token asks for what the bearer of the old one still has.
            await self._shut_out()
        if grant is None:
            await _unknown()(scope, receive, send)
            return
        agent = headers.get(AGENT_HEADER)
        if grant.agent and agent not in (None, grant.agent):
            said = f"this token is agent {grant.agent}'s; leave out {AGENT_HEADER} or say that name"
            await _refusal(403, said)(scope, receive, send)
            return
        share = self._shares.setdefault(grant.digest, Share())
        streaming = scope["method"] == "GET" or headers.get("mcp-method") == _LISTEN
        why = share.refusal(anyio.current_time(), streaming=streaming)
        if why:
            await _refusal(429, why, {"Retry-After": "1"})(scope, receive, send)
            return
        # The SDK binds its sessions to this: whoever else names one is told that there is none.
        access = AccessToken(token="", client_id=grant.principal, scopes=[])
        scope = {**scope, GRANT: grant, "user": AuthenticatedUser(access)}
        with share.taken(streaming=streaming) as cancel:
            await _Request(scope, receive, send, cancel).serve(self._watched)

    async def _watched(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, and note whose client is there."""
        session = Headers(scope=scope).get(SESSION_HEADER)
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

    async def keep_watch(self) -> NoReturn:
        """Shut out whose token has ended: their streams, what they wait for, their sessions."""
        while True:
            await anyio.sleep(LOOK_SECONDS)
            await self._shut_out()

    async def _shut_out(self) -> None:
        self._changes = self._tokens.changes
        for digest in list(self._shares):
            if not self._tokens.good(digest):
                self._shares.pop(digest).end()
                await self._seats.give_up_of(digest)


class _Request:
    """One request on its way: its body must come in time, and it may be broken off."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, cancel: anyio.CancelScope
    ) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._cancel = cancel
        self._deadline = anyio.current_time() + BODY_SECONDS_MAX
        self._came = self._late = self._begun = self._ended = False

    async def serve(self, app: ASGIApp) -> None:
        with self._cancel:
            await app(self._scope, self._take, self._tell)
        if not self._cancel.cancelled_caught or self._ended:
            return
        if self._begun:
            # A stream ends as if there was no more to come.
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        said = f"the body has not come within {BODY_SECONDS_MAX:.0f} s"
        refusal = _refusal(408, said, {"Connection": "close"}) if self._late else _unknown()
        await refusal(self._scope, self._receive, self._send)

    async def _take(self) -> Message:
        if self._came:
            return await self._receive()
        with anyio.CancelScope(deadline=self._deadline):
            message = await self._receive()
            self._came = not message.get("more_body", False)
            return message
        self._late = True
        self._cancel.cancel()
        await anyio.lowlevel.checkpoint()
        raise AssertionError("a scope that is cancelled ends at its next checkpoint")

    async def _tell(self, message: Message) -> None:
        await self._send(message)
        self._begun = True
        self._ended = message["type"] == "http.response.body" and not message.get("more_body")


def _refusal(status: int, said: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": said}, status_code=status, headers=headers)


def _unknown() -> JSONResponse:
    said = "a bearer token is needed that is good: Authorization: Bearer TOKEN"
    return _refusal(401, said, {"WWW-Authenticate": 'Bearer realm="agent-trace"'})


def make_app(gateway: Gateway, tokens: Tokens, security: TransportSecuritySettings) -> Guard:
    """Return the application that serves a gateway's clients at `/mcp`."""
    app = gateway.server.streamable_http_app(
        streamable_http_path=PATH,
        max_request_body_size=BODY_BYTES_MAX,
        max_sessions=CLIENTS_MAX,
        # It is the older revisions' clients that these end; they open another one by themselves.
        session_idle_timeout=IDLE_SECONDS_MAX,
        transport_security=security,
    )
    return Guard(app, tokens, gateway.seats)


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
    tokens: Tokens,
    started: Callable[[str], None],
) -> None:
    """Serve clients over HTTP until the process is told to end.

    Args:
        started: is told the address as soon as it listens.

    Raises:
        InvalidRequest: the place is open to other machines and the token was not chosen.
        OSError: nothing can be bound there.
    """
    place.check(TOKEN_VARIABLE, lasting=tokens.lasting)
    seats = Seats(
        store, agent, count_max=CLIENTS_MAX, idle_seconds_max=IDLE_SECONDS_MAX, exact=False
    )
    with place.bind() as listener:
        port = int(listener.getsockname()[1])
        app = make_app(Gateway(seats, profile, handles=True), tokens, security_of(place, port))
        async with anyio.create_task_group() as group:
            group.start_soon(app.keep_watch)
            await serve(app, listener, lambda: started(f"{place.address(port)}{PATH}"))
            group.cancel_scope.cancel()
