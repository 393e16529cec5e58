"""How large a seed's world is: most are short and one-sided, some are whole.

A short world has two to four clients with a third of the tasks, a few kinds of tasks, operations
and paths, and a third of the time, in which twice as much goes wrong; then it is healed and checked
as every other. What is left out is drawn anew for each (swarm testing, Groce et al., ISSTA 2012):
what a world has too much of hides the rest. Short worlds find what faults bring about faster, whole
ones what needs a history, so there are both. Smaller ones still, with a dozen operations and at
most three kinds of faults, found less than half as much in the same time: most bugs need two or
three things to meet.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from typing import Final

from agent_trace_protocol import Actor, SessionKind

from .reduction import TROUBLE_SECONDS

__all__ = ["FORMS", "OPERATIONS", "PATHS", "TASKS", "Form", "Profile", "Taste", "draw_form"]

SHORT_SHARE: Final = 0.9
"""Of all seeds."""

TROUBLE_SECONDS_SHORT: Final = 15.0

HASTE_SHORT: Final = 2.0

FORMS: Final = ("drawn", "short", "whole")

TASKS: Final = {
    "read_modify_write": 0.3,
    "write": 0.4,
    "accept": 0.03,
    "transaction": 0.09,
    "look": 0.08,
    "special": 0.08,
    "leave": 0.02,
}
"""What agents do, and the share of each in a whole world."""

OPERATIONS: Final = (
    *("put",) * 5,
    *("append",) * 3,
    *("edit",) * 3,
    *("section",) * 2,
    *("delete",) * 2,
    *("move",) * 2,
    *("restore",) * 2,
    "add",
)
"""What they do to a document, each as often as in a whole world."""

PATHS: Final = (
    "plan.md",
    "plan.md",
    "notes/a.md",
    "notes/a.md",
    "notes/b.md",
    "log.md",
    "ref.md",
    "found.md",
)
"""Few, so that clients meet."""


@dataclass(slots=True, frozen=True)
class Taste:
    """What the clients of a world like to do."""

    tasks: dict[str, float] = field(default_factory=lambda: TASKS)
    """Shares, which need not add up to one."""
    operations: tuple[str, ...] = OPERATIONS
    paths: tuple[str, ...] = PATHS


@dataclass(slots=True, frozen=True)
class Profile:
    """What kind of client this is."""

    name: str
    actor: Actor
    kind: SessionKind
    tasks: int
    """How many things it wants to do in its life."""
    in_flight: int
    think_seconds: float
    ephemeral: bool = False
    takes_over: bool = False
    """It does not wait for a live holder of its name to go stale."""
    looks_on: bool = False
    """It writes no documents: it follows the events, and decides about what was kept."""


@dataclass(slots=True, frozen=True)
class Form:
    """The measures of a world."""

    cast: tuple[Profile, ...]
    taste: Taste = field(default_factory=Taste)
    trouble_seconds: float = TROUBLE_SECONDS
    """How long faults go on before everything heals."""
    haste: float = 1.0
    """How many times as often what happens now and then does happen."""
    short: bool = False


_CASTS: Final = (
    Profile("planner", Actor.AGENT, SessionKind.LIBRARY, 60, 4, 0.3),
    Profile("planner", Actor.AGENT, SessionKind.MCP, 20, 2, 1.0, takes_over=True),
    Profile("coder", Actor.AGENT, SessionKind.MCP, 60, 4, 0.2),
    Profile("coder", Actor.AGENT, SessionKind.LIBRARY, 15, 1, 2.0),
    Profile("reviewer", Actor.AGENT, SessionKind.CLI, 40, 3, 0.4),
    Profile("owner", Actor.USER, SessionKind.CLI, 40, 3, 0.4),
    Profile("guest", Actor.AGENT, SessionKind.CLI, 15, 1, 1.5, ephemeral=True),
)

_LOOKS_ON: Final = Profile("visitor", Actor.USER, SessionKind.CLI, 25, 2, 0.5, looks_on=True)


def draw_form(seed: int, random: Random, form: str = FORMS[0]) -> Form:
    """Return the form of a seed's world; `random` decides who takes part in a whole one."""
    own = Random(f"{seed}:form")
    lookers_on = [_LOOKS_ON] if Random(f"{seed}:looking on").random() < 0.4 else []
    short = own.random() < SHORT_SHARE
    if form == "short" or (form == "drawn" and short):
        return _short(own, lookers_on)
    cast = [each for each in _CASTS if random.random() < 0.8] or list(_CASTS[:2])
    return Form((*cast, *lookers_on))


def _short(random: Random, lookers_on: list[Profile]) -> Form:
    cast = [
        replace(profile, tasks=max(3, profile.tasks // 3))
        for profile in (*random.sample(_CASTS, random.choice((2, 3, 4))), *lookers_on)
    ]
    tasks = random.sample(list(TASKS), random.choice((3, 5, 7, 7)))
    operations = random.sample(sorted(set(OPERATIONS)), random.choice((3, 5, 8, 8)))
    taste = Taste(
        # The square root: what is rare in a whole world is less so here. Nothing happens without
        # a document.
        {"write": 0.2} | {name: TASKS[name] ** 0.5 for name in tasks},
        ("put", *operations),
        tuple(random.sample(PATHS, random.choice((2, 3, 5)))),
    )
    return Form(tuple(cast), taste, TROUBLE_SECONDS_SHORT, HASTE_SHORT, short=True)
