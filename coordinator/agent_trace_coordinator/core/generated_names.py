"""The names of the documents that the coordinator writes: by them they are protected.

A path is one of these by what it is, registered or not, so nobody can be first to take the name,
nor to lie below it: a document is not a folder.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from agent_trace_protocol import DocumentType, fold_path

__all__ = ["CONTEXT_PATH", "GUIDE_PATH", "SUMMARY_PATH", "log_path", "protecting_type"]

GUIDE_PATH: Final = "AGENT-TRACE.md"
"""What is here, how to use it, who may write what."""

CONTEXT_PATH: Final = "context.md"
"""Where the project stands."""

SUMMARY_PATH: Final = "running_summary.md"
"""What happened lately, and where to resume."""

_GENERATED: Final = frozenset({GUIDE_PATH.lower(), CONTEXT_PATH, SUMMARY_PATH})

# The parts of a long log are numbered from 2.
_LOG_PATH: Final = re.compile(
    r"logs/[a-z0-9._-]+-(?:[a-z2-7]{26}|commands)(?:\.[0-9]{1,9})?\.md(?:/.*)?", re.ASCII
)


# Asked several times for each operation, of few paths.
@lru_cache(maxsize=4096)
def protecting_type(path: str) -> DocumentType | None:
    """Return the type that a path has by what it is: a generated file, registered or not."""
    folded = fold_path(path)
    if folded.partition("/")[0] in _GENERATED:
        return DocumentType.CONTEXT
    # The folder of the logs too: a document of that name would leave no place for them.
    return DocumentType.LOG if folded == "logs" or _LOG_PATH.fullmatch(folded) else None


def log_path(name: str, session: str, *, one_shot: bool, part: int = 1) -> str:
    """Return the path of a part of a session's log; the one-shots of a name have one together."""
    number = "" if part == 1 else f".{part}"
    return f"logs/{name}-{'commands' if one_shot else session}{number}.md"
