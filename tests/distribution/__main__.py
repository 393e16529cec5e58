"""`python -m distribution DIR`: installs each wheel and sdist of DIR into an empty place, uses it.

What is installed is used from an empty directory, with an environment that names nothing of this
tree: a store is made, written to, read, its history shown, its coordinator stopped.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Final

import click

__all__ = ["main"]

_TEXT: Final = "# Plan\n\n- [ ] ship it\n"


def _run(directory: Path, home: Path, *arguments: str | Path, given: str = "") -> str:
    """Run a command that may take a minute and must succeed; return what it printed."""
    allowed = ("PATH", "LANG", "PIP_INDEX_URL", "PIP_CONFIG_FILE", "SSL_CERT_FILE", "TMPDIR")
    environment = {name: os.environ[name] for name in allowed if name in os.environ}
    done = subprocess.run(
        [str(argument) for argument in arguments],
        cwd=directory,
        env=environment | {"HOME": str(home), "PIP_ROOT_USER_ACTION": "ignore"},
        input=given,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        words = " ".join(str(argument) for argument in arguments)
        raise click.ClickException(f"{words}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def _use(directory: Path, home: Path, program: Path, package: Path) -> None:
    version = _run(directory, home, program, "--version")
    if package.name.split("-")[1].removesuffix(".tar.gz") not in version:
        raise click.ClickException(f"{package.name} says it is {version.strip()}")
    _run(directory, home, program, "init")
    _run(directory, home, program, "--agent", "planner", "write", "plan.md", given=_TEXT)
    if (read := _run(directory, home, program, "read", "plan.md")) != _TEXT:
        raise click.ClickException(f"{package.name}: read {read!r} where {_TEXT!r} was written")
    if "planner" not in _run(directory, home, program, "log", "plan.md"):
        raise click.ClickException(f"{package.name}: the log does not name who wrote")
    _run(directory, home, program, "stop")


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(directory: Path) -> None:
    """Install each wheel and sdist of DIRECTORY into an empty environment and use it."""
    packages = sorted(
        path.resolve() for path in directory.iterdir() if path.name.endswith((".whl", ".tar.gz"))
    )
    if len(packages) != 2:
        raise click.ClickException(f"a wheel and an sdist are wanted, {directory} has {packages}")
    for package in packages:
        with tempfile.TemporaryDirectory(prefix="agent-trace-dist-") as name:
            place = Path(name)
            for part in ("home", "work"):
                (place / part).mkdir()
            venv.create(place / "env", with_pip=True)
            python = place / "env" / "bin" / "python"
            pip = (python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
            _run(place / "work", place / "home", *pip, package)
            _use(place / "work", place / "home", python.with_name("agent-trace"), package)
        click.echo(f"{package.name}: installed into an empty environment, and used")


if __name__ == "__main__":
    sys.exit(main())
