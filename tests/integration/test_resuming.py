"""An agent and the coordinator are killed; the agent's successor is told where it was."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from agent_trace import connect_sync
from support.coordinator import running

pytestmark = pytest.mark.integration

WORKER = textwrap.dedent(
    """
    import sys, time
    from agent_trace import Conflict, PermissionDenied, connect_sync

    with connect_sync(sys.argv[1], agent="planner") as agent:
        agent.write(
            "plan.md",
            "# Plan\\n\\nObjective: ship it\\n\\n## Phase 1\\n\\n- [ ] lexer\\n- [ ] parser\\n",
            type="plan",
        )
        agent.read("spec.md")
        agent.edit("plan.md", "[ ] lexer", "[x] lexer")
        try:
            agent.write("api.md", "mine")
        except PermissionDenied:
            pass
        try:
            agent.write("spec.md", "late", if_revision=1)
        except Conflict:
            pass
        agent.acquire("spec.md", ttl_seconds=60)
        print("ready", flush=True)
        time.sleep(600)
    """
)


def test_the_successor_of_a_killed_agent_is_told_where_it_was(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with running(root) as coordinator:
        with connect_sync(root, user="ann") as ann, connect_sync(root, agent="bob") as bob:
            ann.write("api.md", "# Interface\n", type="reference")
            bob.write("spec.md", "one\n")
            bob.write("spec.md", "two\n")
            worker = subprocess.Popen(
                [sys.executable, "-c", WORKER, str(root)], stdout=subprocess.PIPE, text=True
            )
            assert worker.stdout is not None
            with worker.stdout as output:
                assert output.readline() == "ready\n"
                worker.send_signal(signal.SIGKILL)
                worker.wait(10)
            ann.acquire("spec.md", ttl_seconds=60, steal=True)
            bob.write("spec.md", "three\n")
        coordinator.process.send_signal(signal.SIGKILL)
        coordinator.process.wait(10)
    with running(root), connect_sync(root, agent="planner", takeover=True) as agent:
        briefing = agent.briefing()
        reason = agent.why("plan.md", line=7)
        recap = agent.recap(agent.predecessor)

    for fact in (
        'objective: "ship it" (plan.md:3)',
        'phase: "Phase 1" (plan.md)',
        'next step: "parser" (plan.md:8)',
        "outdated: plan.md@2 rests on spec.md@2 (@3 now, by bob)",
        '[ ] "parser" (plan.md:8 under "Phase 1")',
        'edit plan.md@2 (+1 -1): checked off "lexer"',
        "lost lease: spec.md",
        "ann got it by operation",
        "your put api.md was refused",
        "your write to spec.md on revision 1 came too late",
        "changed since you knew it: spec.md@2, it is at @3 now; bob: put spec.md@3",
    ):
        assert fact in briefing.text, f"{fact}\n{briefing.text}"
    assert [(each.path, each.revision, each.current) for each in reason.based_on] == [
        ("spec.md", 2, 3)
    ]
    assert 'checked off "lexer"' in "\n".join(recap.parts[0].lines)
