"""Bugs of the rules: leases and unlocks."""

from __future__ import annotations

from typing import Final

from agent_trace_coordinator.core import (
    grants,
    lease_guard,
    lease_queue,
    lease_views,
    leases,
)
from agent_trace_coordinator.server import adoption

from .plant import Mutant

__all__ = ["RIGHTS_MUTANTS"]

RIGHTS_MUTANTS: Final = (
    Mutant(
        "a lost lease still allows a write",
        lease_guard.Guard.check,
        "if self._lost:",
        "if False:",
        "a process that wakes up late writes beside the new holder",
    ),
    Mutant(
        "exclusive leases overlap",
        lease_views.in_the_way,
        "if lease.session != session and not (lease.shared and shared)",
        "if lease.session != session and not (lease.shared or shared)",
        "two sessions hold what only one may hold",
    ),
    Mutant(
        "enforced leases are advice",
        lease_guard.Guard.check,
        "if state.rules.leases_enforced:",
        "if False:",
        "others write across a lease that the store enforces",
    ),
    Mutant(
        "leases end early",
        lease_queue.expire,
        "> lease.ttl_ms / 1000:",
        "> lease.ttl_ms / 1500:",
        "a holder that gives signs of life loses its lease",
    ),
    Mutant(
        "a lease is handed over to somebody else's successor",
        leases.hand_over,
        "shared=lease.shared,",
        "shared=True,",
        "a successor holds less than its predecessor",
        first=70,
    ),
    Mutant(
        "a theft leaves the lease with its holder",
        leases.acquire,
        "effects.append(end_lease(state, session, lease, reason, now))",
        "pass",
        "two sessions hold one lease after a theft",
        first=90,
    ),
    Mutant(
        "unlocks never end",
        grants.expired,
        "if grant.until <= now.monotonic:",
        "if False:",
        "an agent writes a protected document long after its unlock",
        first=55,
    ),
    Mutant(
        "a file counts as taken before its adoption is durable",
        adoption.current_files,
        "and document.seq <= durable_seq",
        "",
        "what a person saved is written over after the disk was full",
        first=4380,
        seeds=1000,
        needs=("full_seconds", "person_seconds"),
    ),
)
