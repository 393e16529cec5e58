"""Commands in namespaces of their own: what a container is made of, without an engine."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Final

import pytest

__all__ = ["own_mounts", "own_processes"]

_UNSHARE: Final = ("unshare", *(() if os.geteuid() == 0 else ("--user", "--map-root-user")))


def own_processes(*command: str) -> tuple[str, ...]:
    """Return a command line that runs a command among processes of its own; skips if none can."""
    return _usable(*_UNSHARE, "--pid", "--fork", "--kill-child", "--mount-proc", command=command)


def own_mounts(*command: str) -> tuple[str, ...]:
    """Return a command line that runs a command that may mount; skips if none can."""
    return _usable(*_UNSHARE, "--mount", command=command)


def _usable(*prefix: str, command: tuple[str, ...]) -> tuple[str, ...]:
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare here")
    if subprocess.run((*prefix, "true"), capture_output=True, check=False).returncode:
        pytest.skip("no namespace can be made here")
    return (*prefix, *command)
