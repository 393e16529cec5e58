"""What people type to search, as an expression of SQLite's full-text search.

All words must occur; `"several words"` in that order; `word*` the beginning of one; `-word` must
not occur; `this OR that` one of two. Every word reaches SQLite between quotes, so no query can be a
syntax error there, or ask for anything else.
"""

from __future__ import annotations

import re
from typing import Final

from agent_trace_protocol import InvalidRequest

__all__ = ["match_expression"]

QUERY_LENGTH_MAX: Final = 400
"""Characters of a query."""

TERMS_MAX: Final = 32
"""Words and phrases of a query."""

PREFIX_LENGTH_MIN: Final = 2
"""Characters of a word's beginning: with one, a tenth of all words match."""

_TERM: Final = re.compile(r'\s*(-?)(?:"([^"]*)"|([^\s"]+))(\*?)')
_TOKEN: Final = re.compile(r"\w")


def match_expression(query: str) -> str:
    """Return the full-text expression of a query.

    Raises:
        InvalidRequest: it can not be understood; the message says what is wrong with it.
    """
    if len(query) > QUERY_LENGTH_MAX:
        raise InvalidRequest(f"the query has {len(query)} characters; at most {QUERY_LENGTH_MAX}")
    wanted: list[list[str]] = []
    unwanted: list[str] = []
    position, joining = 0, False
    query = query.strip()
    while position < len(query):
        found = _TERM.match(query, position)
        if found is None:
            raise InvalidRequest(
                f"the quotation at character {position + 1} of the query does not end; close it "
                "or leave the quotation mark out"
            )
        position = found.end()
        if found[3] == "OR" and not found[1]:
            if joining or not wanted:
                raise InvalidRequest("OR stands between two words, such as: lease OR lock")
            joining = True
            continue
        term = _term(found[2], found[3], found[4])
        if found[1]:
            if joining:
                raise InvalidRequest("OR stands between two words that may occur, not before -")
            unwanted.append(term)
        elif joining:
            wanted[-1].append(term)
        else:
            wanted.append([term])
        joining = False
        if sum(map(len, wanted)) + len(unwanted) > TERMS_MAX:
            raise InvalidRequest(f"the query has more than {TERMS_MAX} words; use fewer")
    if joining:
        raise InvalidRequest("OR stands between two words, such as: lease OR lock")
    if not wanted:
        raise InvalidRequest("the query names no word to look for")
    expression = " AND ".join(
        group[0] if len(group) == 1 else f"({' OR '.join(group)})" for group in wanted
    )
    return "".join([f"({expression})", *(f" NOT {term}" for term in unwanted)])


def _term(phrase: str | None, word: str | None, star: str) -> str:
    text = phrase if phrase is not None else word or ""
    prefix = bool(star) or (phrase is None and text.endswith("*"))
    text = text.rstrip("*") if phrase is None else text
    if not _TOKEN.search(text) or "\0" in text:
        raise InvalidRequest(f"{text[:40]!r} has no letter or digit to look for")
    if prefix and len(text) < PREFIX_LENGTH_MIN:
        raise InvalidRequest(
            f"{text[:40]}* is the beginning of too many words; give {PREFIX_LENGTH_MIN} letters"
        )
    return f'"{text}"' + (" *" if prefix else "")
