"""What one agent writes: every kind of operation, every content unique.

An agent has documents of its own, of which it knows the text exactly as long as its requests are
answered one after the other; there every operation must succeed. The shared documents are written
by everybody.
"""

from __future__ import annotations

from random import Random
from typing import Final

from agent_trace_protocol import (
    Append,
    Committed,
    Delete,
    Durability,
    Edit,
    Move,
    Operation,
    Put,
    Refused,
    Reply,
    Transact,
)

__all__ = ["SHARED_COUNT", "Workload"]

SHARED_COUNT: Final = 4
"""Documents that all agents write to."""

GIT_SHARE: Final = 0.3
"""Share of requests that wait for their commit."""

# A document and a folder of one name take turns, so that files become folders and back.
_NAMES: Final = ("a.md", "b.md", "c.md", "deep/er/d.md", "turn", "turn/e.md", "turn/f.md")

_LINES_MAX: Final = 40
"""Lines at which a document is begun anew: contents are kept for every revision."""


class Workload:
    """Makes requests and learns from their answers."""

    def __init__(self, random: Random, name: str, life: int) -> None:
        """`life` counts the sessions of the agent: each has a folder of its own."""
        self._random = random
        self._name = name
        self._life = life
        self._generation = 0
        self._texts: dict[str, bytes] = {}
        self._revisions: dict[str, int] = {}
        self._count = 0

    def next(self) -> tuple[Transact, bool]:
        """Return a request, and whether nobody else can make it fail."""
        random = self._random
        self._count += 1
        operations: list[Operation] = []
        sure = True
        kind = random.random()
        if kind < 0.15:
            operations.append(self._shared_append())
        elif kind < 0.20:
            operation, certain = self._shared_put()
            operations.append(operation)
            sure = certain
        else:
            count = random.randint(2, 5) if kind > 0.85 else 1
            operations += [self._own(index) for index in range(count)]
            if len(operations) > 1 and random.random() < 0.5:
                operations.append(self._shared_append())
        durability = Durability.GIT if random.random() < GIT_SHARE else Durability.JOURNAL
        message = f"because {self._count}" if random.random() < 0.1 else ""
        return Transact(tuple(operations), durability, message), sure

    def settle(self, reply: Reply) -> None:
        """Learn from an answer."""
        if isinstance(reply, Committed):
            for result in reply.results:
                self._revisions[result.path] = result.revision
        elif isinstance(reply, Refused):
            self.forget()

    def forget(self) -> None:
        """What the agent's documents hold is not known any more: begin with new ones."""
        self._generation += 1
        self._texts.clear()

    def text_of(self, path: str) -> bytes | None:
        """Return what one of the agent's own documents holds once all requests are done."""
        return self._texts.get(path)

    def own_paths(self) -> list[str]:
        """Return the paths of the agent's own documents."""
        return list(self._texts)

    def _line(self, index: int = 0) -> bytes:
        filler = "x" * self._random.choice((10, 40, 200, 900))
        return f"{self._name}/{self._life}/{self._count}/{index} {filler}\n".encode()

    def _shared(self) -> str:
        return f"shared/s{self._random.randrange(SHARED_COUNT)}.md"

    def _shared_append(self) -> Operation:
        path = self._shared()
        if self._revisions.get(path, 0) % _LINES_MAX == _LINES_MAX - 1:
            return Put(path, self._line(9))
        return Append(path, self._line(9))

    def _shared_put(self) -> tuple[Operation, bool]:
        path = self._shared()
        if self._random.random() < 0.5:
            return Put(path, self._line(9)), True
        # Nearly always behind, which is the point: the text is kept as a draft.
        return Put(path, self._line(9), if_revision=self._revisions.get(path, 0)), False

    def _own(self, index: int) -> Operation:
        random, texts = self._random, self._texts
        kind = random.choice(("put", "put", "append", "append", "edit", "edit", "move", "delete"))
        if texts and kind != "put":
            path = random.choice(list(texts))
            text = texts[path]
            if kind == "append" and text.count(b"\n") < _LINES_MAX:
                line = self._line(index)
                # A text without a newline at its end gets one before the next line.
                line = line[:-1] if random.random() < 0.2 else line
                joint = b"\n" if text and not text.endswith(b"\n") else b""
                texts[path] = text + joint + line
                return Append(path, line)
            if kind == "edit" and text.strip():
                old = random.choice([line for line in text.split(b"\n") if line])
                new = self._line(index)[:-1]
                if text.count(old) == 1:
                    texts[path] = text.replace(old, new)
                    return Edit(path, old, new)
            if kind == "move":
                target = self._free_path()
                if target:
                    texts[target] = texts.pop(path)
                    return Move(path, target)
            if kind == "delete":
                del texts[path]
                return Delete(path)
        path = self._free_path() if not texts or random.random() < 0.5 else ""
        path = path or random.choice(list(texts))
        texts[path] = self._line(index)
        return Put(path, texts[path])

    def _free_path(self) -> str:
        """Return a path at which a document can be made, empty if all are taken."""
        folder = f"own/{self._name}/{self._life}.{self._generation}/"
        free = [
            folder + name
            for name in _NAMES
            if not any(_clash(folder + name, taken) for taken in self._texts)
        ]
        return self._random.choice(free) if free else ""


def _clash(path: str, taken: str) -> bool:
    return path == taken or path.startswith(taken + "/") or taken.startswith(path + "/")
