"""Inputs made of good ones: what is done where no coverage leads the way."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

__all__ = ["mix"]

_TELLING: Final = (
    b"\0",
    b"\n",
    b"\r\n",
    b"\n\n",
    b"/",
    b"..",
    b"\xff",
    b"\xc1",
    b"\xdd\xff\xff",
    b": ",
)


def mix(random: Random, seeds: Sequence[bytes]) -> bytes:
    """Return a damaged mixture of seeds, or something else altogether."""
    if random.random() < 0.05:
        return random.randbytes(random.randrange(64))
    data = bytearray(random.choice(seeds))
    for _ in range(random.choice((1, 1, 2, 3, 8))):
        place = random.randrange(len(data) + 1)
        match random.randrange(6):
            case 0:
                data[place:place] = random.randbytes(random.randint(1, 8))
            case 1:
                del data[place : place + random.randint(1, 16)]
            case 2:
                data[place : place + 1] = random.randbytes(1)
            case 3:
                data[place:place] = random.choice(_TELLING)
            case 4:
                other = random.choice(seeds)
                data[place:] = other[random.randrange(len(other) + 1) :]
            case _:
                start = random.randrange(len(data) + 1)
                data[place:place] = data[start : start + random.randint(1, 32)]
    return bytes(data)
