"""The documents as files: a view that people and tools read, never the truth.

Law: no path is ever walked by name from outside. Every step opens one directory below the one
before, refusing symlinks, so that nothing that changes meanwhile can lead out of the store. What is
not ours is copied to the quarantine, and synced there, before anything takes its place.

A file is known as ours by its inode, time and size; a foreign edit therefore costs one `stat` to
notice. Two things remain, both without loss of anything that was acknowledged: an edit between that
`stat` and the rename a few microseconds later is replaced, and an edit in place that keeps the size
and falls into the same tick of the file system's clock as our own write is not noticed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from agent_trace_coordinator.core.records import content_digest
from agent_trace_protocol import InvalidPath, TooLarge
from agent_trace_protocol.layout import STORE_DIRECTORY

from .base import CapturedFile, ExpectedFile, FileUpdate, SetAside, Signature
from .moved_files import find_files, signature_of

__all__ = ["FileTree"]

ATTEMPTS_MAX: Final = 3
"""Times a path is cleared before its update is given up: somebody else keeps filling it."""

_DIRECTORY_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a FIFO must not hang us. It means nothing for regular files.
_READ_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_Signature = Signature

_UNREADABLE: Final[_Signature] = (0, 0, 0, 0)
_MISSING: Final[_Signature] = (0, 0, 0, 1)
_BLOCKED: Final[_Signature] = (0, 0, 0, 2)


class FileTree:
    """Implements the `WorkTree` port on a directory. Used from one worker thread at a time."""

    def __init__(
        self, root: Path, *, temporary: Path, quarantine: Path, document_bytes_max: int
    ) -> None:
        """`temporary` and `quarantine` lie on the file system of `root`, and are ours alone.

        What an earlier life left in `temporary` is removed.
        """
        self._document_bytes_max = document_bytes_max
        self._ours: dict[str, _Signature] = {}
        self._incoming: dict[str, _Signature] = {}
        self._counter = 0
        self._closing = contextlib.ExitStack()
        with contextlib.ExitStack() as opening:
            self._root = _open_root(root, opening)
            self._temporary = _open_root(temporary, opening)
            self._quarantine = _open_root(quarantine, opening)
            for name in os.listdir(self._temporary):
                with contextlib.suppress(IsADirectoryError):
                    os.unlink(name, dir_fd=self._temporary)
            self._closing = opening.pop_all()

    def close(self) -> None:
        """Close the directories. Doing it twice is harmless."""
        self._closing.close()

    # ---- the port ---------------------------------------------------------------------------

    def apply(self, updates: list[FileUpdate]) -> list[SetAside]:
        """Bring the files to the given state; return what foreign content was kept.

        A directory with something in it where a document's file belongs is set aside as a whole,
        under the quarantine; a removal leaves it, and leaves what lies behind a foreign symlink.

        Raises:
            OSError: the disk took no more; updates before the failing one are done.
        """
        kept: list[SetAside] = []
        for update in updates:
            if update.content is None:
                self._remove(update.path, kept)
            else:
                self._write(update.path, update.content, kept, update.captured)
        return kept

    def foreign(self, paths: Iterable[str]) -> dict[str, Signature]:
        """Return the paths at which something else lies than what we put there, and what.

        Costs one `stat` for each path; a directory is opened once for all neighbours, so sorted
        paths are cheapest. Looks only, and may be called beside everything else.
        """
        found: dict[str, Signature] = {}
        with _Walk(self._root) as walk:
            for path in paths:
                *parents, name = _segments(path)
                try:
                    directory = walk.enter(parents)
                    status = _status(directory, name)
                except OSError as error:
                    if error.errno not in {errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EACCES}:
                        raise
                    signature = _MISSING if error.errno == errno.ENOENT else _BLOCKED
                else:
                    signature = _MISSING if status is None else signature_of(status)
                if signature not in (self._ours.get(path), self._incoming.get(path)):
                    found[path] = signature
        return found

    def capture(self, paths: Iterable[str]) -> list[CapturedFile]:
        """Return what lies at these paths, read whole; leave out what changed during the reading.

        What is no readable regular file is told by its problem, and left where it is.
        """
        captured: list[CapturedFile] = []
        for path in paths:
            before = self.foreign([path]).get(path)
            if before is None:
                continue
            if before == _MISSING:
                captured.append(CapturedFile(path, None, "", before))
                continue
            try:
                content = self.read(path)
                problem = ""
            except (InvalidPath, TooLarge) as error:
                content, problem = None, error.message
            if self.foreign([path]).get(path) == before and (problem or content is not None):
                captured.append(CapturedFile(path, content, problem, before))
        return captured

    def accept(self, path: str, signature: Signature) -> None:
        """Take what lies at a path as ours: it holds what the document holds."""
        self._ours[path] = signature

    def find_moved(self, paths: Iterable[str], among: Iterable[str]) -> dict[str, str]:
        """Return where the files lie now that we put at `paths` and that are gone from there."""
        ours = {self._ours[path]: path for path in paths if path in self._ours}
        found = find_files(self._root, set(ours), among)
        for signature, path in found.items():
            # It is the file that we wrote, under another name.
            self._ours[path] = signature
        return {ours[signature]: path for signature, path in found.items()}

    def compare(self, expected: Iterable[ExpectedFile]) -> list[str]:
        """Return the paths whose file is missing or not as expected; remember those that are ours.

        A file that holds an earlier revision is returned, and remembered as ours as well: to bring
        it forward sets nothing aside.
        """
        differing: list[str] = []
        for file in expected:
            found = self._read_signed(file.path)
            if found is None:
                differing.append(file.path)
                continue
            content, signature = found
            digest = content_digest(content)
            if len(content) == file.size and digest == file.digest:
                self._ours[file.path] = signature
            else:
                differing.append(file.path)
                if digest in file.earlier:
                    self._ours[file.path] = signature
        return differing

    def read(self, path: str) -> bytes | None:
        """Return the bytes of a regular file in the store, None if there is none.

        Raises:
            InvalidPath: a symlink, a directory or a special file is in the way.
            TooLarge: the file is over the limit given at construction.
        """
        directory = self._root
        opened: list[int] = []
        *parents, name = _segments(path)
        try:
            for parent in parents:
                try:
                    directory = os.open(parent, _DIRECTORY_FLAGS, dir_fd=directory)
                except FileNotFoundError:
                    return None
                except OSError as error:
                    if error.errno not in {errno.ELOOP, errno.ENOTDIR}:
                        raise
                    status = _status(directory, parent)
                    if status is None or stat.S_ISREG(status.st_mode):
                        return None
                    raise InvalidPath(f"{path!r}: {parent!r} is not a directory") from None
                opened.append(directory)
            status = _status(directory, name)
            if status is None:
                return None
            if not stat.S_ISREG(status.st_mode):
                raise InvalidPath(f"{path!r} is not a regular file")
            found = self._read_file(directory, name)
        finally:
            _close_all(opened)
        if found is None:
            return None
        if found[1] == _UNREADABLE:
            raise InvalidPath(f"{path!r} may not be read")
        if found[0] is None:
            raise TooLarge(f"{path!r} has more than {self._document_bytes_max} bytes")
        return found[0]

    # ---- writing ----------------------------------------------------------------------------

    def _write(
        self, path: str, content: bytes, kept: list[SetAside], captured: Signature | None
    ) -> None:
        *parents, name = _segments(path)
        opened: list[int] = []
        try:
            directory = self._root
            for parent in parents:
                directory = self._open_directory(path, parent, directory, kept)
                opened.append(directory)
            for attempt in range(ATTEMPTS_MAX):
                if self._clear(path, name, directory, content, kept, captured):
                    return
                try:
                    self._replace(path, name, directory, content)
                    return
                except (IsADirectoryError, NotADirectoryError):
                    # A directory took the place after it was looked at.
                    if attempt == ATTEMPTS_MAX - 1:
                        raise
        finally:
            _close_all(opened)

    def _open_directory(self, path: str, name: str, above: int, kept: list[SetAside]) -> int:
        """Open a directory of a document's path; make it if it is missing, or is no directory."""
        for _ in range(ATTEMPTS_MAX):
            try:
                return os.open(name, _DIRECTORY_FLAGS, dir_fd=above)
            except FileNotFoundError:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o755, dir_fd=above)
            except OSError as error:
                if error.errno not in {errno.ELOOP, errno.ENOTDIR}:
                    raise
                self._set_aside(path, name, above, kept)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=above)
        return os.open(name, _DIRECTORY_FLAGS, dir_fd=above)

    def _clear(
        self,
        path: str,
        name: str,
        directory: int,
        content: bytes | None,
        kept: list[SetAside],
        captured: Signature | None = None,
    ) -> bool:
        """Keep what is foreign at a path, so that it may be replaced.

        What is `captured` has been kept already; by now something of ours may lie there. Returns
        whether the wanted content is there already.
        """
        status = _status(directory, name)
        if status is None or signature_of(status) in (self._ours.get(path), captured):
            return False
        if content is not None and stat.S_ISREG(status.st_mode) and status.st_size == len(content):
            found = self._read_file(directory, name)
            if found is not None and found[0] == content:
                self._ours[path] = found[1]
                return True
        self._set_aside(path, name, directory, kept)
        return False

    def _replace(self, path: str, name: str, directory: int, content: bytes) -> None:
        self._counter += 1
        temporary = f"{os.getpid()}-{self._counter}"
        descriptor = os.open(temporary, _WRITE_FLAGS, 0o644, dir_fd=self._temporary)
        try:
            _write_all(descriptor, content)
            # Whoever looks meanwhile from another thread sees the old file or the new one, and both
            # are ours.
            self._incoming[path] = signature_of(os.fstat(descriptor))
            os.rename(temporary, name, src_dir_fd=self._temporary, dst_dir_fd=directory)
            self._ours[path] = self._incoming[path]
        except OSError:
            os.unlink(temporary, dir_fd=self._temporary)
            raise
        finally:
            self._incoming.pop(path, None)
            os.close(descriptor)

    def _remove(self, path: str, kept: list[SetAside]) -> None:
        *parents, name = _segments(path)
        opened = [self._root]
        try:
            for parent in parents:
                try:
                    opened.append(os.open(parent, _DIRECTORY_FLAGS, dir_fd=opened[-1]))
                except OSError as error:
                    if error.errno not in {errno.ENOENT, errno.ELOOP, errno.ENOTDIR}:
                        raise
                    # Then there is no such file of ours either.
                    return
            status = _status(opened[-1], name)
            if status is not None and not stat.S_ISDIR(status.st_mode):
                self._clear(path, name, opened[-1], None, kept)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=opened[-1])
            # The innermost directory first, until one is not empty.
            for parent in reversed(parents):
                os.close(opened.pop())
                try:
                    os.rmdir(parent, dir_fd=opened[-1])
                except OSError as error:
                    if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT}:
                        raise
                    return
        finally:
            self._ours.pop(path, None)
            _close_all(opened[1:])

    # ---- setting aside ----------------------------------------------------------------------

    def _set_aside(self, path: str, name: str, directory: int, kept: list[SetAside]) -> None:
        """Keep what lies at a name, durably. A directory is moved away (removed if it is empty),
        anything else is left for the caller to replace."""
        status = _status(directory, name)
        if status is None:
            return
        if stat.S_ISDIR(status.st_mode):
            try:
                os.rmdir(name, dir_fd=directory)
            except OSError as error:
                if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                    raise
                self._move_aside(path, name, directory, status, kept)
            return
        if stat.S_ISLNK(status.st_mode):
            content: bytes | None = os.fsencode(os.readlink(name, dir_fd=directory))
        elif stat.S_ISREG(status.st_mode):
            found = self._read_file(directory, name)
            if found is None:
                return
            content = found[0]
        else:
            # A socket, a FIFO or a device has no content; that it was there is what is kept.
            content = b""
        if content is None:
            # Too large to be copied for whoever likes to, or unreadable: the file itself is kept.
            self._move_aside(path, name, directory, status, kept)
            return
        kept_as = self._free_name(content_digest(content).hex(), name)
        descriptor = os.open(kept_as, _WRITE_FLAGS, 0o600, dir_fd=self._quarantine)
        try:
            _write_all(descriptor, content)
            os.fsync(descriptor)
        except OSError:
            os.unlink(kept_as, dir_fd=self._quarantine)
            raise
        finally:
            os.close(descriptor)
        os.fsync(self._quarantine)
        kept.append(SetAside(path, kept_as, len(content), stat.S_ISREG(status.st_mode)))

    def _move_aside(
        self, path: str, name: str, directory: int, status: os.stat_result, kept: list[SetAside]
    ) -> None:
        # It is not read, so it is named by what it is instead of by what it holds.
        mark = hashlib.blake2b(repr(signature_of(status)).encode("ascii")).hexdigest()
        kept_as = self._free_name(mark, name)
        os.rename(name, kept_as, src_dir_fd=directory, dst_dir_fd=self._quarantine)
        is_file = stat.S_ISREG(status.st_mode)
        # First, for it may have been a mode that keeps us out. Nobody else reaches the quarantine.
        os.chmod(kept_as, 0o600 if is_file else 0o700, dir_fd=self._quarantine)
        flags = _READ_FLAGS if is_file else _DIRECTORY_FLAGS
        descriptor = os.open(kept_as, flags, dir_fd=self._quarantine)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.fsync(self._quarantine)
        os.fsync(directory)
        kept.append(SetAside(path, kept_as, status.st_size if is_file else 0))

    def _free_name(self, digest: str, name: str) -> str:
        base = f"{time.time_ns() // 1_000_000}-{digest[:12]}-{name}"
        candidate, count = base, 1
        # Nobody else makes names here, so what is free stays free.
        while _status(self._quarantine, candidate) is not None:
            count += 1
            candidate = f"{base}.{count}"
        return candidate

    # ---- reading ----------------------------------------------------------------------------

    def _read_signed(self, path: str) -> tuple[bytes, _Signature] | None:
        """Return a document's file and its signature; None for anything but a regular file."""
        *parents, name = _segments(path)
        directory = self._root
        opened: list[int] = []
        try:
            for parent in parents:
                directory = os.open(parent, _DIRECTORY_FLAGS, dir_fd=directory)
                opened.append(directory)
            found = self._read_file(directory, name)
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ELOOP, errno.ENOTDIR}:
                raise
            return None
        finally:
            _close_all(opened)
        if found is None or found[0] is None:
            return None
        return found[0], found[1]

    def _read_file(self, directory: int, name: str) -> tuple[bytes | None, _Signature] | None:
        """Return a regular file's bytes, None in their place if they are too many or not for us."""
        try:
            descriptor = os.open(name, _READ_FLAGS, dir_fd=directory)
        except PermissionError:
            return None, _UNREADABLE
        except OSError as error:
            # ENXIO: a socket, or a device nobody is behind.
            if error.errno not in {errno.ENOENT, errno.ELOOP, errno.ENXIO}:
                raise
            return None
        try:
            # The signature from before the reading: a change during it makes the file foreign.
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return None
            content = _read_up_to(descriptor, self._document_bytes_max + 1, status.st_size)
        finally:
            os.close(descriptor)
        whole = content if len(content) <= self._document_bytes_max else None
        return whole, signature_of(status)


class _Walk:
    """Directories below the root, opened one below the other, and kept open for neighbours."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._names: list[str] = []
        self._opened: list[int] = []

    def __enter__(self) -> _Walk:
        return self

    def __exit__(self, *_: object) -> None:
        _close_all(self._opened)

    def enter(self, parents: list[str]) -> int:
        """Return the directory of these names; raises `OSError` if there is none, or a symlink."""
        same = 0
        for name, other in zip(parents, self._names, strict=False):
            if name != other:
                break
            same += 1
        _close_all(self._opened[same:])
        del self._opened[same:], self._names[same:]
        for name in parents[same:]:
            above = self._opened[-1] if self._opened else self._root
            self._opened.append(os.open(name, _DIRECTORY_FLAGS, dir_fd=above))
            self._names.append(name)
        return self._opened[-1] if self._opened else self._root


def _open_root(path: Path, opening: contextlib.ExitStack) -> int:
    descriptor = os.open(path, _DIRECTORY_FLAGS)
    opening.callback(os.close, descriptor)
    return descriptor


def _segments(path: str) -> list[str]:
    """Split a document path. Its law was applied when it was accepted; that a slip elsewhere can
    not lead out of the store, or into the store's own directory, is made sure of here."""
    segments = path.split("/")
    if segments[0] == STORE_DIRECTORY or "\0" in path or not {"", ".", ".."}.isdisjoint(segments):
        raise InvalidPath(f"{path!r} is not a document path")
    return segments


def _status(directory: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _read_up_to(descriptor: int, limit: int, size: int) -> bytes:
    """Read to the end of the file or to the limit; `size` is what the file seems to have."""
    chunks: list[bytes] = []
    read = 0
    while read < limit:
        # One byte more than expected, so that the usual file needs one read and one that ends it.
        chunk = os.read(descriptor, min(limit - read, max(size - read, 0) + 1))
        if not chunk:
            break
        chunks.append(chunk)
        read += len(chunk)
    return b"".join(chunks)


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
