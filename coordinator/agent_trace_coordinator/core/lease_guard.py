"""What leases mean for a write, and what is always true of them.

A write under a lease is accepted only if its token is that of a lease which its session holds at
the write's place in the order. No clock is asked.
"""

from __future__ import annotations

from agent_trace_protocol import LeaseHeld, LeaseInfo, StaleLease, fold_path

from .inputs import Now
from .lease_table import LeaseState, LeaseTable
from .lease_views import describe, in_the_way, lease_info, refusal
from .state import State

__all__ = ["Guard", "check_leases"]


class Guard:
    """Judges the operations of one transaction by the leases on their paths.

    Keeps track of the moves in it, for a lease follows its document at once.
    """

    def __init__(
        self, state: State, session: str, tokens: tuple[int, ...] = (), now: Now | None = None
    ) -> None:
        self._state = state
        self._table: LeaseTable = state.leases
        self._session = session
        self._tokens = frozenset(tokens)
        self._now = now or Now(0.0, 0)
        self._moved: dict[str, set[int]] = {}
        """The leases on single paths that the transaction's moves have changed."""
        self._lost = 0
        for token in tokens:
            lease = self._table.by_token.get(token)
            if lease is None or lease.session != session:
                self._lost = token
                break
        self._foreign: dict[int, LeaseState] = {}

    @property
    def warnings(self) -> tuple[LeaseInfo, ...]:
        """The leases of others that were written across, as far as they are only advice."""
        if not self._foreign:
            return ()
        return tuple(
            lease_info(self._state, lease, self._now) for _, lease in sorted(self._foreign.items())
        )

    def check(self, path: str) -> None:
        """Return if the path may be written.

        Raises:
            StaleLease: the transaction names a lease that is no longer its session's, or names
                leases of which none covers this path, while another session's does.
            LeaseHeld: another session holds a lease on it, and leases are enforced.
        """
        if not self._tokens and not self._table.by_token:
            return
        covering = self._covering(fold_path(path))
        foreign = [lease for lease in covering if lease.session != self._session]
        holder = foreign[-1] if foreign else None
        state, now = self._state, self._now
        if self._lost:
            instead = f"; {describe(state, holder, now)}" if holder is not None else ""
            raise StaleLease(
                f"lease {self._lost}, under which {path} was to be written, is not held by this "
                f"session any more{instead}",
                refusal(state, path, holder, now),
            )
        if holder is None:
            return
        if self._tokens:
            if any(lease.token in self._tokens for lease in covering):
                return
            raise StaleLease(
                f"no lease that was named covers {path}: {describe(state, holder, now)}",
                refusal(state, path, holder, now),
            )
        if len(foreign) < len(covering):
            # A shared lease of its own.
            return
        if state.rules.leases_enforced:
            raise LeaseHeld(
                f"{path} may not be written now: {describe(state, holder, now)}",
                refusal(state, path, holder, now),
            )
        for lease in foreign:
            self._foreign[lease.token] = lease

    def follow(self, path: str, new_path: str) -> None:
        """Let the leases on a document follow it, as `apply` will do.

        Raises:
            LeaseHeld: one of them would meet a lease of another session.
        """
        folded, new_folded = fold_path(path), fold_path(new_path)
        moving = self._exact(folded)
        if not moving or folded == new_folded:
            return
        there = self._covering(new_folded)
        for token in sorted(moving):
            lease = self._table.by_token[token]
            for other in there:
                if (
                    other.session != lease.session
                    and token != other.token
                    and not (other.shared and lease.shared)
                ):
                    raise LeaseHeld(
                        f"{path} is leased by {lease.holder} and can not be moved to {new_path}: "
                        f"{describe(self._state, other, self._now)}",
                        refusal(self._state, new_path, other, self._now),
                    )
        self._moved[new_folded] = self._exact(new_folded) | moving
        self._moved[folded] = set()

    def _exact(self, folded: str) -> set[int]:
        moved = self._moved.get(folded)
        return set(self._table.paths.get(folded, ())) if moved is None else moved

    def _covering(self, folded: str) -> list[LeaseState]:
        return self._table.at(self._exact(folded), folded)


def check_leases(state: State) -> None:
    """Return if the leases and their maps are whole, and no two contradict each other.

    Raises:
        AssertionError: they are not.
    """
    table = state.leases
    expected = LeaseTable()
    for token, lease in table.by_token.items():
        assert token == lease.token <= state.seq, lease
        session = state.sessions.get(lease.session)
        assert session is not None and session.journaled, f"{lease.session} is not open"
        assert (session.name, session.actor) == (lease.holder, lease.actor), lease
        contradicted = in_the_way(state, lease.session, lease.pattern, lease.shared)
        assert not contradicted, f"{lease} and {contradicted[0]} overlap"
        expected.enter(lease)
    assert table == expected, "the maps of the leases are not those of the leases"
    assert list(table.by_token) == sorted(table.by_token), "leases are not in the order of tokens"
    for key, waiter in state.waiters.items():
        assert key == (waiter.session, waiter.number)
        assert waiter.session in state.sessions, f"{waiter.session} waits and is not open"
