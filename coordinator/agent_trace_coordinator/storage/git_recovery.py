"""What a start repairs in the git directory: litter, refs, and where the branch may stand.

Works on files and on a function that reads verified objects; runs no git. Refs are read and written
here as files, because git itself refuses to touch one that is garbage, and because it never syncs
the directory that a new ref lies in. Nothing here follows a symlink.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec

from agent_trace_coordinator.core.records import Changed, Record

from .escaping import ForeignCommit
from .git_trees import has_changes
from .trailers import parse_trailers

__all__ = [
    "FoundHead",
    "ReadObject",
    "delete_ref",
    "find_head",
    "object_id",
    "read_ref",
    "remove_litter",
    "set_damaged_packs_aside",
    "sync_directories",
    "sync_directory",
    "sync_file",
    "sync_packs",
    "write_file",
    "write_ref",
]

ReadObject = Callable[[str], tuple[bytes, bytes] | None]
"""Returns the type and bytes of an object after hashing them; None if it is missing or damaged."""

ANCESTRY_STEPS_MAX: Final = 20_000
"""Commits walked from the branch down to one the journal knows. git is at most some thousand
records ahead of what the journal noted about it; past that the trailers alone must do."""

REF_BYTES_MAX: Final = 1024
"""A ref holds 41 bytes."""

PACKED_REFS_BYTES_MAX: Final = 1024 * 1024
"""We make next to no refs; a person may make some."""

_COMMIT_ID: Final = re.compile(r"[0-9a-f]{40}", re.ASCII)
_LITTER: Final = re.compile(
    r".+\.lock|(?:tmp_|\.tmp-).+|fast_import_crash_[0-9]+|.+\.rewriting", re.ASCII
)
_NOTHING_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO})
"""Errors of opening by which a path names nothing, or nothing that can be a file."""

_HEADER: Final = re.compile(
    rb"tree ([0-9a-f]{40})\n(?:parent ([0-9a-f]{40})\n)?author [^\n]+\ncommitter [^\n]+\n\n"
)


# ---- files ----------------------------------------------------------------------------------


def sync_file(path: Path) -> None:
    """Make a file's bytes durable."""
    _sync(path, os.O_RDONLY | os.O_NOFOLLOW)


def sync_directory(path: Path) -> None:
    """Make a directory's entries durable."""
    _sync(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)


def sync_directories(one: Path, other: Path) -> None:
    """Make the entries of two directories durable, at the same time: a disk that takes long for a
    sync takes little longer for two."""
    failures: list[OSError] = []

    def sync_one() -> None:
        try:
            sync_directory(one)
        except OSError as error:
            failures.append(error)

    beside = threading.Thread(target=sync_one, name="sync")
    try:
        beside.start()
    except RuntimeError:
        # There can be no more threads: one after the other, then.
        sync_one()
    try:
        sync_directory(other)
    finally:
        if beside.ident is not None:
            beside.join()
    if failures:
        raise failures[0]


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_packs(pack_directory: Path, already: Iterable[str]) -> set[str]:
    """Sync the packs and indexes that are not among `already`, and their directory.

    Returns all names that are there and synced.
    """
    names = {name for name in os.listdir(pack_directory) if name.endswith((".pack", ".idx"))}
    new = names.difference(already)
    for name in new:
        sync_file(pack_directory / name)
    if new:
        sync_directory(pack_directory)
    return names


def write_file(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace a file durably: written beside it, synced, renamed, directory synced."""
    temporary = path.with_name(f"{path.name}.rewriting")
    # What lies there is from a crash, or not ours to follow.
    temporary.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(temporary, flags, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def _read_file(path: Path, size_max: int) -> bytes | None:
    """Return a small regular file's bytes; None if there is nothing of that kind.

    Raises:
        OSError: it can not be read now, which says nothing about what is there.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _NOTHING_THERE:
            return None
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > size_max:
            return None
        return os.read(descriptor, size_max)
    finally:
        os.close(descriptor)


def remove_litter(git_directory: Path) -> list[str]:
    """Remove what killed git processes left, and return the names.

    Lock files, half-written packs and crash reports; also the `.keep` files by which fast-import
    guards its packs while it lives: left over, they would keep those packs out of every repack. It
    does not sync them, so that a power cut leaves them empty.
    Only called under the store's lock and when no git process of ours runs.
    """
    removed: list[str] = []
    for directory, _, names in os.walk(git_directory):
        for name in names:
            path = Path(directory, name)
            if _LITTER.fullmatch(name) or (
                name.endswith(".keep") and _read_file(path, REF_BYTES_MAX) in {b"", b"fast-import"}
            ):
                path.unlink()
                removed.append(name)
    return removed


def set_damaged_packs_aside(pack_directory: Path) -> list[str]:
    """Rename packs that can be none, and their indexes, so that git overlooks them.

    Returns their names without suffix. Only beginnings are looked at, which finds files that a
    crash left empty or without their bytes. They must go before anything is replayed: git believes
    an index, and does not write again what is said to be in its pack.
    """
    damaged: list[str] = []
    for pack in sorted(pack_directory.glob("pack-*.pack")):
        index = pack.with_suffix(".idx")
        whole = _begins_with(pack, b"PACK")
        if whole and (not index.exists() or _begins_with(index, b"\xfftOc")):
            continue
        for path in (index, pack):
            if path.exists():
                path.rename(path.with_name(f"{path.name}.damaged"))
        damaged.append(pack.stem)
    if damaged:
        # It is made anew by the next maintenance, and names packs that are gone.
        (pack_directory / "multi-pack-index").unlink(missing_ok=True)
        sync_directory(pack_directory)
    return damaged


def _begins_with(path: Path, start: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(start)) == start


# ---- refs -----------------------------------------------------------------------------------


def read_ref(git_directory: Path, name: str) -> str:
    """Return the commit id a ref holds; empty if there is none or it is garbage.

    Raises:
        OSError: it can not be read now.
    """
    path = git_directory / name
    if os.path.lexists(path):
        # A loose ref hides a packed one, whatever it holds.
        data = _read_file(path, REF_BYTES_MAX)
        text = "" if data is None else data.decode("ascii", "replace").removesuffix("\n")
        return text if _COMMIT_ID.fullmatch(text) else ""
    for line in _packed_refs(git_directory):
        commit, _, packed_name = line.partition(" ")
        if packed_name == name and _COMMIT_ID.fullmatch(commit):
            return commit
    return ""


def write_ref(git_directory: Path, name: str, commit: str) -> None:
    """Point a ref at a commit, durably."""
    path = git_directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, f"{commit}\n".encode("ascii"))
    parent = path.parent
    while parent != git_directory:
        parent = parent.parent
        sync_directory(parent)


def delete_ref(git_directory: Path, name: str) -> None:
    """Remove a ref, loose and packed, durably."""
    path = git_directory / name
    lines = _packed_refs(git_directory)
    kept = [line for line in lines if line.partition(" ")[2] != name]
    if len(kept) < len(lines):
        text = "".join(f"{line}\n" for line in kept)
        write_file(git_directory / "packed-refs", text.encode("utf-8", "surrogateescape"))
    path.unlink(missing_ok=True)
    sync_directory(path.parent)


def _packed_refs(git_directory: Path) -> list[str]:
    data = _read_file(git_directory / "packed-refs", PACKED_REFS_BYTES_MAX) or b""
    return data.decode("utf-8", "surrogateescape").removesuffix("\n").split("\n")


# ---- where the branch may stand -------------------------------------------------------------


class FoundHead(msgspec.Struct, frozen=True):
    """Where the branch is to stand."""

    commit: str
    """Empty: nothing usable is there, all is replayed."""
    seq: int
    foreign: bool
    """The commit at which the branch stood is whole, but we did not make it."""


class _Commit(msgspec.Struct, frozen=True):
    tree: str
    parent: str
    seq: int
    record: Record


def object_id(kind: bytes, data: bytes) -> str:
    """Return the id that git gives to an object."""
    digest = hashlib.sha1(b"%b %d\0" % (kind, len(data)), usedforsecurity=False)
    digest.update(data)
    return digest.hexdigest()


def find_head(
    current: str, known: Callable[[], Iterable[tuple[int, str]]], read: ReadObject
) -> FoundHead:
    """Return the newest commit of ours that is whole.

    `current` is where the branch stands; it is kept if it is ours, that is, if it is a commit that
    `known` names (newest first) or descends from one through nothing but commits like ours. Else,
    or if `known` names newer ones, the newest of those that is whole. A last commit that
    lacks part of its operation does not count.
    """
    seq, foreign = 0, False
    if current:
        try:
            seq = _seq_of_ours(current, known(), read)
            last = _last_complete(current, known(), read) if seq else current
            if last != current:
                current, seq = last, seq - 1 if last and _is_whole(last, seq - 1, read) else 0
        except ForeignCommit:
            foreign = True
    for known_seq, commit in known():
        if known_seq <= seq:
            break
        if _is_whole(commit, known_seq, read):
            return FoundHead(commit, known_seq, foreign)
    return FoundHead(current if seq else "", seq, foreign)


def _last_complete(current: str, known: Iterable[tuple[int, str]], read: ReadObject) -> str:
    """Return `current`, or its parent if its tree lacks what its message says.

    A fast-import whose standard input fails in the middle of a commit takes that for the commit's
    end, and moves the branch to it. So it can only be the last one, and one that it never answered
    for, which the journal does not name.
    """
    found = _read_commit(current, read)
    if found is None or not isinstance(found.record.body, Changed):
        return current
    for seq, commit in known:
        if seq <= found.seq:
            if commit == current:
                return current
            break
    complete = has_changes(found.tree, found.record.body, read)
    return current if complete else found.parent


def _seq_of_ours(current: str, known: Iterable[tuple[int, str]], read: ReadObject) -> int:
    """Return the seq of the branch's commit, 0 if it is damaged; raises `ForeignCommit`."""
    pairs = iter(known)
    pair = next(pairs, None)
    commit, top, below = current, 0, 0
    for _ in range(ANCESTRY_STEPS_MAX):
        found = _read_commit(commit, read)
        if found is None or (not top and not _is_tree(found.tree, read)):
            return 0
        if top and found.seq != below:
            raise ForeignCommit(f"{commit} is not the commit before operation {below + 1}")
        top = top or found.seq
        while pair is not None and pair[0] > found.seq:
            pair = next(pairs, None)
        if pair is None:
            # The journal knows nothing this old, or nothing at all.
            return top
        if pair[0] == found.seq:
            if pair[1] != commit:
                raise ForeignCommit(f"operation {found.seq} is {pair[1]}, not {commit}")
            return top
        if not found.parent:
            raise ForeignCommit(f"{commit} has no parent but is not the first operation")
        commit, below = found.parent, found.seq - 1
    return top


def _is_whole(commit: str, seq: int, read: ReadObject) -> bool:
    try:
        found = _read_commit(commit, read)
    except ForeignCommit:
        return False
    return found is not None and found.seq == seq and _is_tree(found.tree, read)


def _is_tree(tree: str, read: ReadObject) -> bool:
    found = read(tree)
    return found is not None and found[0] == b"tree"


def _read_commit(commit: str, read: ReadObject) -> _Commit | None:
    """Return a commit of ours; None if it is missing or damaged; raises `ForeignCommit`."""
    found = read(commit)
    if found is None:
        return None
    kind, data = found
    header = _HEADER.match(data)
    if kind != b"commit" or header is None:
        raise ForeignCommit(f"{commit} is not a commit like ours")
    try:
        message = data[header.end() :].decode("utf-8")
    except UnicodeDecodeError as error:
        raise ForeignCommit(f"{commit} is not in UTF-8") from error
    parent = (header[2] or b"").decode("ascii")
    record = parse_trailers(message).record
    return _Commit(header[1].decode("ascii"), parent, record.seq, record)
