"""What is shipped: the three packages with their type information, and nothing else.

`make dist` also installs both files into empty environments and uses them, which takes the network.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[1]
_PACKAGES = ("agent_trace", "agent_trace_coordinator", "agent_trace_protocol")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a wheel and an sdist of this tree."""
    directory = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(directory), str(_ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


def test_the_wheel_holds_the_packages_with_their_types_and_no_more(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == set(_PACKAGES)
    for package in _PACKAGES:
        assert f"{package}/py.typed" in names
    sources = {
        str(path.relative_to(folder))
        for folder in (_ROOT / "protocol", _ROOT / "agents", _ROOT / "coordinator")
        for path in folder.rglob("*.py")
    }
    assert sources <= set(names)


def test_the_sdist_holds_what_is_needed_to_build_and_test_it(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    for name in (
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "Makefile",
        "docker-compose.yml",
        "docs/protocol.md",
        "tests/test_distribution.py",
        "agents/agent_trace/__init__.py",
    ):
        assert name in names, name
    assert not [name for name in names if name.endswith(".pyc") or ".venv" in name]
