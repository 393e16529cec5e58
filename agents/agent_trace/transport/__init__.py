"""How messages travel: the port and its implementations. Import the one you need by its module."""

from __future__ import annotations

from .base import Connector, Deliver, Transport

__all__ = ["Connector", "Deliver", "Transport"]
