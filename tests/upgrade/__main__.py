"""Write the archive of the present format: a store in which everything has happened once."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import anyio

from agent_trace_coordinator.repair.archive import back_up
from agent_trace_coordinator.storage.store import Store
from agent_trace_coordinator.storage.versions import FORMAT_VERSION
from support.coordinator import running
from support.scene import scene

from . import archive_of


def nothing(*_: object) -> None:
    """Tell nobody."""


async def act(root: Path) -> None:
    async with scene(root):
        pass


def main() -> None:
    target = archive_of(FORMAT_VERSION)
    with tempfile.TemporaryDirectory(prefix="at-") as directory:
        root = Path(directory).resolve() / "store"
        with running(root) as coordinator:
            anyio.run(act, root)
            coordinator.end()
        target.unlink(missing_ok=True)
        report = back_up(Store(root), target, nothing)
    # As other files of the tree; it holds nothing that is anybody's.
    target.chmod(0o644)
    sys.stdout.write(f"{target.name}: {report.operations} operations, {report.bytes} bytes\n")


main()
