"""A store as each format on disk had it, kept as a backup: what a later program has to open.

`python -m upgrade` writes the archive of the present format. Until the first release a format may
still change, and the archive is then made anew; from then on a change of it is a new format with a
way from the one before, and old archives stay as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from agent_trace_coordinator.storage.versions import FORMAT_VERSION, FORMAT_VERSION_MIN

__all__ = ["FORMATS", "archive_of"]

FORMATS: Final = range(FORMAT_VERSION_MIN, FORMAT_VERSION + 1)
"""Those that this program opens."""


def archive_of(format: int) -> Path:
    """Return the backup of a store of a format."""
    return Path(__file__).parent / f"format-{format}.backup"
