"""A real coordinator under a random mix of requests and edits of its files behind its back.

Each text can be found again by its number. In the end every one of them is in a revision or in the
quarantine, unless the person who wrote it wrote over it; and nothing that was forbidden is in git.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from random import Random

import pytest

from agent_trace_protocol import (
    Actor,
    Committed,
    Delete,
    Document,
    DocumentType,
    Durability,
    ListDocuments,
    Move,
    Page,
    Put,
    Read,
    Refused,
    ShowViolation,
    Transact,
    Unlock,
    ViolationPage,
    ViolationReport,
    Violations,
)
from agent_trace_protocol.limits import PAGE_ENTRIES_MAX
from support.coordinator import Coordinator, Peer, running

from .test_out_of_band import until

pytestmark = pytest.mark.integration

STEPS = 90
TYPES = {
    "plan.md": DocumentType.PLAN,
    "notes/a.md": DocumentType.SCRATCH,
    "notes/b.md": DocumentType.PLAN,
    "api.md": DocumentType.REFERENCE,
    "context.md": DocumentType.CONTEXT,
}


def blobs(root: Path) -> bytes:
    """Return everything that git holds: contents, names, messages."""
    git = ["git", f"--git-dir={root}/.agent-trace/repo"]
    command = [*git, "cat-file", "--batch-all-objects", "--batch"]
    return subprocess.run(command, capture_output=True, check=True).stdout


class Mix:
    """The peers, the person at the files, and what each has written."""

    def __init__(self, coordinator: Coordinator, seed: int, user: Peer, agent: Peer) -> None:
        self.root = coordinator.root
        self.draw = Random(seed)
        self.user, self.agent = user, agent
        self.number = 0
        self.forbidden: list[bytes] = []
        """What must never be a revision."""
        self.brought: list[bytes] = []
        """What must not be lost."""
        self.mine: dict[str, bytes] = {}
        """What the person at the files wrote last, where nobody has taken it yet."""

    def text(self, *, secret: bool = False) -> bytes:
        self.number += 1
        body = f"gh{'p'}_{self.number:06d}{'x' * 30}" if secret else "text"
        return f"<{self.number}> {body}\n".encode()

    def paths(self) -> list[str]:
        page = self.user.ask(ListDocuments())
        assert isinstance(page, Page)
        return [each.path for each in page.documents]

    def type_of(self, path: str) -> DocumentType | None:
        reply = self.user.ask(Read(path))
        return reply.type if isinstance(reply, Document) else None

    def request(self) -> None:
        """An agent writes, moves or deletes, allowed or not."""
        path = self.draw.choice(
            [*self.paths(), "new.md", "../out.md", ".git/x", "running_summary.md"]
        )
        secret = self.draw.random() < 0.2
        text = self.text(secret=secret)
        choice = self.draw.random()
        if choice < 0.7:
            reply = self.agent.ask(Transact((Put(path, text),)))
            self.brought.append(text)
        elif choice < 0.85:
            reply = self.agent.ask(Transact((Move(path, f"notes/{self.number}.md"),)))
        else:
            reply = self.agent.ask(Transact((Delete(path),)))
        assert isinstance(reply, (Committed, Refused))
        if isinstance(reply, Refused) and choice < 0.7:
            assert reply.error.violation, reply
            self.forbidden.append(text)
        else:
            assert not secret or choice >= 0.7

    def edit(self) -> None:
        """The person at the files saves one, in one of the ways in which editors do."""
        path = self.draw.choice(self.paths())
        secret = self.draw.random() < 0.2
        text = self.text(secret=secret)
        if secret or path in ("context.md",):
            self.forbidden.append(text)
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        how = self.draw.randrange(4)
        if how == 0:
            with open(file, "wb", buffering=0) as pieces:
                pieces.write(text[:4])
                pieces.write(text[4:])
        elif how == 1:
            other = file.with_name(f"{file.name}.swp")
            other.write_bytes(text)
            other.replace(file)
        elif how == 2:
            file.unlink(missing_ok=True)
            file.write_bytes(text)
        else:
            file.write_bytes(text)
        self.mine[path] = text

    def settle(self) -> None:
        """Wait until what the person wrote is a revision, or is kept and undone."""

        def taken() -> bool:
            kept = self.kept()
            waiting: dict[str, bytes] = {}
            for path, text in self.mine.items():
                reply = self.user.ask(Read(path))
                if text in kept or (isinstance(reply, Document) and text in reply.content):
                    self.brought.append(text)
                else:
                    waiting[path] = text
            # Or it was a revision for a moment, before somebody wrote over it.
            everything = self.history() if waiting else b""
            self.brought += [text for text in waiting.values() if text in everything]
            self.mine = {path: text for path, text in waiting.items() if text not in everything}
            return not self.mine

        until(self.user, taken)

    def kept(self) -> bytes:
        page = self.user.ask(Violations(0, PAGE_ENTRIES_MAX))
        assert isinstance(page, ViolationPage) and not page.more
        reports = [self.user.ask(ShowViolation(each.id)) for each in page.violations]
        assert all(isinstance(each, ViolationReport) for each in reports)
        return b"".join(
            text.content
            for report in reports
            if isinstance(report, ViolationReport)
            for text in report.texts
        )

    def history(self) -> bytes:
        reply = self.user.ask(Transact((Put("last.md", self.text()),), Durability.GIT))
        assert isinstance(reply, Committed)
        return blobs(self.root)

    def link(self, outside: Path) -> None:
        """Somebody puts a link to something private in the place of a document."""
        path = self.draw.choice(self.paths())
        if path in self.mine:
            return
        file = self.root / path
        file.unlink(missing_ok=True)
        file.symlink_to(outside)
        until(self.user, lambda: not file.is_symlink())

    def rename(self) -> None:
        """Somebody renames a document's file."""
        path = self.draw.choice([each for each in self.paths() if each != "last.md"])
        if path in self.mine or not (self.root / path).is_file():
            return
        type = self.type_of(path)
        new = f"notes/renamed-{self.number}.md"
        self.number += 1
        (self.root / "notes").mkdir(exist_ok=True)
        (self.root / path).rename(self.root / new)
        if type in (DocumentType.CONTEXT, DocumentType.LOG):
            until(self.user, lambda: (self.root / path).is_file())
            (self.root / new).unlink()
        else:
            until(self.user, lambda: self.type_of(new) is not None or self.type_of(path) is None)


@pytest.mark.parametrize("seed", [1, 2])
def test_no_forbidden_byte_is_in_git_and_no_refused_byte_is_lost(tmp_path: Path, seed: int) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_bytes(b"<private> not ours\n")
    with (
        running(tmp_path / "store") as coordinator,
        Peer(coordinator.endpoint, "ann", Actor.USER) as user,
        Peer(coordinator.endpoint) as agent,
    ):
        user.opened()
        agent.opened()
        for path, type in TYPES.items():
            put = Put(path, f"<start> {path}\n".encode(), type=type)
            reply = user.ask(Transact((put,), Durability.GIT, confirm=True))
            assert isinstance(reply, Committed)
        mix = Mix(coordinator, seed, user, agent)
        for _ in range(STEPS):
            choice = mix.draw.random()
            if choice < 0.5:
                mix.request()
            elif choice < 0.8:
                mix.edit()
            elif choice < 0.86:
                mix.link(outside)
            elif choice < 0.92:
                mix.settle()
                mix.rename()
            elif choice < 0.96:
                user.ask(Unlock("api.md", agent="planner", seconds=1))
            else:
                mix.settle()
        mix.settle()
        everything, kept = mix.history(), mix.kept()
        for text in mix.forbidden:
            assert text not in everything, text
        assert b"<private>" not in everything and b"<private>" not in kept
        quarantined = b"".join(
            each.read_bytes()
            for each in (coordinator.root / ".agent-trace" / "quarantine").iterdir()
            if each.is_file() and not each.is_symlink()
        )
        for text in mix.brought:
            assert text in everything or text in kept, text
            assert text in everything or text in quarantined, text
        # The files are the documents, and nothing else was made of what lies beside them.
        for path in mix.paths():
            reply = user.ask(Read(path))
            assert isinstance(reply, Document)
            until(
                user,
                lambda path=path, reply=reply: (  # type: ignore[misc]
                    (coordinator.root / path).read_bytes() == reply.content
                ),
            )
        assert outside.read_bytes() == b"<private> not ours\n"
        assert os.listdir(coordinator.root / ".agent-trace" / "run" / "tmp") == []
