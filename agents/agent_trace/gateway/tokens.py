"""Tokens: who may ask the gateway over HTTP, and as which agent.

Their law: what the file says at the moment of a request counts; a token is compared in a time that
tells nothing of it; none is kept in memory, logged or answered, only its hash.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import Final

from agent_trace.listening import long_enough, make_token_file
from agent_trace_protocol import InvalidRequest, Unavailable, parse_agent_name

__all__ = ["Grant", "Tokens"]

_log = logging.getLogger("agent_trace.gateway.tokens")

FILE_BYTES_MAX: Final = 256 * 1024
"""Bytes of a file of tokens: some thousand lines."""

_HASH: Final = "sha256:"
_HASHED: Final = re.compile(r"sha256:([0-9a-fA-F]{64})")

_Stamp = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Grant:
    """What one token gives to whoever has it."""

    digest: bytes
    agent: str = ""
    """The only agent that its bearers act as; empty: any."""
    ends: float = math.inf
    """When it is over, in seconds since 1970."""

    @property
    def principal(self) -> str:
        """Who its bearers are. A token that replaces another one is of the same: sessions go on."""
        return f"agent {self.agent}" if self.agent else "anybody"


class Tokens:
    """The tokens that are good at present."""

    def __init__(
        self,
        grants: Sequence[Grant] = (),
        *,
        shown: str = "",
        file: Path | None = None,
        lasting: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            shown: the token itself if it was made for this run.
            file: where they stand; it is read again when it has changed.
            clock: seconds since 1970.
        """
        self.shown: Final = shown
        self.lasting: Final = lasting
        """Whether somebody chose them, or keeps them in a file."""
        self.changes = 0
        """How often the file was another one."""
        self._grants = tuple(grants)
        self._file = file
        self._clock = clock
        self._stamp: _Stamp | None = None
        self._trouble = False

    @classmethod
    def of(cls, token: str) -> Tokens:
        """Return one that is made for this run."""
        return cls([Grant(_digest(token))], shown=token)

    @classmethod
    def find(cls, file: str | None, variable: str) -> Tokens:
        """Return those of a file, which is made with one if there is none, else the one in a
        variable of the environment, else a new one for this run.

        Raises:
            InvalidRequest: others may read the file, a line of it is none, or there is no token.
        """
        if file is None:
            given = os.environ.get(variable, "")
            if not given:
                return cls.of(secrets.token_urlsafe(32))
            return cls([Grant(_digest(long_enough(given, variable)))], lasting=True)
        path = Path(file)
        with suppress(FileExistsError):
            make_token_file(path)
        found = cls(file=path, lasting=True)
        found._stamp, found._grants = _read(path)
        if not found._grants:
            raise InvalidRequest(f"{path} holds no token; remove it, and one is made")
        return found

    def grant_of(self, authorization: str) -> Grant | None:
        """Return what a request's header of this name gives; None: nothing.

        Raises:
            Unavailable: what is good at present can not be read.
        """
        self._look()
        if self._trouble:
            raise Unavailable("the tokens of this gateway can not be read at present")
        scheme, _, token = authorization.partition(" ")
        given = _digest(token.strip())
        found: Grant | None = None
        for grant in self._grants:
            # All of them, so that the time does not tell which.
            if hmac.compare_digest(given, grant.digest):
                found = grant
        if scheme.lower() != "bearer" or found is None or self._clock() >= found.ends:
            return None
        return found

    def good(self, digest: bytes) -> bool:
        """Return whether the token of this hash is good, as far as can be told: while the file can
        not be read, nobody who is in is thrown out."""
        self._look()
        now = self._clock()
        return any(grant.digest == digest and now < grant.ends for grant in self._grants)

    def _look(self) -> None:
        """Read the file again if it is another one than before."""
        if self._file is None:
            return
        try:
            # A small file on this machine: this costs microseconds, less than a thread would.
            if _stamp_of(os.stat(self._file)) == self._stamp:
                return
            self._stamp, self._grants = _read(self._file)
        except (OSError, InvalidRequest) as error:
            if not self._trouble:
                _log.error("nobody is let in until this is put right: %s", error)
            self._stamp, self._trouble = None, True
            return
        self._trouble = False
        self.changes += 1
        _log.warning("%s has changed: %d tokens", self._file, len(self._grants))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def _stamp_of(status: os.stat_result) -> _Stamp:
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _read(file: Path) -> tuple[_Stamp, tuple[Grant, ...]]:
    with open(file, encoding="utf-8", errors="replace") as opened:
        # Before it is read: what is written while it is read makes another stamp.
        status = os.fstat(opened.fileno())
        if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise InvalidRequest(f"others may read the token in {file}; first: chmod 600 {file}")
        if status.st_size > FILE_BYTES_MAX:
            raise InvalidRequest(f"{file} has more than {FILE_BYTES_MAX} bytes")
        lines = opened.read(FILE_BYTES_MAX).splitlines()
    grants = [
        _grant(words, f"{file}, line {number}")
        for number, line in enumerate(lines, 1)
        if (words := _words(line))
    ]
    return _stamp_of(status), tuple(grants)


def _words(line: str) -> list[str]:
    """Return the words of a line before the first that begins a comment."""
    return list(takewhile(lambda word: not word.startswith("#"), line.split()))


def _grant(words: list[str], where: str) -> Grant:
    token, *options = words
    hashed = _HASHED.fullmatch(token)
    if token.startswith(_HASH) and hashed is None:
        raise InvalidRequest(f"{where}: {_HASH} is followed by the 64 digits of a hash")
    digest = bytes.fromhex(hashed[1]) if hashed else _digest(long_enough(token, where))
    agent, ends = "", math.inf
    for option in options:
        name, _, value = option.partition("=")
        if name == "agent":
            try:
                agent = str(parse_agent_name(value))
            except InvalidRequest as error:
                raise InvalidRequest(f"{where}: {error.message}") from error
        elif name == "until":
            ends = _moment(value, where)
        else:
            # It might be part of a token that was broken in two: not a word of it is shown.
            raise InvalidRequest(f"{where}: after the token stand agent=NAME and until=DATE only")
    return Grant(digest, agent, ends)


def _moment(text: str, where: str) -> float:
    """Return the end of a day, or a moment, in seconds since 1970."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(
            f"{where}: until={text} is neither a day such as 2026-12-31 nor an ISO time"
        ) from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    day = "T" not in text and " " not in text
    return (moment + timedelta(days=1) if day else moment).timestamp()
