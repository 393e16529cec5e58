"""What looking after a store from outside says: examination, repair, backup, mirrors.

Plain data, printed as JSON by the coordinator's commands and read again by the client library.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

__all__ = [
    "Area",
    "BackupReport",
    "Examination",
    "Finding",
    "Loss",
    "MirrorState",
    "Outcome",
]


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


class BackupReport(msgspec.Struct, frozen=True):
    """What was made, or restored."""

    path: str
    operations: int
    documents: int
    commits: int
    """Operations whose commits are in the bundle."""
    bytes: int
    """Of the archive."""


class MirrorState(msgspec.Struct, frozen=True):
    """One mirror, and how far it has come."""

    url: str
    seq: int = 0
    """The last operation that it has."""
    commit: str = ""
    pushed_ms: int = 0
    """When that was pushed, UTC milliseconds; 0 if nothing was yet."""
    failure: str = ""
    """Why the last push failed; empty if it did not."""
    failures: int = 0
    """How many have failed since the last that did not."""
    next_ms: int = 0
    """Before this time it is not tried again."""
