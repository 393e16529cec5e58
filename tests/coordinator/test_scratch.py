"""What doctor and repair make to compare with: gone when they end, however they end."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import pytest

from agent_trace_coordinator.repair.scratch import scratch_directory
from agent_trace_coordinator.storage.journal import Journal
from agent_trace_coordinator.storage.store import Store, create_store
from support.core import Desk

HOLDER: Final = """
from agent_trace_coordinator.repair.scratch import scratch_directory
with scratch_directory() as path:
    (path / "derived.db").write_bytes(b"x" * 10000)
    print(path, flush=True)
    input()
"""

ENDED: Final = """
import os, signal, sys
from agent_trace_coordinator import cli_repair
number = int(sys.argv[2])
# Whoever runs the tests in the background may let it be ignored.
as_always = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
signal.signal(number, as_always)
def tell(self, what, *_):
    if what == "checking the journal":
        print(os.listdir(os.environ["TMPDIR"]), flush=True)
        os.kill(os.getpid(), number)
cli_repair.Progress.__call__ = tell
cli_repair.doctor(["--store", sys.argv[1]])
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory for temporary files."""
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return place


def test_the_next_one_removes_what_a_killed_one_left_and_nothing_that_is_used(place: Path) -> None:
    (place / "agent-trace-scratch-link").symlink_to(place)
    holders = [
        subprocess.Popen(
            [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(2)
    ]
    paths: list[Path] = []
    for holder in holders:
        assert holder.stdout is not None
        paths.append(Path(os.fsdecode(holder.stdout.readline().rstrip())))
    holders[0].kill()
    holders[0].communicate()
    assert all(each.exists() for each in paths)
    with scratch_directory() as own:
        assert [each.exists() for each in paths] == [False, True]
        assert own.parent == place and own.stat().st_mode & 0o777 == 0o700
    holders[1].communicate(b"\n")
    assert [each.name for each in place.iterdir()] == ["agent-trace-scratch-link"]


@pytest.mark.parametrize("number", [1, 2, 15])
def test_a_doctor_that_is_told_to_end_leaves_nothing(
    number: int, place: Path, tmp_path: Path
) -> None:
    root = tmp_path / "s"
    root.mkdir()
    create_store(root)
    desk = Desk()
    desk.member().put("a.md", "one\n")
    journal = Journal(Store(root).state_db)
    journal.append(desk.entries, [])
    journal.close()
    done = subprocess.run(
        [sys.executable, "-c", ENDED, str(root), str(number)], capture_output=True, text=True
    )
    assert done.returncode == 128 + number
    assert "agent-trace-scratch-" in done.stdout and "interrupted" in done.stderr
    assert list(place.iterdir()) == []
