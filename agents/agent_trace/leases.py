"""What a session holds: its leases, as the client knows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from agent_trace_protocol import LeaseInfo, parse_pattern

from .session import Session, boot_time

__all__ = ["HeldLeases", "Lease"]

SAFE_SHARE: Final = 0.75
"""The part of a lease's time after which its holder should not rely on it any more: the rest is
for an answer that was on its way, and for two clocks that do not run alike."""


class Lease:
    """A lease that was granted to this session. Renewed by the session's heartbeats.

    Writes of its paths carry its token by themselves until it is released, so that a write that
    comes too late is refused (`StaleLease`), and its text is kept.
    """

    def __init__(self, info: LeaseInfo, session: Session) -> None:
        self._session = session
        self._granted_at = boot_time()
        self.info: Final = info
        """As it was granted."""

    @property
    def token(self) -> int:
        """The fencing token: the seq of the grant."""
        return self.info.token

    @property
    def path(self) -> str:
        """The path or glob, as it was granted; a lease follows a document that is moved."""
        return self.info.path

    @property
    def left_seconds(self) -> float:
        """How long the holder may rely on it without having heard from the coordinator.

        Counts from the sending of the last sign of life that was answered, and while the machine
        sleeps as well. Below zero, somebody else may hold it.
        """
        since = max(self._granted_at, self._session.alive_at)
        return SAFE_SHARE * self.info.ttl_seconds - (boot_time() - since)

    def __str__(self) -> str:
        return f"lease {self.token} on {self.path}"


class HeldLeases:
    """The leases of a session that have not been released."""

    def __init__(self, granted: Iterable[LeaseInfo]) -> None:
        self._held = {info.token: info for info in granted}
        self._ended: dict[int, str] = {}
        """Leases that were held to and had ended: their paths, by token."""

    def enter(self, info: LeaseInfo) -> None:
        """Know a lease. A newer one on the same path takes the place of the older one."""
        self._held = {token: each for token, each in self._held.items() if each.path != info.path}
        self._ended = {token: path for token, path in self._ended.items() if path != info.path}
        self._held[info.token] = info

    def leave(self, token: int) -> None:
        """Forget a lease."""
        self._held.pop(token, None)
        self._ended.pop(token, None)

    def hold_to(self, paths: Mapping[int, str]) -> None:
        """Know leases of before; of those that have ended, these and no others."""
        self._ended = {token: path for token, path in paths.items() if token not in self._held}

    @property
    def paths(self) -> dict[int, str]:
        """The paths and globs of all, by token."""
        return self._ended | {token: info.path for token, info in self._held.items()}

    def covering(self, paths: Iterable[str]) -> tuple[int, ...]:
        """Return the tokens of the leases on these paths."""
        known = self.paths
        if not known:
            return ()
        asked = list(paths)
        return tuple(
            token
            for token, pattern in known.items()
            if any(parse_pattern(pattern).matches(path) for path in asked)
        )

    @property
    def ttl_seconds_min(self) -> float | None:
        """The shortest duration of all; None if there is no lease."""
        return min((info.ttl_seconds for info in self._held.values()), default=None)
