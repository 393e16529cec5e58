"""Checking the end of a run with plain git, which knows nothing of agent-trace."""

from __future__ import annotations

import subprocess
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from .worker import BOARDS, NOTES, Step, step_line

__all__ = ["Verdict", "verify"]


@dataclass
class Verdict:
    """What git says about what was acknowledged."""

    commits: int = 0
    lost: list[str] = field(default_factory=list[str])
    doubled: list[str] = field(default_factory=list[str])
    reordered: list[str] = field(default_factory=list[str])
    misattributed: list[str] = field(default_factory=list[str])
    damaged: list[str] = field(default_factory=list[str])
    """What `git fsck` complains about, and files that differ from the history."""
    shared: list[str] = field(default_factory=list[str])
    """Exclusive leases that two agents held at once."""
    grants: int = 0
    """Leases that were checked."""

    @property
    def problems(self) -> list[str]:
        """Everything that is wrong."""
        return [
            *self.lost,
            *self.doubled,
            *self.reordered,
            *self.misattributed,
            *self.damaged,
            *self.shared,
        ]


@dataclass(frozen=True)
class _Commit:
    id: str
    author: str
    seq: int
    words: str
    """What the writer said of it."""


def _git(store: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", f"--git-dir={store / '.agent-trace' / 'repo'}", f"--work-tree={store}", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def _commits(store: Path) -> list[_Commit]:
    form = "%H%x1f%an%x1f%(trailers:key=Seq,valueonly,separator=%x20)%x1f%B%x1e"
    output = _git(store, "log", "--first-parent", "--reverse", f"--format={form}", "main").stdout
    commits: list[_Commit] = []
    for block in output.split("\x1e"):
        if not block.strip():
            continue
        id, author, seq, body = block.strip("\n").split("\x1f")
        paragraphs = body.split("\n\n")
        words = paragraphs[1].strip() if len(paragraphs) > 2 else ""
        commits.append(_Commit(id, author, int(seq), words))
    return commits


def verify(store: Path, steps: list[Step]) -> Verdict:
    """Return whether every acknowledged step is in git exactly once, in order, under its author."""
    verdict = Verdict()
    commits = _commits(store)
    verdict.commits = len(commits)
    by_seq = {commit.seq: commit for commit in commits}
    said = Counter(commit.words for commit in commits)
    if [commit.seq for commit in commits] != list(range(1, len(commits) + 1)):
        verdict.reordered.append("the history is not operation 1, 2, 3, ...")
    for step in steps:
        line = step_line(step.agent, step.number)
        commit = by_seq.get(step.seq)
        if commit is None or commit.words != line:
            verdict.lost.append(f"{line}: operation {step.seq} is not in git")
            continue
        if said[line] != 1:
            verdict.doubled.append(f"{line} is in git {said[line]} times")
        if commit.author != step.agent:
            verdict.misattributed.append(f"{line} is in git as {commit.author}'s")
        if step.commit and commit.id != step.commit:
            verdict.lost.append(f"{line}: commit {step.commit} was promised, {commit.id} is there")
    _check_order(steps, verdict)
    _check_lines(store, steps, verdict)
    _check_leases(steps, verdict)
    checked = _git(store, "fsck", "--full", "--strict")
    if checked.returncode or checked.stderr.strip():
        verdict.damaged.append(f"git fsck: {checked.stdout}{checked.stderr}")
    differing = _git(store, "diff", "--name-only", "main")
    if differing.returncode or differing.stdout.strip():
        verdict.damaged.append(f"files differ from the history: {differing.stdout.split()}")
    return verdict


def _check_order(steps: list[Step], verdict: Verdict) -> None:
    last: dict[str, int] = {}
    for step in steps:
        if step.seq <= last.get(step.agent, 0):
            verdict.reordered.append(
                f"{step_line(step.agent, step.number)} is before the one before"
            )
        last[step.agent] = step.seq


def _check_lines(store: Path, steps: list[Step], verdict: Verdict) -> None:
    """Every line that was appended stands in the newest version, once, in the order of its seq."""
    appended = [step for step in steps if step.path.startswith((f"{NOTES}/", f"{BOARDS}/"))]
    for path in sorted({step.path for step in appended}):
        lines = _git(store, "show", f"main:{path}").stdout.splitlines()
        wanted = [
            f"- {step_line(step.agent, step.number)}"
            for step in sorted(appended, key=lambda step: step.seq)
            if step.path == path
        ]
        if lines != wanted:
            missing = Counter(wanted) - Counter(lines)
            verdict.lost += [f"{line!r} is not in {path}" for line in missing]
            verdict.doubled += [f"{line!r} in {path}" for line in Counter(lines) - Counter(wanted)]
            if not missing and len(lines) == len(wanted):
                verdict.reordered.append(f"the lines of {path}")


def _check_leases(steps: list[Step], verdict: Verdict) -> None:
    """No two agents held a lease on one path at once, by the order of operations and by the clock.

    A token is the seq of its grant, so whoever wrote under a lease must have done so before the
    next one was granted.
    """
    held: dict[str, list[Step]] = {}
    for step in sorted(steps, key=lambda step: step.token):
        if step.token:
            held.setdefault(step.path, []).append(step)
    for path, under in held.items():
        verdict.grants += len(under)
        for before, after in pairwise(under):
            if before.token == after.token or before.seq >= after.token:
                verdict.shared.append(
                    f"{path}: {before.agent} wrote {before.seq} under {before.token}, though "
                    f"{after.agent} had {after.token}"
                )
            elif before.held_until > after.held_from:
                verdict.shared.append(
                    f"{path}: {after.agent} held {after.token} before {before.agent} let go of "
                    f"{before.token}"
                )
