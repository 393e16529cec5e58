"""The web view as a service: the pages behind their guard, on a socket."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from agent_trace.cli.failures import describe
from agent_trace.config import Settings
from agent_trace.listening import Place, Token, serve
from agent_trace_protocol import (
    AgentTraceError,
    Conflict,
    InvalidPath,
    InvalidRequest,
    LeaseError,
    NotFound,
    PermissionDenied,
    TooLarge,
    Unavailable,
)

from .deciding import Deciding
from .feed import Feed
from .guard import Guard
from .link import Link
from .pages import Pages
from .passes import Ticket
from .rendering import Renderer

__all__ = ["TOKEN_VARIABLE", "WebView", "serve_web"]

TOKEN_VARIABLE: Final = "AGENT_TRACE_WEB_TOKEN"

_STATUSES: Final[tuple[tuple[type[AgentTraceError], int, str], ...]] = (
    (NotFound, 404, "Not here"),
    (PermissionDenied, 403, "Not allowed"),
    (InvalidRequest, 400, "Not understood"),
    (InvalidPath, 400, "Not understood"),
    (TooLarge, 413, "Too large"),
    (Conflict, 409, "It has changed"),
    (LeaseError, 409, "Somebody works on it"),
    (Unavailable, 503, "The coordinator can not be reached"),
)


class WebView:
    """The application of one store, and what it needs while it runs."""

    def __init__(
        self,
        settings: Settings,
        token: Token,
        place: Place,
        port: int,
        *,
        read_only: bool = False,
    ) -> None:
        """
        Args:
            settings: the session that pages are read with, and decisions are made in.
            port: the port of the socket that it will be reached on.
        """
        identity = settings.identity
        root = settings.root
        self._renderer = Renderer(
            store=root.name if root is not None else settings.endpoint,
            actor=f"{identity.actor} {identity.name}",
            read_only=read_only,
        )
        self._link = Link(settings)
        self._feed = Feed(self._link)
        self.ticket: Final = Ticket()
        pages = Pages(self._link, self._feed, self._renderer)
        inner = Starlette(
            routes=[*pages.routes(), *Deciding(self._link).routes()],
            lifespan=self._running,
            exception_handlers={
                AgentTraceError: self._refused,
                TimeoutError: self._late,
                HTTPException: self._missing,
                Exception: self._failed,
            },
        )
        self.app: Final[ASGIApp] = Guard(
            inner,
            token,
            self.ticket,
            place.allowed_hosts(port),
            place.allowed_origins(port),
            self._renderer.entrance,
            read_only,
        )

    def leave(self) -> None:
        """End what would go on for ever, because the process ends."""
        self._feed.leave()

    @asynccontextmanager
    async def _running(self, app: Starlette) -> AsyncGenerator[None]:
        async with self._link.running(), anyio.create_task_group() as group:
            group.start_soon(self._feed.run)
            yield
            group.cancel_scope.cancel()

    def _problem(self, request: Request, status: int, title: str, text: str, hint: str) -> Response:
        values = {"title": title, "text": text, "hint": hint, "status": status}
        return self._renderer.page(request, "problem.html", values, status)

    async def _refused(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, AgentTraceError)
        failure = describe(error)
        hint = failure.hint if failure is not None else ""
        status, title = next(
            ((status, title) for kind, status, title in _STATUSES if isinstance(error, kind)),
            (500, "It did not work"),
        )
        return self._problem(request, status, title, error.message, hint)

    async def _late(self, request: Request, error: Exception) -> Response:
        text = "The coordinator did not answer in time."
        return self._problem(request, 504, "No answer", text, "look again shortly")

    async def _missing(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return self._problem(request, error.status_code, "Not here", "There is no such page.", "")

    async def _failed(self, request: Request, error: Exception) -> Response:
        # The server logs it, with its traceback.
        text = "This page has a fault; the process's standard error has the details."
        return self._problem(request, 500, "It did not work", text, "")


async def serve_web(
    settings: Settings,
    place: Place,
    token: Token,
    started: Callable[[str, str], None],
    *,
    read_only: bool = False,
) -> None:
    """Serve the web view until the process is told to end.

    Args:
        started: is told the address, and the link that lets one browser in, as soon as it listens.

    Raises:
        InvalidRequest: the place is open to other machines and the token was not chosen.
        OSError: nothing can be bound there.
    """
    place.check(TOKEN_VARIABLE, lasting=token.lasting)
    with place.bind() as listener:
        port = int(listener.getsockname()[1])
        view = WebView(settings, token, place, port, read_only=read_only)
        address = place.address(port)
        link = f"{address}/enter?ticket={view.ticket.text}"
        await serve(view.app, listener, lambda: started(f"{address}/", link), view.leave)
