"""The blocking twin of `upkeep`: the same functions for ordinary code, each made from its own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from anyio.from_thread import start_blocking_portal

from . import upkeep
from .upkeep import UpkeepFailed

__all__ = [
    "UpkeepFailed",
    "add_mirror",
    "back_up",
    "doctor",
    "mirrors",
    "push_mirrors",
    "remove_mirror",
    "repair",
    "restore_backup",
]

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _blocking(function: Callable[_P, Coroutine[Any, Any, _R]]) -> Callable[_P, _R]:
    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        # An event loop of its own, so that it may be called from within another one as well.
        with start_blocking_portal() as portal:
            result: _R = portal.call(functools.partial(function, *args, **kwargs))
        return result

    return call


doctor = _blocking(upkeep.doctor)
repair = _blocking(upkeep.repair)
back_up = _blocking(upkeep.back_up)
restore_backup = _blocking(upkeep.restore_backup)
add_mirror = _blocking(upkeep.add_mirror)
remove_mirror = _blocking(upkeep.remove_mirror)
mirrors = _blocking(upkeep.mirrors)
push_mirrors = _blocking(upkeep.push_mirrors)
