"""JSON Schemas of tools from msgspec structs, short: every byte is read by a model at each start.

Pure. A struct describes the arguments or the result of one tool; the schema is what clients see
of it, without titles, defaults and references, which say nothing that the names do not.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

import msgspec

from agent_trace_protocol import InvalidRequest

__all__ = ["arguments_of", "schema_of"]

_A = TypeVar("_A", bound=msgspec.Struct)


def schema_of(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the schema of a struct as one object, nothing in it referring to elsewhere."""
    (root,), components = msgspec.json.schema_components((kind,))
    return _short(root, components)


def _short(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return _short(components[schema["$ref"].rpartition("/")[2]], components)
    if "anyOf" in schema:
        # Optional: that it may be left out is said by `required`.
        (only,) = (each for each in schema["anyOf"] if each.get("type") != "null")
        rest = {key: value for key, value in schema.items() if key != "anyOf"}
        return _short({**only, **rest}, components)
    short: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            short[key] = {name: _short(each, components) for name, each in value.items()}
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            short[key] = _short(cast("dict[str, Any]", value), components)
        elif key not in ("title", "default") and not (key == "required" and not value):
            short[key] = value
    if "enum" in short:
        # Some hosts read no schema without a type.
        short = {"type": "string", **short}
    return short


def arguments_of(kind: type[_A], given: dict[str, Any] | None) -> _A:
    """Return what a client has given as a tool's arguments.

    Numbers and booleans may come as text, as models like to write them.

    Raises:
        InvalidRequest: they are not what the tool takes; the message says what it takes.
    """
    try:
        return msgspec.convert(given or {}, kind, strict=False)
    except (msgspec.ValidationError, UnicodeError) as error:
        names = ", ".join(
            field.name + ("" if field.required else "?") for field in msgspec.structs.fields(kind)
        )
        raise InvalidRequest(f"{error}; it takes: {names}") from error
