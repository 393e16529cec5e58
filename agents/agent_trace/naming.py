"""The name of an agent that was given none: from what its host says, and easy to remember.

An agent host tells the commands it runs which of its sessions they belong to. From that comes
always the same name, so that all commands of one session are one agent, and those of two are two.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final

from agent_trace_protocol import AgentName, InvalidRequest, parse_agent_name
from agent_trace_protocol.limits import AGENT_NAME_LENGTH_MAX

__all__ = ["HOST_VARIABLES", "fitted_name", "host_agent_name", "memorable_name"]

HOST_VARIABLES: Final = ("CLAUDE_CODE_SESSION_ID", "CODEX_THREAD_ID")
"""Variables in which agent hosts name the session that a command belongs to. Those that only say
that some agent runs, or that an editor's terminal has as well when a person types, are none."""

_ADJECTIVES: Final = (
    "able airy amber ample azure bold brave brief bright brisk broad calm cheery civil clear "
    "clever cosy crisp dapper daring deft eager early easy even fair fast fine firm fleet fond "
    "frank free fresh gentle glad golden good grand green happy hardy hazel honest jolly keen "
    "kind large light lively loyal lucid lucky mellow merry mild mint modest neat nimble noble "
    "open patient plain polite proud quick quiet rapid ready rosy royal ruby sage sharp shiny "
    "silver sleek smart solid spry steady still sunny swift tall tidy topaz trim true vivid "
    "warm wise witty young zesty"
).split()

_NOUNS: Final = (
    "acorn alder aspen badger bear beaver beech birch bison brook cedar cliff clover cove crane "
    "creek crow dale deer delta dove eagle elk elm falcon fern field finch fir fjord forest fox "
    "gale glade glen goose grove gull harbor hare hawk hazel heath heron hill holly ibis ivy "
    "jay juniper kite lake lark laurel lily linden lynx maple marten meadow mole moose moss "
    "newt oak orchid osprey otter owl pebble pine plover pond poplar puffin quail raven reed "
    "ridge river robin rook rowan sable seal shore sparrow spruce stoat stork stream swan tern "
    "thrush tide trout vale valley vole wolf wren yew"
).split()

_NUMBERS: Final = 1000


def host_agent_name(environment: Mapping[str, str]) -> AgentName | None:
    """Return the name of the agent whose host runs this process; None if no host says so."""
    for variable in HOST_VARIABLES:
        value = environment.get(variable, "").strip()
        if value:
            return memorable_name(f"{variable}={value}")
    return None


def memorable_name(seed: str) -> AgentName:
    """Return the name that goes with a text: always the same, such as `brave-otter-417`."""
    digest = hashlib.blake2b(
        seed.encode("utf-8", "surrogateescape"), digest_size=8, person=b"agent-trace-nam"
    ).digest()
    number = int.from_bytes(digest, "big")
    number, adjective = divmod(number, len(_ADJECTIVES))
    number, noun = divmod(number, len(_NOUNS))
    return AgentName(f"{_ADJECTIVES[adjective]}-{_NOUNS[noun]}-{number % _NUMBERS}")


def fitted_name(text: str) -> AgentName | None:
    """Return a name that somebody else made, such as a login or a program's, so that it fits the
    law of names; None if nothing is left of it."""
    name = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).lstrip("._-")
    name = name[:AGENT_NAME_LENGTH_MAX].rstrip("._-")
    try:
        return parse_agent_name(name)
    except InvalidRequest:
        return None
