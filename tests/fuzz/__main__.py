"""The targets as commands; see the package's docstring."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any, Final

from tally import cpu_seconds, total_line

LED: Final = "--led"
"""The first argument of the process that atheris takes over."""

PACKAGES: Final = ("agent_trace", "agent_trace_coordinator", "agent_trace_protocol")
"""Whose coverage leads the inputs."""

INPUT_BYTES_MAX: Final = 8192

INPUT_SECONDS_MAX: Final = 5
"""What reads an input for longer hangs."""

MARGIN_SECONDS: Final = 120
"""How much longer than it was told a process may take, to start and to end."""


def main() -> int:
    """Fuzz what the command line names; return 1 if something was found."""
    if sys.argv[1:2] == [LED]:
        return lead(sys.argv[2], sys.argv[3:])
    targets = importlib.import_module("fuzz.targets").TARGETS
    parser = argparse.ArgumentParser(prog="fuzz", description="Fuzz what reads foreign bytes.")
    parser.add_argument("target", choices=(*targets, "all"))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--input", type=Path, help="try the bytes of one file, and nothing else")
    parser.add_argument(
        "--keep",
        type=Path,
        default=Path(tempfile.gettempdir()),
        help="where the inputs that fail are put",
    )
    parser.add_argument("--unled", action="store_true", help="without atheris")
    options = parser.parse_args()
    names = list(targets) if options.target == "all" else [options.target]
    if options.input is not None:
        for name in names:
            targets[name].check(options.input.read_bytes())
        sys.stdout.write("nothing wrong with it\n")
        return 0
    led = not options.unled and importlib.util.find_spec("atheris") is not None
    if not led and not options.unled:
        sys.stderr.write(
            "atheris is not installed, so no coverage leads the inputs: they are mixtures of good "
            "ones; pip install 'agent-trace[fuzz]' finds more\n"
        )
    # Coverage leads into what is written in Python and is blind in the decoders, which are not:
    # there the mixtures get further. So each has half of the time.
    ways = (run_led, run_unled) if led else (run_unled,)
    whole = len(ways) * sum(targets[name].worth for name in names)
    found = 0
    for name in names:
        for run in ways:
            seconds = options.seconds * targets[name].worth / whole
            found += run(targets[name], seconds, options.seed, options.keep)
    return 1 if found else 0


def run_unled(target: Any, seconds: float, seed: int, keep: Path) -> int:
    """Try mixtures of good inputs; return how many failed: the first ends it."""
    mix = importlib.import_module("fuzz.mixing").mix
    random = Random(seed)
    spent = cpu_seconds()
    seeds = [*target.seeds(), b""]
    count = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = mix(random, seeds)
        count += 1
        try:
            target.check(data)
        except Exception:
            failing = keep / f"crash-{target.name}-{seed}"
            failing.write_bytes(data)
            sys.stdout.write(f"{traceback.format_exc()}\n")
            _tell(f"{target.name} mixed seed={seed}", count, 1, spent)
            sys.stdout.write(f"again: {again(target.name, failing)}\n")
            return 1
    _tell(f"{target.name} mixed seed={seed}", count, 0, spent)
    return 0


def _tell(run: str, count: int, failed: int, spent: float) -> None:
    counts = {"executions": count, "violations": failed}
    sys.stdout.write(f"{total_line(f'fuzz {run}', counts, spent)}\n")
    sys.stdout.flush()


def again(name: str, failing: Path) -> str:
    """Return the command that tries one input."""
    return f"PYTHONPATH=tests python -m fuzz {name} --input {failing}"


def run_led(target: Any, seconds: float, seed: int, keep: Path) -> int:
    """Let atheris find inputs in a process of its own, for it ends the one it is in."""
    spent = cpu_seconds()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        for number, data in enumerate(target.seeds()):
            Path(place, f"seed-{number}").write_bytes(data)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "fuzz", LED, target.name, place),
                *(f"-max_total_time={max(1, round(seconds))}", f"-seed={seed or 1}"),
                *(f"-max_len={INPUT_BYTES_MAX}", f"-timeout={INPUT_SECONDS_MAX}"),
                *(f"-artifact_prefix={keep}/", "-print_final_stats=1"),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds + MARGIN_SECONDS,
            check=False,
        )
        corpus = len(list(Path(place).iterdir()))
    said = done.stdout + done.stderr
    count = re.search(r"number_of_executed_units: ([0-9]+)", said)
    covered = re.findall(r"\bcov: ([0-9]+)", said)
    failed = int(done.returncode != 0 or count is None)
    if failed:
        sys.stdout.write(f"{said[-3000:]}\n")
    edges = covered[-1] if covered else "no"
    sys.stdout.write(f"{target.name}: {edges} edges, corpus of {corpus}\n")
    _tell(f"{target.name} led seed={seed}", int(count[1]) if count else 0, failed, spent)
    failing = re.search(r"Test unit written to (\S+)", said)
    if failed and failing:
        sys.stdout.write(f"again: {again(target.name, Path(failing[1]))}\n")
    return failed


def lead(name: str, arguments: list[str]) -> int:
    """Be the process in which atheris runs a target."""
    # Untyped, and perhaps not there: only this process needs it.
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=list(PACKAGES), enable_loader_override=False):
        targets: ModuleType = importlib.import_module("fuzz.targets")
    check = targets.TARGETS[name].check
    atheris.Setup([sys.argv[0], *arguments], check)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
