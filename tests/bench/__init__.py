"""The bench: what agent-trace costs, each figure beside a baseline measured in the same run."""
