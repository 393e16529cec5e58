"""The gateway as a service: many clients over Streamable HTTP.

Whoever asks proves by a token that they may; also on the machine itself, for a web page in a
browser can reach its ports as well. Hosts and origins are checked besides.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import socket
import stat
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvicorn
from mcp.server.transport_security import TransportSecuritySettings
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent_trace_protocol import InvalidRequest

from .seats import Seats
from .server import SESSION_HEADER, Gateway, seat_key
from .tools import Profile

__all__ = ["TOKEN_VARIABLE", "Guard", "Place", "Token", "make_app", "serve_http"]

TOKEN_VARIABLE: Final = "AGENT_TRACE_MCP_TOKEN"

TOKEN_LENGTH_MIN: Final = 32
"""Characters of a token that somebody else made: fewer might be guessed."""

PATH: Final = "/mcp"

BODY_BYTES_MAX: Final = 4 * 1024 * 1024

CLIENTS_MAX: Final = 64
IDLE_SECONDS_MAX: Final = 600.0
"""After so long without a request or an open stream a client's session ends, and with it its
leases. The client does not notice: its next request opens another one."""

REQUESTS_MAX: Final = 512
"""Connections at once; more are answered with 503."""

_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Token:
    """What clients prove themselves with. Only its hash is kept."""

    digest: bytes
    shown: str = ""
    """The token itself if it was made just now, for whoever started the gateway to see."""
    lasting: bool = False
    """Whether somebody chose it, or keeps it in a file."""

    @classmethod
    def of(cls, text: str, *, shown: bool = False, lasting: bool = False) -> Token:
        """Return a token by its text."""
        return cls(hashlib.sha256(text.encode("utf-8", "replace")).digest(), text * shown, lasting)

    @classmethod
    def find(cls, file: str | None) -> Token:
        """Return the token from a file, which is made if there is none, else from the environment,
        else a new one for this run.

        Raises:
            InvalidRequest: others may read the file, or the token is too short.
        """
        if file is not None:
            return _from_file(Path(file))
        given = os.environ.get(TOKEN_VARIABLE, "")
        if given:
            return cls.of(_long_enough(given, TOKEN_VARIABLE), lasting=True)
        return cls.of(secrets.token_urlsafe(32), shown=True)

    def proves(self, authorization: str) -> bool:
        """Return whether a header of a request holds this token."""
        scheme, _, given = authorization.partition(" ")
        digest = hashlib.sha256(given.strip().encode("utf-8", "replace")).digest()
        return hmac.compare_digest(digest, self.digest) and scheme.lower() == "bearer"


def _long_enough(token: str, where: str) -> str:
    if len(token) < TOKEN_LENGTH_MIN:
        raise InvalidRequest(
            f"the token in {where} has {len(token)} characters; it needs {TOKEN_LENGTH_MIN} or more"
        )
    return token


def _from_file(file: Path) -> Token:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        made = secrets.token_urlsafe(32)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="ascii") as opened:
            opened.write(f"{made}\n")
        return Token.of(made, lasting=True)
    with open(descriptor, encoding="utf-8", errors="replace") as opened:
        if os.fstat(descriptor).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise InvalidRequest(f"others may read the token in {file}; first: chmod 600 {file}")
        return Token.of(_long_enough(opened.read().strip(), str(file)), lasting=True)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a gateway listens, and by which names it is reached."""

    host: str = "127.0.0.1"
    port: int = 0
    """0: any that is free."""
    hosts: Sequence[str] = ()
    """Further names, with or without a port, that requests may name in their `Host`."""
    origins: Sequence[str] = ()
    """Further web pages that may ask, as `https://example.org`."""

    def check(self, token: Token) -> None:
        """Raise `InvalidRequest` if this is no place to listen with this token."""
        if self.host in _LOOPBACK:
            return
        if not token.lasting:
            raise InvalidRequest(
                f"listening on {self.host} lets other machines in; name a token of your own for "
                f"that, with --token-file FILE or {TOKEN_VARIABLE}"
            )
        if not self.hosts:
            raise InvalidRequest(
                f"listening on {self.host} needs --allow-host NAME: the name by which clients "
                "reach this machine"
            )

    def security(self, port: int) -> TransportSecuritySettings:
        """Return the checks of `Host` and `Origin`."""
        here = [f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}"]
        named = [form for name in self.hosts for form in (name, f"{name}:{port}")]
        return TransportSecuritySettings(
            enable_dns_rebinding_protection=True,
            allowed_hosts=here + named,
            allowed_origins=[*(f"http://{each}" for each in here), *self.origins],
        )

    def bind(self) -> socket.socket:
        """Return a socket that is bound here."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        made = socket.socket(family, socket.SOCK_STREAM)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((self.host, self.port))
        except BaseException:
            made.close()
            raise
        return made


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
    place.check(token)
    seats = Seats(
        store, agent, count_max=CLIENTS_MAX, idle_seconds_max=IDLE_SECONDS_MAX, exact=False
    )
    with place.bind() as listener:
        port = int(listener.getsockname()[1])
        app = make_app(Gateway(seats, profile, handles=True), token, place.security(port))
        config = uvicorn.Config(
            app,
            log_level="warning",
            lifespan="on",
            limit_concurrency=REQUESTS_MAX,
            timeout_graceful_shutdown=2,
            server_header=False,
        )
        listener.listen()
        shown = f"[{place.host}]" if ":" in place.host else place.host
        started(f"http://{shown}:{port}{PATH}")
        await uvicorn.Server(config).serve(sockets=[listener])
