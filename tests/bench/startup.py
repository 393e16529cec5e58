"""A coordinator that tells where the time of its start goes.

`python -m bench.startup STORE REPORT`: serves the store as `agent-trace serve` does, and writes to
the file REPORT when it began, when its modules were imported, how long each part took, and when it
could be reached. Clock readings are of the monotonic clock, which all processes share.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final

import msgspec

from agent_trace_coordinator.server import service
from agent_trace_coordinator.storage.git import GitHistory
from agent_trace_coordinator.storage.journal import Journal
from agent_trace_coordinator.storage.lock import StoreLock

__all__ = ["PARTS", "StartReport", "main"]

PARTS: Final[dict[str, tuple[Any, str]]] = {
    "lock": (StoreLock, "__enter__"),
    "open the journal": (Journal, "__init__"),
    "load the state": (Journal, "load"),
    "check the state": (service, "check"),
    "start git": (GitHistory, "start"),
    "list commits": (GitHistory, "commits_after"),
    "replay to git": (service, "replay_to_git"),
    "open the working tree": (service, "FileTree"),
    "compare files": (service, "restore_files"),
}
"""The parts of a start, and the functions that do them. `check the state` is also a part of
`load the state`, of which it is taken off."""


class StartReport(msgspec.Struct):
    """How a start went."""

    imported_at: float
    parts: dict[str, float]
    """Seconds by part."""
    announced_at: float = 0.0

    @property
    def own_seconds(self) -> float:
        """From the end of the imports until it could be reached."""
        return self.announced_at - self.imported_at


def _timed(name: str, function: Callable[..., Any], parts: dict[str, float]) -> Callable[..., Any]:
    @wraps(function)
    def run(*arguments: Any, **named: Any) -> Any:
        began = time.monotonic()
        inside = sum(parts.values())
        try:
            return function(*arguments, **named)
        finally:
            nested = sum(parts.values()) - inside
            spent = time.monotonic() - began - nested
            parts[name] = parts.get(name, 0.0) + spent

    return run


def main() -> None:
    """Serve, and report on the way there."""
    root, target = Path(sys.argv[1]), Path(sys.argv[2])
    report = StartReport(time.monotonic(), {})
    for name, (owner, attribute) in PARTS.items():
        setattr(owner, attribute, _timed(name, getattr(owner, attribute), report.parts))
    # Through the module's names, because that is where `serve` looks it up.
    module: Any = service
    announce: Callable[..., None] = module.announce

    def announced(*arguments: Any) -> None:
        report.announced_at = time.monotonic()
        target.write_bytes(msgspec.json.encode(report))
        announce(*arguments)

    module.announce = announced
    sys.exit(service.serve(root, 900.0))


if __name__ == "__main__":
    main()
