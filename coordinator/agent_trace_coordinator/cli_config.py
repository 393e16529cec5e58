"""`agent-trace config`: the store's settings, looked at, checked and changed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from agent_trace_protocol import AgentTraceError

from .cli_failures import say
from .cli_repair import find_store

if TYPE_CHECKING:
    from .storage.store import Store

__all__ = ["COMMANDS"]

_RESTART = "it holds from the coordinator's next start on; end the running one: agent-trace stop"

_store_option = click.option(
    "--store",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="AGENT_TRACE_STORE",
    help="The store's directory; found from the current one if not given.",
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _run(store: Path | None, as_json: bool, work: Callable[[Store], None]) -> None:
    """Do something with a store's settings, and end with what was wrong, if anything was."""
    # Only these commands need it.
    from .storage.store import Store  # noqa: PLC0415

    try:
        work(Store(find_store((store or Path.cwd()).absolute())))
    except AgentTraceError as error:
        say(error, error.message, as_json=as_json)
        sys.exit(1)


@click.group()
def config() -> None:
    """The store's settings: list, get, set, check.

    They lie in .agent-trace/config.toml, which may be edited by hand as well.
    """


@config.command()
@_store_option
@_json_option
def ls(store: Path | None, as_json: bool) -> None:
    """List all settings with their values; * marks those that are not the default."""
    from .storage.settings import as_toml, settings  # noqa: PLC0415
    from .storage.store import load_config  # noqa: PLC0415

    def work(opened: Store) -> None:
        loaded = load_config(opened)
        for each in settings():
            value = getattr(loaded, each.name)
            if as_json:
                shown = {"name": each.name, "value": value, "default": each.default}
                shown |= {"allowed": each.allowed, "about": each.about}
                click.echo(msgspec.json.encode(shown))
            else:
                mark = "*" if value != each.default else " "
                click.echo(f"{mark} {each.name} = {as_toml(value)}")

    _run(store, as_json, work)


@config.command()
@click.argument("name")
@_store_option
@_json_option
def get(name: str, store: Path | None, as_json: bool) -> None:
    """Print the value of one setting."""
    from .storage.settings import as_toml, setting  # noqa: PLC0415
    from .storage.store import load_config  # noqa: PLC0415

    def work(opened: Store) -> None:
        about = setting(name)
        value = getattr(load_config(opened), name)
        if as_json:
            click.echo(msgspec.json.encode({"name": name, "value": value}))
            return
        click.echo(as_toml(value))
        click.echo(f"{about.about} ({about.allowed})", err=True)

    _run(store, as_json, work)


# A value may begin with a minus sign.
@config.command(name="set", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("value")
@_store_option
@_json_option
def set_setting(name: str, value: str, store: Path | None, as_json: bool) -> None:
    """Give a setting another value; all other lines of the file stay as they are."""
    from .storage.settings import as_toml, set_value  # noqa: PLC0415

    def work(opened: Store) -> None:
        made = set_value(opened, name, value)
        if as_json:
            click.echo(msgspec.json.encode({"name": name, "value": made}))
        else:
            click.echo(f"{name} = {as_toml(made)}")
            click.echo(_RESTART, err=True)

    _run(store, as_json, work)


@config.command()
@_store_option
@_json_option
def check(store: Path | None, as_json: bool) -> None:
    """Say whether the settings are valid."""
    from .storage.store import load_config  # noqa: PLC0415

    def work(opened: Store) -> None:
        load_config(opened)
        if as_json:
            click.echo(msgspec.json.encode({"file": str(opened.config), "valid": True}))
        else:
            click.echo(f"{opened.config} is valid")

    _run(store, as_json, work)


COMMANDS: list[click.Command] = [config]
