"""Makes a failing seed's world smaller while it fails in the same way, and tells what is left.

What can be left out is left out: clients, kinds of faults, single tasks and faults, time. A world
without something is not the same world minus that: what is due at one instant comes in another
order, other messages are lost. So each attempt is made with several salts, which draw that anew.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from .faults import FAULTS
from .form import FORMS
from .reduction import LIMITS, WHOLE, Reduction
from .telling import Telling
from .world import living_in

__all__ = ["Failure", "attempt", "shrink", "tell"]

_Key = TypeVar("_Key")

SALTS: Final = 6
"""Times that one attempt is made: that many more worlds each, and smaller ones are fast."""


@dataclass(frozen=True, slots=True)
class Failure:
    """How a world failed, and what had happened until then."""

    way: str
    """The same for failures of the same kind."""
    message: str
    at: float
    """Simulated seconds."""
    events: int
    clients: tuple[int, ...]
    """Those that took part."""
    faults: tuple[str, ...]
    """Kinds that could happen."""
    tasks: tuple[tuple[int, int], ...]
    """Tasks that were begun, by client and number."""
    happened: tuple[tuple[str, int], ...]
    """Faults that happened, by kind and number."""

    @property
    def size(self) -> float:
        """How much a person has to read, more or less."""
        steps = len(self.tasks) + len(self.happened)
        return 100 * len(self.clients) + 10 * steps + 3 * len(self.faults) + self.events / 50

    def __str__(self) -> str:
        return (
            f"{len(self.clients)} clients, {len(self.tasks)} tasks, {len(self.faults)} kinds of "
            f"faults, {len(self.happened)} faults at a moment, {self.events} events in "
            f"{self.at:.1f} s"
        )


def attempt(seed: int, reduction: Reduction, form: str = FORMS[0]) -> Failure | None:
    """Live through a world; return how it failed, None if it did not."""
    with living_in(seed, reduction, form=form) as world:
        try:
            world.run()
        except Exception as error:
            cast = [
                index for index in range(len(world.form.cast)) if index not in reduction.without
            ]
            return Failure(
                _way(error),
                str(error),
                world.timeline.now,
                world.timeline.done_count,
                tuple(cast),
                tuple(world.faults.active),
                tuple(
                    (index, number)
                    for index, client in zip(cast, world.clients, strict=True)
                    for number in range(1, client.drawn_count + 1)
                    if (index, number) not in reduction.idle
                ),
                tuple(
                    (name, number)
                    for name, count in world.faults.happened.items()
                    for number in range(1, count + 1)
                    if (name, number) not in reduction.spared
                ),
            )
    return None


def _way(error: Exception) -> str:
    """Return what stays the same when the same thing fails in a smaller world."""
    frames = traceback.extract_tb(error.__traceback__)
    said = re.sub(r"b?'[^']*'|b?\"[^\"]*\"|\b[0-9a-f]{8,}\b|[0-9.]+", "_", str(error))
    return f"{type(error).__name__} in {frames[-1].name}: {' '.join(said.split()[:6])}"


def shrink(
    seed: int,
    more: Callable[[], bool],
    told: Callable[[str], object],
    form: str = FORMS[0],
) -> tuple[Reduction, Failure] | None:
    """Return the smallest world of a seed that was found to fail as the whole one does.

    None if the whole one does not fail. `more` is asked before each attempt; `told` gets a line for
    each step.
    """
    failure = attempt(seed, WHOLE, form)
    if failure is None:
        return None
    way, best = failure.way, WHOLE
    told(f"{way}\n{failure}\n")

    def fails(candidate: Reduction) -> bool:
        """Take a smaller world for the best if it fails as the whole one does."""
        nonlocal best, failure
        assert failure is not None
        for salt in (best.salt, *range(1, SALTS)):
            salted = msgspec.structs.replace(candidate, salt=salt)
            found = attempt(seed, salted, form)
            if found is not None and found.way == way and found.size < failure.size:
                best, failure = salted, found
                return True
            if not more():
                break
        return False

    progress = True
    while progress and more():
        progress = False
        before = failure
        for candidates in (_shorter, _fewer_clients, _calmer, _fewer_tasks, _fewer_faults):
            # Each attempt is made of what the one before has left.
            tried: set[Reduction] = set()
            while more():
                candidate = next(
                    (each for each in candidates(best, failure) if each not in tried), None
                )
                if candidate is None:
                    break
                tried.add(candidate)
                if fails(candidate):
                    progress = True
        if failure is not before:
            told(f"{failure}\n")
    return best, failure


def _shorter(reduction: Reduction, failure: Failure) -> Iterator[Reduction]:
    """End the trouble where it failed, or long before that."""
    for share in (0.25, 0.5, 0.75, 1.0):
        seconds = round(failure.at * share, 3) + 0.001
        if seconds < reduction.trouble_seconds - 0.5:
            yield msgspec.structs.replace(reduction, trouble_seconds=seconds)


def _fewer_clients(reduction: Reduction, failure: Failure) -> Iterator[Reduction]:
    for index in failure.clients:
        if len(failure.clients) > 1:
            yield msgspec.structs.replace(reduction, without=reduction.without | {index})


def _calmer(reduction: Reduction, failure: Failure) -> Iterator[Reduction]:
    yield msgspec.structs.replace(reduction, calm=frozenset((*FAULTS, LIMITS)))
    for name in (*failure.faults, LIMITS):
        if name not in reduction.calm:
            yield msgspec.structs.replace(reduction, calm=reduction.calm | {name})


def _fewer_tasks(reduction: Reduction, failure: Failure) -> Iterator[Reduction]:
    for part in _parts(failure.tasks):
        yield msgspec.structs.replace(reduction, idle=reduction.idle | part)


def _fewer_faults(reduction: Reduction, failure: Failure) -> Iterator[Reduction]:
    for part in _parts(failure.happened):
        yield msgspec.structs.replace(reduction, spared=reduction.spared | part)


def _parts(whole: tuple[_Key, ...]) -> Iterator[frozenset[_Key]]:
    """Yield a half, the other half, then quarters, and so on to each by itself."""
    size = len(whole)
    while size > 1:
        size = (size + 1) // 2
        for start in range(0, len(whole), size):
            yield frozenset(whole[start : start + size])
    if len(whole) == 1:
        yield frozenset(whole)


def tell(
    seed: int, reduction: Reduction, write: Callable[[str], object], form: str = FORMS[0]
) -> int:
    """Live through a world once more and write down what happens in it; return 1 if it fails."""
    with living_in(seed, reduction, Telling(write), form) as world:
        try:
            world.run()
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            now = world.timeline.now
            write(f"{now:9.3f}  FAILS in {where.name}, {where.filename}:{where.lineno}\n")
            write(f"           {type(error).__name__}: {error}\n")
            return 1
    return 0
