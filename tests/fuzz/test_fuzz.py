"""The fuzz targets hold for a few inputs each, and find what is planted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from agent_trace_protocol import InvalidPath, paths
from fuzz.__main__ import run_unled
from fuzz.mixing import mix
from fuzz.targets import TARGETS, Target

INPUTS = 400


@pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))
def test_a_target_holds_for_good_inputs_and_damaged_ones(target: Target) -> None:
    random = Random(target.name)
    seeds = list(target.seeds())
    for data in (*seeds, b"", *(mix(random, seeds) for _ in range(INPUTS))):
        target.check(data)


def test_a_planted_bug_is_found_and_its_input_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    check: Callable[[str, str], None] = vars(paths)["_check_segment"]

    def lenient(text: str, segment: str) -> None:
        try:
            check(text, segment)
        except InvalidPath:
            if segment != "..":
                raise

    monkeypatch.setattr(paths, "_check_segment", lenient)
    paths.parse_path.cache_clear()

    assert run_unled(TARGETS["paths"], 20.0, 1, tmp_path) == 1

    (kept,) = tmp_path.iterdir()
    assert b".." in kept.read_bytes()
    assert f"--input {kept}" in capsys.readouterr().out
    with pytest.raises(AssertionError):
        TARGETS["paths"].check(kept.read_bytes())
    monkeypatch.undo()
    paths.parse_path.cache_clear()
    TARGETS["paths"].check(kept.read_bytes())
