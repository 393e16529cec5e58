"""The history: one commit per record, streamed into one long-running `git fast-import`.

git is never what makes an acknowledged write durable (the journal is), so any failure here ends in
`GitFailed`, after which `start` repairs the repository and the caller replays what is missing, with
the same commit ids. Processes and configuration are `git_process`'s, files and refs at a start
`git_recovery`'s.

For people: the git directory is `.agent-trace/repo`, its work tree the store, so
`git --git-dir=.agent-trace/repo log` and `git clone .agent-trace/repo` work at any time. Commits
are made without an index; it is written only when the coordinator goes idle or ends
(`refresh_index`), so that `git status` is right for a store at rest, while in a busy one it shows
what was committed since as staged backwards. `git diff main` and everything that does not use the
index are always right.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from agent_trace_coordinator.errors import GitFailed

from .base import Entry
from .commit import render_commit
from .git_losses import forget_derived, gone_packs, is_connected
from .git_packs import WholePacks
from .git_pipe import Pipe
from .git_process import ANSWER_SECONDS, BRANCH, GitRunner, ObjectReader
from .git_recovery import (
    FoundHead,
    delete_ref,
    find_head,
    read_ref,
    remove_litter,
    set_damaged_packs_aside,
    sync_directories,
    sync_directory,
    sync_file,
    sync_packs,
    write_file,
    write_ref,
)

__all__ = [
    "BRANCH",
    "FAST_IMPORT",
    "FAST_IMPORT_SETTING",
    "GitHistory",
    "HistoryStatistics",
]

MAINTENANCE_SECONDS: Final = 600.0
"""How long a repack may go without a word; it says nothing until its end."""

STREAM_BYTES: Final = 1024 * 1024
"""Bytes of commands that are written before their answers are read: bounds what a batch copies."""

CHECKPOINTS_MAX: Final = 10_000
"""Checkpoints of one fast-import: each ends a pack, and it can count 65,535 of them."""

IMPORT_BYTES_MAX: Final = 1024 * 1024 * 1024
"""Bytes given to one fast-import: it remembers every object it made, and packs stay small."""

_LOG: Final = logging.getLogger("agent_trace.git")

_FOREIGN_REFS: Final = "refs/agent-trace/foreign"

FAST_IMPORT: Final = ("fast-import", "--quiet", "--done", "--date-format=raw")

FAST_IMPORT_SETTING: Final = "core.bigFileThreshold=512"
"""Texts from so many bytes on are compressed as they are. Else fast-import first looks for what
each has in common with the text before it in the stream, mostly that of another document: a quarter
of a commit's time for 2 KiB, for nothing. Revisions become differences when packs are combined."""

_REPACK: Final = ("repack", "-d", "-q", "--geometric=2", "--write-midx")
_COMMIT_GRAPH: Final = (
    "commit-graph",
    "write",
    "--reachable",
    "--changed-paths",
    "--split",
    "--no-progress",
)


class HistoryStatistics(msgspec.Struct, frozen=True):
    """How the repository is."""

    head: str
    """The commit at which the branch stands; empty if there is none."""
    seq: int
    """Its operation."""
    packs: int
    repository_bytes: int
    """Bytes of all files in the git directory."""
    commits: int
    """Commits made by this object."""


class GitHistory:
    """Implements the `History` port on a git repository. Used from one worker thread at a time.

    After any `GitFailed` nothing more is committed until `start` was called again.
    """

    def __init__(
        self,
        root: Path,
        *,
        known_commits: Callable[[], Iterable[tuple[int, str]]] = tuple,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        """`root` is the store's directory.

        `known_commits` returns (seq, commit id) of what was committed as the journal knows it,
        newest first; it may lag behind git, and is asked only by `start`.
        """
        self._directory = root / ".agent-trace" / "repo"
        self._packs = self._directory / "objects" / "pack"
        self._ref = f"refs/heads/{BRANCH}"
        self._known_commits = known_commits
        self._answer_seconds = answer_seconds
        self._runner = GitRunner(self._directory)
        self._import: Pipe | None = None
        self._started = False
        self._head = ""
        self._seq = 0
        self._commits = 0
        self._ahead = False
        self._imported_bytes = 0
        self._checkpoints = 0
        self._synced: set[str] = set()
        self._suspects: set[str] = set()

    # ---- the port ---------------------------------------------------------------------------

    def start(self) -> int:
        """Make or repair the repository; return the seq of the branch's last commit, 0 for none.

        Whole commits on the branch that are not ours are kept under `refs/agent-trace/foreign/`.

        Raises:
            GitFailed: git or the disk does not work.
        """
        self._abandon()
        try:
            return self._start()
        except OSError as error:
            raise GitFailed(f"{self._directory} can not be repaired: {error}") from error

    def commit(self, entries: list[Entry]) -> list[tuple[int, str]]:
        """Commit the entries, whose seqs follow on the last one; return (seq, commit id) of each.

        Raises:
            GitFailed: fast-import refused, died or hung. What is not behind a checkpoint is lost.
        """
        if not self._started:
            raise GitFailed("the history is not started")
        done = False
        try:
            commits = self._commit(entries)
            done = True
        except OSError as error:
            raise GitFailed(f"the history can not be written: {error}") from error
        finally:
            # Whatever it was, what fast-import has got by then is not known.
            if not done:
                self._abandon()
        return commits

    def checkpoint(self) -> None:
        """Make all commits so far durable and visible; returns at once if there are none.

        Raises:
            GitFailed: git or the disk failed, or somebody else moved the branch.
        """
        if not self._ahead:
            return
        try:
            self._checkpoint()
        except OSError as error:
            # Nobody knows what of the new packs is on the disk, and a second sync would say all is
            # well. They are made anew from the journal.
            self._suspects |= {name for name in os.listdir(self._packs) if name not in self._synced}
            self._abandon()
            raise GitFailed(f"the history can not be synced: {error}") from error
        except GitFailed:
            self._abandon()
            raise

    def close(self) -> None:
        """Checkpoint, end the git processes, and leave an index that fits the branch."""
        try:
            self.checkpoint()
            self._end_import()
            if self._started:
                self.refresh_index()
        finally:
            self._abandon()
            self._runner.close()

    def missing(self) -> str:
        """Return what somebody took away from the repository: a listing, and one small file."""
        if not self._started:
            return "git could not be started"
        if gone := gone_packs(self._packs, self._synced):
            more = f" and {len(gone) - 1} more files" if len(gone) > 1 else ""
            return f"{gone[0]}{more} of the git history are gone"
        if not self._head or self._ahead:
            return ""
        try:
            standing = read_ref(self._directory, self._ref)
            head = (self._directory / "HEAD").is_file()
        except OSError as error:
            return f"the git history can not be read: {error}"
        if standing != self._head:
            return f"the branch is at {standing or 'nothing'}, not at {self._head}"
        return "" if head else "HEAD of the git history is gone"

    # ---- beside the port ----------------------------------------------------------------------

    def commits_after(self, seq: int) -> list[tuple[int, str]]:
        """Return (seq, commit id) of the branch's commits after `seq`, oldest first.

        Raises:
            GitFailed: git does not work, or the branch is not one commit for each operation.
        """
        count = self._seq - seq
        if count <= 0:
            return []
        listing = self._runner.run(
            ("rev-list", "--first-parent", f"--max-count={count}", self._head),
            MAINTENANCE_SECONDS,
        )
        ids = listing.decode("ascii").split()
        if len(ids) != count:
            raise GitFailed(f"the branch has {len(ids)} commits where {count} are due")
        return [(self._seq - index, id) for index, id in enumerate(ids)][::-1]

    def statistics(self) -> HistoryStatistics:
        """Return how the repository is; a walk over its few files."""
        size = packs = 0
        for directory, _, names in os.walk(self._directory):
            for name in names:
                packs += name.endswith(".pack")
                with contextlib.suppress(FileNotFoundError):
                    size += os.lstat(os.path.join(directory, name)).st_size
        return HistoryStatistics(self._head, self._seq, packs, size, self._commits)

    def refresh_index(self) -> None:
        """Write the index that a person's `git status` compares with; never fails the caller."""
        if not self._head:
            return
        try:
            self._runner.run(("read-tree", self._ref), self._answer_seconds)
        except GitFailed as error:
            _LOG.warning("the index for people could not be written: %s", error)

    def maintain(self) -> str:
        """Combine packs and bring the commit-graph up to date; return one line about it.

        Geometric: packs are combined only until each is twice the size of the next smaller one, so
        that every byte is rewritten a logarithmic number of times. Commits wait meanwhile: a
        running fast-import reads its packs, which a repack removes, so it is ended before.

        Raises:
            GitFailed: git failed; call `start` before the next commit.
        """
        if not self._started:
            raise GitFailed("the history is not started")
        self.checkpoint()
        began = time.monotonic()
        before = self.statistics()
        try:
            self._end_import()
            if self._head:
                self._runner.run(_REPACK, MAINTENANCE_SECONDS)
                self._runner.run(_COMMIT_GRAPH, MAINTENANCE_SECONDS)
            self._sync_repository()
        except OSError as error:
            self._abandon()
            raise GitFailed(f"the repacked history can not be synced: {error}") from error
        except GitFailed:
            self._abandon()
            raise
        self.refresh_index()
        after = self.statistics()
        return (
            f"{before.packs} packs to {after.packs}, {before.repository_bytes} bytes to "
            f"{after.repository_bytes}, {time.monotonic() - began:.1f} s"
        )

    # ---- starting -----------------------------------------------------------------------------

    def _start(self) -> int:
        self._runner.make_repository()
        self._runner.lock()
        self._runner.configure()
        removed = remove_litter(self._directory)
        if removed:
            _LOG.info("removed what an ended git left: %s", removed[:20])
        for name in self._suspects:
            (self._packs / name).unlink(missing_ok=True)
        if self._suspects:
            sync_directory(self._packs)
            self._suspects = set()
        self._restore_frame()
        damaged = set_damaged_packs_aside(self._packs)
        if damaged:
            _LOG.error("packs are damaged and were renamed: %s", damaged[:20])
        gone = gone_packs(self._packs, self._synced)
        if gone:
            _LOG.error("packs are gone: %s", gone[:20])
        if damaged or gone:
            forget_derived(self._directory)
        current = read_ref(self._directory, self._ref)
        with ObjectReader(self._runner, self._answer_seconds) as objects:
            packs = WholePacks(self._packs)

            def read(name: str) -> tuple[bytes, bytes] | None:
                """Believe git that an object is gone only if no pack is there that has it: put
                back for nothing, the branch would lack commits that were handed out."""
                found = objects.read(name)
                if found is None and (pack := packs.holding(name)):
                    # Or else it is the combined index that leads it astray.
                    forget_derived(self._directory)
                    raise GitFailed(f"git does not find {name}, which is in {pack}")
                return found

            found = find_head(current, self._known_commits, read)
        if (
            (damaged or gone)
            and found.commit
            and not is_connected(self._runner, found.commit, MAINTENANCE_SECONDS)
        ):
            # The newest commit is whole, but not what it stands on. Made again from the first one
            # on, commits have the same ids, and what is still there is not written twice.
            found = FoundHead("", 0, found.foreign)
        if found.foreign:
            _LOG.warning("commit %s on the branch is not ours; kept aside", current)
            write_ref(self._directory, f"{_FOREIGN_REFS}/{current}", current)
        if not found.commit:
            delete_ref(self._directory, self._ref)
        elif found.commit != current:
            _LOG.warning("the branch was at %s; it is put to %s", current or "?", found.commit)
            write_ref(self._directory, self._ref, found.commit)
        # After a crash between the move of the ref and our own sync both are in the cache only.
        self._synced = set()
        self._sync_repository()
        self._head, self._seq = found.commit, found.seq
        self._started = True
        return self._seq

    def _restore_frame(self) -> None:
        """Put back that without which git does not take the directory for a repository."""
        for directory in (self._packs, (self._directory / self._ref).parent):
            directory.mkdir(parents=True, exist_ok=True)
        path = self._directory / "HEAD"
        wanted = f"ref: {self._ref}\n".encode("ascii")
        if path.is_symlink() or not path.is_file() or path.read_bytes() != wanted:
            write_file(path, wanted)

    # ---- committing ---------------------------------------------------------------------------

    def _commit(self, entries: list[Entry]) -> list[tuple[int, str]]:
        commits: list[tuple[int, str]] = []
        commands: list[bytes] = []
        seqs: list[int] = []
        size = 0
        for index, entry in enumerate(entries):
            seq = entry.record.seq
            assert seq == self._seq + len(seqs) + 1, "operations are committed in order"
            parent = None
            if self._import is None:
                # By id, not by name: what was verified is what is built upon.
                parent = self._head or None
                self._begin_import()
            command = render_commit(entry, BRANCH, parent)
            # The mark's number becomes a commit id, and the next commit its child.
            commands += (command, b"get-mark :%d\n" % seq)
            seqs.append(seq)
            size += len(command)
            if size >= STREAM_BYTES or index == len(entries) - 1:
                commits += self._stream(b"".join(commands), seqs)
                commands, seqs, size = [], [], 0
        return commits

    def _stream(self, commands: bytes, seqs: list[int]) -> Iterator[tuple[int, str]]:
        """Write commands and read exactly the answers that are due."""
        assert self._import is not None
        answers = self._import.ask(commands, len(seqs))
        for answer in answers:
            if len(answer) != 40:
                raise GitFailed(f"git fast-import answered {answer[:100]!r} for a commit id")
        self._imported_bytes += len(commands)
        self._commits += len(answers)
        self._ahead = True
        self._seq = seqs[-1]
        self._head = answers[-1].decode("ascii")
        return zip(seqs, (answer.decode("ascii") for answer in answers), strict=True)

    def _begin_import(self) -> None:
        self._import = self._runner.start(FAST_IMPORT, self._answer_seconds, FAST_IMPORT_SETTING)
        self._imported_bytes = 0
        self._checkpoints = 0

    def _checkpoint(self) -> None:
        assert self._import is not None
        nonce = secrets.token_hex(8).encode("ascii")
        (answer,) = self._import.ask(b"checkpoint\nprogress %b\n" % nonce, 1)
        if answer != b"progress " + nonce:
            raise GitFailed(f"git fast-import answered {answer[:100]!r} to a checkpoint")
        # fast-import only warns when it did not move the branch.
        standing = read_ref(self._directory, self._ref)
        if standing != self._head:
            raise GitFailed(f"the branch is at {standing or 'nothing'}, not at {self._head}")
        # git has synced pack, index and ref under their temporary names (`core.fsync=all`); what it
        # never does is to sync the directories, so their renames are not durable without this.
        sync_directories(self._packs, (self._directory / self._ref).parent)
        self._synced = set(os.listdir(self._packs))
        self._ahead = False
        self._checkpoints += 1
        if self._checkpoints >= CHECKPOINTS_MAX or self._imported_bytes >= IMPORT_BYTES_MAX:
            self._end_import()

    def _sync_repository(self) -> None:
        """Sync everything: packs, refs, HEAD and their directories, whoever wrote them."""
        self._synced = sync_packs(self._packs, self._synced)
        for name in (self._ref, "HEAD"):
            path = self._directory / name
            if path.exists():
                sync_file(path)
            sync_directory(path.parent)

    def _end_import(self) -> None:
        """End fast-import in peace; it removes its `.keep` files."""
        child, self._import = self._import, None
        if child is not None:
            try:
                child.finish(b"done\n")
            finally:
                child.kill()

    def _abandon(self) -> None:
        """Drop what is not behind a checkpoint; only `start` goes on from here."""
        self._started = False
        self._ahead = False
        child, self._import = self._import, None
        if child is not None:
            child.kill()
