"""The coordinator: the one writer of a store."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
