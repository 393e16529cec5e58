"""Planting a bug: one production function is compiled again with a few of its words replaced.

A mutant is a text change of the product's own source, so it stays a plausible slip, it can not be
left behind in the product, and it fails loudly when the code it changes is not there any more. The
function keeps its identity; whoever imported it runs the changed code.
"""

from __future__ import annotations
import __future__

import inspect
import textwrap
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

__all__ = ["Mutant", "planted"]


@dataclass(frozen=True, slots=True)
class Mutant:
    """A bug to plant."""

    name: str
    function: Callable[..., Any]
    """The production function that is changed."""
    old: str
    """What stands in it, exactly once."""
    new: str
    """What the bug makes of that."""
    breaks: str
    """What a user would suffer."""
    first: int = 0
    """The seed to begin with."""
    seeds: int = 300
    """How many worlds it may take until the simulation has noticed."""
    needs: tuple[str, ...] = ()
    """Faults that the world has to have, of `simulation.faults.FAULTS`; others are passed over."""


def _code_of(mutant: Mutant) -> tuple[FunctionType, CodeType]:
    function = mutant.function
    assert isinstance(function, FunctionType), mutant.name
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(mutant.old) == 1, (
        f"{mutant.name}: {mutant.old!r} stands {source.count(mutant.old)} times in "
        f"{function.__qualname__}; the mutant has to follow the product"
    )
    changed = compile(
        source.replace(mutant.old, mutant.new),
        f"<mutant {mutant.name}>",
        "exec",
        flags=__future__.annotations.compiler_flag,
        dont_inherit=True,
    )
    names: dict[str, Any] = {}
    exec(changed, dict(function.__globals__), names)
    mutated = names[function.__name__]
    assert isinstance(mutated, FunctionType)
    return function, mutated.__code__


@contextmanager
def planted(mutant: Mutant) -> Generator[None]:
    """Run the product with the bug in it."""
    function, code = _code_of(mutant)
    sound = function.__code__
    function.__code__ = code
    try:
        yield
    finally:
        function.__code__ = sound
