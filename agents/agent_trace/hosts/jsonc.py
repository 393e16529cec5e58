"""JSON with comments and trailing commas, changed in place: every other byte stays as it is.

Agent hosts keep their settings in such files, and people write comments into them. A parser that
gives values only can not write them back, so this one keeps where each value stands, and a change
replaces, inserts or cuts text there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

__all__ = ["Document", "Json", "MalformedJson", "Path"]

Json: TypeAlias = "None | bool | int | float | str | list[Json] | dict[str, Json]"
Path: TypeAlias = Sequence[str | int]

DEPTH_MAX: Final = 100
"""Levels of nesting: settings have five."""

_STRING: Final = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_SPACE: Final = re.compile(r"(?:[ \t\r\n]|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_COMMENT: Final = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
# What belongs to the line that a value stands on: blanks and comments, up to the line's end.
_REST_OF_LINE: Final = re.compile(r"(?:[ \t]|/\*[^\n]*?\*/)*(?://[^\r\n]*)?")
_WORDS: Final[dict[str, Json]] = {"true": True, "false": False, "null": None}


class MalformedJson(ValueError):
    """The text is no JSON; the message names line and column."""


@dataclass(slots=True)
class _Item:
    key: str | None
    start: int
    value: _Node


@dataclass(slots=True)
class _Node:
    start: int
    end: int
    value: Json
    items: list[_Item] = field(default_factory=list["_Item"])
    is_object: bool = False
    is_array: bool = False
    trailing_comma: bool = False

    def find(self, key: str | int) -> int | None:
        """Return the index of an item; of two with one key, the one that counts, the last."""
        if self.is_object and isinstance(key, str):
            found = [index for index, item in enumerate(self.items) if item.key == key]
            return found[-1] if found else None
        if self.is_array and isinstance(key, int):
            return key if 0 <= key < len(self.items) else None
        return None


class Document:
    """A text and the values in it. Changes return a new document."""

    def __init__(self, text: str) -> None:
        """Read `text`; one with nothing in it is an empty object.

        Raises:
            MalformedJson: it is no JSON.
        """
        mark = "\ufeff" if text.startswith("\ufeff") else ""
        if not text.removeprefix(mark).strip():
            text = f"{mark}{{}}\n"
        elif _SPACE.fullmatch(text, len(mark)):
            # Comments only.
            text += "{}\n" if text.endswith("\n") else "\n{}\n"
        self.text = text
        parser = _Parser(text, len(mark))
        self._root = parser.parse()
        self.comment_count = parser.comment_count
        self._newline = "\r\n" if "\r\n" in text else "\n"

    @property
    def value(self) -> Json:
        """Everything in it."""
        return self._root.value

    def get(self, path: Path) -> Json:
        """Return the value at `path`; None if there is none."""
        node = self._at(path)
        return None if node is None else node.value

    def _at(self, path: Path) -> _Node | None:
        node = self._root
        for key in path:
            index = node.find(key)
            if index is None:
                return None
            node = node.items[index].value
        return node

    def set(self, path: Path, value: Json) -> Document:
        """Put a value at `path`, and the objects on the way there if they are missing.

        Raises:
            MalformedJson: what is on the way is no object.
        """
        node = self._root
        for depth, key in enumerate(path):
            index = node.find(key)
            if index is None:
                rest: Json = value
                for name in reversed(path[depth + 1 :]):
                    rest = {str(name): rest}
                if not node.is_object:
                    raise self._unfit(node, ".".join(map(str, path[:depth])) or "it", "an object")
                return self._insert(node, str(key), rest)
            node = node.items[index].value
        if json.dumps(node.value) == json.dumps(value):
            return self
        return self._replaced(node.start, node.end, self._render(value, self._indent(node.start)))

    def append(self, path: Path, value: Json) -> Document:
        """Add a value to the array at `path`, which is made if it is missing.

        Raises:
            MalformedJson: what is there is no array.
        """
        node = self._at(path)
        if node is None:
            return self.set(path, [value])
        if not node.is_array:
            raise self._unfit(node, ".".join(map(str, path)), "an array")
        return self._insert(node, None, value)

    def remove(self, path: Path) -> Document:
        """Cut out what is at `path`, if anything."""
        container = self._at(path[:-1])
        index = None if container is None else container.find(path[-1])
        if container is None or index is None:
            return self
        items = container.items
        item = items[index]
        last = index == len(items) - 1
        start = container.start + 1 if index == 0 else self._after_comma(items[index - 1].value)
        start = self._end_of_line(start)
        end = item.value.end if last else self._after_comma(item.value)
        if not last:
            return self._replaced(start, end, "")
        # With the last one goes the comma before it, and one behind it stays for the one before.
        if len(items) == 1:
            end = self._after_comma(item.value) if container.trailing_comma else end
            left = self.text[container.start + 1 : start] + self.text[end : container.end - 1]
            if not left.strip():
                return self._replaced(container.start + 1, container.end - 1, "")
            return self._replaced(start, end, "")
        if container.trailing_comma:
            return self._replaced(start, self._after_comma(item.value), "")
        comma = self._after_comma(items[index - 1].value) - 1
        text = self.text
        return Document(text[:comma] + text[comma + 1 : start] + text[end:])

    # -- text ------------------------------------------------------------------------------

    def _replaced(self, start: int, end: int, text: str) -> Document:
        return Document(self.text[:start] + text + self.text[end:])

    def _unfit(self, node: _Node, what: str, wanted: str) -> MalformedJson:
        line = self.text.count("\n", 0, node.start) + 1
        return MalformedJson(f"line {line}: {what} is not {wanted}")

    def _after_comma(self, node: _Node) -> int:
        """Return the place behind the comma that follows a value."""
        found = _SPACE.match(self.text, node.end)
        assert found is not None and self.text[found.end()] == ","
        return found.end() + 1

    def _end_of_line(self, place: int) -> int:
        """Return the place behind the comments that belong to the line of what ends at `place`;
        that place itself if something else follows on the line."""
        found = _REST_OF_LINE.match(self.text, place)
        assert found is not None
        rest = self.text[found.end() : found.end() + 1]
        return found.end() if rest in ("", "\r", "\n") else place

    def _indent(self, place: int) -> str:
        """Return the blanks at the beginning of the line that `place` is on."""
        start = self.text.rfind("\n", 0, place) + 1
        found = re.compile(r"[ \t]*").match(self.text, start)
        assert found is not None
        return found.group()

    def _unit(self) -> str:
        """Return what one level of nesting is indented by."""
        if self._root.items and self._is_spread(self._root):
            return self._indent(self._root.items[0].start) or "  "
        return "  "

    def _is_spread(self, node: _Node) -> bool:
        """Return whether a container's items stand on lines of their own."""
        return "\n" in self.text[node.start : node.items[0].start] if node.items else False

    def _render(self, value: Json, indent: str) -> str:
        text = json.dumps(value, indent=self._unit(), ensure_ascii=False)
        return text.replace("\n", f"{self._newline}{indent}")

    def _insert(self, node: _Node, key: str | None, value: Json) -> Document:
        name = "" if key is None else f"{json.dumps(key, ensure_ascii=False)}: "
        text = self.text
        if node.items and not self._is_spread(node):
            compact = json.dumps(value, ensure_ascii=False)
            place = node.items[-1].value.end
            return self._replaced(place, place, f", {name}{compact}")
        outer = self._indent(node.start)
        inner = self._indent(node.items[0].start) if node.items else outer + self._unit()
        added = f"{self._newline}{inner}{name}{self._render(value, inner)}"
        if not node.items:
            place = _last_comment_end(text, node.start + 1, node.end - 1)
            closing = text[place : node.end - 1]
            if "\n" not in closing:
                added += f"{self._newline}{outer}"
                return Document(text[:place] + added + text[node.end - 1 :])
            return self._replaced(place, place, added)
        last = node.items[-1].value
        if node.trailing_comma:
            place = self._end_of_line(self._after_comma(last))
            return self._replaced(place, place, f"{added},")
        place = self._end_of_line(last.end)
        return Document(text[: last.end] + "," + text[last.end : place] + added + text[place:])


def _last_comment_end(text: str, start: int, end: int) -> int:
    """Return the place behind the last comment between two places, or the first of them."""
    place = start
    for found in re.compile(r"//[^\r\n]*|/\*.*?\*/", re.DOTALL).finditer(text, start, end):
        place = found.end()
    return place


class _Parser:
    def __init__(self, text: str, place: int) -> None:
        self._text = text
        self._place = place
        self.comment_count = 0

    def parse(self) -> _Node:
        self._skip()
        node = self._value(0)
        self._skip()
        if self._place != len(self._text):
            raise self._error("something follows the value")
        return node

    def _error(self, why: str) -> MalformedJson:
        line = self._text.count("\n", 0, self._place) + 1
        column = self._place - (self._text.rfind("\n", 0, self._place) + 1) + 1
        return MalformedJson(f"line {line}, column {column}: {why}")

    def _skip(self) -> None:
        found = _SPACE.match(self._text, self._place)
        assert found is not None
        self._place = found.end()
        if found.end() > found.start():
            self.comment_count += len(_COMMENT.findall(found.group()))

    def _take(self, character: str) -> bool:
        if self._text.startswith(character, self._place):
            self._place += len(character)
            return True
        return False

    def _value(self, depth: int) -> _Node:
        if depth > DEPTH_MAX:
            raise self._error("it is nested too deeply")
        start = self._place
        if self._take("{"):
            return self._container(start, depth, "}")
        if self._take("["):
            return self._container(start, depth, "]")
        if self._text.startswith('"', start):
            return _Node(start, *self._string())
        number = _NUMBER.match(self._text, start)
        if number is not None:
            try:
                amount: Json = json.loads(number.group())
            except ValueError as error:
                raise self._error("a number is expected") from error
            self._place = number.end()
            return _Node(start, self._place, amount)
        for word, value in _WORDS.items():
            if self._take(word):
                return _Node(start, self._place, value)
        raise self._error("a value is expected")

    def _string(self) -> tuple[int, str]:
        found = _STRING.match(self._text, self._place)
        if found is None:
            raise self._error("a text does not end on its line")
        try:
            value: str = json.loads(found.group())
        except ValueError as error:
            raise self._error("a text holds an unknown escape") from error
        self._place = found.end()
        return self._place, value

    def _container(self, start: int, depth: int, closing: str) -> _Node:
        is_object = closing == "}"
        items: list[_Item] = []
        comma = False
        while True:
            self._skip()
            if self._take(closing):
                break
            if items and not comma:
                raise self._error(f"a comma or {closing} is expected")
            items.append(self._item(is_object, depth))
            self._skip()
            comma = self._take(",")
        value: Json
        if is_object:
            value = {str(item.key): item.value.value for item in items}
        else:
            value = [item.value.value for item in items]
        return _Node(start, self._place, value, items, is_object, not is_object, comma)

    def _item(self, is_object: bool, depth: int) -> _Item:
        start = self._place
        if not is_object:
            return _Item(None, start, self._value(depth + 1))
        if not self._text.startswith('"', start):
            raise self._error("a key in quotes is expected")
        _, key = self._string()
        self._skip()
        if not self._take(":"):
            raise self._error("a colon is expected")
        self._skip()
        return _Item(key, start, self._value(depth + 1))
