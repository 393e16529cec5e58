"""The law of tags and descriptions: what may stand beside a document in every listing."""

from __future__ import annotations

import re
from typing import Final

from .errors import InvalidRequest
from .limits import DESCRIPTION_LENGTH_MAX, REASON_LENGTH_MAX, TAG_LENGTH_MAX

__all__ = ["check_description", "parse_tag"]

_TAG: Final = re.compile(r"[a-z0-9](?:[a-z0-9._:/-]*[a-z0-9])?", re.ASCII)


def parse_tag(text: str) -> str:
    """Return a tag in its one form: lower case letters, digits, and `.` `_` `:` `/` `-` between.

    Raises:
        InvalidRequest: the text can not be a tag.
    """
    tag = text.lower()
    if len(tag) > TAG_LENGTH_MAX or _TAG.fullmatch(tag) is None:
        raise InvalidRequest(
            f"{text[:REASON_LENGTH_MAX]!r} can not be a tag: it is 1 to {TAG_LENGTH_MAX} letters "
            "a-z, digits, and . _ : / - between them"
        )
    return tag


def check_description(text: str) -> str:
    """Return a description, which is one line.

    Raises:
        InvalidRequest: it is longer, or holds what does not print.
    """
    if len(text) > DESCRIPTION_LENGTH_MAX or not text.isprintable():
        raise InvalidRequest(
            f"a description is one line of at most {DESCRIPTION_LENGTH_MAX} printable characters"
        )
    return text
