"""A store as each format on disk had it, kept as a backup: what a later program has to open.

`python -m upgrade` writes the archive of the present format. Until the first release a format may
still change, and the archive is then made anew; from then on a change of it is a new format with a
way from the one before, and old archives stay as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from agent_trace_coordinator.storage.versions import FORMAT_VERSION

__all__ = ["ARCHIVES", "PRESENT"]

ARCHIVES: Final = Path(__file__).parent

PRESENT: Final = ARCHIVES / f"format-{FORMAT_VERSION}.backup"
