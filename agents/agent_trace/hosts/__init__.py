"""Telling agent hosts about agent-trace: their configuration files, hooks and instructions.

Its law: nothing in a file of somebody else is lost or changed but what is ours, and what is ours
can be taken away again. A file that can not be read with certainty is not touched.
"""

from __future__ import annotations

from .catalogue import HOSTS, Host, Scope
from .setting_up import Change, Done, Plan, Step, What, plan, plan_removal

__all__ = [
    "HOSTS",
    "Change",
    "Done",
    "Host",
    "Plan",
    "Scope",
    "Step",
    "What",
    "plan",
    "plan_removal",
]
