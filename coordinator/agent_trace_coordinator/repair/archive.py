"""A backup: one file with everything of a store, made while the store is served, and the way back.

The journal is copied as of one moment; git's history goes along as a bundle, the second copy it is
in a store. Files of documents are not in it: state.db has their contents. The archive is written
beside its name, synced and renamed, so that a file with that name is whole. Nothing of it is put in
place before all of it was verified.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import tarfile
import zlib
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

import msgspec

from agent_trace_coordinator import __version__
from agent_trace_coordinator.errors import BackupInvalid, CorruptStore, GitFailed, StoreInvalid
from agent_trace_coordinator.storage.beginnings import has_journal, signs_of_life
from agent_trace_coordinator.storage.bundle import bundle_history, unbundle_history
from agent_trace_coordinator.storage.git_check import check_git
from agent_trace_coordinator.storage.git_recovery import sync_directory, sync_file
from agent_trace_coordinator.storage.index import Index
from agent_trace_coordinator.storage.journal_check import JournalReport, check_journal
from agent_trace_coordinator.storage.recovery import restore_files
from agent_trace_coordinator.storage.schema import copy_database
from agent_trace_coordinator.storage.store import DIRECTORIES, Store
from agent_trace_coordinator.storage.versions import check_not_newer, stated_format
from agent_trace_coordinator.storage.worktree import FileTree
from agent_trace_protocol.layout import STORE_DIRECTORY
from agent_trace_protocol.limits import DOCUMENT_BYTES_MAX
from agent_trace_protocol.upkeep import BackupReport

from .examine import Tell
from .kept_texts import write_draft_files, write_refused_files
from .rebuild import rebuild_git

__all__ = ["back_up", "restore_backup"]

ARCHIVE_FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
STATE: Final = "state.db"
BUNDLE: Final = "history.bundle"
CONFIG: Final = "config.toml"
FOLDERS: Final = ("quarantine", "drafts", "keys")
"""Directories of which all files go along."""

MANIFEST_BYTES_MAX: Final = 64 * 1024 * 1024
CHUNK: Final = 1024 * 1024


class Member(msgspec.Struct, frozen=True):
    """A file of the archive."""

    name: str
    """Its bytes, percent-encoded: what was set aside may have a name that is no text."""
    size: int
    digest: str
    """BLAKE2b-256, in hexadecimal digits."""


class Manifest(msgspec.Struct, frozen=True):
    """What the archive holds; its first file."""

    format: int
    version: str
    """Of the program that made it."""
    operations: int
    members: tuple[Member, ...]


def back_up(store: Store, target: Path, tell: Tell) -> BackupReport:
    """Write a backup of a store, served or not, to a new file.

    Raises:
        StoreInvalid: `target` is there already, or its directory is not.
        StoreNewer: a newer program wrote the store.
        CorruptStore: what is to be backed up is damaged.
    """
    check_not_newer(store.config, store.state_db)
    target = target.absolute()
    if os.path.lexists(target):
        raise StoreInvalid(f"{target} is there already; give the backup another name")
    if not target.parent.is_dir():
        raise StoreInvalid(f"{target.parent} is not a directory")
    if not has_journal(store.state_db) and not signs_of_life(store):
        raise StoreInvalid(f"nothing was written to {store.root} yet: there is nothing to back up")
    making = target.with_name(f".{target.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=0o700)
    try:
        # Git first: the journal, which is copied after it, then has all that git has.
        tell("bundling git", 0, 1)
        tip = bundle_history(store.repo, making / BUNDLE)
        # The settings before the journal: a first start of a newer version raises the format of the
        # journal first, and never is a copy of it older than its settings say.
        shutil.copyfile(store.config, making / CONFIG)
        tell("copying the journal", 0, 1)
        copy_database(store.state_db, making / STATE)
        journal = _check(making, tell)
        if tip and tip not in journal.commits:
            raise CorruptStore(f"git is at {tip}, which is no operation of the journal")
        commits = journal.commits.index(tip) + 1 if tip else 0
        for folder in FOLDERS:
            for file in sorted((store.directory / folder).rglob("*")):
                if file.is_file() and not file.is_symlink() and not file.name.startswith("."):
                    copy = making / file.relative_to(store.directory)
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    # A coordinator that runs removes the file of a text that was settled.
                    with contextlib.suppress(FileNotFoundError):
                        shutil.copyfile(file, copy)
        archive = making / "archive"
        _pack(making, archive, journal.operations, tell)
        sync_file(archive)
        # Never in the place of a file that somebody made meanwhile.
        os.link(archive, target)
        archive.unlink()
        sync_directory(target.parent)
        return BackupReport(
            str(target), journal.operations, journal.documents, commits, target.stat().st_size
        )
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _check(directory: Path, tell: Tell) -> JournalReport:
    report = check_journal(
        directory / STATE,
        directory,
        lambda done, of: tell("checking the journal", done, of),
        served=False,
        format=stated_format(directory / CONFIG, directory / STATE),
    )
    for name in ("derived.db", "derived.db-wal", "derived.db-shm"):
        (directory / name).unlink(missing_ok=True)
    if report.problems:
        raise CorruptStore(f"state.db is damaged: {report.problems[0]}")
    return report


def _pack(making: Path, archive: Path, operations: int, tell: Tell) -> None:
    files = [each for each in sorted(making.rglob("*")) if each.is_file()]
    members: list[Member] = []
    for file in files:
        name = file.relative_to(making).as_posix()
        members.append(Member(_encoded(name), file.stat().st_size, _digest(file)))
    manifest = Manifest(ARCHIVE_FORMAT, __version__, operations, tuple(members))
    data = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    descriptor = os.open(archive, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with (
        open(descriptor, "wb") as raw,
        tarfile.open(fileobj=raw, mode="w:gz", compresslevel=1) as tar,
    ):
        tar.addfile(_entry(MANIFEST, len(data)), io.BytesIO(data))
        for done, (file, member) in enumerate(zip(files, members, strict=True)):
            tell("packing", done, len(files))
            with file.open("rb") as content:
                name = file.relative_to(making).as_posix()
                tar.addfile(_entry(name, member.size), content)
    tell("packing", len(files), len(files))


def _encoded(name: str) -> str:
    return quote(os.fsencode(name))


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o600
    return entry


def _digest(file: Path) -> str:
    digest = hashlib.blake2b(digest_size=32)
    with file.open("rb") as content:
        while chunk := content.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


# ---- the way back ---------------------------------------------------------------------------


def restore_backup(archive: Path, root: Path, tell: Tell) -> BackupReport:
    """Make a store at `root`, which is not there or is empty, from a backup.

    Raises:
        StoreInvalid: there is something at `root`, or not enough room for what is restored.
        BackupInvalid: the file is no backup, or damaged; nothing was put in place.
    """
    root = root.absolute()
    # A directory that is there may be a volume of a container, which no rename replaces and beside
    # which nothing can be written: there it is made inside.
    inside = os.path.lexists(root)
    making = (
        root / f"{STORE_DIRECTORY}.restoring"
        if inside
        else root.with_name(f".{root.name}.restoring")
    )
    if inside and not (
        root.is_dir() and not root.is_symlink() and {making.name}.issuperset(os.listdir(root))
    ):
        raise StoreInvalid(f"{root} is not empty; restore into a new directory")
    if not root.parent.is_dir():
        raise StoreInvalid(f"{root.parent} is not a directory")
    shutil.rmtree(making, ignore_errors=True)
    own = making / STORE_DIRECTORY
    own.mkdir(mode=0o700, parents=True)
    try:
        for name in DIRECTORIES:
            (own / name).mkdir(mode=0o700, parents=True)
        manifest = _unpack(archive, own, tell)
        check_not_newer(own / CONFIG, own / STATE)
        journal = _check(own, tell)
        if journal.operations != manifest.operations:
            raise BackupInvalid(f"{archive} does not hold what its manifest says")
        commits = _history(making, own, journal, tell)
        _write_files(Store(making), journal, tell)
        for directory, _, names in os.walk(making):
            for name in names:
                sync_file(Path(directory, name))
            sync_directory(Path(directory))
        if inside:
            _move_inside(making, root)
        else:
            making.rename(root)
            sync_directory(root.parent)
        return BackupReport(
            str(root), journal.operations, journal.documents, commits, archive.stat().st_size
        )
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _move_inside(making: Path, root: Path) -> None:
    """Put in place by parts, last of all what makes the directory a store."""
    for entry in sorted(making.iterdir(), key=lambda each: each.name == STORE_DIRECTORY):
        if entry.name == STORE_DIRECTORY:
            sync_directory(root)
        entry.rename(root / entry.name)
    making.rmdir()
    sync_directory(root)


def _unpack(archive: Path, own: Path, tell: Tell) -> Manifest:
    """Unpack the files that the manifest names, each as it says, and nothing else."""
    try:
        with tarfile.open(archive, mode="r:gz") as tar:
            first = tar.next()
            if first is None or first.name != MANIFEST or first.size > MANIFEST_BYTES_MAX:
                raise BackupInvalid(f"{archive} is not a backup of a store")
            content = tar.extractfile(first)
            assert content is not None
            manifest = msgspec.json.decode(content.read(), type=Manifest)
            if manifest.format > ARCHIVE_FORMAT:
                raise StoreInvalid(f"{archive} was made by a newer version; upgrade agent-trace")
            due = _checked_members(archive, manifest, own)
            for entry in iter(tar.next, None):
                member = due.pop(_encoded(entry.name), None)
                if member is None or not entry.isreg() or entry.size != member.size:
                    raise BackupInvalid(f"{archive} holds {entry.name!r}, which it does not name")
                _unpack_file(tar, entry, member, own)
                tell("unpacking", len(manifest.members) - len(due), len(manifest.members))
            if due:
                raise BackupInvalid(f"{archive} lacks {next(iter(due))}")
    except (tarfile.TarError, EOFError, OSError, msgspec.MsgspecError, zlib.error) as error:
        if isinstance(error, OSError) and error.filename == str(archive):
            raise
        raise BackupInvalid(f"{archive} is damaged or no backup: {error}") from error
    return manifest


def _checked_members(archive: Path, manifest: Manifest, own: Path) -> dict[str, Member]:
    """Return the members by name, once all of them may be unpacked: what is too much or does not
    belong there is refused before the first byte of it is on the disk."""
    due: dict[str, Member] = {}
    for member in manifest.members:
        name = unquote(member.name, errors="surrogateescape")
        folder, _, rest = name.partition("/")
        fits = name in (STATE, BUNDLE, CONFIG) or (
            folder in FOLDERS and not {"", ".", ".."}.intersection(rest.split("/"))
        )
        if not fits or "\0" in name or member.name != _encoded(name):
            raise BackupInvalid(f"{archive} holds {name!r}, which is nothing of a store")
        if member.name in due or member.size < 0:
            raise BackupInvalid(f"{archive} contradicts itself about {name!r}")
        due[member.name] = member
    for name in (STATE, CONFIG):
        if name not in due:
            # Without its settings a directory is not a store.
            raise BackupInvalid(f"{archive} lacks {name}")
    needed = sum(member.size for member in manifest.members)
    free = shutil.disk_usage(own).free
    if needed > free:
        raise StoreInvalid(
            f"{archive} holds {needed} bytes, and only {free} are free where it is restored"
        )
    return due


def _unpack_file(tar: tarfile.TarFile, entry: tarfile.TarInfo, member: Member, own: Path) -> None:
    target = own / entry.name
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    content = tar.extractfile(entry)
    assert content is not None
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        shutil.copyfileobj(content, file, CHUNK)
    if _digest(target) != member.digest:
        raise BackupInvalid(f"{member.name} in the backup is damaged")


def _history(making: Path, own: Path, journal: JournalReport, tell: Tell) -> int:
    """Take the history from the bundle, or make it from the journal; return its last operation."""
    bundle = own / BUNDLE
    if journal.operations:
        seq = 0
        try:
            if bundle.exists():
                unbundle_history(making, bundle)
                report = check_git(own / "repo", journal.commits)
                seq = 0 if report.problems else report.seq
        except GitFailed:
            seq = 0
        if not seq:
            shutil.rmtree(own / "repo", ignore_errors=True)
        # Goes on from where the bundle ends; the ids are the same in any case.
        rebuild_git(making, own / STATE, tell)
        report = check_git(own / "repo", journal.commits)
        if report.problems:
            raise BackupInvalid(f"the history can not be restored: {report.problems[0]}")
    bundle.unlink(missing_ok=True)
    return len(journal.commits)


def _write_files(store: Store, journal: JournalReport, tell: Tell) -> None:
    if journal.state is None:
        return
    tell("writing files", 0, 1)
    with closing(Index(store.state_db)) as index:
        tree = FileTree(
            store.root,
            temporary=store.temporary,
            quarantine=store.quarantine,
            document_bytes_max=DOCUMENT_BYTES_MAX,
        )
        try:
            restore_files(journal.state, index, tree)
        finally:
            tree.close()
        # They were copied a moment after the journal.
        write_refused_files(store, journal.state, index)
        write_draft_files(store, journal.state, index)
    tell("writing files", 1, 1)
