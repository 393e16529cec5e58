"""Serving on a port of this machine: where one may listen, and who may ask.

What the gateway and the web view share. Whoever asks proves by a token that they may; also on the
machine itself, for a web page in a browser can reach its ports as well. Hosts and origins are
checked besides.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import signal
import socket
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

import uvicorn

from agent_trace_protocol import InvalidRequest

__all__ = ["Place", "Token", "long_enough", "make_token_file", "serve"]

TOKEN_LENGTH_MIN: Final = 32
"""Characters of a token that somebody else made: fewer might be guessed."""

REQUESTS_MAX: Final = 512
"""Connections at once; more are answered with 503."""

GRACE_SECONDS: Final = 2
"""How long requests under way may take when the process is told to end."""

_ANYWHERE: Final = ("0.0.0.0", "::")
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Token:
    """What clients prove themselves with. Only its hash is kept."""

    digest: bytes
    shown: str = ""
    """The token itself if it was made just now, for whoever started the process to see."""
    lasting: bool = False
    """Whether somebody chose it, or keeps it in a file."""

    @classmethod
    def of(cls, text: str, *, shown: bool = False, lasting: bool = False) -> Token:
        """Return a token by its text."""
        return cls(hashlib.sha256(text.encode("utf-8", "replace")).digest(), text * shown, lasting)

    @classmethod
    def find(cls, file: str | None, variable: str) -> Token:
        """Return the token from a file, which is made if there is none, else from a variable of the
        environment, else a new one for this run.

        Raises:
            InvalidRequest: others may read the file, or the token is too short.
        """
        if file is not None:
            return _from_file(Path(file))
        given = os.environ.get(variable, "")
        if given:
            return cls.of(long_enough(given, variable), lasting=True)
        return cls.of(secrets.token_urlsafe(32), shown=True)

    def proves(self, authorization: str) -> bool:
        """Return whether a header of a request holds this token."""
        scheme, _, given = authorization.partition(" ")
        return self.matches(given.strip()) and scheme.lower() == "bearer"

    def matches(self, given: str) -> bool:
        """Return whether a text is this token, in a time that does not tell how much of it is."""
        digest = hashlib.sha256(given.encode("utf-8", "replace")).digest()
        return hmac.compare_digest(digest, self.digest)


def long_enough(token: str, where: str) -> str:
    """Return a token that somebody else made; raises `InvalidRequest` if it is short."""
    if len(token) < TOKEN_LENGTH_MIN:
        raise InvalidRequest(
            f"the token in {where} has {len(token)} characters; it needs {TOKEN_LENGTH_MIN} or more"
        )
    return token


def make_token_file(file: Path) -> str:
    """Make a file, which only its owner may read, with a new token, and return the token."""
    made = secrets.token_urlsafe(32)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="ascii") as opened:
        opened.write(f"{made}\n")
    return made


def _from_file(file: Path) -> Token:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return Token.of(make_token_file(file), lasting=True)
    with open(descriptor, encoding="utf-8", errors="replace") as opened:
        if os.fstat(descriptor).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise InvalidRequest(f"others may read the token in {file}; first: chmod 600 {file}")
        return Token.of(long_enough(opened.read().strip(), str(file)), lasting=True)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a service listens, and by which names it is reached."""

    host: str = "127.0.0.1"
    port: int = 0
    """0: any that is free."""
    hosts: Sequence[str] = ()
    """Further names, with or without a port, that requests may name in their `Host`."""
    origins: Sequence[str] = ()
    """Further web pages that may ask, as `https://example.org`."""

    def check(self, variable: str, *, lasting: bool) -> None:
        """Raise `InvalidRequest` if this is no place to listen with this token.

        Args:
            variable: of the environment, from which the token may come.
            lasting: whether somebody chose the token, or keeps it in a file.
        """
        if self.host in _LOOPBACK:
            return
        if not lasting:
            raise InvalidRequest(
                f"listening on {self.host} lets other machines in; name a token of your own for "
                f"that, with --token-file FILE or {variable}"
            )
        if not self.hosts:
            raise InvalidRequest(
                f"listening on {self.host} needs --allow-host NAME: the name by which clients "
                "reach this machine"
            )

    def allowed_hosts(self, port: int) -> list[str]:
        """Return what requests may name in their `Host`."""
        named = [form for name in self.hosts for form in (name, f"{name}:{port}")]
        return [*_here(port), *named]

    def allowed_origins(self, port: int) -> list[str]:
        """Return the pages that may ask, as browsers name them in `Origin`."""
        return [*(f"http://{each}" for each in _here(port)), *self.origins]

    def address(self, port: int) -> str:
        """Return an address by which this machine reaches this place, without a path."""
        host = "localhost" if self.host in _ANYWHERE else self.host
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{port}"

    def bind(self) -> socket.socket:
        """Return a socket that is bound here.

        Raises:
            OSError: nothing can be bound here.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        # The protocol by its number: asyncio sends small answers at once only on sockets that name
        # it. Otherwise each waits 40 ms for the acknowledgement of the one before.
        made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((self.host, self.port))
        except BaseException:
            made.close()
            raise
        return made


def _here(port: int) -> list[str]:
    return [f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}"]


class _Server(uvicorn.Server):
    """Ends what would go on for ever, before it waits for what is under way."""

    def __init__(self, config: uvicorn.Config, leaving: Callable[[], None]) -> None:
        super().__init__(config)
        self._leaving = leaving

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig == signal.SIGTERM:
            # Whoever asks a service to leave sees it end with 0; uvicorn would leave, and then die
            # by the signal all the same.
            self.should_exit = True
        else:
            super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._leaving()
        await super().shutdown(sockets)


def _nothing() -> None:
    pass


async def serve(
    app: Callable[..., Any],
    listener: socket.socket,
    started: Callable[[], None],
    leaving: Callable[[], None] = _nothing,
) -> None:
    """Serve an application on a socket that is bound, until the process is told to end.

    Args:
        app: an ASGI application.
        started: called as soon as it listens.
        leaving: called when it is told to end: it ends streams that would go on.
    """
    config = uvicorn.Config(
        app,
        log_level="warning",
        lifespan="on",
        limit_concurrency=REQUESTS_MAX,
        timeout_graceful_shutdown=GRACE_SECONDS,
        server_header=False,
    )
    listener.listen()
    started()
    await _Server(config, leaving).serve(sockets=[listener])
