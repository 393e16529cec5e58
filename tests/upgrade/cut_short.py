"""The upgrade of a store, killed before each of its lines: `python cut_short.py STORE PLACE`.

Makes a copy of STORE for each line, `PLACE/1`, `PLACE/2` and so on, begins the upgrade in a child
process and kills that before the n-th line that it runs; the last copy is one that was not killed.
With a third argument, bytes, no file may grow beyond them instead, and there is one copy.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

from agent_trace_coordinator.errors import JournalFailed, JournalFull
from agent_trace_coordinator.storage import git_recovery, upgrade
from agent_trace_coordinator.storage.store import Store

TRACED = {upgrade.__file__, git_recovery.__file__}


def die_before(line: int) -> None:
    left = line

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in TRACED:
            return None
        if event == "line":
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


def on_small_disk(root: Path, size: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    try:
        upgrade.bring_up_to_date(Store(root))
    except (JournalFull, JournalFailed):
        return
    raise AssertionError("it had room enough")


def main(template: Path, place: Path) -> None:
    for line in count(1):
        root = place / str(line)
        shutil.copytree(template, root)
        child = os.fork()
        if not child:
            die_before(line)
            upgrade.bring_up_to_date(Store(root))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not status:
            return
        assert os.WTERMSIG(status) == signal.SIGKILL, status


if __name__ == "__main__":
    if len(sys.argv) == 4:
        shutil.copytree(sys.argv[1], sys.argv[2])
        on_small_disk(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
