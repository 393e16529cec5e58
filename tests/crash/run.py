"""The controllers: load, a crash at a random moment, a new start, a check, and so on."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from crash.disk import Disk
from crash.faults import FAULTS, Fault, Injector
from crash.points import POINTS
from crash.processes import Coordinator, make_store
from crash.scene import INIT_SECONDS, Figures, Plan, Scene, Stop, acting

__all__ = [
    "in_rounds",
    "kill_at",
    "run_cut",
    "run_faults",
    "run_first",
    "run_kill",
    "run_wound",
    "settle_fault",
]

ROUND_SECONDS: Final = 45.0
"""After so long another store is made: what is checked at the end is checked more often, and a
start does not become longer and longer."""

ROUND_SECONDS_MIN: Final = 3.0
"""So much has to be left to begin with another store."""

POINT_SECONDS: Final = 1.0
"""How long a coordinator may take until it comes to the point at which it is to die."""

FAULT_SECONDS: Final = 60.0
"""How long a coordinator whose calls work again may take until it answers, or has ended."""

EXIT_DISK_FAILED: Final = 74
"""What a coordinator ends with that can not make anything durable any more."""

EXIT_DAMAGED: Final = 1
"""What it ends with when state.db seems to be damaged."""


# ---- killing -----------------------------------------------------------------------------------


def in_rounds(plan: Plan, run: Callable[[Path, Plan], Figures], directory: Path) -> Figures:
    """Run with one store after the other, so that none becomes large, and add up the figures."""
    random = Random(plan.seed)
    end = time.monotonic() + plan.seconds
    figures: Figures | None = None
    while figures is None or not (figures.violations and plan.stop_at_violation):
        left = end - time.monotonic()
        if figures is not None and left < ROUND_SECONDS_MIN:
            break
        place = directory / f"store-{0 if figures is None else figures.stores}"
        place.mkdir()
        seed = plan.seed if figures is None else random.getrandbits(32)
        part = dataclasses.replace(plan, seconds=min(left, ROUND_SECONDS), seed=seed)
        found = run(place, part)
        if figures is None:
            figures = found
        else:
            figures.add(found)
        if not found.violations:
            shutil.rmtree(place)
    return figures


def run_kill(directory: Path, plan: Plan) -> Figures:
    """Kill processes at random moments; `directory` is an empty one of our own."""
    scene = Scene(directory / "store", directory, plan)
    random = scene.random
    with acting(scene):
        scene.make()
        scene.start()
        scene.start_clients()
        end = time.monotonic() + plan.seconds
        while time.monotonic() < end:
            scene.load(_load_seconds(random))
            scene.coordinator.check_alive()
            (fault,) = random.choices(tuple(_KILLS), weights=tuple(_KILLS.values()))
            if fault == "point":
                point = random.choice(tuple(POINTS))
                # It was killed before as well, which counts by itself.
                scene.figures.faults["coordinator"] += 1
                died = kill_at(scene, point, random.randint(1, POINTS[point]))
                fault = point if died else "coordinator"
            elif fault != "git":
                _inflict(scene, fault)
            elif not scene.coordinator.kill_git():
                continue  # just between two of them
            scene.figures.faults[fault] += 1
            scene.check_new()
    return scene.sum_up()


_KILLS: Final = {
    "coordinator": 30,
    "point": 30,
    "git": 15,
    "client": 15,
    "twice": 4,
    "pause": 3,
    "term": 3,
}
"""What is done, and how often."""


def _load_seconds(random: Random) -> float:
    """Return how long clients work before the next crash: mostly as long as it takes them to be
    served again, sometimes until there is much to recover."""
    low, high = random.choices(((0.02, 0.12), (0.1, 0.4), (0.4, 1.2)), weights=(60, 30, 10))[0]
    return random.uniform(low, high)


def kill_at(scene: Scene, point: str, at: int, seconds: float = POINT_SECONDS) -> bool:
    """Kill the coordinator, and let its next life end itself at a named point, in its recovery or
    as it serves; return whether it did.

    One that does not come there in time is killed where it is.
    """
    coordinator = scene.coordinator
    began = time.monotonic()
    coordinator.kill()
    scene.look_at_wreck()
    coordinator.begin(point, at)
    if not _await_end(coordinator, seconds) and "withdrawn" in point:
        coordinator.signal(signal.SIGTERM)
    if coordinator.ended() is None and ("withdrawn" in point or "maintenance" in point):
        _await_end(coordinator, seconds)
    code = coordinator.ended()
    if code is not None and code != -signal.SIGKILL:
        scene.checker.accuse(f"the coordinator ended with {code} on its way to {point!r}")
    coordinator.kill()
    scene.look_at_wreck()
    scene.start(began)
    return code is not None


def _await_end(coordinator: Coordinator, seconds: float) -> bool:
    """Return whether it ends by itself within a time."""
    deadline = time.monotonic() + seconds
    while coordinator.ended() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    return coordinator.ended() is not None


def _inflict(scene: Scene, fault: str) -> None:
    coordinator, random = scene.coordinator, scene.random
    began = time.monotonic()
    if fault == "client":
        scene.replace_client()
    elif fault == "pause":
        coordinator.signal(signal.SIGSTOP)
        time.sleep(random.uniform(0.05, 1.5))
        coordinator.signal(signal.SIGCONT)
    elif fault == "term":
        coordinator.leave()
        scene.look_at_wreck()
        scene.start(began)
    else:
        coordinator.kill()
        scene.look_at_wreck()
        if fault == "twice":
            # Somewhere in the recovery, or right after it.
            coordinator.begin()
            time.sleep(random.uniform(0.0, 0.25))
            coordinator.kill()
        scene.start(began)


# ---- failing system calls --------------------------------------------------------------------


def run_faults(directory: Path, plan: Plan) -> Figures:
    """Let system calls of the coordinator and of git fail while they serve.

    It may go on, refuse, or end with the code that says that the disk failed; whichever it is,
    what was acknowledged is there when it works again.
    """
    scene = Scene(directory / "store", directory, plan, disk_may_fail=True)
    random = scene.random
    with acting(scene):
        scene.make()
        scene.start()
        scene.start_clients()
        scene.await_pack()
        left: list[Fault] = []
        end = time.monotonic() + plan.seconds
        while time.monotonic() < end:
            # All of them once, in a random order, before any comes again.
            left = left or random.sample(FAULTS, len(FAULTS))
            scene.load(random.uniform(0.05, 0.3))
            _let_fail(scene, left.pop())
            scene.check_new()
    return scene.sum_up()


def _let_fail(scene: Scene, fault: Fault) -> None:
    """Let a call fail while clients write."""
    coordinator = scene.coordinator
    children = coordinator.git_children()
    pids = [coordinator.pid] if fault.process == "coordinator" else children
    if not pids:
        return
    injector = Injector(pids, fault, scene.random, scene.scratch / "strace.log")
    try:
        scene.load(scene.random.uniform(0.3, 1.2))
    finally:
        failed = injector.close()
    if failed:
        settle_fault(scene, fault)
    else:
        scene.figures.faults["without a call that could fail"] += 1


def settle_fault(scene: Scene, fault: Fault) -> None:
    """See what became of a coordinator of which, or of whose git, a call has failed.

    It serves, or it has ended as it must, and then the next one does.
    """
    coordinator = scene.coordinator
    scene.figures.faults[str(fault)] += 1
    began = time.monotonic()
    code = coordinator.ended()
    if code is None:
        # It may be on its way out.
        coordinator.await_served(FAULT_SECONDS)
        code = coordinator.ended()
    if code is None:
        return
    scene.figures.ends[f"{code} after {fault}"] += 1
    # SQLite tells a page that can not be read from one that is damaged no more than that.
    damaged = fault.call == "pread64" and code == EXIT_DAMAGED
    if code != EXIT_DISK_FAILED and not damaged:
        scene.checker.accuse(f"{fault} ended the coordinator with {code}, not {EXIT_DISK_FAILED}")
        scene.stop_if_broken()
    scene.look_at_wreck()
    scene.start(began)


# ---- wounding the repository -----------------------------------------------------------------


def run_wound(directory: Path, plan: Plan, wounds: Sequence[str] = ()) -> Figures:
    """Damage the git repository between two lives, in each of the named ways, or all there are."""
    scene = Scene(directory / "store", directory, plan)
    with acting(scene):
        scene.make()
        scene.start()
        scene.start_clients()
        scene.await_pack()
        for name in wounds or _WOUNDS:
            scene.load(0.3)
            began = time.monotonic()
            for child in scene.coordinator.git_children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            scene.coordinator.kill()
            _WOUNDS[name](scene.root / ".agent-trace" / "repo")
            scene.figures.faults[name] += 1
            scene.start(began)
            scene.check_new()
    return scene.sum_up()


def _newest_pack(repo: Path, suffix: str) -> Path:
    packs = (repo / "objects" / "pack").glob(f"pack-*{suffix}")
    return max(packs, key=lambda path: path.stat().st_mtime_ns)


_WOUNDS: Final[dict[str, Callable[[Path], object]]] = {
    "empty ref": lambda repo: (repo / "refs/heads/main").write_bytes(b""),
    "ref of zeros": lambda repo: (repo / "refs/heads/main").write_bytes(bytes(41)),
    "no ref": lambda repo: (repo / "refs/heads/main").unlink(),
    "no refs at all": lambda repo: shutil.rmtree(repo / "refs"),
    "ref to nothing": lambda repo: (repo / "refs/heads/main").write_bytes(b"1" * 40 + b"\n"),
    "empty HEAD": lambda repo: (repo / "HEAD").write_bytes(b""),
    "no HEAD": lambda repo: (repo / "HEAD").unlink(),
    "empty config": lambda repo: (repo / "config").write_bytes(b""),
    "empty pack": lambda repo: _newest_pack(repo, ".pack").write_bytes(b""),
    "pack of zeros": lambda repo: _zero(_newest_pack(repo, ".pack")),
    "empty index of a pack": lambda repo: _newest_pack(repo, ".idx").write_bytes(b""),
    "no index of a pack": lambda repo: _newest_pack(repo, ".idx").unlink(),
    "no pack": lambda repo: _newest_pack(repo, ".pack").unlink(),
    "locks": lambda repo: [
        (repo / name).write_bytes(b"") for name in ("HEAD.lock", "config.lock", "index.lock")
    ],
    "empty index": lambda repo: (repo / "index").write_bytes(b""),
    "no objects": lambda repo: shutil.rmtree(repo / "objects"),
    "no repository": shutil.rmtree,
}
"""What is done to the repository, by a name for it. Losing all of it is more than a cut can do."""


def _zero(path: Path) -> None:
    path.chmod(0o600)
    path.write_bytes(bytes(path.stat().st_size))


# ---- cutting the power ---------------------------------------------------------------------------


def run_cut(directory: Path, plan: Plan, kind: str) -> Figures:
    """Cut the power at random moments, on a file system of `kind`."""
    with Disk(directory, kind) as disk:
        scene = Scene(disk.root / "store", directory, plan)
        random = scene.random
        with acting(scene):
            scene.make()
            scene.start()
            scene.start_clients()
            end = time.monotonic() + plan.seconds
            while time.monotonic() < end:
                scene.load(_load_seconds(random))
                scene.coordinator.check_alive()
                began = _cut_power(scene, disk)
                scene.figures.faults["cut"] += 1
                scene.look_at_wreck()
                if random.random() < 0.2:
                    _cut_recovery(scene, disk)
                scene.start(began)
                scene.cuts.healed(scene.coordinator.epoch, time.monotonic())
                scene.check_new()
    return scene.sum_up()


def _cut_power(scene: Scene, disk: Disk) -> float:
    # The exact time is read next to the call; nothing said after this earlier one is relied on.
    began = time.monotonic()
    scene.cuts.begin(scene.coordinator.epoch, began)
    disk.cut()
    if scene.random.random() < 0.3:
        # It may notice by itself first, and must not say anything that is not so.
        time.sleep(scene.random.uniform(0.0, 0.1))
    scene.coordinator.kill()
    disk.unmount()
    disk.mount()
    return began


def _cut_recovery(scene: Scene, disk: Disk) -> None:
    """Cut the power once more while the coordinator recovers."""
    scene.coordinator.begin()
    time.sleep(scene.random.uniform(0.01, 0.25))
    # It may have come as far as serving, in the epoch after the last one.
    scene.cuts.begin(scene.coordinator.epoch + 1, time.monotonic())
    disk.cut()
    scene.coordinator.kill()
    disk.unmount()
    disk.mount()
    scene.figures.faults["cut in recovery"] += 1


# ---- the first life ------------------------------------------------------------------------------


def run_first(directory: Path, plan: Plan, kind: str) -> Figures:
    """Cut the power while a store is made and while it is started for the first time."""
    figures = Figures(plan.seed)
    random = Random(plan.seed)
    with Disk(directory, kind) as disk:
        usual = _time_first_life(disk.root / "usual", directory)
        end = time.monotonic() + plan.seconds
        while time.monotonic() < end and not (figures.violations and plan.stop_at_violation):
            number = figures.cycles
            scratch = directory / f"life-{number}"
            scratch.mkdir()
            root = disk.root / f"deep-{number}" / "store"
            moment = _MOMENTS[number % len(_MOMENTS)]
            scene = Scene(root, scratch, Plan(0, 2, random.getrandbits(32), plan.mutant))
            with acting(scene):
                _cut_first_life(scene, disk, moment, usual)
            found = scene.sum_up()
            figures.faults[moment] += 1
            figures.records += found.records
            figures.acked += found.acked
            figures.starts += found.starts
            figures.damage += found.damage
            figures.violations += [f"{moment} ({number}): {each}" for each in found.violations]
            shutil.rmtree(scratch)
    return figures


_MOMENTS: Final = ("in init", "after init", "in the first start", "after it")


@dataclass(frozen=True, slots=True)
class _Usual:
    """How many seconds things take here when nothing disturbs them."""

    init: float
    start: float


def _time_first_life(root: Path, scratch: Path) -> _Usual:
    scene = Scene(root, scratch, Plan(0, 0, 0))
    began = time.monotonic()
    scene.make()
    made = time.monotonic()
    try:
        scene.start()
        return _Usual(made - began, time.monotonic() - made)
    finally:
        scene.close()


def _cut_first_life(scene: Scene, disk: Disk, moment: str, usual: _Usual) -> None:
    random = scene.random
    making = make_store(scene.root)
    if moment == "in init":
        # Most of the time is the interpreter's start; what counts is its end.
        time.sleep(usual.init * random.uniform(0.6, 1.1))
        disk.cut()
        promised = making.poll() == 0
        making.kill()
    else:
        promised = making.wait(INIT_SECONDS) == 0
        if moment == "in the first start":
            scene.coordinator.begin()
            time.sleep(usual.start * random.uniform(0.4, 1.1))
        elif moment == "after it":
            scene.start()
        disk.cut()
    making.communicate()
    scene.coordinator.kill()
    disk.unmount()
    disk.mount()
    if promised and not (scene.root / ".agent-trace" / "config.toml").is_file():
        scene.checker.accuse("init had returned, and there is no store after the power cut")
        raise Stop
    scene.look_at_wreck()
    if not promised:
        again = make_store(scene.root)
        _, said = again.communicate(timeout=INIT_SECONDS)
        if again.returncode and b"is a store already" not in said:
            text = said.decode("utf-8", "replace")
            scene.checker.accuse(f"init does not finish what a power cut broke off: {text}")
            raise Stop
    scene.start()
    scene.start_clients()
    time.sleep(0.5)
