"""TOML, changed in place: tomlkit keeps comments, order and the form of what is not touched.

To tomlkit a comment above a table belongs to the table before it. What is removed is therefore cut
out of the text, without the comments behind it, and what is new stands at the end of it, wherever
the values show that this was right.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    import tomlkit

__all__ = ["MalformedToml", "get_value", "remove_value", "set_value"]

_MARK: Final = "\ufeff"
"""What some editors begin a file with; it is no part of TOML."""

_SKIPPED_MAX: Final = 4

_HEADER: Final = re.compile(r"[ \t]*\[")


class MalformedToml(ValueError):
    """The text is no TOML; the message names line and column."""


def _parse(text: str) -> tomlkit.TOMLDocument:
    # One host of all has TOML, and the hook, which all of them wait for, has none.
    import tomlkit  # noqa: PLC0415
    from tomlkit.exceptions import TOMLKitError  # noqa: PLC0415

    try:
        return tomlkit.parse(text.removeprefix(_MARK))
    except (TOMLKitError, ValueError) as error:
        raise MalformedToml(str(error)) from error


def _written(document: tomlkit.TOMLDocument, text: str) -> str:
    return _MARK * text.startswith(_MARK) + document.as_string()


def get_value(text: str, path: Sequence[str]) -> object:
    """Return the plain value at `path`; None if there is none. Raises `MalformedToml`."""
    found: Any = _parse(text).unwrap()
    for key in path:
        if not isinstance(found, dict):
            return None
        found = cast("dict[str, Any]", found).get(key)
    return cast("object", found)


def set_value(text: str, path: Sequence[str], value: Mapping[str, object]) -> str:
    """Return the text with these values in a table at `path`; others in it stay.

    Raises:
        MalformedToml: it is no TOML, or what is on the way is no table.
    """
    import tomlkit  # noqa: PLC0415 - as above
    from tomlkit.items import InlineTable  # noqa: PLC0415

    document = _parse(text)
    container: Any = document
    for key in path[:-1]:
        if key not in container:
            # Without a header of its own, as a table has that only holds tables.
            container[key] = tomlkit.table(is_super_table=True)
        container = container[key]
        if not _is_table(container):
            raise MalformedToml(f"{key} is not a table")
    found: Any = container.get(path[-1])
    # A table in braces holds no other kind.
    new = tomlkit.inline_table() if isinstance(container, InlineTable) else tomlkit.table()
    table: Any = found if _is_table(found) else new
    for name, each in value.items():
        if table.get(name) != each:
            table[name] = each
    if table is not new:
        return _written(document, text)
    container[path[-1]] = table
    return _checked(_appended(text, path, value), document) or _written(document, text)


def _appended(text: str, path: Sequence[str], value: Mapping[str, object]) -> str:
    """Return the text with a table behind it, where it parts no comment from what it is about."""
    import tomlkit  # noqa: PLC0415 - as above

    table = tomlkit.table()
    for name, each in value.items():
        table[name] = each
    newline = "\r\n" if "\r\n" in text else "\n"
    header = tomlkit.key(path).as_string()
    ours = f"[{header}]\n{table.as_string()}".replace("\n", newline)
    gap = "" if not text else newline if text.endswith("\n") else newline * 2
    return f"{text}{gap}{ours}"


def _checked(text: str | None, document: tomlkit.TOMLDocument) -> str | None:
    """Return a text if it says what a document says."""
    try:
        return text if text is not None and _parse(text).unwrap() == document.unwrap() else None
    except MalformedToml:
        return None


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
    # What looks like a header may stand in a text of several lines.
    cuts = (_checked(_cut(text, path, skipped), document) for skipped in range(_SKIPPED_MAX))
    return next(filter(None, cuts), None) or _written(document, text)


def _cut(text: str, path: Sequence[str], skipped: int) -> str | None:
    """Return the text without the lines of a table and of those in it; None if it has no header.
    So many that look like one are passed over.

    Comments behind its last line stay, for they are about what follows.
    """
    name = r"[ \t]*\.[ \t]*".join(rf"""["']?{re.escape(key)}["']?""" for key in path)
    ours = re.compile(rf"[ \t]*\[[ \t]*{name}[ \t]*[].]")
    kept: list[str] = []
    waiting: list[str] = []
    """Blanks and comments of ours so far, which may be about what follows."""
    inside = found = False
    for line in [*text.splitlines(keepends=True), ""]:
        if not line or _HEADER.match(line):
            starts = ours.match(line) is not None
            if starts and skipped and not inside:
                starts, skipped = False, skipped - 1
            if inside and not starts:
                if _is_blank(kept[-1:]) and (not line or _is_blank(waiting[:1])):
                    # Two blank lines would meet, or one stand at the end: it came with ours.
                    kept.pop()
                kept += waiting
            inside, found, waiting = starts, found or starts, []
        if not inside:
            kept.append(line)
        elif line.strip() and not line.lstrip().startswith("#"):
            waiting = []
        else:
            waiting.append(line)
    return "".join(kept) if found else None


def _is_blank(lines: list[str]) -> bool:
    return bool(lines) and not lines[0].strip()
