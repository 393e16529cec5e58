"""The readable mirror of the document table, as the text of a TOML file.

Written for people and tools that look, and never read back: whatever becomes of the file changes
no document. It is kept up to date record by record, so its cost does not grow with what stays as it
is, and it shows only what is durable.
"""

from __future__ import annotations

from typing import Final

import msgspec

from agent_trace_protocol import Action

from .records import Annotation, Change, Changed, Record
from .state import State

__all__ = ["Manifest", "listed_paths", "render"]

_HEAD: Final = """\
# The documents of this store: what each is, and what stands beside it. The coordinator writes this
# file and never reads it: changing or deleting it changes no document. `agent-trace ls` shows the
# same, fresher; `agent-trace tag`, `describe` and `reclassify` change it.
"""

_PATH: Final = "path = "

_SHOWN: Final = frozenset(
    {Action.CREATE, Action.MOVE, Action.RESTORE, Action.RECLASSIFY, Action.ANNOTATE}
)
_ENDS: Final = frozenset({Action.DELETE, Action.UNTRACK})


class Manifest:
    """The text of each document's part, by document."""

    def __init__(self, state: State) -> None:
        """Begin with what a state holds; all of it must be durable."""
        self._annotations = dict(state.annotations)
        self._paths = {id: state.documents[id].path for id in state.by_path.values()}
        self._parts = {
            id: self._part(id, state.documents[id].path, state.documents[id].type)
            for id in self._paths
        }

    def take(self, record: Record) -> bool:
        """Take the next durable record; return whether it changes the text."""
        body = record.body
        if not isinstance(body, Changed):
            return False
        for annotation in body.annotations:
            self._annotations[annotation.document] = annotation
        changed = [self._take(change) for change in body.changes]
        return any(changed)

    def _take(self, change: Change) -> bool:
        if change.action in _ENDS:
            self._paths.pop(change.document, None)
            self._parts.pop(change.document, None)
            return True
        if change.action not in _SHOWN and change.document in self._parts:
            return False
        self._paths[change.document] = change.path
        self._parts[change.document] = self._part(change.document, change.path, change.type)
        return True

    def _part(self, id: int, path: str, type: str) -> str:
        annotation = self._annotations.get(id, Annotation(id, 0, (), ""))
        lines = [
            "\n[[document]]\n",
            f"id = {id}\n",
            f"{_PATH}{_value(path)}\n",
            f"type = {_value(str(type))}\n",
        ]
        if annotation.tags:
            lines.append(f"tags = {_value(list(annotation.tags))}\n")
        if annotation.description:
            lines.append(f"description = {_value(annotation.description)}\n")
        return "".join(lines)

    def snapshot(self) -> list[tuple[str, str]]:
        """Return the parts as they are now, with their paths, for `render`."""
        return [(path, self._parts[id]) for id, path in self._paths.items()]


def render(parts: list[tuple[str, str]]) -> str:
    """Return the text of the file, ordered by path. Pure; may run in another thread."""
    return _HEAD + "".join(text for _, text in sorted(parts))


def listed_paths(text: str) -> list[str]:
    """Return the paths that the text of such a file names, of whole and of broken ones: they are
    for people, who look for what was lost."""
    named = (line.removeprefix(_PATH) for line in text.splitlines() if line.startswith(_PATH))
    return [path for each in named if (path := _path_of(each))]


def _path_of(value: str) -> str:
    try:
        return msgspec.json.decode(value, type=str)
    except msgspec.MsgspecError:
        return ""


def _value(value: object) -> str:
    # A JSON string or array of strings is one of TOML too: what JSON leaves as it is and TOML does
    # not allow, control characters, no path, tag or description holds.
    return msgspec.json.encode(value).decode()
