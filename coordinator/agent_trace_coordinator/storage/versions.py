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

__all__ = ["FORMAT_VERSION", "check_format", "check_not_newer"]

FORMAT_VERSION: Final = 1
"""What this program writes, and the only one that it reads."""

_LINE: Final = re.compile(r"^format_version *= *(\d{1,9})\s*$", re.MULTILINE)

_DATABASE: Final = b"SQLite format 3\0"

_PLACE_IN_HEADER: Final = slice(60, 64)
"""Where a database file has the number that is its program's own (the SQLite file format, 1.3)."""

_PLAUSIBLE_MAX: Final = 255
"""A larger number in the header is damage rather than a version to come."""


def check_format(version: object, path: Path) -> None:
    """Raise unless a version, read at `path`, is the one that this program reads.

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
    if version < FORMAT_VERSION:
        raise StoreInvalid(
            f"{path}: the store has format {version}, which no release has written; this program "
            f"reads {FORMAT_VERSION}; agent-trace doctor says what is wrong"
        )


def check_not_newer(config: Path, state_db: Path) -> None:
    """Raise `StoreNewer` if a newer program wrote the store, whatever else is wrong with it.

    Where the settings can be read, they decide: a header that contradicts them is damage.
    """
    found = None
    try:
        found = _LINE.search(config.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        pass
    if found is not None:
        if int(found[1]) > FORMAT_VERSION:
            check_format(int(found[1]), config)
        return
    try:
        with state_db.open("rb") as file:
            header = file.read(64)
    except OSError:
        return
    version = int.from_bytes(header[_PLACE_IN_HEADER], "big")
    if header.startswith(_DATABASE) and FORMAT_VERSION < version <= _PLAUSIBLE_MAX:
        check_format(version, state_db)
