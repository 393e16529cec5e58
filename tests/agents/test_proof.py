"""The self-test finds nothing where nothing is wrong, and everything that is made wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from agent_trace.cli.main import cli
from agent_trace.proof.verify import verify
from agent_trace.proof.worker import BOARDS, Step

_Change = Callable[[list[Step]], list[Step]]


@dataclass(frozen=True)
class _Raced:
    said: dict[str, object]
    """What the command printed."""
    store: Path
    steps: list[Step]
    """What was acknowledged."""


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> _Raced:
    """A run of a few seconds with kills."""
    directory = tmp_path_factory.mktemp("raced")
    arguments = ["--json", "selftest", "--seconds", "5", "--agents", "3", "--seed", "3", "--keep"]
    result = CliRunner().invoke(cli, [*arguments, "--directory", str(directory)])
    assert result.exit_code == 0, result.output
    said = msgspec.json.decode(result.stdout, type=dict[str, object])
    store = Path(str(said["store"]))
    files = sorted((store.parent / "acknowledged").iterdir())
    lines = [line for file in files for line in file.read_bytes().splitlines()]
    return _Raced(said, store, [msgspec.json.decode(line, type=Step) for line in lines])


def test_nothing_is_wrong_after_kills(raced: _Raced) -> None:
    said = raced.said
    assert said["good"] and said["seed"] == 3
    assert said["acknowledged"] == len(raced.steps) > 0
    assert said["coordinator_kills"] or said["agent_kills"]
    assert said["leases_checked"]


def _replaced(index: int, **fields: object) -> _Change:
    def change(steps: list[Step]) -> list[Step]:
        return [
            msgspec.structs.replace(step, **fields) if place == index else step
            for place, step in enumerate(steps)
        ]

    return change


def _without_boards(steps: list[Step]) -> list[Step]:
    return [step for step in steps if not step.path.startswith(BOARDS)]


def _reordered(steps: list[Step]) -> list[Step]:
    return [*steps[:5], *reversed(steps[5:7]), *steps[7:]]


def _held_by_two(steps: list[Step]) -> list[Step]:
    under = sorted((step for step in steps if step.token), key=lambda step: step.token)
    first, second = next(
        (before, after)
        for before in under
        for after in under
        if before.path == after.path and before.token < after.token
    )
    late = msgspec.structs.replace(first, held_until=second.held_from + 1.0)
    return [late if step is first else step for step in steps]


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (_replaced(5, seq=1_000_000), "lost"),
        (_replaced(5, commit="0" * 40), "lost"),
        (_replaced(5, number=4), "lost"),
        (_without_boards, ""),
        (_reordered, "reordered"),
        (_held_by_two, "shared"),
    ],
    ids=["unknown", "other-commit", "other-words", "fewer", "reordered", "held-by-two"],
)
def test_what_is_made_wrong_is_found(raced: _Raced, change: _Change, finding: str) -> None:
    verdict = verify(raced.store, change(raced.steps))
    if finding:
        assert getattr(verdict, finding), verdict
    else:
        assert verdict.problems == []


def test_another_author_is_found(raced: _Raced) -> None:
    other = msgspec.structs.replace(raced.steps[0], agent="somebody-else")
    verdict = verify(raced.store, [other, *raced.steps[1:]])
    assert verdict.problems
