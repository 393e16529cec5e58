"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Final

import msgspec

__all__ = ["VOLATILE_FILE_SYSTEMS", "Machine", "file_system_of", "this_machine"]

VOLATILE_FILE_SYSTEMS: Final = frozenset({"tmpfs", "ramfs"})
"""Where a sync costs nothing because nothing is kept."""


class Machine(msgspec.Struct, frozen=True):
    """The machine, as far as it decides the figures."""

    cores: int
    kernel: str
    file_system: str
    directory: str
    python: str
    git: str
    load: float
    """Processes that wanted to run in the last minute before the bench began: other work makes
    every figure here doubtful."""


def this_machine(directory: Path) -> Machine:
    """Return what there is; `directory` is where the stores will lie."""
    said = subprocess.run(["git", "--version"], capture_output=True, text=True, check=False)
    return Machine(
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else _cores(),
        kernel=f"{platform.system()} {platform.release()}",
        file_system=file_system_of(directory),
        directory=str(directory),
        python=platform.python_version(),
        git=said.stdout.removeprefix("git version").strip(),
        load=os.getloadavg()[0],
    )


def _cores() -> int:
    return os.cpu_count() or 1


def file_system_of(directory: Path) -> str:
    """Return the kind of file system that a directory lies on; empty where nobody says."""
    try:
        lines = Path("/proc/self/mounts").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    where = directory.resolve()
    deepest, kind = -1, ""
    for line in lines:
        fields = line.split(" ")
        point = fields[1].replace("\\040", " ")
        # Of several mounts on one point the last one is on top.
        if where.is_relative_to(point) and len(point) >= deepest:
            deepest, kind = len(point), fields[2]
    return kind
