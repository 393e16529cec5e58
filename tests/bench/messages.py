"""What the bench and its client processes say to each other: one line of JSON each way."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["Crewed", "Join", "Result", "Task"]


class Join(msgspec.Struct, frozen=True, tag=True):
    """Connect these agents; answered with `Crewed`."""

    store: str
    agents: list[str]


class Crewed(msgspec.Struct, frozen=True):
    """They are connected."""

    agents: int


class Task(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Let agents work; answered with `Result`."""

    kind: Literal["put", "ping", "create", "contend"]
    agents: int
    """So many of those connected, the first ones."""
    begin_at: float
    """By the monotonic clock, which all processes share."""
    seconds: float = 0.0
    """How long; 0: until `count` is reached."""
    count: int = 0
    """How many operations of all agents of the process together; of each agent for `contend`."""
    depth: int = 1
    """Operations that each agent has under way at once."""
    first_document: int = 0
    documents: int = 1
    durability: Literal["journal", "git"] = "journal"
    seed: int = 0


class Result(msgspec.Struct, kw_only=True):
    """What came of it."""

    ended: float
    """When the last operation was acknowledged, by the monotonic clock."""
    latencies: list[float] = []
    """Seconds of each operation that was acknowledged in time."""
    refused: int = 0
    problem: str = ""
    """Why it could not be done; empty if it was."""
