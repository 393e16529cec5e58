"""The version of a store on disk: one number for everything that lies in `.agent-trace/`.

`config.toml` says it for people and is the one that counts, the header of `state.db` says it again.
Whatever changes the tables, the records, the trailers of commits or the layout raises it, and
brings the way from the version before. What a newer program wrote is neither judged nor changed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from agent_trace_coordinator.errors import StoreInvalid, StoreNewer

__all__ = [
    "FORMAT_VERSION",
    "FORMAT_VERSION_MIN",
    "at_format",
    "check_format",
    "check_not_newer",
    "stated_format",
]

FORMAT_VERSION: Final = 2
"""What this program writes. 1 did not say of a session when it was last seen."""

FORMAT_VERSION_MIN: Final = 1
"""The oldest that this program reads, and brings up to date (`upgrade`)."""

_LINE: Final = re.compile(
    r"^([ \t]*format_version[ \t]*=[ \t]*)(\d{1,9})(?=[ \t]*(?:#.*)?\r?$)", re.MULTILINE
)

_DATABASE: Final = b"SQLite format 3\0"

_PLACE_IN_HEADER: Final = slice(60, 64)
"""Where a database file has the number that is its program's own (the SQLite file format, 1.3)."""

_PLAUSIBLE_MAX: Final = 255
"""A larger number in the header is damage rather than a version to come."""


def check_format(version: object, path: Path) -> None:
    """Raise unless a version, read at `path`, is one that this program reads.

    Raises:
        StoreNewer: a newer program wrote it.
        StoreInvalid: it is no version, or one that no release has written.
    """
    if type(version) is not int:
        raise StoreInvalid(f"{path}: format_version must be a number, not {version!r}")
    if version > FORMAT_VERSION:
        raise StoreNewer(
            f"{path}: the store has format {version}, this program knows {FORMAT_VERSION}; "
            "upgrade agent-trace (docs/upgrade.md); nothing was changed"
        )
    if version < FORMAT_VERSION_MIN:
        raise StoreInvalid(
            f"{path}: the store has format {version}, which no release has written; this program "
            f"reads {FORMAT_VERSION_MIN} to {FORMAT_VERSION}; agent-trace doctor says what is wrong"
        )


def at_format(settings: str, version: int) -> str:
    """Return the text of a settings file with another version in it."""
    return _LINE.sub(rf"\g<1>{version}", settings, count=1)


def stated_format(config: Path, state_db: Path) -> int:
    """Return the version that a store says it has; the present one if nothing of it says any.

    Where the settings can be read, they decide. It is one that this program reads.
    """
    for version in (_in_settings(config), _in_header(state_db)):
        if version is not None and FORMAT_VERSION_MIN <= version <= FORMAT_VERSION:
            return version
    return FORMAT_VERSION


def check_not_newer(config: Path, state_db: Path) -> None:
    """Raise `StoreNewer` if a newer program wrote the store, whatever else is wrong with it.

    Where the settings can be read, they decide: a header that contradicts them is damage.
    """
    found = _in_settings(config)
    if found is not None:
        if found > FORMAT_VERSION:
            check_format(found, config)
        return
    version = _in_header(state_db)
    if version is not None and FORMAT_VERSION < version <= _PLAUSIBLE_MAX:
        check_format(version, state_db)


def _in_settings(config: Path) -> int | None:
    try:
        found = _LINE.search(config.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
    return None if found is None else int(found[2])


def _in_header(state_db: Path) -> int | None:
    try:
        with state_db.open("rb") as file:
            header = file.read(64)
    except OSError:
        return None
    if not header.startswith(_DATABASE):
        return None
    return int.from_bytes(header[_PLACE_IN_HEADER], "big")
