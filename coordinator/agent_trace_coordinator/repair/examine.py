"""Looking at everything of a store, and changing nothing: what `doctor` says, and `repair` goes by.

Works beside a running coordinator: the journal is read in one transaction, git without its lock,
and what lags behind the journal is not held against it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import stat
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from agent_trace_coordinator.core.records import content_digest
from agent_trace_coordinator.core.state import State
from agent_trace_coordinator.errors import StoreInvalid
from agent_trace_coordinator.storage.beginnings import (
    has_journal,
    listed_documents,
    signs_in_git,
    signs_of_life,
)
from agent_trace_coordinator.storage.git_check import GitReport, branch_tip, check_git
from agent_trace_coordinator.storage.index import Index
from agent_trace_coordinator.storage.journal_check import JournalReport, check_journal
from agent_trace_coordinator.storage.schema import SQLITE_VERSION
from agent_trace_coordinator.storage.store import Store, load_config
from agent_trace_coordinator.storage.versions import FORMAT_VERSION, check_not_newer, stated_format
from agent_trace_protocol.layout import ENDPOINT_FILE, EndpointInfo
from agent_trace_protocol.upkeep import Area, Examination, Finding

from .kept_texts import wrong_draft_files, wrong_refused_files
from .scratch import scratch_directory

__all__ = [
    "REPAIRING",
    "Look",
    "Tell",
    "examination",
    "is_served",
    "leftovers",
    "look",
    "private_paths",
]

REPAIRING: Final = "repairing"
"""The directory in a store in which a repair makes what it then puts in place."""

FREE_BYTES_MIN: Final = 64 * 1024 * 1024
"""Bytes that should be free on the store's disk: some thousand operations."""

NAMED_MAX: Final = 5
"""Paths that a finding names."""

Tell = Callable[[str, int, int], None]
"""Is told what is being done, and how much of how much is."""


class Look(msgspec.Struct):
    """What was seen."""

    store: Store
    served: bool
    findings: list[Finding] = msgspec.field(default_factory=list[Finding])
    checked: list[str] = msgspec.field(default_factory=list[str])
    journal: JournalReport = msgspec.field(default_factory=JournalReport)
    git: GitReport = msgspec.field(default_factory=GitReport)

    def has(self, area: Area) -> bool:
        """Return whether something of an area is to be repaired."""
        return any(each.area is area and each.fix for each in self.findings)


def look(store: Store, tell: Tell, *, served: bool) -> Look:
    """Look at everything; `served` says whether a coordinator runs meanwhile.

    Raises:
        StoreNewer: a newer program wrote the store.
    """
    check_not_newer(store.config, store.state_db)
    seen = Look(store, served)
    add = seen.findings.append
    for finding in _settings(store):
        add(finding)
    tip = branch_tip(store.repo) if served else None
    with scratch_directory() as scratch:
        seen.journal = check_journal(
            store.state_db,
            scratch,
            lambda done, of: tell("checking the journal", done, of),
            served=served,
            format=stated_format(store.config, store.state_db),
        )
    report = seen.journal
    if not has_journal(store.state_db) and not signs_of_life(store):
        # The first start makes it.
        report.problems = []
    seen.checked.append(
        f"journal: {report.operations} operations, {report.contents} contents, "
        f"{report.lost} lost before"
    )
    for problem in report.problems:
        add(Finding(Area.JOURNAL, problem, "make state.db again from all records that are proven"))
    tell("checking git", 0, 1)
    seen.git = _check_git(seen, tip)
    tell("checking git", 1, 1)
    if report.state is not None and not report.problems:
        for finding in _files(store, report.state, seen):
            add(finding)
        for finding in _kept_texts(store, report.state, served=served):
            add(finding)
    for finding in _forgotten(store, report):
        add(finding)
    for finding in (*_mirrors(store), *_rights(store), *_machine(store)):
        add(finding)
    if not served:
        for finding in _leftovers(store):
            add(finding)
    older = stated_format(store.config, store.state_db)
    if older != FORMAT_VERSION:
        seen.checked.append(
            f"format: {older}; the next start of a coordinator brings the store to format "
            f"{FORMAT_VERSION}, which older versions of agent-trace refuse"
        )
    seen.checked.append(
        f"versions: {seen.git.version or 'no git'}, SQLite {SQLITE_VERSION}, "
        f"Python {sys.version.split()[0]}"
    )
    return seen


def examination(seen: Look) -> Examination:
    """Return what was seen as `doctor` says it."""
    return Examination(
        store=str(seen.store.root),
        healthy=not seen.findings,
        served=seen.served,
        operations=seen.journal.operations,
        documents=seen.journal.documents,
        findings=tuple(seen.findings),
        checked=tuple(seen.checked),
        lost_contents=seen.journal.lost,
    )


def is_served(store: Store) -> bool:
    """Return whether a coordinator holds the store; nothing is taken or changed by asking."""
    try:
        descriptor = os.open(store.lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        status = os.fstat(descriptor)
        device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
        held = f" {device}:{status.st_ino} "
        try:
            # A lock of a process in another container is not listed here.
            return held in Path("/proc/locks").read_text(encoding="ascii") or _answers(store)
        except OSError:
            # Not Linux: asked by taking it, shared and for a moment.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _answers(store: Store) -> bool:
    """Return whether a process, in whichever container, accepts connections at the socket."""
    try:
        text = (store.root / ENDPOINT_FILE).read_bytes()
        address = msgspec.json.decode(text, type=EndpointInfo).endpoint
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(address.removeprefix("ipc://"))
        except BlockingIOError:
            # The queue of connections is full, so somebody is there to work it off.
            return True
        except OSError:
            return False
    return True


# ---- the parts ------------------------------------------------------------------------------


def _settings(store: Store) -> Iterator[Finding]:
    try:
        load_config(store)
    except StoreInvalid as error:
        yield Finding(Area.SETTINGS, error.message, "put the defaults in its place")


def _check_git(seen: Look, tip: str | None) -> GitReport:
    store, journal = seen.store, seen.journal
    if journal.problems:
        # What the commits have to be is known only when the journal is whole.
        report = GitReport()
        if not (store.repo / "objects").is_dir():
            report.problems.append("the git directory is missing")
    else:
        report = check_git(store.repo, journal.commits, tip)
        if seen.served and report.problems:
            # It may have been repacked under our eyes.
            report = check_git(store.repo, journal.commits, tip)
    if seen.served:
        report.frame = [line for line in report.frame if "lock" not in line]
    if journal.operations == 0:
        report.problems, report.frame = [], []
        if not journal.problems and (signs := signs_in_git(store)):
            what = f"state.db has no operation, but {signs}"
            report.problems.append(what)
            seen.findings.append(Finding(Area.GIT, what, "take all operations from git"))
        return report
    behind = journal.operations - report.seq
    if not report.problems and behind and not journal.problems:
        seen.checked.append(f"git lacks {behind} operations; a running coordinator commits them")
    else:
        seen.checked.append(f"git: {report.seq} commits")
    for problem in report.problems:
        seen.findings.append(
            Finding(Area.GIT, problem, "make the history again from the journal, with the same ids")
        )
    for problem in report.frame:
        seen.findings.append(Finding(Area.GIT, problem, "put it right"))
    return report


def _files(store: Store, state: State, seen: Look) -> Iterator[Finding]:
    missing: list[str] = []
    different: list[str] = []
    for path, id in state.by_path.items():
        document = state.documents[id]
        file = store.root / path
        try:
            status = file.lstat()
            if not stat.S_ISREG(status.st_mode):
                different.append(path)
                continue
            if status.st_size != document.size or (
                content_digest(file.read_bytes()) != document.digest
            ):
                different.append(path)
        except OSError:
            missing.append(path)
    seen.checked.append(f"files: {len(state.by_path)} documents")
    if seen.served:
        # They follow the journal within a moment, and edits are judged within another.
        return
    if missing:
        yield Finding(Area.FILES, f"files are missing: {_named(missing)}", "write them again")
    if different:
        yield Finding(
            Area.FILES,
            f"files are not what their documents hold: {_named(different)}; the coordinator judges "
            "them at its next start, as it does any edit",
            "",
        )


def _kept_texts(store: Store, state: State, *, served: bool) -> Iterator[Finding]:
    with closing(Index(store.state_db)) as index:
        refused = [name for name, _ in wrong_refused_files(store, state, index, served=served)]
        drafts = [name for name, _ in wrong_draft_files(store, state, index, served=served)]
    if refused:
        yield Finding(
            Area.QUARANTINE,
            f"files of refused writes are missing, changed or open to others: {_named(refused)}",
            "write them again",
        )
    if drafts:
        yield Finding(
            Area.DRAFTS,
            f"files of drafts are missing, changed or open to others: {_named(drafts)}",
            "write them again",
        )


def _forgotten(store: Store, journal: JournalReport) -> Iterator[Finding]:
    """Journal and git are gone, or new, and something tells of documents."""
    if journal.operations or signs_in_git(store):
        return
    if listed := listed_documents(store):
        yield Finding(
            Area.MIRRORS,
            f"manifest.toml lists documents that neither state.db nor git knows: {_named(listed)}",
            "put it aside; what still lies in the store is added again with `init --scan`",
        )


def _mirrors(store: Store) -> Iterator[Finding]:
    for file in (store.locks / "agent-lock.toml", store.directory / "manifest.toml"):
        try:
            tomllib.loads(file.read_bytes().decode("utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            yield Finding(
                Area.MIRRORS,
                f"{file.relative_to(store.root)} can not be read: {error}",
                "remove it: the coordinator writes it anew",
            )


def _rights(store: Store) -> Iterator[Finding]:
    for file, allowed in private_paths(store):
        try:
            mode = stat.S_IMODE(file.lstat().st_mode)
        except OSError:
            yield Finding(
                Area.RIGHTS, f"{file.relative_to(store.root)} is missing", "make it again"
            )
            continue
        if mode & ~allowed:
            yield Finding(
                Area.RIGHTS,
                f"{file.relative_to(store.root)} is open to others (mode {mode:o})",
                f"set its mode to {allowed:o}",
            )


def private_paths(store: Store) -> Iterator[tuple[Path, int]]:
    """Yield what only its owner may open, with the widest mode it may have."""
    yield store.directory, 0o700
    for directory in (
        store.run,
        store.temporary,
        store.locks,
        store.quarantine,
        store.drafts,
        store.keys,
    ):
        yield directory, 0o700
    for directory in (store.keys, store.quarantine, store.drafts, store.run / "sessions"):
        if directory.is_dir():
            for file in sorted(directory.iterdir()):
                if file.is_symlink():
                    continue
                if file.is_file():
                    yield file, 0o600
                elif file.is_dir():
                    # One that was set aside keeps what is in it as it was, and nobody gets there.
                    yield file, 0o700


def _machine(store: Store) -> Iterator[Finding]:
    free = shutil.disk_usage(store.directory).free
    if free < FREE_BYTES_MIN:
        yield Finding(Area.MACHINE, f"only {free // 2**20} MiB are free on the store's disk", "")


def leftovers(store: Store) -> Iterator[Path]:
    """Yield what a coordinator or a repair that was killed left behind."""
    for file in (store.root / ENDPOINT_FILE, store.run / "coordinator.sock"):
        if os.path.lexists(file):
            yield file
    for file in (store.directory / REPAIRING, store.directory / "repo.new"):
        if os.path.lexists(file):
            yield file


def _leftovers(store: Store) -> Iterator[Finding]:
    for file in leftovers(store):
        yield Finding(
            Area.LEFTOVERS,
            f"{file.relative_to(store.root)} is left from something that was killed",
            "remove it",
        )


def _named(paths: list[str]) -> str:
    more = f" and {len(paths) - NAMED_MAX} more" if len(paths) > NAMED_MAX else ""
    return ", ".join(sorted(paths)[:NAMED_MAX]) + more
