"""Kills a real coordinator and its real clients, cuts its power, and checks what is left.

Three tiers. KILL ends processes: it sees faults of logic, order and repetition, but no missing
sync, because the kernel keeps what was written. CUT shuts the file system down under the store, on
a loop device, without flushing its log: what was not synced is gone, as after a power cut. BLOCKS
logs every write and flush that reaches the device during one run, and makes of any instant of it
the disks that a power cut could have left, with what was not flushed lost, reordered or torn.

    PYTHONPATH=tests .venv/bin/python -m crash kill --seconds 60 --agents 8 --seed 1
    PYTHONPATH=tests .venv/bin/python -m crash cut --fs xfs --seconds 60
    PYTHONPATH=tests .venv/bin/python -m crash blocks --seconds 60
    PYTHONPATH=tests .venv/bin/python -m crash first --fs ext4 --seconds 60
    PYTHONPATH=tests .venv/bin/python -m crash pairs --seconds 600
    PYTHONPATH=tests .venv/bin/python -m crash kill --mutant nodedup

`kill` and `cut` take another store every 45 seconds, so that none becomes large; `pairs` lets every
system call of a recorded run fail with every error that it can have, one pair after the other.
`first` cuts the power while a store is made and started for the first time; `wound` damages the git
repository between two lives, each way a cut could and some worse ones. `--mutant` plants a bug
(`crash.mutant_coordinator`), to show that the harness fails when it has to.

The last line of a run, `total ...`, holds the figures that `python -m tally LOG...` adds up.

The parts: `client` is one agent's process, `workload` what it writes, `history` what it notes down,
`model` an independent idea of what the operations mean, `check` the laws, `processes` and `disk`
what is killed and cut, `nursery` where processes come from, `points` where a coordinator may
kill itself, `scene` what all controllers share, `run` and `pairs` the controllers; `block_log` is
the device that remembers, `block_disk` makes disks of what it remembers, `block_states` recovers
and checks one of them, `blocks` records and chooses; `loop` mounts images.
"""
