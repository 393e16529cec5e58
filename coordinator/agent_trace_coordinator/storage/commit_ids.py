"""The ids of commits, computed from records and contents alone, without git.

A commit is a pure function of the records up to its own, so what git ought to hold can be said and
compared without trusting a byte of what it does hold.
"""

from __future__ import annotations

from agent_trace_coordinator.core.records import Changed

from .base import Entry
from .commit import commit_headers, render_message
from .git_recovery import object_id

__all__ = ["CommitIds"]


class _Folder:
    """One directory of the tree, with the id it had when it was last asked for."""

    def __init__(self) -> None:
        self.folders: dict[bytes, _Folder] = {}
        self.blobs: dict[bytes, bytes] = {}
        self.id: bytes | None = None

    def tree(self) -> bytes:
        if self.id is None:
            entries = [
                (name + b"/", b"40000 " + name, each.tree()) for name, each in self.folders.items()
            ]
            entries += [(name, b"100644 " + name, id) for name, id in self.blobs.items()]
            entries.sort()
            data = b"".join(b"%b\0%b" % (head, id) for _, head, id in entries)
            self.id = bytes.fromhex(object_id(b"tree", data))
        return self.id


class CommitIds:
    """Computes the commit of one entry after the other."""

    def __init__(self) -> None:
        self.parent = ""
        """The id of the last one; empty before the first."""
        self._root = _Folder()
        self._paths: dict[str, bytes] = {}

    @property
    def blobs(self) -> dict[str, str]:
        """Return the blob of each path in the last commit's tree."""
        return {path: id.hex() for path, id in self._paths.items()}

    def next(self, entry: Entry) -> str:
        """Return the id of the next entry's commit."""
        body = entry.record.body
        if isinstance(body, Changed):
            contents = dict(entry.contents)
            for change in body.changes:
                content = contents.get(change.content_key)
                moved = self._paths.get(change.previous_path or change.path)
                if change.previous_path:
                    self._set(change.previous_path, None)
                if not change.content_key or change.content_key in entry.lost:
                    self._set(change.path, None)
                elif content is not None:
                    self._set(change.path, bytes.fromhex(object_id(b"blob", content)))
                elif change.previous_path:
                    self._set(change.path, moved)
        parent = f"parent {self.parent}\n" if self.parent else ""
        head = f"tree {self._root.tree().hex()}\n{parent}{commit_headers(entry.record)}\n"
        message = render_message(entry.record, entry.chain)
        self.parent = object_id(b"commit", f"{head}{message}".encode())
        return self.parent

    def _set(self, path: str, blob: bytes | None) -> None:
        *parents, name = path.encode().split(b"/")
        folder = self._root
        way = [folder]
        for each in parents:
            if each not in folder.folders:
                if blob is None:
                    return
                folder.blobs.pop(each, None)
                folder.folders[each] = _Folder()
            folder = folder.folders[each]
            way.append(folder)
        if blob is None:
            folder.blobs.pop(name, None)
            self._paths.pop(path, None)
        else:
            folder.folders.pop(name, None)
            folder.blobs[name] = blob
            self._paths[path] = blob
        for passed in way:
            passed.id = None
        # git keeps no empty directories.
        for folder, above, name in zip(way[:0:-1], way[-2::-1], parents[::-1], strict=True):
            if not folder.blobs and not folder.folders:
                del above.folders[name]
