"""One case for each kind of damage; `python -m damage --cases 300` runs many."""

from __future__ import annotations

import logging
from collections.abc import Generator
from pathlib import Path

import pytest

from damage.case import run_case
from damage.kinds import KINDS
from damage.original import Original, make_original

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    return make_original(tmp_path_factory.mktemp("damage"), 1)


@pytest.fixture(autouse=True)
def _quiet() -> Generator[None]:
    # What a start says of damage is not what is looked at here.
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("kind", list(KINDS))
def test_what_was_acknowledged_is_there_or_is_named(
    original: Original, tmp_path: Path, kind: str
) -> None:
    seed = list(KINDS).index(kind)
    case = run_case(original, tmp_path, seed)
    assert case.wrong == [], f"seed {seed}: {case.did}"


@pytest.mark.parametrize("seed", [0, 1, 7, 19])
def test_a_repair_that_is_killed_anywhere_can_be_run_again(
    original: Original, tmp_path: Path, seed: int
) -> None:
    case = run_case(original, tmp_path, seed, kill=True)
    assert case.wrong == [], f"seed {seed}: {case.did}"
