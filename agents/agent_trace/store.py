"""Finding the store that a path lies in. Reads nothing but whether one file exists."""

from __future__ import annotations

import os
from pathlib import Path

from agent_trace_protocol.layout import CONFIG_FILE, STORE_DIRECTORY

from .errors import StoreNotFound

__all__ = ["find_store", "is_store"]


def is_store(directory: Path) -> bool:
    """Return whether `directory` is the root of a complete store."""
    return os.path.isfile(os.path.join(directory, CONFIG_FILE))


def find_store(start: str | os.PathLike[str] | None = None) -> Path:
    """Return the root of the nearest store at or above `start` (the current directory if None).

    A path inside the store's own `.agent-trace` directory belongs to that store.

    Raises:
        StoreNotFound: there is none; the message names where the search began.
    """
    try:
        origin = Path.cwd() if start is None else Path(start)
        origin = origin.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise StoreNotFound(
            f"{start or 'the current directory'} can not be used: {error}"
        ) from error
    if not origin.exists():
        raise StoreNotFound(f"{origin} does not exist; run agent-trace init there to make a store")
    for directory in (origin, *origin.parents):
        # A store in a store's own directory would be none of anybody's; the outer one is meant.
        if STORE_DIRECTORY not in directory.parts and is_store(directory):
            return directory
    raise StoreNotFound(
        f"{origin} is not in a store, nor is any directory above it; "
        "run agent-trace init to make one"
    )
