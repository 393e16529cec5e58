"""`python -m agent_trace_coordinator`: how clients start a coordinator."""

from __future__ import annotations

from agent_trace_coordinator.cli import main

if __name__ == "__main__":
    main()
