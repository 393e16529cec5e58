"""What is left out of a seed's world, so that what makes it fail can be seen."""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ["LIMITS", "TROUBLE_SECONDS", "WHOLE", "Reduction"]

TROUBLE_SECONDS: Final = 40.0
"""How long faults go on before everything heals."""

LIMITS: Final = "limits"
"""In `Reduction.calm`: the product's own limits stay as large as they are."""


class Reduction(msgspec.Struct, frozen=True, omit_defaults=True):
    """A smaller world; what is not left out is drawn as it was."""

    without: frozenset[int] = frozenset()
    """Clients that never come, by their place in the cast."""
    calm: frozenset[str] = frozenset()
    """Kinds of faults that do not happen."""
    idle: frozenset[tuple[int, int]] = frozenset()
    """Tasks that clients draw and do not begin: client and number, from 1."""
    spared: frozenset[tuple[str, int]] = frozenset()
    """Faults of a kind that do not happen: kind and number, from 1."""
    trouble_seconds: float = TROUBLE_SECONDS
    salt: int = 0
    """Draws anew what comes between other things: the order of what is due at once, the network,
    and the delays of the coordinator. Whatever is left out shifts those anyway."""


WHOLE: Final = Reduction()
"""Nothing is left out."""
