"""The history as one file: a git bundle, made beside whoever writes to the repository."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from agent_trace_coordinator.errors import GitFailed
from agent_trace_protocol.layout import STORE_DIRECTORY

from .git_process import BRANCH, GitRunner
from .git_recovery import read_ref, write_ref

__all__ = ["bundle_history", "unbundle_history"]

BUNDLE_SECONDS: Final = 1800.0
"""How long git may be silent over it."""

_REF: Final = f"refs/heads/{BRANCH}"


def bundle_history(repo: Path, target: Path) -> str:
    """Write the branch to a file; return the commit at which it stood, empty if there is none.

    Raises:
        GitFailed: git does not work there.
    """
    tip = read_ref(repo, _REF)
    if not tip:
        return ""
    # Not by `git bundle create`, which gives up if the branch moves meanwhile. By a name of our
    # own: git is given no text of a user.
    name = f"bundle-{os.getpid()}"
    run = repo.parent / "run"
    pipe = GitRunner(repo, guarded=False).start(
        ("pack-objects", "--revs", "-q", f"../run/{name}"), BUNDLE_SECONDS
    )
    try:
        pipe.finish(tip.encode("ascii") + b"\n")
        (pack,) = run.glob(f"{name}-*.pack")
        with target.open("wb") as file, pack.open("rb") as packed:
            file.write(b"# v2 git bundle\n%b %b\n\n" % (tip.encode(), _REF.encode()))
            shutil.copyfileobj(packed, file)
    finally:
        pipe.kill()
        for leftover in run.glob(f"{name}-*"):
            leftover.unlink()
    return tip


def unbundle_history(root: Path, bundle: Path) -> None:
    """Make the git directory of the store at `root` from a bundle in its own directory.

    Raises:
        GitFailed: it is damaged, or has no branch of ours.
    """
    repo = root / STORE_DIRECTORY / "repo"
    assert bundle.parent == repo.parent
    runner = GitRunner(repo)
    runner.make_repository()
    runner.lock()
    try:
        runner.configure()
        said = runner.run(("bundle", "unbundle", f"../{bundle.name}"), BUNDLE_SECONDS)
    finally:
        runner.close()
    for line in said.decode("utf-8", "replace").splitlines():
        commit, _, ref = line.partition(" ")
        if ref == _REF and len(commit) == 40:
            write_ref(repo, _REF, commit)
            return
    raise GitFailed("the bundle has no branch of ours")
