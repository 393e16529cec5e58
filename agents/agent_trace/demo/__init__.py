"""The main job, shown: many agents, one coordinator, one git history, and SIGKILL in the middle."""
