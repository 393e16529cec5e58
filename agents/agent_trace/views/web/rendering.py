"""Templates and what they are given: texts of documents are data, and escaped without exception."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from agent_trace.wording import counted, size, span

__all__ = ["LINE_LENGTH_MAX", "Renderer", "cut", "href"]

_HERE: Final = Path(__file__).parent

LINE_LENGTH_MAX: Final = 2_000
"""Characters of one line that a page shows: more would be nothing to read."""

_STATIC_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def href(page: str, /, **query: object) -> str:
    """Return an address of a page; what is empty or 0 is left out."""
    given = {name.rstrip("_"): value for name, value in query.items() if value not in ("", 0, None)}
    return f"{page}?{urlencode(given)}" if given else page


def cut(text: str) -> str:
    """Return a line so that it can be shown: what is no text replaced, and not too long."""
    shown = "".join(
        character if character.isprintable() or character == "\t" else "\N{REPLACEMENT CHARACTER}"
        for character in text[:LINE_LENGTH_MAX]
    )
    left = len(text) - LINE_LENGTH_MAX
    return shown if left <= 0 else f"{shown} ... ({left} characters more)"


def _clock(time_ms: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(time_ms / 1000))


def _day(time_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(time_ms / 1000))


def _iso(time_ms: int) -> str:
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.3f}%"


class Renderer:
    """Makes pages of templates."""

    def __init__(self, *, store: str, actor: str, read_only: bool) -> None:
        """
        Args:
            store: the store's name, for titles.
            actor: who acts, as `user ada`.
        """
        self._static: dict[str, tuple[bytes, str]] = {}
        version = hashlib.sha256()
        for file in sorted((_HERE / "static").iterdir()):
            kind = _STATIC_TYPES.get(file.suffix)
            if kind is not None:
                content = file.read_bytes()
                self._static[file.name] = (content, kind)
                version.update(content)
        self._environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._shared: Final[Mapping[str, object]] = {
            "store": store,
            "actor": actor,
            "read_only": read_only,
            "href": href,
            "counted": counted,
            "version": version.hexdigest()[:12],
        }
        self._environment.filters.update(
            clock=_clock, day=_day, iso=_iso, percent=_percent, size=size, span=span, cut=cut
        )

    def page(
        self,
        request: Request,
        template: str,
        values: Mapping[str, object],
        status_code: int = 200,
    ) -> Response:
        """Return a page.

        Args:
            values: what the template shows, besides what every page has.
        """
        text = self._environment.get_template(template).render(
            {
                **self._shared,
                "mark": request.scope.get("form_mark", ""),
                "now_ms": int(time.time() * 1000),
                "here": request.url.path,
                "query": request.query_params.get("q", ""),
                **values,
            }
        )
        return HTMLResponse(text, status_code)

    def entrance(self, reason: str, status_code: int) -> Response:
        """Return the page that asks for the token."""
        text = self._environment.get_template("enter.html").render(
            {**self._shared, "reason": reason}
        )
        return HTMLResponse(text, status_code)

    def static(self, name: str) -> Response:
        """Return one of our own style sheets, scripts or pictures."""
        found = self._static.get(name)
        if found is None:
            return HTMLResponse("", 404)
        content, kind = found
        # Its address changes with its content.
        kept = {"Cache-Control": "private, max-age=31536000, immutable"}
        return Response(content, media_type=kind, headers=kept)
