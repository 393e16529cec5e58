"""The glob law: which texts stand for many documents, which paths they match, and when two overlap.

A pattern is a path in which three things are wildcards: `*` stands for any characters within one
segment, none included; `?` for exactly one; `**`, alone in its segment, for any number of whole
segments, none included. Everything else stands for itself; there are no brackets and no escapes,
because no path can hold `*` or `?`. Paths are compared in their folded form, so a pattern matches
whatever some file system would call the same name.

Nothing here backtracks over text: a pattern from a stranger costs at most its length times the
path's.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from .errors import InvalidPath
from .paths import fold_path, parse_path

__all__ = ["PathPattern", "parse_pattern"]

PATTERNS_CACHED_MAX: Final = 4096
"""Parsed patterns that are remembered: leases and followers ask for the same ones all the time."""

_WILDCARD: Final = re.compile(r"[*?]")

_ANY_RUN: Final = "*"
_ANY_ONE: Final = "?"

_Token = tuple[bool, str]
"""Whether it is a wildcard, and which; or a character that stands for itself. A folded path may
hold `*` and `?` as ordinary characters: U+FF0A folds to one."""

_RUN: Final[_Token] = (True, _ANY_RUN)
_ONE: Final[_Token] = (True, _ANY_ONE)


@dataclass(frozen=True, slots=True)
class _Segment:
    """One segment of a pattern, other than `**`."""

    tokens: tuple[_Token, ...]
    literal: str | None
    """The folded text, if it holds no wildcard."""
    expression: re.Pattern[str] | None
    """What decides, unless the segment is literal or matches everything."""

    def matches(self, name: str) -> bool:
        """Return whether it matches a folded segment of a path."""
        if self.literal is not None:
            return name == self.literal
        return self.expression is None or self.expression.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A path, or a glob over paths, in its one canonical form. Made by `parse_pattern`."""

    text: str
    """As it was written, normalised."""
    folded: str
    """The folded path; empty for a glob."""
    first: str
    """The folded first segment, if nothing but that can match; else empty. For indexes."""
    segments: tuple[_Segment | None, ...]
    """None stands for `**`."""

    @property
    def is_glob(self) -> bool:
        """Whether it holds a wildcard."""
        return not self.folded

    def matches(self, path: str) -> bool:
        """Return whether it matches a document's path."""
        return self.matches_folded(fold_path(path))

    def matches_folded(self, folded: str) -> bool:
        """Return whether it matches a path that is folded already."""
        if self.folded:
            return self.folded == folded
        names = folded.split("/")
        if self.first and names[0] != self.first:
            return False
        return _matches(self.segments, names)

    def overlaps(self, other: PathPattern) -> bool:
        """Return whether some path is matched by both."""
        if self.folded:
            return other.matches_folded(self.folded)
        if other.folded:
            return self.matches_folded(other.folded)
        if self.first and other.first and self.first != other.first:
            return False
        return _overlap(self.segments, other.segments)


@lru_cache(maxsize=PATTERNS_CACHED_MAX)
def parse_pattern(text: str) -> PathPattern:
    """Return `text` as a pattern: a document's path, or a glob.

    Raises:
        InvalidPath: no document's path could match it, or it is ambiguous; the message says why.
    """
    if _WILDCARD.search(text) is None:
        path = parse_path(text)
        folded = fold_path(path)
        return PathPattern(path, folded, folded.split("/", 1)[0], ())
    # What is no wildcard obeys the path law; a letter in the place of each wildcard does too.
    parse_path(_WILDCARD.sub("x", text))
    text = unicodedata.normalize("NFC", text)
    segments = [_segment(text, segment) for segment in text.split("/")]
    first = segments[0].literal if segments[0] is not None else None
    return PathPattern(text, "", first or "", tuple(segments))


def _segment(text: str, segment: str) -> _Segment | None:
    if segment == "**":
        return None
    if "**" in segment:
        raise InvalidPath(f"{text!r} has ** beside other text in {segment!r}; write it alone")
    tokens: list[_Token] = []
    for piece in re.split(r"([*?])", segment):
        if piece == _ANY_RUN:
            tokens.append(_RUN)
        elif piece == _ANY_ONE:
            tokens.append(_ONE)
        else:
            if piece and tokens and unicodedata.combining(piece[0]):
                # In a path the mark would be part of the character before it.
                raise InvalidPath(f"{ascii(text)} has a combining mark after a wildcard")
            tokens += ((False, character) for character in fold_path(piece))
    if not any(wild for wild, _ in tokens):
        literal = "".join(character for _, character in tokens)
        return _Segment(tuple(tokens), literal, None)
    if tokens == [_RUN]:
        return _Segment(tuple(tokens), None, None)
    return _Segment(tuple(tokens), None, re.compile(_expression(tokens), re.DOTALL))


def _expression(tokens: list[_Token]) -> str:
    """Return a regular expression that takes linear steps for each `*`.

    What stands between two stars is found at its first place and never looked for again (an atomic
    group): a later place could only leave less for what follows.
    """
    pieces = [""]
    for wild, text in tokens:
        if (wild, text) == _RUN:
            pieces.append("")
        else:
            pieces[-1] += "." if wild else re.escape(text)
    first, *middle = pieces
    if not middle:
        return first
    *middle, last = middle
    return first + "".join(f"(?>.*?{piece})" for piece in middle if piece) + ".*" + last


def _matches(segments: tuple[_Segment | None, ...], names: list[str]) -> bool:
    # Each segment takes exactly one name, so only the last `**` ever needs to take one more.
    index = position = 0
    after_stars = -1
    stars_end = 0
    while position < len(names):
        segment = segments[index] if index < len(segments) else None
        if index < len(segments) and segment is None:
            index += 1
            after_stars, stars_end = index, position
        elif segment is not None and segment.matches(names[position]):
            index += 1
            position += 1
        elif after_stars >= 0:
            stars_end += 1
            index, position = after_stars, stars_end
        else:
            return False
    return all(segment is None for segment in segments[index:])


def _overlap(left: tuple[_Segment | None, ...], right: tuple[_Segment | None, ...]) -> bool:
    # reachable[j]: some path's beginning is matched by the segments of the left so far and by
    # right[:j].
    reachable = _skip_stars([True] + [False] * len(right), right)
    for segment in left:
        after = [False] * (len(right) + 1)
        for position, reached in enumerate(reachable):
            if not reached:
                continue
            if segment is None:
                # It takes whatever the right takes from here on, or nothing.
                after[position:] = [True] * (len(after) - position)
                break
            if position < len(right):
                other = right[position]
                if other is None:
                    after[position] = True
                elif not after[position + 1]:
                    after[position + 1] = _texts_overlap(segment, other)
        reachable = _skip_stars(after, right)
    return reachable[-1]


def _skip_stars(reachable: list[bool], segments: tuple[_Segment | None, ...]) -> list[bool]:
    """Let each `**` take nothing."""
    for position, segment in enumerate(segments):
        if segment is None and reachable[position]:
            reachable[position + 1] = True
    return reachable


def _texts_overlap(left: _Segment, right: _Segment) -> bool:
    if left.literal is not None:
        return right.matches(left.literal)
    if right.literal is not None:
        return left.matches(right.literal)
    return _tokens_overlap(left.tokens, right.tokens)


def _tokens_overlap(left: tuple[_Token, ...], right: tuple[_Token, ...]) -> bool:
    """Return whether some text is matched by both.

    Bit `j` of `reachable` says that some text is matched by the tokens of the left so far and by
    `right[:j]`; all positions move at once.
    """
    end = 1 << len(right)
    runs = ones = 0
    places: dict[str, int] = {}
    for position, (wild, text) in enumerate(right):
        bit = 1 << position
        if not wild:
            places[text] = places.get(text, 0) | bit
        elif text == _ANY_RUN:
            runs |= bit
        else:
            ones |= bit
    singles = (end - 1) & ~runs
    reachable = _skip_runs(1, runs)
    for token in left:
        if token == _RUN:
            # It takes whatever the right takes from the first position on.
            reachable = (2 * end - 1) & ~((reachable & -reachable) - 1)
            continue
        wild, text = token
        takes = singles if wild else ones | places.get(text, 0)
        reachable = _skip_runs(((reachable & takes) << 1) | (reachable & runs), runs)
        if not reachable:
            return False
    return bool(reachable & end)


def _skip_runs(reachable: int, runs: int) -> int:
    """Let each `*` take nothing; no two stand beside each other."""
    return reachable | ((reachable & runs) << 1)
