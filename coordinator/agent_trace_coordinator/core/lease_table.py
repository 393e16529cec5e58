"""The leases that are held, by everything they are looked for by, and who waits for one.

Data and its maps only; what may be held by whom is decided in `leases`. A path is looked up at
once. Globs lie by their first segment, for most begin with a folder's name; those that begin with a
wildcard are looked at every time.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from agent_trace_protocol import Actor, PathPattern, fold_path, parse_pattern

__all__ = ["LeaseState", "LeaseTable", "Waiter"]


@dataclass(slots=True)
class LeaseState:
    """One lease that is held."""

    token: int
    """The seq of the record that granted it."""
    session: str
    actor: Actor
    holder: str
    """The name of the session's agent or user."""
    pattern: PathPattern
    shared: bool
    ttl_ms: int
    """How long it lasts after the session's last sign of life."""
    granted_ms: int
    """UTC milliseconds; only shown."""
    request: int
    """The request that it answers; 0 if it was handed over."""
    renewed: float
    """A moment from which on it has its whole time, by the monotonic clock; the session's last sign
    of life is another."""


@dataclass(slots=True, frozen=True)
class Waiter:
    """A request for a lease that was not free."""

    session: str
    number: int
    fingerprint: bytes
    peer: bytes
    """Where its answer goes."""
    pattern: PathPattern
    shared: bool
    ttl_ms: int
    deadline: float
    """When it is told that it was in vain, by the monotonic clock."""


@dataclass(slots=True)
class LeaseTable:
    """All leases of a store."""

    by_token: dict[int, LeaseState] = field(default_factory=dict[int, LeaseState])
    """In the order in which they were granted."""
    of_session: dict[str, set[int]] = field(default_factory=dict[str, set[int]])
    paths: dict[str, set[int]] = field(default_factory=dict[str, set[int]])
    """Leases on one path, by the folded path."""
    globs: dict[str, set[int]] = field(default_factory=dict[str, set[int]])
    """Leases on globs, by the folded first segment; under "" those that begin with a wildcard."""
    freed: bool = field(default=False, compare=False)
    """Whether something has become free since the waiters were last looked at."""

    def enter(self, lease: LeaseState) -> None:
        """Enter a lease; nothing is checked."""
        self.by_token[lease.token] = lease
        self.of_session.setdefault(lease.session, set()).add(lease.token)
        self._place(lease.pattern).add(lease.token)

    def drop(self, token: int) -> LeaseState | None:
        """Take a lease out and return it, if it is held."""
        lease = self.by_token.pop(token, None)
        if lease is None:
            return None
        self.freed = True
        own = self.of_session[lease.session]
        own.discard(token)
        if not own:
            del self.of_session[lease.session]
        self._displace(lease)
        return lease

    def drop_session(self, session: str) -> None:
        """Take all leases of a session out."""
        for token in sorted(self.of_session.get(session, ())):
            self.drop(token)

    def move(self, path: str, new_path: str) -> None:
        """Let the leases on a document's path follow the document."""
        for token in sorted(self.paths.get(fold_path(path), ())):
            lease = self.by_token[token]
            self._displace(lease)
            lease.pattern = parse_pattern(new_path)
            self._place(lease.pattern).add(token)
            self.freed = True

    def held_by(self, session: str) -> list[LeaseState]:
        """Return a session's leases, in the order in which they were granted."""
        return [self.by_token[token] for token in sorted(self.of_session.get(session, ()))]

    def covering(self, folded: str) -> list[LeaseState]:
        """Return the leases that cover a path, oldest first."""
        return self.at(self.paths.get(folded, ()), folded)

    def at(self, exact: set[int] | tuple[()], folded: str) -> list[LeaseState]:
        """Return these leases and the globs that cover a path, oldest first."""
        tokens = set(exact)
        if self.globs:
            for first in ("", folded.split("/", 1)[0]):
                for token in self.globs.get(first, ()):
                    if self.by_token[token].pattern.matches_folded(folded):
                        tokens.add(token)
        return [self.by_token[token] for token in sorted(tokens)]

    def overlapping(self, pattern: PathPattern) -> list[LeaseState]:
        """Return the leases that cover anything that the pattern matches, oldest first."""
        if not pattern.is_glob:
            return self.covering(pattern.folded)
        tokens: set[int] = set()
        for folded, exact in self.paths.items():
            if pattern.matches_folded(folded):
                tokens |= exact
        for first, globs in self.globs.items():
            if first and pattern.first and first != pattern.first:
                continue
            tokens.update(
                token for token in globs if self.by_token[token].pattern.overlaps(pattern)
            )
        return [self.by_token[token] for token in sorted(tokens)]

    def _place(self, pattern: PathPattern) -> set[int]:
        if pattern.is_glob:
            return self.globs.setdefault(pattern.first, set())
        return self.paths.setdefault(pattern.folded, set())

    def _displace(self, lease: LeaseState) -> None:
        pattern = lease.pattern
        place = self._place(pattern)
        place.discard(lease.token)
        if not place:
            if pattern.is_glob:
                del self.globs[pattern.first]
            else:
                del self.paths[pattern.folded]
