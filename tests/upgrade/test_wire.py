"""Programs of two versions of the protocol: whoever has one in common works, else both are told.

The other program is this one, with other numbers in its `version.py`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agent_trace_protocol import PROTOCOL_VERSION

pytestmark = pytest.mark.integration

ROOTS = ("protocol", "agents", "coordinator")
TREE = Path(__file__).parents[2]


def program(place: Path, oldest: int, newest: int) -> dict[str, str]:
    """Make a program that speaks a range of versions, and return the environment that runs it."""
    for root in ROOTS:
        shutil.copytree(TREE / root, place / root, ignore=shutil.ignore_patterns("__pycache__"))
    file = place / "protocol" / "agent_trace_protocol" / "version.py"
    text = file.read_text(encoding="utf-8")
    for name, version in (("PROTOCOL_VERSION", newest), ("PROTOCOL_VERSION_MIN", oldest)):
        text, count = re.subn(
            rf"^{name}: Final = \d+$", f"{name}: Final = {version}", text, flags=re.M
        )
        assert count == 1
    file.write_text(text, encoding="utf-8")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(str(place / root) for root in ROOTS)}


def run(
    store: Path, environment: dict[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent_trace", *arguments],
        cwd=store,
        env=environment,
        input="hello\n",
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def store(tmp_path: Path) -> Path:
    root = tmp_path / "s"
    root.mkdir()
    assert run(root, dict(os.environ), "init").returncode == 0
    return root


@pytest.mark.parametrize("which", ["client", "coordinator"])
def test_the_newer_of_two_programs_speaks_what_the_older_one_does(
    which: str, store: Path, tmp_path: Path
) -> None:
    present = dict(os.environ)
    newer = program(tmp_path / "newer", PROTOCOL_VERSION, PROTOCOL_VERSION + 1)
    client, coordinator = (newer, present) if which == "client" else (present, newer)
    try:
        assert run(store, coordinator, "status").returncode == 0
        written = run(store, client, "write", "notes/a.md", "--agent", "ann")
        assert (written.returncode, written.stderr) == (0, "")
        assert run(store, client, "read", "notes/a.md").stdout == "hello\n"
    finally:
        assert run(store, coordinator, "stop").returncode == 0


def test_programs_without_a_version_in_common_say_which_of_them_is_older(
    store: Path, tmp_path: Path
) -> None:
    present = dict(os.environ)
    newer = program(tmp_path / "newer", PROTOCOL_VERSION + 1, PROTOCOL_VERSION + 2)
    try:
        assert run(store, present, "status").returncode == 0
        refused = run(store, newer, "read", "notes/a.md")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "the coordinator is older; upgrade it" in refused.stderr
    finally:
        assert run(store, present, "stop").returncode == 0
    try:
        assert run(store, newer, "status").returncode == 0
        refused = run(store, present, "read", "notes/a.md")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "the client is older; upgrade it" in refused.stderr
    finally:
        assert run(store, newer, "stop").returncode == 0
