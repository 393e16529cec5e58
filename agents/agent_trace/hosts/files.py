"""Other people's files: read whole, replaced whole, and brought back as they were if nobody else
has changed them since.

What a file was before our first change is kept in the user's state directory, together with a
digest of what we made of it. A file that still is what we made of it becomes again, byte for byte,
what it was; from any other only what is ours is taken out.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

import msgspec

from agent_trace_protocol import InvalidRequest

__all__ = ["forget", "note", "original", "read", "write"]


class _Kept(msgspec.Struct, frozen=True):
    path: str
    before: bytes | None
    """None: there was no file."""
    after: str


def read(path: Path) -> str | None:
    """Return a file's text; None if there is none.

    Raises:
        InvalidRequest: it is no file, or no text.
        OSError: it can not be read.
    """
    try:
        # One that waits for a writer, or never ends, must not be opened.
        if not stat.S_ISREG(path.stat().st_mode):
            raise InvalidRequest(f"{path}: this is no file; nothing was changed")
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidRequest(f"{path}: line {line}: not UTF-8; nothing was changed") from error


def write(path: Path, text: str | None) -> None:
    """Replace a file whole, keeping its mode and a link that leads to it; None removes it.

    Raises:
        OSError: it can not be written; it is as it was.
    """
    path = path.resolve()
    if text is None:
        path.unlink(missing_ok=True)
        with suppress(OSError):
            # The directory that was made for it goes with it, unless it holds something else.
            path.parent.rmdir()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = 0o644
    with suppress(FileNotFoundError):
        mode = path.stat().st_mode & 0o7777
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(descriptor, "wb") as file:
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(descriptor)
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _record(path: Path) -> Path:
    state = os.environ.get("XDG_STATE_HOME")
    directory = Path(state) if state else Path.home() / ".local" / "state"
    name = hashlib.blake2b(os.fsencode(path.resolve()), digest_size=12).hexdigest()
    return directory / "agent-trace" / "before-setup" / name


def _digest(text: str | None) -> str:
    return "" if text is None else hashlib.sha256(text.encode("utf-8")).hexdigest()


def _load(path: Path) -> _Kept | None:
    try:
        return msgspec.json.decode(_record(path).read_bytes(), type=_Kept)
    except (OSError, msgspec.MsgspecError):
        return None


def note(path: Path, before: str | None, after: str) -> None:
    """Keep what a file was, before we change it from `before` to `after`."""
    kept = _load(path)
    if kept is not None and kept.after == _digest(before):
        # Another change of ours on top of the last one: what was before that one counts.
        first = kept.before
    else:
        first = None if before is None else before.encode("utf-8")
    record = _record(path)
    record.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    data = msgspec.json.encode(_Kept(str(path), first, _digest(after)))
    descriptor = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)


def original(path: Path, now: str | None) -> tuple[bool, str | None]:
    """Return whether the file still is what we made of it, and what it was before (None: there
    was none)."""
    kept = _load(path)
    if kept is None or kept.after != _digest(now):
        return False, None
    return True, None if kept.before is None else kept.before.decode("utf-8")


def forget(path: Path) -> None:
    """Forget what a file was: it is that again, or somebody else has changed it as well."""
    _record(path).unlink(missing_ok=True)
