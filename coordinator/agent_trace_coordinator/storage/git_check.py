"""Whether the git directory holds the history that the journal has: looks only, changes nothing.

The ids that commits have to have are computed from the journal. If the branch stands at one of
them, and git finds every object below it whole, all of the history is right: ids are hashes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from agent_trace_coordinator.errors import GitFailed

from .git_process import ANSWER_SECONDS, BRANCH, GitRunner, is_configured
from .git_recovery import read_ref

__all__ = ["GitReport", "branch_tip", "check_git"]

FSCK_SECONDS: Final = 1800.0
"""How long git may look at everything without a word."""

PROBLEMS_MAX: Final = 10

LAG_MAX: Final = 10_000
"""Operations that a coordinator may have accepted before git has the first of them."""

_FSCK: Final = ("fsck", "--full", "--strict", "--no-dangling", "--no-progress")


class GitReport(msgspec.Struct):
    """What was found."""

    problems: list[str] = msgspec.field(default_factory=list[str])
    """What is damaged: the history has to be made again."""
    frame: list[str] = msgspec.field(default_factory=list[str])
    """What is broken around it; every start of the coordinator mends that."""
    seq: int = 0
    """The operation at which the branch stands; 0 if that can not be said."""
    version: str = ""


def branch_tip(directory: Path) -> str:
    """Return the commit at which the branch stands; empty if there is none or it is garbage."""
    return read_ref(directory, f"refs/heads/{BRANCH}")


def check_git(directory: Path, commits: list[str], served_tip: str | None = None) -> GitReport:
    """Compare the git directory with the ids that the commits of all operations have to have.

    `served_tip` is where the branch of a store that is served stood before its journal was read:
    git follows the journal, so what was in git then is in the journal now.
    """
    report = GitReport()
    if not (directory / "objects").is_dir():
        report.problems.append(f"the git directory {directory.name} is missing")
        return report
    head = directory / "HEAD"
    if not head.is_file() or head.read_bytes() != f"ref: refs/heads/{BRANCH}\n".encode("ascii"):
        report.frame.append("HEAD is missing or does not name the branch")
    if not is_configured(directory):
        report.frame.append("the git directory's configuration is not ours")
    for place, _, names in os.walk(directory):
        for name in names:
            if name.endswith(".damaged"):
                report.problems.append(f"{name} was found damaged by a start, and set aside")
            elif name.endswith(".lock"):
                report.frame.append(f"{Path(place, name).relative_to(directory)} is a stale lock")
    tip = branch_tip(directory) if served_tip is None else served_tip
    if tip:
        # From behind: a branch that is not at the end is most often near it.
        report.seq = next((seq for seq in range(len(commits), 0, -1) if commits[seq - 1] == tip), 0)
        if not report.seq:
            report.problems.append(
                f"the branch is at {tip}, which is no operation of the journal: git was damaged, "
                "or state.db was, or replaced by an older copy"
            )
    elif len(commits) > (0 if served_tip is None else LAG_MAX):
        report.problems.append(f"the branch {BRANCH} is missing or can not be read")
    runner = GitRunner(directory, guarded=False)
    try:
        report.version = runner.run(("--version",), ANSWER_SECONDS).decode().strip()
        if not report.frame or (directory / "HEAD").is_file():
            runner.run(_FSCK, FSCK_SECONDS)
    except GitFailed as error:
        lines = error.message.splitlines()
        report.problems += [f"git fsck: {line}" for line in lines[:PROBLEMS_MAX]]
    return report
