"""The command line: a client like any other. Other packages must not import it."""

from __future__ import annotations

from .main import main

__all__ = ["main"]
