"""What an examination of a store finds, and what is said of a repair: plain data."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

__all__ = ["Area", "Examination", "Finding", "Loss", "Outcome", "ranges"]


class Area(StrEnum):
    """The parts of a store, in the order in which they are repaired."""

    SETTINGS = "settings"
    JOURNAL = "journal"
    GIT = "git"
    FILES = "files"
    QUARANTINE = "quarantine"
    DRAFTS = "drafts"
    MIRRORS = "mirrors"
    LEFTOVERS = "leftovers"
    RIGHTS = "rights"
    MACHINE = "machine"


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong."""

    area: Area
    what: str
    """What is wrong, with names and numbers."""
    fix: str
    """What `repair --yes` does about it; empty if a person has to."""


class Loss(msgspec.Struct, frozen=True):
    """Something that was found nowhere."""

    what: str
    """What it is: operations, a revision of a document, or the text of a draft."""
    seqs: tuple[int, ...]
    """The operations that are concerned."""
    path: str = ""
    revision: int = 0


class Examination(msgspec.Struct, frozen=True):
    """The outcome of `doctor`."""

    store: str
    healthy: bool
    served: bool
    """Whether a coordinator was running meanwhile."""
    operations: int
    documents: int
    findings: tuple[Finding, ...]
    checked: tuple[str, ...]
    """What was looked at, one line each."""
    lost_contents: int = 0
    """Contents that an earlier repair found nowhere, as state.db has it on record."""


class Outcome(msgspec.Struct, frozen=True):
    """The outcome of `repair`."""

    store: str
    findings: tuple[Finding, ...]
    done: tuple[str, ...]
    """What was done, one line each; empty if nothing was to be changed."""
    losses: tuple[Loss, ...]
    kept_as: str
    """Where the damaged originals lie, relative to the store; empty if nothing was replaced."""
    healthy: bool
    """Whether the store is whole now. What was lost is on record then."""
    changed: bool
    cautions: tuple[str, ...] = ()
    """What can not be known."""


def ranges(numbers: Iterable[int]) -> str:
    """Return numbers for people: `3, 7-9`."""
    parts: list[str] = []
    ordered = sorted(set(numbers))
    start = 0
    for index, number in enumerate(ordered):
        if index + 1 == len(ordered) or ordered[index + 1] != number + 1:
            first = ordered[start]
            parts.append(str(first) if first == number else f"{first}-{number}")
            start = index + 1
    return ", ".join(parts)
