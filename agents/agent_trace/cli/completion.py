"""The command that prints a shell's completion script."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import BashComplete, get_completion_class

from .completing import VARIABLE
from .face import Face, global_options, pass_face
from .output import emit_json

__all__ = ["COMMANDS"]

_PROGRAM: Final = "agent-trace"

_INSTALLATIONS: Final = {
    "bash": "echo 'eval \"$(agent-trace completion bash)\"' >> ~/.bashrc",
    "zsh": "echo 'eval \"$(agent-trace completion zsh)\"' >> ~/.zshrc",
    "fish": "agent-trace completion fish > ~/.config/fish/completions/agent-trace.fish",
}

_BASH: Final = """\
%(complete_func)s() {
    local type value
    COMPREPLY=()
    while IFS=',' read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done < <(IFS=$'\\n'; COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD \\
        %(complete_var)s=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class _Bash(BashComplete):
    """Click's own script loses backslashes, and expands a `*` in what it is told."""

    source_template = _BASH


@click.command()
@click.argument("shell", type=click.Choice(list(_INSTALLATIONS)))
@global_options
@pass_face
def completion(face: Face, shell: str) -> None:
    """Print a script that completes commands in a shell.

    The last line of the script says how to install it, as a comment.
    """
    kind = _Bash if shell == "bash" else get_completion_class(shell)
    assert kind is not None
    root = click.get_current_context().find_root().command
    script = kind(root, {}, _PROGRAM, VARIABLE).source().strip("\n")
    installation = _INSTALLATIONS[shell]
    if face.json:
        emit_json({"shell": shell, "script": script, "install": installation})
        return
    click.echo(f"{script}\n# install: {installation}")


COMMANDS = {"completion": completion}
