"""What a power cut has left of a store, taken by the production start, and what must be true of it.

The recording knows how it went on: the chain of its records, the commits they became, which file
each of them changed, and what clients had been told by when.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import sqlite3
import time
import traceback
from bisect import bisect_left
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from agent_trace_coordinator.core.records import content_key, decode_record
from agent_trace_coordinator.core.trace_state import is_generated
from agent_trace_coordinator.server import service
from agent_trace_coordinator.storage.store import create_store
from crash.check import find_left_over
from crash.client import read_endpoint
from crash.mutant_coordinator import MUTANTS
from crash.repository import (
    blob_id,
    commit_ids,
    find_fsck_errors,
    missing_commits,
    read_files,
    run_git,
    standing_commits,
)

__all__ = ["Outcome", "Past", "Wrong", "connect_read_only", "try_state"]

START_SECONDS: Final = 60.0
"""How long a coordinator may take until it serves what a power cut left, and again to leave."""

_POLL_SECONDS: Final = 0.005

_DRAFTS: Final = ".agent-trace/drafts/"


class Wrong(Exception):
    """A state is not what it has to be."""


@dataclass(frozen=True, slots=True)
class Past:
    """What was recorded, and how it went on: what a state is compared with."""

    begun: float
    made: float
    """When `init` had returned."""
    chains: list[bytes]
    """Of each operation, in order."""
    commits: list[str]
    trees: list[dict[str, str]]
    """What each operation did to the files: the blob that a path became, empty for a removal."""
    contents: dict[int, bytes]
    """What state.db holds of each revision, by its key."""
    told: list[float]
    """When answers came, in order."""
    promised: list[int]
    """The highest operation that had to be durable by then."""
    named: list[tuple[float, str, int]]
    """When each commit id was handed out, in order, and of which operation it is."""

    def promised_at(self, time: float) -> int:
        """Return up to which operation everything has to be there at a moment."""
        index = bisect_left(self.told, time)
        return self.promised[index - 1] if index else 0

    def answers_at(self, time: float) -> int:
        """Return how many answers had come by a moment."""
        return bisect_left(self.told, time)

    def named_at(self, time: float) -> dict[str, int]:
        """Return the commits that git itself has to have at a moment."""
        index = bisect_left(self.named, time, key=lambda each: each[0])
        return {id: seq for _, id, seq in self.named[:index]}

    def files_at(self, seq: int) -> dict[str, str]:
        """Return the blobs of all files after an operation, by path."""
        files: dict[str, str] = {}
        for changes in self.trees[:seq]:
            files |= changes
        return {path: blob for path, blob in files.items() if blob}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a state turned out to hold."""

    kept: int
    """Operations of the run that were there."""
    promised: int
    """Up to here they had to be."""
    standing: int
    """Commits of the run that git had before anything was recovered."""


def try_state(
    past: Past, root: Path, moment: float, scratch: Path, mutant: str, *, whole: bool
) -> Outcome:
    """Check what a crash left, recover it, and check what came of it.

    With `whole` a coordinator starts, serves and leaves in order; without, it is stopped between
    its recovery and its first client, which takes a third of the time.

    Raises:
        Wrong: something is not as it has to be, or not as anybody was told.
    """
    if moment < past.made and not (root / ".agent-trace" / "config.toml").exists():
        create_store(root)
    repo = root / ".agent-trace" / "repo"
    standing = _check_named(past, repo, past.named_at(moment))
    log = scratch / "recovery.log"
    if whole:
        _live(root, log, mutant)
    else:
        _recover(root, log, mutant)
    promised = past.promised_at(moment)
    kept, total = _check_journal(past, root, promised)
    _check_history(past, root, kept, total)
    # What a write to the folder of drafts has left is removed while it serves.
    left = [each for each in find_left_over(root) if whole or not each.startswith(_DRAFTS)]
    if left:
        raise Wrong(f"{left[0]} is left over")
    if aside := os.listdir(root / ".agent-trace" / "quarantine"):
        raise Wrong(f"files were taken for foreign ones and set aside: {aside[:3]}")
    return Outcome(kept, promised, standing)


def _check_named(past: Past, repo: Path, named: dict[str, int]) -> int:
    """Check that git has the commits that were handed out; return how many of the run it has."""
    found = standing_commits(repo)
    there = set(found)
    lacking = [id for id in named if id not in there]
    if lacking and (missing := missing_commits(repo, lacking)):
        raise Wrong(
            f"commit {missing[0]} of operation {named[missing[0]]} was handed out, and git "
            f"does not have it ({len(missing)} of {len(named)} are missing)"
        )
    if lacking:
        raise Wrong(
            f"commit {lacking[-1]} of operation {named[lacking[-1]]} was handed out, and is not on "
            "the branch"
        )
    return len(found) if found[::-1] == past.commits[: len(found)] else 0


# ---- recovery ----------------------------------------------------------------------------------


class _Recovered(BaseException):
    """Everything is recovered: the next thing would be to listen."""


def _stop(*_: object) -> NoReturn:
    raise _Recovered


def _begin(root: Path, log: Path, mutant: str, *, whole: bool) -> int:
    """Fork a process that is the coordinator; return its id."""
    gc.freeze()  # or the child's collector would copy everything that the parent knows
    pid = os.fork()
    if pid:
        return pid
    # The child owns nothing of what the parent would clean up, so it ends without that.
    code = 70
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for stream in (1, 2):
            os.dup2(descriptor, stream)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if mutant:
            MUTANTS[mutant]()
        if not whole:
            # What follows on the recovery of journal, git, files and texts that are kept.
            owner: Any = service
            assert callable(owner.Router)
            owner.Router = _stop
        code = service.serve(root, None)
    except _Recovered:
        code = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def _recover(root: Path, log: Path, mutant: str) -> None:
    """Let a coordinator recover a store, and end in order without ever serving it."""
    pid = _begin(root, log, mutant, whole=False)
    descriptor = os.pidfd_open(pid)
    try:
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        done = waiting.poll(START_SECONDS * 1000)
    finally:
        os.close(descriptor)
    if not done:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if code := os.waitstatus_to_exitcode(status):
        raise Wrong(f"the recovery ended with {code}; it said: {_end_of(log)}")


def _live(root: Path, log: Path, mutant: str) -> None:
    """Let a coordinator start on a store until it serves, and leave in order."""
    pid = _begin(root, log, mutant, whole=True)
    asked = False
    deadline = time.monotonic() + START_SECONDS
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        if not asked and (info := read_endpoint(root)) is not None and info.pid == pid:
            os.kill(pid, signal.SIGTERM)
            asked = True
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise Wrong("the coordinator neither serves nor leaves; it said: " + _end_of(log))
        time.sleep(_POLL_SECONDS)
    code = os.waitstatus_to_exitcode(status)
    if code or not asked:
        raise Wrong(f"the coordinator ended with {code}; it said: {_end_of(log)}")


def _end_of(log: Path) -> str:
    return log.read_text("utf-8", "replace")[-1500:].strip()


# ---- the checks --------------------------------------------------------------------------------


def _check_journal(past: Past, root: Path, promised: int) -> tuple[int, int]:
    """Check the operations; return how many are those of the run, and how many there are."""
    with closing(connect_read_only(root)) as connection:
        (verdict,) = connection.execute("PRAGMA integrity_check(3)").fetchone()
        if verdict != "ok":
            raise Wrong(f"SQLite finds state.db damaged: {verdict}")
        rows: list[tuple[int, bytes, bytes]] = connection.execute(
            "SELECT seq, chain, record FROM journal ORDER BY seq"
        ).fetchall()
        contents: dict[int, bytes] = dict(connection.execute("SELECT key, data FROM content"))
    kept = 0
    for (seq, chain, _), expected in zip(rows, past.chains, strict=False):
        # The chain holds everything before it: order, authors, numbers, once each.
        if chain != expected or seq != kept + 1:
            break
        kept = seq
    if kept < promised:
        raise Wrong(f"operation {promised} was told of as durable, and from {kept + 1} on is LOST")
    for seq, _, encoded in rows[kept:]:
        record = decode_record(encoded)
        if not is_generated(record):
            raise Wrong(f"operation {seq} is one that nobody asked for: {str(record)[:300]}")
    below = content_key(kept + 1, 0)
    expected_contents = {key: data for key, data in past.contents.items() if key < below}
    if {key: data for key, data in contents.items() if key < below} != expected_contents:
        raise Wrong("state.db does not hold what was written")
    return kept, len(rows)


def _check_history(past: Past, root: Path, kept: int, total: int) -> None:
    """Check that git has each operation once, as the same commit, and that the files are its."""
    repo = root / ".agent-trace" / "repo"
    if errors := find_fsck_errors(repo):
        raise Wrong(f"git fsck: {errors[0]}")
    ref = repo / "refs" / "heads" / "main"
    files = {path: blob_id(data) for path, data in read_files(root, ".agent-trace").items()}
    head = past.commits[kept - 1].encode() if kept else b""
    if total == kept and kept and ref.is_file() and ref.read_bytes() == b"%b\n" % head:
        # The id is a hash over everything before it, and fsck has read all of that.
        tree = past.files_at(kept)
    else:
        ids = commit_ids(repo)
        if ids[:kept] != past.commits[:kept]:
            raise Wrong("git does not have the commits that these operations are")
        if len(ids) != total:
            raise Wrong(f"{len(ids)} commits are on the branch, for {total} operations")
        tree = {}
        if ids:
            listed = run_git(f"--git-dir={repo}", "ls-tree", "-r", "-z", ids[-1]).decode()
            for line in listed.split("\0")[:-1]:
                entry, _, path = line.partition("\t")
                tree[path] = entry.split(" ")[2]
    if files != tree:
        different = sorted(
            path for path in files.keys() | tree if files.get(path) != tree.get(path)
        )
        raise Wrong(f"files are not what git has: {different[:3]}")


def connect_read_only(root: Path) -> sqlite3.Connection:
    """Return a connection to a store's journal that can change nothing."""
    path = root / ".agent-trace" / "state.db"
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
