"""The command that prints a shell's completion script."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

from .face import Face, global_options, pass_face
from .output import emit_json

__all__ = ["COMMANDS"]

_PROGRAM: Final = "agent-trace"

_VARIABLE: Final = "_AGENT_TRACE_COMPLETE"
"""By which the script asks the program for completions; click makes the name from the program's."""

_INSTALLATIONS: Final = {
    "bash": "echo 'eval \"$(agent-trace completion bash)\"' >> ~/.bashrc",
    "zsh": "echo 'eval \"$(agent-trace completion zsh)\"' >> ~/.zshrc",
    "fish": "agent-trace completion fish > ~/.config/fish/completions/agent-trace.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(list(_INSTALLATIONS)))
@global_options
@pass_face
def completion(face: Face, shell: str) -> None:
    """Print a script that completes commands in a shell.

    The last line of the script says how to install it, as a comment.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    root = click.get_current_context().find_root().command
    script = kind(root, {}, _PROGRAM, _VARIABLE).source().strip("\n")
    installation = _INSTALLATIONS[shell]
    if face.json:
        emit_json({"shell": shell, "script": script, "install": installation})
        return
    click.echo(f"{script}\n# install: {installation}")


COMMANDS = {"completion": completion}
