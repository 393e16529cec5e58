"""What operations mean, written a second time and without the product's code.

It is told the requests in the order the journal gives them, and says what each change must be and
what the documents hold. Anything it can not carry out must not be in the journal.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from agent_trace_protocol import Append, Delete, Edit, Move, Operation, Put

__all__ = ["Effect", "Held", "Impossible", "Model"]

OPERATIONS_PER_RECORD = 64


class Impossible(Exception):
    """The journal holds an operation that could not be carried out where it stands."""


@dataclass(frozen=True, slots=True)
class Held:
    """A document's state."""

    document: int
    revision: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Effect:
    """What an operation must have done, in the words of the journal's changes."""

    document: int
    action: str
    path: str
    previous_path: str
    revision: int
    digest: bytes
    size: int


class Model:
    """The documents, by path."""

    def __init__(self) -> None:
        self.documents: dict[str, Held] = {}

    def apply(self, seq: int, operations: tuple[Operation, ...]) -> list[Effect]:
        """Carry out a transaction; return what each of its operations did.

        Raises:
            Impossible: one of them can not be done on these documents.
        """
        return [
            self._one(seq * OPERATIONS_PER_RECORD + index, operation)
            for index, operation in enumerate(operations)
        ]

    def _one(self, key: int, operation: Operation) -> Effect:
        match operation:
            case Put() | Append():
                return self._write(key, operation)
            case Edit():
                held = self._at(operation.path)
                if held.content.count(operation.old) != 1:
                    raise Impossible(f"{operation.path} does not hold {operation.old!r} once")
                content = held.content.replace(operation.old, operation.new)
                return self._keep(operation.path, held, "edit", content)
            case Delete():
                held = self._at(operation.path)
                del self.documents[operation.path]
                return Effect(
                    held.document, "delete", operation.path, "", held.revision + 1, b"", 0
                )
            case Move():
                held = self._at(operation.path)
                if operation.new_path in self.documents:
                    raise Impossible(f"there is a document at {operation.new_path} already")
                del self.documents[operation.path]
                effect = self._keep(operation.new_path, held, "move", held.content)
                return Effect(
                    effect.document,
                    "move",
                    operation.new_path,
                    operation.path,
                    effect.revision,
                    effect.digest,
                    effect.size,
                )
            case _:
                raise Impossible(f"no client sends {operation!r}")

    def _write(self, key: int, operation: Put | Append) -> Effect:
        path = operation.path
        held = self.documents.get(path)
        revision = 0 if held is None else held.revision
        if operation.if_revision not in (None, revision):
            raise Impossible(f"{path} is at {revision}, not at {operation.if_revision}")
        if held is None:
            return self._keep(path, Held(key, 0, b""), "create", operation.content)
        if isinstance(operation, Put):
            return self._keep(path, held, "put", operation.content)
        before = held.content
        joint = b"\n" if before and before[-1:] != b"\n" else b""
        return self._keep(path, held, "append", before + joint + operation.content)

    def _at(self, path: str) -> Held:
        held = self.documents.get(path)
        if held is None:
            raise Impossible(f"there is no document {path}")
        return held

    def _keep(self, path: str, before: Held, action: str, content: bytes) -> Effect:
        revision = before.revision + 1
        self.documents[path] = Held(before.document, revision, content)
        digest = hashlib.blake2b(content, digest_size=32).digest()
        return Effect(before.document, action, path, "", revision, digest, len(content))
