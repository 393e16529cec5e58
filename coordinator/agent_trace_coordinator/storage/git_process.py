"""How git is started here, and how its repository is made and configured.

The only user of GitPython, and the only place that starts git. GitPython starts every process and
keeps the repository's configuration; its index and object porcelain is never used: it is slow, and
it returns damaged objects without an error. Every object that decides something is read through
`git cat-file --batch` and hashed here.

Law: arguments and environment of a git process are constant; no text of a user is ever in them.
"""

from __future__ import annotations

import configparser
import fcntl
import logging
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol, cast

import git
from git.exc import GitError

from agent_trace_coordinator.errors import GitFailed

from .git_pipe import Pipe, kill_group
from .git_recovery import object_id, sync_directory, sync_file, write_file

__all__ = ["ANSWER_SECONDS", "BRANCH", "GitRunner", "ObjectReader", "is_configured"]

BRANCH: Final = "main"
"""The only branch we write."""

ANSWER_SECONDS: Final = 30.0
"""A git process that does nothing at all for this long hangs: the slowest answer that was seen, a
sync on a busy disk, took seconds."""

PID_FILE_BYTES: Final = 256
"""Of the file that names the git processes which run: more than there ever are at once."""

LOCK_SECONDS: Final = 5.0
"""How long a killed git of an earlier life may take to be gone."""

OBJECT_BYTES_MAX: Final = 64 * 1024 * 1024
"""Bytes of an object that is read back: a tree of a million documents."""

_LOG: Final = logging.getLogger("agent_trace.git")

# The repository's own configuration, for every git process that works in it, a person's included.
# Nothing runs by itself (no gc, no hooks, no file-system monitor), nothing is pruned, what is
# written is synced.
_CONFIGURATION: Final[dict[str, dict[str, str]]] = {
    "core": {
        "bare": "false",
        # Relative, so that the store can be moved.
        "worktree": "../..",
        "logallrefupdates": "false",
        "hookspath": "/dev/null",
        "fsmonitor": "false",
        "protecthfs": "true",
        "protectntfs": "true",
        "fsync": "all",
        "autocrlf": "false",
        "quotepath": "false",
    },
    "gc": {"auto": "0", "pruneexpire": "never", "packrefs": "false"},
    "maintenance": {"auto": "false"},
    "fastimport": {"unpacklimit": "0"},
    "pack": {
        # Two cores are shared with the writers, and memory is capped for small machines.
        "threads": "1",
        "windowmemory": "32m",
        "deltacachesize": "32m",
        "writebitmaphashcache": "false",
    },
    "repack": {"writebitmaps": "false", "updateserverinfo": "false"},
}

# The same again, and what else must not depend on a file, for our own processes: the repository's
# file could have been edited, and the environment wins over it.
_OVERRIDES: Final[dict[str, str]] = {
    "core.fsmonitor": "false",
    "core.hooksPath": "/dev/null",
    "core.attributesFile": "/dev/null",
    "core.excludesFile": "/dev/null",
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "core.fsync": "all",
    "core.logAllRefUpdates": "false",
    "fastimport.unpackLimit": "0",
    "gc.auto": "0",
    "gc.pruneExpire": "never",
    "maintenance.auto": "false",
    "pack.threads": "1",
    "pack.windowMemory": "32m",
    "pack.deltaCacheSize": "32m",
    # Measured on 2 KiB texts: 1 makes 6 % more commits per second and 2 % more bytes than the
    # default; 0 makes 20 % more commits and 75 % more bytes.
    "pack.compression": "1",
    "protocol.allow": "never",
    "repack.writeBitmaps": "false",
    # What else names a program: whoever may write into the git directory must get nothing run. An
    # empty helper takes back all that were named before.
    "core.alternateRefsCommand": "true",
    "core.askPass": "",
    "core.gitProxy": "",
    "credential.helper": "",
    "diff.external": "",
    "gc.recentObjectsHook": "",
    "gpg.program": "false",
    "push.gpgSign": "false",
    "remote.mirror.receivepack": "git-receive-pack",
    "remote.mirror.uploadpack": "git-upload-pack",
}

_EXCLUDE: Final = b"# The store's own directory is not a document.\n/.agent-trace/\n"


class _StartedProcess(Protocol):
    """What GitPython wraps a started process in, as far as it is used; its own type is vague."""

    proc: subprocess.Popen[bytes] | None


class GitRunner:
    """Starts git on one repository, always with constant arguments and the same environment."""

    def __init__(
        self,
        directory: Path,
        *,
        guarded: bool = True,
        settings: Mapping[str, str] | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        """Not `guarded`: only for reading, beside whoever holds the repository's lock.

        `settings` are added to git's configuration, `extra` to its environment.
        """
        executable = shutil.which("git")
        if executable is None:
            raise GitFailed("git is not installed (no `git` on PATH)")
        self._directory = directory
        self._guarded = guarded
        self._lock: int | None = None
        self._pipes: list[Pipe] = []
        overrides = _OVERRIDES | dict(settings or {})
        environment = {
            # git finds its own programs by itself; these are for the tools its scripts call.
            "PATH": f"{os.path.dirname(executable)}:/usr/bin:/bin",
            "HOME": "/nonexistent",
            "LC_ALL": "C",
            "TZ": "UTC",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_LITERAL_PATHSPECS": "1",
            "GIT_CONFIG_COUNT": str(len(overrides)),
            # For each object git takes a quarter of a megabyte for zlib and gives it back. glibc
            # returns it to the kernel each time and faults it in again: 15 calls and 40 % of the
            # processor time of a commit.
            "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
        }
        environment |= extra or {}
        for index, (key, value) in enumerate(overrides.items()):
            environment[f"GIT_CONFIG_KEY_{index}"] = key
            environment[f"GIT_CONFIG_VALUE_{index}"] = value
        # GitPython adds to the environment it is in and can not take away from it, and GIT_DIR,
        # GIT_INDEX_FILE, GIT_ALTERNATE_OBJECT_DIRECTORIES and their like would redirect git. So
        # `env -i` empties it and becomes git: same process id, same pipes.
        self._prefix = [
            "/usr/bin/env",
            "-i",
            *(f"{key}={value}" for key, value in environment.items()),
            executable,
        ]

    def start(self, arguments: tuple[str, ...], silence_seconds: float, setting: str = "") -> Pipe:
        """Start git with pipes to all three of its streams.

        `setting` is a `key=value` of git's configuration for this process alone.
        """
        assert not self._guarded or self._lock is not None
        # Without a work tree of its own git would change to the configured one, the store, where
        # agents write, and read attributes there.
        own = ("-c", setting) if setting else ()
        process = self._spawn(
            self._directory, self._lock, "--git-dir=.", "--work-tree=.", *own, *arguments
        )
        pipe = Pipe(process, arguments[0], silence_seconds)
        self._pipes.append(pipe)
        try:
            self._record_running()
        except OSError:
            # Nobody else would end it, and while it lives no other git is started.
            pipe.kill()
            raise
        return pipe

    def run(self, arguments: tuple[str, ...], silence_seconds: float) -> bytes:
        """Run git to its end and return what it said; `GitFailed` unless its status is 0."""
        pipe = self.start(arguments, silence_seconds)
        try:
            return pipe.finish()
        finally:
            pipe.kill()
            self._record_running()

    def _record_running(self) -> None:
        """Write down whom the lock's next holder has to end if we are killed."""
        if self._lock is None:
            return
        self._pipes = [pipe for pipe in self._pipes if pipe.is_running]
        data = b" ".join(b"%d" % pipe.process_id for pipe in self._pipes)
        # Always as many bytes, and never none first: on a full disk what was there is written over.
        os.pwrite(self._lock, data.ljust(PID_FILE_BYTES), 0)

    def _spawn(self, directory: Path, lock: int | None, *arguments: str) -> subprocess.Popen[bytes]:
        try:
            process = git.Git(directory).execute(
                [*self._prefix, *arguments],
                istream=subprocess.PIPE,
                as_process=True,
                shell=False,
                # Its own session: Ctrl-C in a terminal is for us, and we end git in order.
                start_new_session=True,
                pass_fds=() if lock is None else (lock,),
            )
        except (git.GitCommandNotFound, OSError) as error:
            raise GitFailed(f"git can not be started: {error}") from error
        # The wrapper would end the process when it is collected; `Pipe` owns it from here.
        wrapper = cast("_StartedProcess", process)
        child, wrapper.proc = wrapper.proc, None
        assert child is not None
        return child

    def lock(self) -> None:
        """Make sure that no git of an earlier life of ours still works here.

        Whoever kills the coordinator leaves a git that goes on with what is in its pipe, even with
        a checkpoint. So every git inherits a locked descriptor, and the lock is free only when the
        last of them is gone; the file says whom to end.
        """
        self.close()
        for pipe in self._pipes:
            # Left by a failure of ours; it holds the lock as one of an earlier life would.
            pipe.kill()
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._directory / "git.pid", flags, 0o600)
        deadline = time.monotonic() + LOCK_SECONDS
        pause = threading.Event()
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                holders = os.pread(descriptor, PID_FILE_BYTES, 0).split()
                if time.monotonic() > deadline:
                    os.close(descriptor)
                    names = ", ".join(holder.decode("ascii", "replace") for holder in holders)
                    raise GitFailed(f"an earlier git (pid {names}) does not end") from None
                for holder in holders:
                    if holder.isdigit():
                        kill_group(int(holder))
                # What was killed gives the lock up as soon as the kernel has ended it.
                pause.wait(0.002)
        self._lock = descriptor

    def close(self) -> None:
        """Give the lock up."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def make_repository(self) -> None:
        """Make the git directory if it is missing: whole, or not at all."""
        if self._directory.is_dir():
            return
        parent = self._directory.parent
        if not parent.is_dir():
            raise GitFailed(f"{parent} is missing; make the store first")
        new = parent / "repo.new"
        shutil.rmtree(new, ignore_errors=True)
        arguments = ("init", "--quiet", "--bare", "--template=", f"--initial-branch={BRANCH}")
        pipe = Pipe(self._spawn(parent, None, *arguments, "repo.new"), "init", ANSWER_SECONDS)
        try:
            pipe.finish()
        finally:
            pipe.kill()
        (new / "info").mkdir()
        (new / "info" / "exclude").write_bytes(_EXCLUDE)
        for directory, _, names in os.walk(new):
            for name in names:
                sync_file(Path(directory, name))
            sync_directory(Path(directory))
        new.rename(self._directory)
        sync_directory(parent)

    def configure(self) -> None:
        """Bring the repository's configuration to what it has to be; write only if it is not."""
        path = self._directory / "config"
        if is_configured(self._directory):
            return
        new = path.with_name("config.rewriting")
        new.unlink(missing_ok=True)
        with git.GitConfigParser(new, read_only=False, merge_includes=False) as fresh:
            fresh.set_value("core", "repositoryformatversion", 0)
            for section, options in _CONFIGURATION.items():
                for option, value in options.items():
                    fresh.set_value(section, option, value)
        data = new.read_bytes()
        new.unlink()
        write_file(path, data)


def is_configured(directory: Path) -> bool:
    """Return whether a repository's configuration is what it has to be."""
    try:
        with git.GitConfigParser(directory / "config", merge_includes=False) as found:
            return all(
                found.get(section, option, fallback="") == value
                for section, options in _CONFIGURATION.items()
                for option, value in options.items()
            )
    except (OSError, ValueError, GitError, configparser.Error):
        return False


class ObjectReader:
    """Reads objects through one `git cat-file --batch` and believes only what it hashed itself."""

    def __init__(self, runner: GitRunner, silence_seconds: float) -> None:
        self._runner = runner
        self._silence_seconds = silence_seconds
        self._pipe: Pipe | None = None

    def __enter__(self) -> ObjectReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._drop()

    def read(self, name: str) -> tuple[bytes, bytes] | None:
        """Return type and bytes of the object; None if it is missing or damaged.

        Raises:
            GitFailed: git does not work at all, so nothing can be said about the object.
        """
        if self._pipe is None:
            self._pipe = self._runner.start(("cat-file", "--batch"), self._silence_seconds)
            # A git that can not even say that this is missing says nothing about other objects.
            (answer,) = self._pipe.ask(b"0" * 40 + b"\n", 1)
            if answer != b"0" * 40 + b" missing":
                raise GitFailed(f"git cat-file answered {answer[:100]!r}")
        try:
            (header,) = self._pipe.ask(name.encode("ascii") + b"\n", 1)
            fields = header.split(b" ")
            if len(fields) != 3 or not fields[2].isdigit() or int(fields[2]) > OBJECT_BYTES_MAX:
                if fields[-1] != b"missing":
                    self._drop()
                return None
            data = self._pipe.read_exactly(int(fields[2]) + 1)[:-1]
        except GitFailed as error:
            # It dies of objects it can not unpack.
            _LOG.warning("object %s can not be read: %s", name, error)
            self._drop()
            return None
        return (fields[1], data) if object_id(fields[1], data) == name else None

    def _drop(self) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe.kill()
