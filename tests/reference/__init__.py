"""The pages of docs/ that are made from the program: the command line's, the gateway's, and the
tables of records in that of the format.

`make reference` writes them; a test compares them with what the program is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from .commands import command_page
from .gateway import gateway_page
from .records import with_records

__all__ = ["pages"]

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"


def pages() -> dict[Path, str]:
    """Return the text of each generated page, by its file."""
    return {
        DOCS / "reference-cli.md": command_page(),
        DOCS / "reference-mcp.md": gateway_page(),
        DOCS / "format.md": with_records((DOCS / "format.md").read_text(encoding="utf-8")),
    }
