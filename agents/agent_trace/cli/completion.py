"""The command that prints a shell's completion script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import click
from click.shell_completion import (
    BashComplete,
    FishComplete,
    ShellComplete,
    get_completion_class,
)

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
    local found
    COMPREPLY=()
    while IFS= read -r found; do
        case $found in
            dir,*) compopt -o dirnames ;;
            file,*) compopt -o default ;;
            plain,*) COMPREPLY+=("${found#plain,}") ;;
        esac
    done < <(IFS=$'\\n'; COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD \\
        %(complete_var)s=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


_FISH: Final = """\
function %(complete_func)s
    set -l response (env %(complete_var)s=fish_complete COMP_WORDS=(commandline -cp) \\
        COMP_CWORD=(commandline -t) %(prog_name)s 2>/dev/null)
    for found in $response
        set -l parts (string split -m 1 -- "," $found)
        switch $parts[1]
            case dir
                __fish_complete_directories $parts[2]
            case file
                __fish_complete_path $parts[2]
            case plain
                printf '%%s\\n' $parts[2]
        end
    end
end
complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


class _Bash(BashComplete):
    """Click's own script loses backslashes, and expands a `*` in what it is told."""

    source_template = _BASH


class _Fish(FishComplete):
    """Click's own script cuts values off at their first comma."""

    source_template = _FISH


_OWN: Final[Mapping[str, type[ShellComplete]]] = {"bash": _Bash, "fish": _Fish}


@click.command()
@click.argument("shell", type=click.Choice(list(_INSTALLATIONS)))
@global_options
@pass_face
def completion(face: Face, shell: str) -> None:
    """Print a script that completes commands in a shell.

    The last line of the script says how to install it, as a comment.
    """
    kind = _OWN.get(shell) or get_completion_class(shell)
    assert kind is not None
    root = click.get_current_context().find_root().command
    script = kind(root, {}, _PROGRAM, VARIABLE).source().strip("\n")
    installation = _INSTALLATIONS[shell]
    if face.json:
        emit_json({"shell": shell, "script": script, "install": installation})
        return
    click.echo(f"{script}\n# install: {installation}")


COMMANDS = {"completion": completion}
