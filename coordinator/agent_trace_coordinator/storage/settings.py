"""The settings of a store, one by one: what each is for, what it may be, and changing it in place.

What is said about a setting is said once, in the comments of a new store's `config.toml`; its
type, range and default once, in `StoreConfig`. A test holds that the two name the same.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from agent_trace_coordinator.errors import StoreInvalid
from agent_trace_protocol import InvalidRequest

from .git_recovery import write_file
from .store import CONFIG_BYTES_MAX, DEFAULT_CONFIG, Store, StoreConfig, load_config, parse_config

__all__ = ["FIXED", "Setting", "Value", "as_toml", "set_value", "setting", "settings"]

Value = bool | int | float | str

FIXED: Final = frozenset({"format_version"})
"""Written by the program; not to be changed."""

_LINE: Final = re.compile(r"(?:# )?([a-z_]+) = (.+)")
"""A line of `config.toml` that gives a setting, or shows its default."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting."""

    name: str
    default: Value
    allowed: str
    """What it may be, for people."""
    about: str
    """What it is for."""
    type: Any
    """As msgspec converts to it."""


def settings() -> tuple[Setting, ...]:
    """Return all settings, in the order in which a new store's file has them."""
    fields = {field.name: field for field in msgspec.structs.fields(StoreConfig)}
    made: list[Setting] = []
    about: list[str] = []
    # The text above some lines is about all of them.
    ended = False
    for line in DEFAULT_CONFIG.splitlines()[3:]:
        given = _LINE.fullmatch(line)
        if given is not None and given[1] in fields:
            field = fields[given[1]]
            text = " ".join(about)
            made.append(Setting(given[1], field.default, _allowed(field.type), text, field.type))
            ended = True
        elif line.startswith("# "):
            about = [line[2:]] if ended else [*about, line[2:]]
            ended = False
        else:
            about, ended = [], False
    return tuple(made)


def setting(name: str) -> Setting:
    """Return one setting.

    Raises:
        InvalidRequest: there is none of this name.
    """
    known = {each.name: each for each in settings()}
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else "agent-trace config ls lists them"
        raise InvalidRequest(f"there is no setting {name!r}; {hint}")
    return known[name]


def _allowed(type: Any) -> str:
    info = msgspec.inspect.type_info(type)
    match info:
        case msgspec.inspect.LiteralType(values=values):
            return " or ".join(json.dumps(each) for each in sorted(values, key=str))
        case msgspec.inspect.BoolType():
            return "true or false"
        case msgspec.inspect.IntType() | msgspec.inspect.FloatType():
            kind = "whole number" if isinstance(info, msgspec.inspect.IntType) else "number"
            least = "" if info.ge is None else f" from {info.ge:,}"
            return f"{kind}{least}" + ("" if info.le is None else f" to {info.le:,}")
        case _:
            return "text"


def as_toml(value: Value) -> str:
    """Return a value as `config.toml` writes it."""
    return json.dumps(value, ensure_ascii=False)


def set_value(store: Store, name: str, given: str) -> Value:
    """Give a setting another value in the store's file, whose other lines stay as they are.

    Args:
        given: the value as a person types it.

    Raises:
        InvalidRequest: it can not be the setting's value, or the file is written in a way in which
            this does not find its place.
        StoreInvalid: the file as it is, or as it would be, is not valid; nothing was changed.
    """
    about = setting(name)
    if name in FIXED:
        raise InvalidRequest(f"{name} is written by the program; it can not be set")
    load_config(store)
    try:
        value: Value = msgspec.convert(given, about.type, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"{name} is a {about.allowed}, not {given!r}: {error}") from error
    try:
        before = store.config.read_bytes()[: CONFIG_BYTES_MAX + 1].decode("utf-8")
    except OSError as error:
        raise StoreInvalid(f"{store.config} can not be read: {error.strerror}") from error
    after = _with(before, name, f"{name} = {as_toml(value)}")
    _check(before, after, name, value, store.config)
    try:
        write_file(store.config, after.encode("utf-8"))
    except OSError as error:
        raise StoreInvalid(f"{store.config} can not be written: {error.strerror}") from error
    return value


def _with(text: str, name: str, line: str) -> str:
    """Return the text with a line for a setting: in its place, or where its default is shown."""
    lines = text.splitlines()
    for mark in ("", "# "):
        for at, each in enumerate(lines):
            if re.match(rf"{mark}{name}\s*=", each):
                lines[at] = line
                return "\n".join(lines) + "\n"
    return "\n".join([*lines, line]) + "\n"


def _check(before: str, after: str, name: str, value: Value, path: Path) -> None:
    """Raise unless `after` is `before` with this one setting changed, and valid."""
    parse_config(after.encode("utf-8"), path)
    if tomllib.loads(after) != {**tomllib.loads(before), name: value}:
        raise InvalidRequest(f"{path} is not written line by line; set {name} in it by hand")
