"""Where a document may be: no two at paths that some system takes for one, none below another."""

from __future__ import annotations

from agent_trace_protocol import Conflict, ConflictInfo, InvalidPath, fold_path

from .state import DocumentState, State

__all__ = ["check_free"]


def check_free(state: State, path: str, moving: DocumentState | None = None) -> None:
    """Return if a document may be made at a path, or `moving` may go there.

    Raises:
        Conflict: a document is there.
        InvalidPath: one is at a path that is the same on some systems, above it, or below it.
    """
    folded = fold_path(path)
    clash = state.by_fold.get(folded)
    if clash is not None and (moving is None or clash != moving.path):
        if clash == path:
            raise Conflict(
                f"there is a document {path} already",
                ConflictInfo(path, 0, state.documents[state.by_path[path]].revision),
            )
        raise InvalidPath(f"{path!r} is the same name as {clash!r} on some systems")
    if folded in state.folders:
        raise InvalidPath(f"{path!r} is a folder: documents lie below it")
    parts = folded.split("/")
    for end in range(1, len(parts)):
        owner = state.by_fold.get("/".join(parts[:end]))
        if owner is not None:
            raise InvalidPath(f"{path!r} can not lie below {owner!r}, which is a document")
