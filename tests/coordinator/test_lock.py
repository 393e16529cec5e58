"""One coordinator per store, whatever the lock file has been through."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from agent_trace_coordinator.errors import AlreadyRunning, StoreInvalid
from agent_trace_coordinator.storage.lock import StoreLock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    directory = tmp_path / ".agent-trace" / "run"
    directory.mkdir(parents=True)
    return directory / "coordinator.lock"


def test_a_second_holder_is_refused_with_the_name_of_the_first(path: Path) -> None:
    store = path.parent.parent.parent
    with StoreLock(path):
        with pytest.raises(AlreadyRunning) as refused:
            StoreLock(path).acquire()
        assert str(refused.value) == (
            f"another coordinator (pid {os.getpid()} on {socket.gethostname()}) holds {store}"
        )
    with StoreLock(path) as free_again:
        assert free_again.still_ours()


@pytest.mark.parametrize("leftover", [b"", b"\xff\x00", b'{"pid": 1}', b"x" * 5000])
def test_what_a_leftover_file_holds_does_not_matter(path: Path, leftover: bytes) -> None:
    path.write_bytes(leftover)
    with StoreLock(path) as lock:
        assert lock.still_ours()


def test_a_holder_that_has_not_written_its_name_yet_is_still_a_holder(path: Path) -> None:
    with StoreLock(path):
        path.write_bytes(b"")
        with pytest.raises(AlreadyRunning, match="another coordinator holds"):
            StoreLock(path).acquire()


def test_the_lock_of_a_killed_process_is_free(path: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from agent_trace_coordinator.storage.lock import StoreLock\n"
        "StoreLock(pathlib.Path(sys.argv[1])).acquire()\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    arguments = [sys.executable, "-c", program, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdin=pipe, stdout=pipe) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(AlreadyRunning, match=f"pid {holder.pid} "):
            StoreLock(path).acquire()
        holder.kill()
        holder.wait()
        with StoreLock(path) as lock:
            assert lock.still_ours()


def test_a_holder_notices_that_its_file_was_deleted_or_replaced(path: Path) -> None:
    with StoreLock(path) as lock:
        path.unlink()
        assert not lock.still_ours()
        path.touch()
        assert not lock.still_ours()
    assert not lock.still_ours()


def test_a_lock_file_deleted_between_open_and_lock_is_not_relied_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []
    real = StoreLock._open  # pyright: ignore[reportPrivateUsage]

    def open_and_delete(self: StoreLock) -> int:
        opened.append(descriptor := real(self))
        if len(opened) == 1:
            path.unlink()
        return descriptor

    monkeypatch.setattr(StoreLock, "_open", open_and_delete)
    with StoreLock(path) as lock:
        assert lock.still_ours()
    assert len(opened) == 2


def test_a_symlink_or_a_directory_is_no_lock_file(path: Path) -> None:
    path.symlink_to(path.parent / "elsewhere")
    with pytest.raises(StoreInvalid, match="can not be opened"):
        StoreLock(path).acquire()
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreInvalid, match="can not be opened"):
        StoreLock(path).acquire()
