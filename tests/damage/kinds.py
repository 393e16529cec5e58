"""The kinds of damage: each takes a store that nobody serves, and a seeded source of chance."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

from agent_trace_coordinator.storage.journal import Journal
from damage.original import STORE, Original

__all__ = ["BOTH", "KINDS", "Damage"]

Damage = Callable[[Path, Random, Original], str]
"""Damages the store and says what it did."""


def _flip(path: Path, random: Random, count: int) -> str:
    data = bytearray(path.read_bytes())
    places = [random.randrange(len(data) * 8) for _ in range(count)] if data else []
    for place in places:
        data[place // 8] ^= 1 << place % 8
    _write(path, bytes(data))
    return f"flipped {count} bits of {path.name}"


def _write(path: Path, data: bytes) -> None:
    # git makes its files read-only.
    path.chmod(0o600)
    path.write_bytes(data)


def _cut(path: Path, random: Random) -> str:
    data = path.read_bytes()
    size = random.randrange(len(data)) if data else 0
    _write(path, data[:size])
    return f"cut {path.name} to {size} of {len(data)} bytes"


def _overwrite(path: Path, random: Random) -> str:
    data = bytearray(path.read_bytes())
    length = min(len(data), random.choice((16, 512, 4096, 40_000)))
    start = random.randrange(len(data) - length + 1)
    zeros = random.random() < 0.5
    data[start : start + length] = bytes(length) if zeros else random.randbytes(length)
    _write(path, bytes(data))
    return f"overwrote {length} bytes of {path.name} from {start} on"


def _any(path: Path, random: Random) -> str:
    return random.choice(
        (
            lambda: _flip(path, random, random.choice((1, 1, 3, 20, 200))),
            lambda: _cut(path, random),
            lambda: _overwrite(path, random),
        )
    )()


def _git_files(root: Path, *suffixes: str) -> list[Path]:
    repo = root / STORE / "repo"
    return sorted(
        path
        for path in repo.rglob("*")
        if path.is_file() and path.stat().st_size and path.name.endswith(suffixes)
    )


def journal_gone(root: Path, random: Random, original: Original) -> str:
    for name in ("state.db", "state.db-wal", "state.db-shm"):
        (root / STORE / name).unlink(missing_ok=True)
    return "removed state.db"


def journal_begun_anew(root: Path, random: Random, original: Original) -> str:
    journal_gone(root, random, original)
    if random.random() < 0.5:
        (root / STORE / "state.db").touch()
        return "emptied state.db"
    journal = Journal(root / STORE / "state.db")
    journal.begin_life()
    journal.close()
    return "put a new store's in the place of state.db"


def journal_flipped(root: Path, random: Random, original: Original) -> str:
    return _flip(root / STORE / "state.db", random, random.choice((1, 1, 2, 8, 64, 500)))


def journal_cut(root: Path, random: Random, original: Original) -> str:
    return _cut(root / STORE / "state.db", random)


def journal_overwritten(root: Path, random: Random, original: Original) -> str:
    return _overwrite(root / STORE / "state.db", random)


def journal_older(root: Path, random: Random, original: Original) -> str:
    shutil.copyfile(original.older, root / STORE / "state.db")
    return "put an older copy in the place of state.db"


def log_damaged(root: Path, random: Random, original: Original) -> str:
    return _any(root / STORE / "state.db-wal", random)


def log_gone(root: Path, random: Random, original: Original) -> str:
    (root / STORE / "state.db-wal").unlink()
    return "removed the write-ahead log"


def git_gone(root: Path, random: Random, original: Original) -> str:
    shutil.rmtree(root / STORE / "repo")
    return "removed the git directory"


def git_refs_gone(root: Path, random: Random, original: Original) -> str:
    name = random.choice(("refs", "HEAD", "config", "refs/heads/main", "objects/info", "index"))
    path = root / STORE / "repo" / name
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        if random.random() < 0.5:
            path.unlink()
        else:
            _write(path, random.choice((b"", b"garbage\n", random.randbytes(41))))
    return f"removed or replaced {name} of the git directory"


def git_pack_damaged(root: Path, random: Random, original: Original) -> str:
    return _any(random.choice(_git_files(root, ".pack", ".idx")), random)


def git_pack_gone(root: Path, random: Random, original: Original) -> str:
    path = random.choice(_git_files(root, ".pack", ".idx"))
    path.unlink()
    return f"removed {path.name}"


def git_any_file(root: Path, random: Random, original: Original) -> str:
    path = random.choice(_git_files(root, ""))
    return f"{path.relative_to(root)}: {_any(path, random)}"


def files_gone(root: Path, random: Random, original: Original) -> str:
    paths = sorted(original.snapshot.files)
    gone = random.sample(paths, random.randint(1, len(paths)))
    for path in gone:
        (root / path).unlink()
    return f"removed the files {gone}"


def quarantine_damaged(root: Path, random: Random, original: Original) -> str:
    file = random.choice(sorted((root / STORE / "quarantine").iterdir()))
    if random.random() < 0.3:
        file.chmod(0o644)
        return f"opened {file.name} to others"
    if random.random() < 0.5:
        file.unlink()
        return f"removed {file.name}"
    return _any(file, random)


def drafts_damaged(root: Path, random: Random, original: Original) -> str:
    directory = root / STORE / "drafts"
    if random.random() < 0.3:
        shutil.rmtree(directory)
        return "removed the drafts"
    file = random.choice(sorted(directory.iterdir()))
    if random.random() < 0.3:
        file.chmod(0o644)
        return f"opened {file.name} to others"
    if random.random() < 0.5:
        file.unlink()
        return f"removed {file.name}"
    return _any(file, random)


def leftovers(root: Path, random: Random, original: Original) -> str:
    own = root / STORE
    (own / "run" / "endpoint.json").write_bytes(random.choice((b"{}", b"", b'{"pid": 1}')))
    (own / "run" / "coordinator.sock").touch()
    for name in ("index.lock", "refs/heads/main.lock", "packed-refs.lock"):
        (own / "repo" / name).touch()
    (own / "run" / "coordinator.lock").write_bytes(b'{"pid": 999999')
    return "left sockets and locks"


def mirrors_broken(root: Path, random: Random, original: Original) -> str:
    (root / STORE / "locks" / "agent-lock.toml").write_bytes(random.randbytes(200))
    (root / STORE / "manifest.toml").write_bytes(b"[[document\n")
    return "broke the mirrors"


def settings_broken(root: Path, random: Random, original: Original) -> str:
    path = root / STORE / "config.toml"
    if random.random() < 0.3:
        path.unlink()
        return "removed the settings"
    path.write_bytes(random.choice((b"", b"\xff\xfe", b"format_version = 1\nstale = 3\n")))
    return "broke the settings"


def directories_gone(root: Path, random: Random, original: Original) -> str:
    own = root / STORE
    shutil.rmtree(own / "locks")
    shutil.rmtree(own / "run")
    os.chmod(own, 0o755)
    return "removed run and locks, opened .agent-trace to others"


_ONE: Final[dict[str, tuple[Damage, ...]]] = {
    each.__name__: (each,)
    for each in (
        journal_gone,
        journal_begun_anew,
        journal_flipped,
        journal_cut,
        journal_overwritten,
        journal_older,
        log_damaged,
        log_gone,
        git_gone,
        git_refs_gone,
        git_pack_damaged,
        git_pack_gone,
        git_any_file,
        files_gone,
        quarantine_damaged,
        drafts_damaged,
        leftovers,
        mirrors_broken,
        settings_broken,
        directories_gone,
    )
}

BOTH: Final[dict[str, tuple[Damage, ...]]] = {
    "journal_and_git_flipped": (journal_flipped, git_pack_damaged),
    "journal_and_git_cut": (journal_cut, git_pack_damaged),
    "journal_overwritten_pack_gone": (journal_overwritten, git_pack_gone),
    "journal_overwritten_git_any": (journal_overwritten, git_any_file),
    "journal_gone_pack_damaged": (journal_gone, git_pack_damaged),
    "journal_gone_refs_gone": (journal_gone, git_refs_gone),
    "journal_begun_anew_refs_gone": (journal_begun_anew, git_refs_gone),
    "journal_flipped_files_gone": (journal_flipped, git_gone, files_gone),
    "journal_gone_drafts_damaged": (journal_gone, drafts_damaged),
    "log_and_pack_damaged": (log_damaged, git_pack_damaged),
}
"""Both copies at once: then something may be lost, and is named."""

KINDS: Final = _ONE | BOTH
"""By name: what is done, one after the other."""
