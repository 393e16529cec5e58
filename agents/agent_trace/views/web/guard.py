"""Who gets in. Everything that reaches a page has passed here.

The law: a request names a host of ours; it has the token, or a pass that was given for one; and
what changes something comes from a page of ours, shown by its origin and by the mark in its form.
Every answer carries the headers that keep a browser from running or framing anything else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import parse_qs

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent_trace.listening import Token

from .passes import PASS_SECONDS, Passes, Ticket

__all__ = ["FORM_BYTES_MAX", "Guard", "form_of"]

FORM_BYTES_MAX: Final = 16 * 1024
"""Bytes of a form: they hold decisions, no documents."""

_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Without any referrer, browsers say `Origin: null` for our own forms too.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

OPEN_PATHS: Final = "/static/"
"""What a browser without a pass may have: the looks of the page that asks for one."""

ENTER: Final = "/enter"


class Guard:
    """Lets requests in, or says how one gets in."""

    def __init__(
        self,
        app: ASGIApp,
        token: Token,
        ticket: Ticket,
        hosts: Sequence[str],
        origins: Sequence[str],
        entrance: Callable[[str, int], Response],
        read_only: bool,
    ) -> None:
        """
        Args:
            entrance: makes the page that asks for the token, from a reason and a status.
        """
        self._app = app
        self._token = token
        self._ticket = ticket
        self._hosts = frozenset(hosts)
        self._origins = frozenset(origins)
        self._entrance = entrance
        self._read_only = read_only
        self._passes = Passes(token)
        port = next(iter(hosts)).rpartition(":")[2]
        # Cookies know no ports: two stores' views on one machine must not log each other out.
        self.cookie: Final = f"agent-trace-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def harden(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        request = Request(scope, receive)
        refusal = await self._refusal(request)
        await (refusal or self._app)(scope, receive, harden)

    async def _refusal(self, request: Request) -> Response | None:
        """Return the answer to who does not get in; None for who does."""
        if request.headers.get("host", "") not in self._hosts:
            return PlainTextResponse("this is no name of this service", 421)
        origin = request.headers.get("origin")
        if origin is not None and origin not in self._origins:
            return PlainTextResponse("pages of others get nothing here", 403)
        path = request.url.path
        if path.startswith(OPEN_PATHS) and request.method in ("GET", "HEAD"):
            return None
        if path == ENTER:
            return await self._enter(request)
        safe = request.method in ("GET", "HEAD")
        if self._token.proves(request.headers.get("authorization", "")):
            # Only a program sends this header; no page of others can make a browser do it.
            request.scope["form_mark"] = ""
            return None if safe else self._unchanged()
        given = request.cookies.get(self.cookie, "")
        if not self._passes.admits(given, time.time()):
            return self._entrance("", 401)
        request.scope["form_mark"] = self._passes.mark(given)
        if safe:
            return None
        if self._read_only:
            return self._unchanged()
        form = await form_of(request)
        if form is None:
            return PlainTextResponse("a form has at most 16 KiB", 413)
        request.scope["form"] = form
        if origin is None or not self._passes.marked(form.get("mark", ""), given):
            return self._entrance("This form was not made by a page of this browser.", 403)
        return None

    def _unchanged(self) -> Response | None:
        return PlainTextResponse("this view is read-only", 403) if self._read_only else None

    async def _enter(self, request: Request) -> Response:
        """Exchange the link's ticket, or the token, for a pass."""
        if request.method == "POST":
            form = await form_of(request) or {}
            right = self._token.matches(form.get("token", "").strip())
            reason = "That is not the token."
        elif "ticket" not in request.query_params:
            return self._entrance("", 200)
        elif "prefetch" in request.headers.get("sec-purpose", ""):
            # A browser that looks ahead must not use up the link.
            return PlainTextResponse("open the link itself", 403)
        else:
            right = self._ticket.use(request.query_params["ticket"])
            reason = "This link has been used, or is of another run."
        if not right:
            return self._entrance(reason, 403)
        # A page, not a redirection: where the link was clicked in another page, the pass would not
        # be sent along with what that page began.
        answer = Response(
            '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=/">'
            '<link rel="icon" href="/static/icon.svg"><title>agent-trace</title>'
            '<p><a href="/">Go on</a>',
            media_type="text/html",
        )
        answer.set_cookie(
            self.cookie,
            self._passes.issue(time.time()),
            max_age=PASS_SECONDS,
            httponly=True,
            samesite="strict",
        )
        return answer


async def form_of(request: Request) -> dict[str, str] | None:
    """Return a form's fields, the first of each name; None if it is too large.

    A body that is no form has no fields.
    """
    if "form" in request.scope:
        kept: dict[str, str] = request.scope["form"]
        return kept
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > FORM_BYTES_MAX:
            return None
    text = body.decode("utf-8", "replace")
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return {}
    try:
        fields = parse_qs(text, keep_blank_values=True, max_num_fields=32)
    except ValueError:
        return {}
    return {name: values[0] for name, values in fields.items()}
