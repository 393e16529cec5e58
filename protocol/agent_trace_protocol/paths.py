"""The path law: which text may name a document, in its one canonical form.

A path is parsed before any rule sees it, by the coordinator, whoever sent it. What is refused here
is what some file system, git or a terminal would read as something else: a way out of the store, a
reserved place, a name that another machine folds onto a second document.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final, NewType

from .errors import InvalidPath
from .limits import PATH_BYTES_MAX, PATH_DEPTH_MAX, PATH_SEGMENT_BYTES_MAX

__all__ = ["DocumentPath", "fold_path", "parse_path"]

DocumentPath = NewType("DocumentPath", str)

# A plain ASCII path of ordinary segments needs none of the slow checks below except the reserved
# names; nearly every path is one.
_PLAIN: Final = re.compile(
    r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*/)*[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII
)

# Control, format (bidirectional overrides, zero-width), surrogate, private use, unassigned, and
# the two separators that are not a space.
_REFUSED_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

# Windows reads these as structure; ':' also opens an NTFS stream (".git::$INDEX_ALLOCATION").
_REFUSED_CHARACTERS: Final = frozenset('\\:*?"<>|')

_DEVICES: Final = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$"}
    | {f"{name}{digit}" for name in ("com", "lpt") for digit in "0123456789\u00b9\u00b2\u00b3"}
)

# The 8.3 short names by which NTFS reaches a longer one: `git~1`, `gi7eba~1` (.gitmodules, by
# hash), `agent-~1`, and those of any other document. What they reach differs from disk to disk.
_SHORT_NAME: Final = re.compile(r"(?=[^.]{3,8}(?:\.|$))[^.]+~[0-9]+(?:\.[^.]{0,3})?", re.ASCII)

# Unicode's default ignorable code points outside of the categories refused above: variation
# selectors (emoji need them), fillers, joiners. No one sees them, and the case-insensitive
# directories of ext4 and f2fs compare names without them.
_IGNORABLE: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)


def fold_path(path: str) -> str:
    """Return the form under which two paths count as the same name.

    Case folding over compatibility normalisation without what is invisible is coarser than any
    file system we know, so two documents that differ here stay two files wherever the store is
    copied to. A folded path has the segments of the path: what only looks like a slash, or is
    made of one (U+FF0F, U+2105), folds to a letter-like U+2215.
    """
    if path.isascii():
        return path.lower()
    return "/".join(_fold_segment(segment) for segment in path.split("/"))


def _fold_segment(segment: str) -> str:
    if segment.isascii():
        return segment.lower()
    visible = unicodedata.normalize("NFKC", _IGNORABLE.sub("", segment))
    return unicodedata.normalize("NFKC", visible.casefold()).replace("/", "\u2215")


# A path is parsed wherever it comes in, so several times for one operation. Refusals are not kept.
@lru_cache(maxsize=4096)
def parse_path(text: str) -> DocumentPath:
    """Return `text` as a document path: relative, `/`-separated, NFC.

    Raises:
        InvalidPath: it could name something else, or nothing; the message names the rule.
    """
    if not text:
        raise InvalidPath("the path is empty")
    _check_size(text)
    if not _PLAIN.fullmatch(text):
        text = unicodedata.normalize("NFC", text)
        # Some characters have no composed form, and normalising makes up to three times as much.
        _check_size(text)
        _check_characters(text)
    if text.startswith("/"):
        raise InvalidPath(f"{text!r} is absolute; paths are relative to the store")
    segments = text.split("/")
    if len(segments) > PATH_DEPTH_MAX:
        raise InvalidPath(f"{text!r} has {len(segments)} levels; the limit is {PATH_DEPTH_MAX}")
    for segment in segments:
        _check_segment(text, segment)
    return DocumentPath(text)


def _check_size(text: str) -> None:
    # Surrogates can not be encoded; they are refused by their category.
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > PATH_BYTES_MAX:
        raise InvalidPath(f"the path has {size} bytes; the limit is {PATH_BYTES_MAX}")


def _check_characters(text: str) -> None:
    for character in text:
        if unicodedata.category(character) in _REFUSED_CATEGORIES:
            raise InvalidPath(
                f"{ascii(text)} holds U+{ord(character):04X}, which is invisible or not a character"
            )
        if character in _REFUSED_CHARACTERS:
            raise InvalidPath(f"{text!r} holds {character!r}, which some systems do not allow")


def _check_segment(text: str, segment: str) -> None:
    if segment == "":
        raise InvalidPath(f"{text!r} has an empty segment (a doubled or trailing slash)")
    if segment in {".", ".."}:
        raise InvalidPath(f"{text!r} holds {segment!r}; write the path from the store's root")
    if segment[-1] in ". ":
        raise InvalidPath(f"{text!r} has a segment that ends with a dot or a space")
    if segment[0] in " -~":
        raise InvalidPath(f"{text!r} has a segment that starts with {segment[0]!r}")
    size = len(segment.encode("utf-8"))
    if size > PATH_SEGMENT_BYTES_MAX:
        raise InvalidPath(
            f"{text!r} has a segment of {size} bytes; the limit is {PATH_SEGMENT_BYTES_MAX}"
        )
    folded = fold_path(segment)
    if folded.strip(". ") == "":
        raise InvalidPath(f"{ascii(text)} has a segment of which nothing is to be seen")
    if folded.startswith(".git") or folded == ".agent-trace":
        raise InvalidPath(f"{text!r} is in a reserved place ({segment!r})")
    if "~" in folded and _SHORT_NAME.fullmatch(folded):
        raise InvalidPath(f"{text!r} holds {segment!r}, another file's short name on Windows")
    if folded.split(".", 1)[0].rstrip(" ") in _DEVICES:
        raise InvalidPath(f"{text!r} holds {segment!r}, a device name on Windows")
