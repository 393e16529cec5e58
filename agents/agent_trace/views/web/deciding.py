"""What a person decides in the browser: refused writes and drafts, kept or thrown away.

Each decision is a form of its own with a box that says what will be done; without the box ticked
nothing is. What is applied or accepted is bound to the revision that the page showed. Whether it is
allowed is for the coordinator to say.
"""

from __future__ import annotations

from typing import Final

import anyio
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from agent_trace.views.seen import accept_seen, apply_seen
from agent_trace_protocol import InvalidRequest, TooLarge

from .guard import form_of
from .link import Link
from .rendering import href

__all__ = ["Deciding"]

ANSWER_SECONDS_MAX: Final = 20.0
"""How long a decision waits to be carried out."""


class Deciding:
    """The addresses that forms are sent to."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def routes(self) -> list[Route]:
        """Return where decisions are sent to."""
        decisions = {
            "/violation/apply": self.apply_violation,
            "/violation/discard": self.discard_violation,
            "/draft/accept": self.accept_draft,
            "/draft/discard": self.discard_draft,
        }
        return [Route(path, decide, methods=["POST"]) for path, decide in decisions.items()]

    async def apply_violation(self, request: Request) -> Response:
        """Write what was refused."""
        form = await _sure(request)
        agent = await self._link.agent()
        with anyio.fail_after(ANSWER_SECONDS_MAX):
            made = await apply_seen(
                agent,
                form.get("id", ""),
                _revision(form),
                message=form.get("message", ""),
                confirm=form.get("override") == "yes",
            )
        return _seen(href("/violations", done=f"applied {made}"))

    async def discard_violation(self, request: Request) -> Response:
        """Throw a refused text away."""
        form = await _sure(request)
        agent = await self._link.agent()
        with anyio.fail_after(ANSWER_SECONDS_MAX):
            await agent.discard_violation(form.get("id", ""))
        return _seen(href("/violations", done=f"discarded {form['id']}"))

    async def accept_draft(self, request: Request) -> Response:
        """Write the merge of a draft."""
        form = await _sure(request)
        agent = await self._link.agent()
        with anyio.fail_after(ANSWER_SECONDS_MAX):
            made = await accept_seen(
                agent, form.get("id", ""), _revision(form), message=form.get("message", "")
            )
        return _seen(href("/drafts", done=f"accepted as {made}"))

    async def discard_draft(self, request: Request) -> Response:
        """Throw a draft away."""
        form = await _sure(request)
        agent = await self._link.agent()
        with anyio.fail_after(ANSWER_SECONDS_MAX):
            await agent.discard_draft(form.get("id", ""))
        return _seen(href("/drafts", done=f"discarded {form['id']}"))


async def _sure(request: Request) -> dict[str, str]:
    """Return the fields of a form whose box is ticked.

    Raises:
        InvalidRequest: it is not.
    """
    form = await form_of(request)
    if form is None:
        raise TooLarge("a form has at most 16 KiB")
    if form.get("sure") != "yes":
        raise InvalidRequest("nothing was done: tick the box that says what it does, then send it")
    return form


def _revision(form: dict[str, str]) -> int:
    """Return the revision that the form's page showed.

    Raises:
        InvalidRequest: it says none.
    """
    text = form.get("seen", "")
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InvalidRequest("nothing was done: the form does not say which revision it is about")
    return int(text)


def _seen(address: str) -> Response:
    # The browser asks for a page, so that looking again does not decide again.
    return RedirectResponse(address, 303)
