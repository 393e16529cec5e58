"""A store that is shared with another container: other process numbers, the same host's name.

So it is in a pod of Kubernetes, and wherever containers have the host's network. Nobody there can
be looked up by process number, and locks of processes there are not listed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from agent_trace import AgentBusy, connect_sync
from support.coordinator import running
from support.namespaces import own_processes

pytestmark = pytest.mark.integration

AGENT: Final = """
import sys
from agent_trace import connect_sync
with connect_sync(sys.argv[1], agent="planner", autostart=False) as agent:
    print("connected", flush=True)
    sys.stdin.readline()
"""


def test_a_live_agent_of_another_container_keeps_its_name(tmp_path: Path) -> None:
    root = tmp_path / "store"
    command = own_processes(sys.executable, "-c", AGENT, str(root))
    with (
        running(root),
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
        ) as agent,
    ):
        assert agent.stdout is not None
        assert agent.stdout.readline() == "connected\n"
        with pytest.raises(AgentBusy, match="planner is live"), connect_sync(root, agent="planner"):
            pass
        agent.communicate("\n")
        assert agent.returncode == 0


def test_doctor_knows_that_a_coordinator_of_another_container_serves(tmp_path: Path) -> None:
    root = tmp_path / "store"
    doctor = (sys.executable, "-m", "agent_trace", "doctor", "--store", str(root))
    with running(root):
        done = subprocess.run(own_processes(*doctor), capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "nothing is wrong")
