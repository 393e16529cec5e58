"""The view in a terminal: `agent-trace open`."""
