"""Finding and replacing in one text, within a bounded time whatever the expression is.

An expression from anybody may backtrack for ever; `regex` can be told when to give up, and lets
other threads run meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import regex

from agent_trace_protocol import InvalidRequest

__all__ = ["REGEX_SECONDS_MAX", "Replacer"]

REGEX_SECONDS_MAX: Final = 5.0
"""Seconds that one expression may take for one document: a sound one takes milliseconds."""


@dataclass(frozen=True, slots=True)
class Replacer:
    """What is looked for, and what is put in its place."""

    find: str
    replacement: str
    pattern: regex.Pattern[str] | None = None
    """The expression, if `find` is one."""

    @classmethod
    def of(cls, find: str, replacement: str, *, expression: bool) -> Replacer:
        """Return one for a text, or for a regular expression as Python knows them.

        In the replacement of an expression `\\1` and `\\g<name>` stand for its groups; `^` and `$`
        match at each line.

        Raises:
            InvalidRequest: there is nothing to look for, or the expression is none.
        """
        if not find:
            raise InvalidRequest("the text to find is empty")
        if not expression:
            return cls(find, replacement)
        try:
            return cls(find, replacement, regex.compile(find, regex.MULTILINE))
        except regex.error as error:
            raise InvalidRequest(f"{find!r} is no regular expression: {error}") from error

    def apply(self, text: str) -> tuple[str, int]:
        """Return the text after the replacement, and how often something was replaced.

        May take as long as `REGEX_SECONDS_MAX`; other threads go on meanwhile.

        Raises:
            InvalidRequest: it would take longer, or names a group that there is not.
        """
        if self.pattern is None:
            return text.replace(self.find, self.replacement), text.count(self.find)
        try:
            return self.pattern.subn(
                self.replacement, text, timeout=REGEX_SECONDS_MAX, concurrent=True
            )
        except TimeoutError as error:
            raise InvalidRequest(
                f"{self.find!r} took more than {REGEX_SECONDS_MAX:g} s for one document: parts of "
                "it repeat what repeats, such as (a+)+; write it without that"
            ) from error
        except (regex.error, IndexError) as error:
            raise InvalidRequest(
                f"{self.replacement!r} can not replace {self.find!r}: {error}"
            ) from error
