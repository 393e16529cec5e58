"""All planted bugs. Each must be noticed by the simulation within its number of seeds."""

from __future__ import annotations

from typing import Final

from .core import CORE_MUTANTS
from .plant import Mutant, planted
from .rights import RIGHTS_MUTANTS
from .shell import SHELL_MUTANTS

__all__ = ["MUTANTS", "Mutant", "planted"]

MUTANTS: Final = (*CORE_MUTANTS, *RIGHTS_MUTANTS, *SHELL_MUTANTS)
