"""TOML, changed in place: tomlkit keeps comments, order and the form of what is not touched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import tomlkit

__all__ = ["MalformedToml", "get_value", "remove_value", "set_value"]


class MalformedToml(ValueError):
    """The text is no TOML; the message names line and column."""


def _parse(text: str) -> tomlkit.TOMLDocument:
    # One host of all has TOML, and the hook, which all of them wait for, has none.
    import tomlkit  # noqa: PLC0415
    from tomlkit.exceptions import TOMLKitError  # noqa: PLC0415

    try:
        return tomlkit.parse(text)
    except (TOMLKitError, ValueError) as error:
        raise MalformedToml(str(error)) from error


def get_value(text: str, path: Sequence[str]) -> object:
    """Return the plain value at `path`; None if there is none. Raises `MalformedToml`."""
    found: Any = _parse(text).unwrap()
    for key in path:
        if not isinstance(found, dict):
            return None
        found = cast("dict[str, Any]", found).get(key)
    return cast("object", found)


def set_value(text: str, path: Sequence[str], value: dict[str, object]) -> str:
    """Return the text with a table at `path`. Raises `MalformedToml`."""
    import tomlkit  # noqa: PLC0415 - as above

    document = _parse(text)
    container: Any = document
    for key in path[:-1]:
        if key not in container:
            # Without a header of its own, as a table has that only holds tables.
            container[key] = tomlkit.table(is_super_table=True)
        container = container[key]
        if not _is_table(container):
            raise MalformedToml(f"{key} is not a table")
    table = tomlkit.table()
    for name, each in value.items():
        table[name] = each
    container[path[-1]] = table
    return document.as_string()


def _is_table(value: object) -> bool:
    return isinstance(value, dict)


def _holds(container: Any, key: str) -> bool:
    return _is_table(container) and key in container


def remove_value(text: str, path: Sequence[str]) -> str:
    """Return the text without what is at `path`. Raises `MalformedToml`."""
    document = _parse(text)
    container: Any = document
    for key in path[:-1]:
        if not _holds(container, key):
            return text
        container = container[key]
    if not _holds(container, path[-1]):
        return text
    del container[path[-1]]
    if len(path) == 2 and not container:
        del document[path[0]]
    return document.as_string()
