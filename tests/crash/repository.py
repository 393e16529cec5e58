"""The history as a stranger sees it: plain git on the store's repository, nothing of ours."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = [
    "Commit",
    "GitBroken",
    "blob_id",
    "changes_of",
    "clone_files",
    "commit_ids",
    "find_damage",
    "find_fsck_errors",
    "is_on_branch",
    "missing_commits",
    "read_commits",
    "read_files",
    "run_git",
    "standing_commits",
]

BRANCH: Final = "main"

_ID: Final = re.compile("[0-9a-f]{40}")

GIT_SECONDS: Final = 120.0
"""How long one git command may take."""


class GitBroken(Exception):
    """Plain git can not do on the repository what it must be able to do."""


def run_git(*arguments: str, input: bytes = b"", check: bool = True) -> bytes:
    """Run git without anybody's settings; return what it says.

    With `check` that is its standard output, and failing is an error; without, it is both streams.

    Raises:
        GitBroken: it failed.
    """
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
        "LC_ALL": "C",
        # Thousands of ids come in few pieces, not each in one of its own.
        "GIT_FLUSH": "0",
    }
    finished = subprocess.run(
        ["git", *arguments],
        input=input,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if check else subprocess.STDOUT,
        timeout=GIT_SECONDS,
        check=False,
    )
    if check and finished.returncode:
        said = finished.stderr[-500:].decode("utf-8", "replace").strip()
        raise GitBroken(f"git {' '.join(arguments)} ended with {finished.returncode}: {said}")
    return finished.stdout


def blob_id(content: bytes) -> str:
    """Return the id that git gives to a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def commit_ids(repo: Path) -> list[str]:
    """Return the branch's commits, oldest first; none if there is no branch yet."""
    if not run_git(f"--git-dir={repo}", "for-each-ref", f"refs/heads/{BRANCH}").strip():
        return []
    listed = run_git(f"--git-dir={repo}", "rev-list", "--first-parent", "--reverse", BRANCH)
    return listed.decode("ascii").split()


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit as its object says it."""

    id: str
    parents: list[str]
    author: str
    message: str


def read_commits(repo: Path, ids: list[str]) -> list[Commit]:
    """Return the commits; raises `GitBroken` if one is missing."""
    data = run_git(
        f"--git-dir={repo}", "cat-file", "--batch", input="".join(f"{id}\n" for id in ids).encode()
    )
    commits: list[Commit] = []
    at = 0
    for id in ids:
        end = data.index(b"\n", at)
        found, kind, size = (data[at:end].split(b" ") + [b"", b""])[:3]
        if found != id.encode() or kind != b"commit":
            raise GitBroken(f"git cat-file says {data[at:end]!r} of commit {id}")
        raw = data[end + 1 : end + 1 + int(size)]
        at = end + 2 + int(size)
        head, _, message = raw.partition(b"\n\n")
        fields = [line.split(b" ", 1) for line in head.split(b"\n")]
        commits.append(
            Commit(
                id,
                [value.decode() for key, value in fields if key == b"parent"],
                next(value.decode() for key, value in fields if key == b"author"),
                message.decode(),
            )
        )
    return commits


def changes_of(repo: Path) -> dict[str, dict[str, str]]:
    """Return for each commit of the branch which path became which blob; empty for a removal."""
    listed = run_git(
        f"--git-dir={repo}",
        "log",
        "--first-parent",
        "--root",
        "--raw",
        "--no-abbrev",
        "--no-renames",
        "--format=commit %H",
        BRANCH,
    )
    changes: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for line in listed.decode().splitlines():
        if line.startswith("commit "):
            current = changes.setdefault(line[7:], {})
        elif line.startswith(":"):
            modes, _, path = line.partition("\t")
            _, _, _, blob, status = modes.split(" ")
            current[path] = "" if status == "D" else blob
    return changes


def find_fsck_errors(repo: Path) -> list[str]:
    """Return what `git fsck --full` complains about; dangling objects are no fault."""
    said = run_git(f"--git-dir={repo}", "fsck", "--full", "--no-progress", check=False)
    harmless = ("dangling ", "notice: ")
    return [
        line
        for line in said.decode("utf-8", "replace").splitlines()
        if line and not line.startswith(harmless)
    ]


def clone_files(repo: Path, target: Path) -> dict[str, bytes]:
    """Clone the repository as anybody would, and return the files of its checkout."""
    run_git("clone", "--quiet", "--no-local", str(repo), str(target))
    return read_files(target, ".git")


def read_files(root: Path, without: str) -> dict[str, bytes]:
    """Return all files below a directory by their relative path, less one directory at the top."""
    files: dict[str, bytes] = {}
    top = str(root)
    # Strings, not paths: this is gone through for every disk that a power cut may have left.
    for directory, directories, names in os.walk(top):
        if directory == top and without in directories:
            directories.remove(without)
        for name in names:
            path = f"{directory}/{name}"
            with open(path, "rb") as file:
                files[path[len(top) + 1 :]] = file.read()
    return files


def standing_commits(repo: Path) -> list[str]:
    """Return the whole commits that the branch can be followed to, the newest first.

    Each one is read, the commit-graph is not believed. A repository in which nothing can be
    followed has none.
    """
    said = run_git(
        f"--git-dir={repo}",
        *("-c", "core.commitGraph=false"),
        *("rev-list", "--first-parent", BRANCH, "--"),
        check=False,
    )
    lines = said.decode("utf-8", "replace").splitlines()
    return [line for line in lines if _ID.fullmatch(line)]


def missing_commits(repo: Path, ids: list[str]) -> list[str]:
    """Return those of the ids that are not whole commits in the repository."""
    if not ids:
        return []
    said = run_git(
        f"--git-dir={repo}",
        "cat-file",
        "--batch-check",
        input="".join(f"{id}\n" for id in ids).encode(),
        check=False,
    ).decode("utf-8", "replace")
    there = {line.split(" ")[0] for line in said.splitlines() if line[40:48] == " commit "}
    return [id for id in ids if id not in there]


def is_on_branch(repo: Path, id: str) -> bool:
    """Return whether the branch holds a commit."""
    base = run_git(f"--git-dir={repo}", "merge-base", id, BRANCH, check=False)
    return base.decode("ascii", "replace").strip() == id


def find_damage(repo: Path) -> list[str]:
    """Return what a crash has left in the repository that git by itself would stumble over."""
    damage: list[str] = []
    for directory, _, names in os.walk(repo):
        for name in names:
            path = Path(directory, name)
            try:
                size = path.stat().st_size
            except FileNotFoundError:
                # A git whose coordinator was killed may still be at work.
                continue
            if size == 0 and name not in {"git.pid", "packed-refs"}:
                damage.append(f"empty {path.relative_to(repo)}")
            elif name.endswith(".lock"):
                damage.append(f"lock {path.relative_to(repo)}")
            elif name.startswith("tmp_") or name.endswith(".keep"):
                damage.append(f"litter {path.relative_to(repo)}")
    ref = repo / "refs" / "heads" / BRANCH
    if ref.exists() and run_git(f"--git-dir={repo}", "cat-file", "-t", BRANCH, check=False) != (
        b"commit\n"
    ):
        damage.append("the branch names no commit")
    return damage
