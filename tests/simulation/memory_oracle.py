"""Bounded memory: what clients can fill has its bounds, and a coordinator at rest holds no more
than one that has just started.

All containers of the process are found by walking from its runtime through the product's own
objects, so that one which is added to the product tomorrow is looked at too. What grows with the
documents, sessions and drafts that there are is the same after a restart. What does not come back
by one has to be bounded by itself, and stands in `KEPT` with its bound. Anything else has been
forgotten by somebody, one item for each request, for as long as the process lives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Set
from functools import cache
from typing import Any, Final, cast

from agent_trace_coordinator.core import reads, refusals
from agent_trace_coordinator.core.grants import GRANTS_MAX
from agent_trace_coordinator.core.state import VIOLATIONS_MAX, State
from agent_trace_coordinator.core.trace_state import FRESH_RECORDS_MAX, RECENT_RECORDS_MAX
from agent_trace_coordinator.server import event_feed, lookup, queries, runtime

__all__ = ["GIT_LAG_RECORDS_MAX", "check_bounds", "containers", "grown"]

GIT_LAG_RECORDS_MAX: Final = 40
"""Small, so that git falls too far behind now and then and the journal waits for it."""

SESSIONS_MAX: Final = 20

_ATOMS: Final = frozenset({str, bytes, int, float, bool, type(None)})
"""Most of what there is holds nothing."""

PRODUCT: Final = "agent_trace_coordinator."

Sizes = dict[str, int]
"""By where a container is: how many items it has. Those of one place in many objects are added."""

KEPT: Final[Mapping[str, Callable[[Sizes], int]]] = {
    # Contents, names and commits that were looked up or made lately.
    "_lookup._cache._contents": lambda sizes: lookup.CACHE_BYTES_MAX,
    "_lookup._cache._newest": lambda sizes: sizes["_state.documents"],
    "_lookup._generated_cache._contents": lambda sizes: lookup.GENERATED_CACHE_BYTES_MAX,
    "_lookup._generated_cache._newest": lambda sizes: sizes["_state.documents"],
    "_journal._commits": lambda sizes: GIT_LAG_RECORDS_MAX,
    "_queries._commits": lambda sizes: queries.COMMITS_KEPT_MAX,
    "_feed._recent": lambda sizes: event_feed.RECORDS_KEPT_MAX,
    "_sessions": lambda sizes: runtime.KEYS_CACHED_MAX,
    "_state.trace.digests": lambda sizes: 4 * sizes["_state.documents"] + 16,
    # What was not carried out, and leaves no record.
    "_state.refusals": lambda sizes: refusals.REFUSALS_MAX,
    "_state.repeats": lambda sizes: sizes["_state.violations"],
    # What sessions have read since their last record, and sessions that are in no record: they
    # end by their time, and no client of a world opens more within that.
    "_state.sessions[].reads": lambda sizes: reads.READS_MAX * sizes["_state.sessions"],
    "_state.sessions": lambda sizes: SESSIONS_MAX,
    # Documents whose files were changed, or have left their place, since files were looked at last.
    "_lookup._vacated": lambda sizes: sizes["_state.documents"],
    "adoption._adopted": lambda sizes: sizes["_state.documents"],
    "adoption._captured": lambda sizes: sizes["_state.documents"],
    "adoption._putting_back": lambda sizes: sizes["_state.documents"],
}


def check_bounds(state: State) -> None:
    """See that what clients can fill has its bounds, after every step."""
    rules, total = state.rules, state.drafts_total
    assert total.drafts <= rules.drafts_max and total.size <= rules.drafts_bytes_max, total
    for count in state.draft_counts.values():
        assert count.drafts <= rules.drafts_of_writer_max, count
        assert count.size <= rules.drafts_of_writer_bytes_max, count
    assert len(state.violations) <= VIOLATIONS_MAX
    assert state.quarantine_bytes <= rules.quarantine_bytes_max
    assert len(state.refusals) <= refusals.REFUSALS_MAX
    assert len(state.grants) <= GRANTS_MAX
    assert len(state.trace.fresh) <= FRESH_RECORDS_MAX
    assert len(state.trace.recent) <= RECENT_RECORDS_MAX
    for session in state.sessions.values():
        assert len(session.reads) <= reads.READS_MAX, session.id


def containers(root: object) -> Sizes:
    """Return the sizes of all containers that are reached from an object through the product's."""
    sizes: Sizes = {}
    seen: set[int] = set()

    def look(value: object, place: str) -> None:
        kind = type(value)
        if kind in _ATOMS or id(value) in seen:
            return
        items = _items(value)
        if items is not None:
            seen.add(id(value))
            sizes[place] = sizes.get(place, 0) + len(items)
            for item in items:
                look(item, f"{place}[]")
        elif _is_ours(cast(Hashable, kind)):
            seen.add(id(value))
            for name, inner in _attributes(value):
                if type(inner) not in _ATOMS:
                    look(inner, f"{place}.{name}" if place else name)

    look(root, "")
    return sizes


def _items(value: Any) -> tuple[object, ...] | None:
    """Return what a container holds, of a mapping its values; None for anything else."""
    if isinstance(value, Mapping):
        return tuple(cast("Mapping[object, object]", value).values())
    if isinstance(value, (Set, list, deque)):
        return tuple(cast("Set[object]", value))
    return None


def _attributes(value: object) -> Iterator[tuple[str, object]]:
    for name in dict.fromkeys(
        (*getattr(value, "__dict__", ()), *_slots(cast(Hashable, type(value))))
    ):
        if not name.startswith("__") and hasattr(value, name):
            yield name, getattr(value, name)


@cache
def _slots(kind: Hashable) -> tuple[str, ...]:
    names: list[str] = []
    for base in cast(type, kind).__mro__:
        slots = getattr(base, "__slots__", ())
        names += (slots,) if isinstance(slots, str) else slots
    return tuple(names)


@cache
def _is_ours(kind: Hashable) -> bool:
    bases = cast(type, kind).__mro__
    return type not in bases and any(base.__module__.startswith(PRODUCT) for base in bases)


def grown(before: Sizes, after: Sizes) -> list[str]:
    """Return what the process `before` held, at rest, that the one `after` it does not hold, and
    that nothing bounds."""
    return [
        f"{place} has {size} items, {after.get(place, 0)} after a restart"
        for place, size in sorted(before.items())
        if size > (KEPT[place](before) if place in KEPT else after.get(place, 0))
    ]
