"""The real journal, fed with what simulated coordinators wrote.

The simulated disk rebuilds its state record by record; the real one loads it from its tables. Both
must come to the same state, or a restart changes what the rules say.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from agent_trace_coordinator.core.invariants import check
from agent_trace_coordinator.core.state import Rules, State
from agent_trace_coordinator.storage.journal import Journal
from simulation.world import World

pytestmark = pytest.mark.simulation


def loaded(path: Path, rules: Rules) -> State:
    journal = Journal(path)
    try:
        return journal.load(epoch=0, store="simulated", rules=rules, now=0.0)
    finally:
        journal.close()


@pytest.mark.parametrize("seed", range(12))
def test_the_journal_loads_the_state_that_its_records_add_up_to(seed: int, tmp_path: Path) -> None:
    world = World(seed)
    world.run()
    random = Random(seed)
    path = tmp_path / "state.db"
    entries = list(world.disk.entries)
    journal = Journal(path)
    while entries:
        size = random.randrange(1, 40)
        journal.append(entries[:size], [])
        entries = entries[size:]
    journal.close()
    state = loaded(path, world.disk.rules)
    check(state)
    world.disk.epoch = 0
    assert state == world.disk.load(0.0)
    assert loaded(path, world.disk.rules) == state
