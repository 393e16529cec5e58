"""JSON Schema of every message: for documentation, other clients and the review of changes."""

from __future__ import annotations

from typing import Any

import msgspec

from .envelope import ReplyEnvelope, RequestEnvelope
from .replies import Reply
from .requests import Request

__all__ = ["protocol_schema"]


def protocol_schema() -> dict[str, Any]:
    """Return one JSON Schema document that holds both envelopes, all requests and all replies."""
    roots = ("RequestEnvelope", "ReplyEnvelope", "Request", "Reply")
    schemas, components = msgspec.json.schema_components(
        [RequestEnvelope, ReplyEnvelope, Request, Reply],
        ref_template="#/$defs/{name}",
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "agent-trace protocol",
        "properties": dict(zip(roots, schemas, strict=True)),
        "$defs": dict(sorted(components.items())),
    }
