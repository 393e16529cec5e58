"""A run in which every sync takes longer: what the figures are on another disk.

Figures that compare with `git commit` depend on what a sync costs: both sides wait for it, git
several times for each commit. A virtual disk that answers from its host's memory makes git look as
fast as it is nowhere that data is safe. So a run can say what a sync is to cost.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

__all__ = ["delay_syncs", "environment_of_children", "sync_delay_seconds"]

_DELAY: Final = "AGENT_TRACE_BENCH_SYNC_NS"
_SOURCE: Final = Path(__file__).with_name("slow_sync.c")

_environment: dict[str, str] = {}


def sync_delay_seconds() -> float:
    """Return how much longer a sync takes in this run."""
    return int(_environment.get(_DELAY, "0")) / 1e9


def environment_of_children(*, python: bool = True) -> dict[str, str]:
    """Return what a child process needs in its environment for its syncs to take longer.

    Args:
        python: whether the child starts git itself, with an environment of its own.
    """
    if python or not _environment:
        return _environment
    return {name: value for name, value in _environment.items() if name != "PATH"}


def delay_syncs(directory: Path, milliseconds: float) -> None:
    """Let every sync of every child process of this run take so much longer.

    Args:
        directory: where the shim is built; it has to live as long as the run.

    Raises:
        OSError: there is no compiler, or no git.
        subprocess.CalledProcessError: the compiler failed.
    """
    git = shutil.which("git")
    compiler = shutil.which("cc")
    if git is None or compiler is None:
        raise FileNotFoundError("a run with longer syncs needs git and a C compiler (cc)")
    shim = directory / "slow_sync.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O2", "-o", str(shim), str(_SOURCE), "-ldl"], check=True
    )
    delay = str(round(milliseconds * 1e6))
    # The coordinator gives its git an environment of its own, so what it finds is a wrapper.
    wrapper = directory / "bin" / "git"
    wrapper.parent.mkdir()
    wrapper.write_text(
        f'#!/bin/sh\nLD_PRELOAD="{shim}" {_DELAY}={delay} exec "{git}" "$@"\n', encoding="utf-8"
    )
    wrapper.chmod(0o755)
    path = f"{wrapper.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    _environment.update({"LD_PRELOAD": str(shim), _DELAY: delay, "PATH": path})
