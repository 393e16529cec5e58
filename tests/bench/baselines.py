"""What agent-trace is compared with: plain git, plain fast-import, a plain sync of the disk."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from pathlib import Path
from typing import Final

from agent_trace_coordinator.storage.commit import render_commit
from agent_trace_coordinator.storage.git import FAST_IMPORT, FAST_IMPORT_SETTING
from agent_trace_coordinator.storage.git_process import ANSWER_SECONDS, BRANCH, GitRunner
from agent_trace_coordinator.storage.index import Index

from .documents import CONTENT_BYTES, content_of, path_of
from .results import Measured
from .slow_sync import environment_of_children, sync_delay_seconds

__all__ = ["GitBaseline", "import_rate", "sync_latencies"]

_WRITER: Final = "plain"


class GitBaseline:
    """A repository in which every write is a `git add` and a `git commit`, synced as git can."""

    def __init__(self, directory: Path, documents: int) -> None:
        """Make a repository that begins with so many documents, in one pack."""
        self._directory = directory
        self._documents = documents
        self._draw = random.Random(1).randrange
        self._number = 0
        directory.mkdir()
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(directory),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
        } | environment_of_children(python=False)
        for role in ("AUTHOR", "COMMITTER"):
            environment[f"GIT_{role}_NAME"] = _WRITER
            environment[f"GIT_{role}_EMAIL"] = f"{_WRITER}@agents.invalid"
        self._environment = environment
        self._git("init", "-q", "-b", "main")
        for index in range(documents):
            self._write(index)
        # Prepared without syncs and packed, which is kind to git; measured with all of them.
        self._git("-c", "core.fsync=none", "add", "-A")
        self._git("-c", "core.fsync=none", "commit", "-q", "-m", "begin")
        self._git("-c", "core.fsync=none", "repack", "-adq")
        for option, value in (("core.fsync", "all"), ("gc.auto", "0")):
            self._git("config", option, value)
        os.sync()

    def _git(self, *arguments: str) -> None:
        subprocess.run(
            ["git", *arguments],
            cwd=self._directory,
            env=self._environment,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def _write(self, index: int) -> Path:
        path = self._directory / path_of(index)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content_of(index, self._number, _WRITER))
        return path

    def measure(self, count: int) -> Measured:
        """Make so many writes, one after the other."""
        latencies: list[float] = []
        began = time.monotonic()
        for _ in range(count):
            self._number += 1
            one_began = time.monotonic()
            path = self._write(self._draw(self._documents))
            self._git("add", "--", str(path))
            self._git("commit", "-q", "-m", f"write {self._number}")
            latencies.append(time.monotonic() - one_began)
        return Measured(time.monotonic() - began, latencies)


def import_rate(store: Path, directory: Path, first: int, last: int) -> float:
    """Return the commits per second that plain fast-import makes of a store's operations.

    The commands are rendered beforehand, the operations before `first` are committed unmeasured,
    and git is started with the configuration that the coordinator's own gets.
    """
    index = Index(store / ".agent-trace" / "state.db")
    try:
        before: list[bytes] = []
        measured: list[bytes] = []
        for entry in index.entries(1):
            seq = entry.record.seq
            if seq > last:
                break
            # A branch that a new process continues has to be named as the parent once.
            parent = f"refs/heads/{BRANCH}^0" if seq == first > 1 else None
            (before if seq < first else measured).append(render_commit(entry, BRANCH, parent))
    finally:
        index.close()
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    runner = GitRunner(directory / "repo")
    runner.make_repository()
    runner.lock()
    try:
        runner.configure()
        if before:
            pipe = runner.start(FAST_IMPORT, ANSWER_SECONDS, FAST_IMPORT_SETTING)
            try:
                pipe.finish(b"".join(before) + b"done\n")
            finally:
                pipe.kill()
        stream = b"".join(measured) + b"done\n"
        began = time.monotonic()
        pipe = runner.start(FAST_IMPORT, ANSWER_SECONDS, FAST_IMPORT_SETTING)
        try:
            pipe.finish(stream)
        finally:
            pipe.kill()
        return len(measured) / (time.monotonic() - began)
    finally:
        runner.close()
        shutil.rmtree(directory, ignore_errors=True)


def sync_latencies(directory: Path, count: int) -> list[float]:
    """Return the times of writing as many bytes as a write has and syncing them.

    The file's blocks are there already: a sync that has to grow the file as well takes longer, and
    would be the kinder thing to be compared with.
    """
    path = directory / "sync.bin"
    latencies: list[float] = []
    content = content_of(0, 0, _WRITER)
    assert len(content) == CONTENT_BYTES
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(descriptor, bytes(CONTENT_BYTES) * count, 0)
        os.fsync(descriptor)
        for number in range(count):
            began = time.monotonic()
            os.pwrite(descriptor, content, number * CONTENT_BYTES)
            os.fdatasync(descriptor)
            time.sleep(sync_delay_seconds())
            latencies.append(time.monotonic() - began)
    finally:
        os.close(descriptor)
        path.unlink()
    return latencies
