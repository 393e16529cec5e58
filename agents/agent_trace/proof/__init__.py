"""Real agents, real kills, and the question what became of what was acknowledged.

`agent-trace selftest` and the demonstration are made of this. Agents are processes of their own and
write down each acknowledgement; git, which knows nothing of agent-trace, is asked about the end.
"""
