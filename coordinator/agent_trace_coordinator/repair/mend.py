"""Repairing a store that nobody serves: what was seen to be wrong is put right, in one order.

Everything new is made in `.agent-trace/repairing/` and put in place by a rename; what it replaces
is in `.agent-trace/damaged/<time>/` before. A repair that is killed at any point can be run again:
it finds the originals where the first one put them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from agent_trace_coordinator.core.state import State
from agent_trace_coordinator.errors import CorruptStore, GitFailed, StoreInvalid
from agent_trace_coordinator.storage.beginnings import listed_documents
from agent_trace_coordinator.storage.git import GitHistory
from agent_trace_coordinator.storage.git_check import check_git
from agent_trace_coordinator.storage.git_recovery import sync_directory, write_file
from agent_trace_coordinator.storage.index import Index
from agent_trace_coordinator.storage.journal_check import JournalReport, check_journal
from agent_trace_coordinator.storage.lock import StoreLock
from agent_trace_coordinator.storage.new_journal import note_commits, replace_journal
from agent_trace_coordinator.storage.recovery import replay_to_git, restore_files
from agent_trace_coordinator.storage.store import DEFAULT_CONFIG, Store
from agent_trace_coordinator.storage.upgrade import bring_up_to_date
from agent_trace_coordinator.storage.versions import FORMAT_VERSION, at_format, stated_format
from agent_trace_coordinator.storage.worktree import FileTree
from agent_trace_protocol.layout import STORE_DIRECTORY
from agent_trace_protocol.limits import DOCUMENT_BYTES_MAX
from agent_trace_protocol.upkeep import Area, Loss, Outcome

from .examine import REPAIRING, Look, Tell, leftovers, look, private_paths
from .kept_texts import write_draft_files, write_refused_files
from .rebuild import rebuild_git, rebuild_journal
from .scratch import scratch_directory
from .sources import Sources

__all__ = ["repair"]

_MARKER: Final = "kept"
"""In the directory of a repair that is under way: the name of the directory with the originals."""

_DERIVED: Final = (
    "index",
    "objects/info/commit-graph",
    "objects/info/commit-graphs",
    "objects/pack/multi-pack-index",
)
"""What git makes again from its objects."""

Decide = Callable[[Look, list[Loss]], bool]
"""Is told what is wrong and what will be lost; says whether to go on."""


def repair(store: Store, tell: Tell, decide: Decide) -> Outcome:
    """Put right what is wrong with a store, if `decide` says so; else nothing is changed.

    Raises:
        AlreadyRunning: a coordinator has the store.
    """
    store.run.mkdir(mode=0o700, exist_ok=True)
    with StoreLock(store.lock):
        seen = look(store, tell, served=False)
        losses: list[Loss] = []
        if not any(each.fix for each in seen.findings):
            return _outcome(store, seen, (), losses, "", changed=False, healthy=True)
        work = _Work(store, tell)
        try:
            if seen.has(Area.JOURNAL) or seen.git.problems:
                losses = work.prepare_journal(seen.journal)
            if not decide(seen, losses):
                return _outcome(store, seen, (), losses, "", changed=False, healthy=False)
            work.apply(seen)
        finally:
            work.leave()
        after = look(store, tell, served=False)
        healthy = not any(each.fix for each in after.findings)
        done = [*work.done]
        if not healthy:
            done += [f"still wrong: {each.what}" for each in after.findings if each.fix]
        outcome = _outcome(store, seen, done, losses, work.kept_as, changed=True, healthy=healthy)
        return msgspec.structs.replace(outcome, cautions=tuple(work.cautions))


def _outcome(
    store: Store,
    seen: Look,
    done: Sequence[str],
    losses: Sequence[Loss],
    kept_as: str,
    *,
    changed: bool,
    healthy: bool,
) -> Outcome:
    return Outcome(
        store=str(store.root),
        findings=tuple(seen.findings),
        done=tuple(done),
        losses=tuple(losses),
        kept_as=kept_as,
        healthy=healthy,
        changed=changed,
    )


class _Work:
    """One repair under way."""

    def __init__(self, store: Store, tell: Tell) -> None:
        self._store = store
        self._tell = tell
        self._place = store.directory / REPAIRING
        self._begun_before = self._interrupted()
        self._format = stated_format(store.config, store.state_db)
        self._kept: Path | None = None
        self._applying = False
        self._applied = False
        self._place.mkdir(mode=0o700, exist_ok=True)
        self.replaces_journal = False
        self.cautions: list[str] = []
        self.done: list[str] = []

    @property
    def kept_as(self) -> str:
        """Return where the originals are, relative to the store; empty if nothing was replaced."""
        if self._kept is None or not self._kept.exists():
            return ""
        return str(self._kept.relative_to(self._store.root))

    def _interrupted(self) -> Path | None:
        try:
            name = (self._place / _MARKER).read_text("ascii").strip()
        except (OSError, ValueError):
            return None
        kept = self._store.directory / "damaged" / name
        return kept if name and "/" not in name and kept.is_dir() else None

    def prepare_journal(self, before: JournalReport) -> list[Loss]:
        """Make a new state.db beside if the present one is not all there is to know.

        Returns what can not be in it.
        """
        new = self._place / "state.db"
        with Sources(self._store, self._begun_before, self._tell) as sources:
            rebuilt = rebuild_journal(new, sources, self._tell)
            made = look_at_journal(new, self._tell)
            if made.problems:
                raise CorruptStore(f"the new state.db is not whole: {made.problems[0]}")
            signs = sources.signs_after(rebuilt.operations, made.commits)
        losses = rebuilt.losses
        listed = [] if rebuilt.operations else listed_documents(self._store)
        if listed:
            what = f"the documents that manifest.toml lists: {', '.join(listed)}"
            losses = [*losses, Loss(what, ())]
        if signs:
            what = f"what came after operation {rebuilt.operations}, if anything did: "
            losses = [*losses, Loss(what + "; ".join(signs), ())]
        if not before.problems and rebuilt.operations <= before.operations:
            # Git is what is damaged; the journal has everything.
            new.unlink()
            return [each for each in losses if not each.seqs]
        self.replaces_journal = True
        self.done += rebuilt.done
        self.cautions.append(
            f"operation {rebuilt.operations} is the last that is proven; if state.db had later "
            "ones that git, a second behind at most, did not have yet, nothing tells of them"
        )
        return losses

    def leave(self) -> None:
        """Remove what was made beside, unless it is needed to go on after a failure."""
        if self._applied or (not self._applying and self._begun_before is None):
            shutil.rmtree(self._place, ignore_errors=True)
        if self._kept is not None and self._applied:
            with contextlib.suppress(OSError):
                self._kept.rmdir()

    # -- putting in place ----------------------------------------------------------------------

    def apply(self, seen: Look) -> None:
        """Put everything right, in order; raises what fails, and can be done again then."""
        self._applying = True
        self._kept = self._begun_before or self._make_kept()
        write_file(self._place / _MARKER, self._kept.name.encode("ascii"))
        store = self._store
        self._rights()
        if seen.has(Area.SETTINGS):
            self._keep(store.config)
            settings = at_format(DEFAULT_CONFIG, self._format)
            write_file(store.config, settings.encode("utf-8"))
            self.done.append("wrote the settings again, with their defaults")
        if self.replaces_journal:
            replace_journal(store.state_db, self._place / "state.db", self._kept)
        if bring_up_to_date(store) != FORMAT_VERSION:
            self.done.append(f"brought the store to format {FORMAT_VERSION}")
        now = look_at_journal(store.state_db, self._tell)
        if now.problems:
            raise CorruptStore(f"state.db is not whole: {now.problems[0]}")
        self._git(now)
        if now.state is not None:
            self._files(now.state)
        for file in (store.locks / "agent-lock.toml", store.directory / "manifest.toml"):
            if any(each.area is Area.MIRRORS and file.name in each.what for each in seen.findings):
                self._keep(file)
                self.done.append(f"removed {file.name}; the coordinator writes it anew")
        for file in leftovers(store):
            if file.name != REPAIRING:
                if file.is_dir() and not file.is_symlink():
                    shutil.rmtree(file)
                else:
                    file.unlink()
                self.done.append(f"removed {file.relative_to(store.root)}")
        self._applied = True

    def _make_kept(self) -> Path:
        base = self._store.directory / "damaged"
        base.mkdir(mode=0o700, exist_ok=True)
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        for number in range(1, 1000):
            kept = base / (stamp if number == 1 else f"{stamp}-{number}")
            try:
                kept.mkdir(mode=0o700)
            except FileExistsError:
                continue
            sync_directory(base)
            return kept
        raise StoreInvalid(f"no name is free in {base}")

    def _keep(self, path: Path, name: str = "") -> None:
        """Move something to where the originals are kept."""
        assert self._kept is not None
        target = self._kept / (name or path.name)
        if os.path.lexists(path) and not os.path.lexists(target):
            path.rename(target)
            sync_directory(self._kept)
            sync_directory(path.parent)

    def _rights(self) -> None:
        for path, mode in private_paths(self._store):
            if not os.path.lexists(path):
                path.mkdir(mode=0o700)
                self.done.append(f"made {path.relative_to(self._store.root)}")
            elif stat.S_IMODE(path.lstat().st_mode) & ~mode:
                path.chmod(mode)
                self.done.append(f"made {path.relative_to(self._store.root)} private")

    def _git(self, journal: JournalReport) -> None:
        store = self._store
        if not journal.operations:
            return
        report = check_git(store.repo, journal.commits)
        if not report.problems and not report.frame and report.seq == journal.operations:
            note_commits(store.state_db, journal.commits)
            return
        self._tell("repairing git", 0, 1)
        if (store.repo / "objects").is_dir():
            if report.problems or report.frame:
                self._set_derived_aside()
            self._start_git(journal)
            report = check_git(store.repo, journal.commits)
        if report.problems:
            new = self._place / "git"
            shutil.rmtree(new, ignore_errors=True)
            (new / STORE_DIRECTORY).mkdir(parents=True)
            head = rebuild_git(new, store.state_db, self._tell)
            if head != journal.commits[-1]:
                raise GitFailed(f"the new history ends at {head}, not at {journal.commits[-1]}")
            self._keep(store.repo)
            (new / STORE_DIRECTORY / "repo").rename(store.repo)
            sync_directory(store.directory)
            self.done.append(f"made the git history again: {len(journal.commits)} commits")
        else:
            self.done.append("put the git directory right")
        note_commits(store.state_db, journal.commits)
        self._tell("repairing git", 1, 1)

    def _set_derived_aside(self) -> None:
        """Take away what git makes again, and what was renamed by an earlier start."""
        for name in _DERIVED:
            path = self._store.repo / name
            if os.path.lexists(path):
                self._keep(path, name.replace("/", "-"))
        for path in sorted((self._store.repo / "objects").rglob("*.damaged")):
            self._keep(path)
        for name in ("HEAD", "config", "packed-refs"):
            path = self._store.repo / name
            assert self._kept is not None
            if path.is_file() and not (self._kept / f"git-{name}").exists():
                shutil.copyfile(path, self._kept / f"git-{name}")

    def _start_git(self, journal: JournalReport) -> None:
        """Let git be repaired as at every start, and commit what it lacks."""
        store = self._store
        known = [(seq, id) for seq, id in enumerate(journal.commits, 1)][::-1]
        history = GitHistory(store.root, known_commits=lambda: known)
        try:
            with closing(Index(store.state_db)) as index:
                seq = history.start()
                if seq <= journal.operations:
                    replay_to_git(index, history, seq, lambda commits: None)
        except GitFailed:
            # It is damaged deeper, and made again as a whole.
            pass
        finally:
            with contextlib.suppress(GitFailed):
                history.close()

    def _files(self, state: State) -> None:
        store = self._store
        with closing(Index(store.state_db)) as index:
            tree = FileTree(
                store.root,
                temporary=store.temporary,
                quarantine=store.quarantine,
                document_bytes_max=DOCUMENT_BYTES_MAX,
            )
            try:
                kept = restore_files(state, index, tree)
            finally:
                tree.close()
            for each in kept:
                self.done.append(f"kept what lay at {each.path} as quarantine/{each.kept_as}")
            if written := write_refused_files(store, state, index):
                self.done.append(f"wrote {written} files of the quarantine again")
            if written := write_draft_files(store, state, index):
                self.done.append(f"wrote {written} files of drafts again")


def look_at_journal(path: Path, tell: Tell) -> JournalReport:
    """Check a state.db as it is now."""
    with scratch_directory() as scratch:
        return check_journal(
            path,
            scratch,
            lambda done, of: tell("checking the journal", done, of),
            served=False,
        )
