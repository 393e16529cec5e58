"""Documents as resources: their addresses, listing, reading and completion. No MCP session here.

`agent-trace://doc/PATH` is a document; PATH is percent-encoded but for its slashes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from mcp.types import (
    ListResourcesResult,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    TextResourceContents,
)

from agent_trace.client import Agent
from agent_trace_protocol import DocumentInfo, LogEntry, NotFound

__all__ = [
    "TEMPLATES",
    "address_of",
    "addresses_made_from",
    "complete_path",
    "list_resources",
    "read_resource",
]

PAGE_DOCUMENTS: Final = 200
COMPLETIONS_MAX: Final = 100
"""What the protocol allows in one answer."""

_DOCUMENT: Final = "agent-trace://doc/"

TEMPLATES: Final = (
    ResourceTemplate(
        name="document",
        title="A document of the store",
        uri_template=_DOCUMENT + "{+path}",
        description="Its current text, by its path from the store's root",
    ),
)


def address_of(path: str) -> str:
    """Return the address of a document."""
    return _DOCUMENT + quote(path)


def path_of(address: str) -> str | None:
    """Return the path of the document at an address; None if it is no document's."""
    if not address.startswith(_DOCUMENT):
        return None
    return unquote(address.removeprefix(_DOCUMENT), errors="strict")


@dataclass(frozen=True, slots=True)
class _Made:
    """A resource that is no document of itself."""

    name: str
    title: str
    read: Callable[[Agent], Awaitable[str]]

    @property
    def address(self) -> str:
        return f"agent-trace://{self.name}"


async def _index(agent: Agent) -> str:
    documents = await agent.list()
    lines = [f"- {each.path} ({each.type.value}, revision {each.revision})" for each in documents]
    return "\n".join(["# Documents", "", *(lines or ["none yet"]), ""])


async def _briefing(agent: Agent) -> str:
    return (await agent.briefing()).text


async def _context(agent: Agent) -> str:
    return (await agent.read("context.md")).text


_MADE: Final = (
    _Made("briefing", "Where the work stands: what get_resume_context says", _briefing),
    _Made("context", "Where the project stands: goals, decisions, open questions", _context),
    _Made("index", "All documents by path, type and revision", _index),
)


def addresses_made_from(events: Iterable[LogEntry]) -> list[str]:
    """Return the addresses of what is not a document and changes with these events."""
    return [made.address for made in _MADE] if any(events) else []


async def list_resources(agent: Agent, cursor: str | None) -> ListResourcesResult:
    """Return a page of the resources: with the first one, what is no document; then documents."""
    page = await agent.document_page(cursor or "", limit=PAGE_DOCUMENTS)
    resources = [
        Resource(uri=made.address, name=made.name, title=made.title, mime_type="text/markdown")
        for made in (() if cursor else _MADE)
    ]
    resources += [_resource(each) for each in page.documents]
    following = page.documents[-1].path if page.more and page.documents else None
    return ListResourcesResult(resources=resources, next_cursor=following)


def _resource(info: DocumentInfo) -> Resource:
    return Resource(
        uri=address_of(info.path),
        name=info.path,
        description=f"{info.type.value}, revision {info.revision} by {info.author}",
        mime_type=_media_type(info.path),
        size=info.size,
    )


def _media_type(path: str) -> str:
    return "text/markdown" if path.endswith((".md", ".markdown")) else "text/plain"


async def read_resource(agent: Agent, address: str) -> ReadResourceResult:
    """Return what is at an address.

    Raises:
        NotFound: there is nothing.
    """
    for made in _MADE:
        if address == made.address:
            text = await made.read(agent)
            content = TextResourceContents(uri=address, mime_type="text/markdown", text=text)
            return ReadResourceResult(contents=[content])
    try:
        path = path_of(address)
    except UnicodeDecodeError:
        path = None
    if path is None:
        raise NotFound(f"there is no resource {address}")
    document = await agent.read(path)
    content = TextResourceContents(uri=address, mime_type=_media_type(path), text=document.text)
    return ReadResourceResult(contents=[content])


async def complete_path(agent: Agent, typed: str) -> tuple[list[str], bool]:
    """Return the paths that begin with what was typed, and whether there are more."""
    page = await agent.document_page(limit=COMPLETIONS_MAX, prefix=typed)
    return [each.path for each in page.documents], page.more
