"""What setting a host up consists of, as steps that can be shown, checked, done and undone.

A step is a rule from a file's text to its text. Done twice it changes nothing, so whether it is
done is whether it would change something. Every file is read and judged before the first is
written. A server is added by the host's own program where there is one, and the file is looked at
afterwards: what the program did not do is done to the file.
"""

from __future__ import annotations

import difflib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial, reduce
from pathlib import Path
from typing import Final, cast

from agent_trace_protocol import InvalidRequest

from . import files, marked, toml_text
from .catalogue import SERVER, HookStyle, Host, Scope
from .jsonc import Document, Json, MalformedJson

__all__ = ["Change", "Done", "Plan", "Step", "What", "plan", "plan_removal"]

HOOK_SECONDS: Final = 15
"""How long a host waits for our hook, which ends by itself long before."""

PROGRAM_SECONDS_MAX: Final = 60.0
"""How long a host's own program may take to add a server."""

_ADDRESSES: Final = ("url", "httpUrl", "serverUrl")
"""Where entries of hosts name a server that is reached over HTTP."""

_SESSION_STARTS: Final = "startup|resume|clear|compact"

Edit = Callable[[str], str]


class What(Enum):
    """What a step is about."""

    SERVER = "server"
    HOOK = "hook"
    INSTRUCTIONS = "instructions"


class Done(Enum):
    """What became of a step."""

    NOTHING = "nothing to do"
    """It is as it should be."""
    TO_DO = "to do"
    """The answer of a check, or of a dry run."""
    WRITTEN = "written"
    """The file was written."""
    BY_PROGRAM = "by the host's program"
    """The host's own program did it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing in one file."""

    what: What
    path: Path
    edit: Edit
    program: tuple[str, ...] = ()
    """The command line of the host's own program that does it; empty: the file is edited."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a file becomes; None: no file."""

    path: Path
    before: str | None
    after: str | None

    def diff(self) -> str:
        """Return it as a unified diff."""
        before, after = (self.before or "").splitlines(True), (self.after or "").splitlines(True)
        lines = difflib.unified_diff(before, after, str(self.path), str(self.path))
        return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps for one host, judged against the files as they are."""

    host: Host
    steps: tuple[Step, ...]
    project: Path
    """Where the host's program runs."""
    removing: bool = False

    def state(self) -> tuple[Done, ...]:
        """Return for each step whether it is in place."""
        return tuple(
            Done.NOTHING if _unchanged(step, files.read(step.path)) else Done.TO_DO
            for step in self.steps
        )

    def changes(self) -> tuple[Change, ...]:
        """Return what the files become, whoever writes them."""
        found: list[Change] = []
        for path in dict.fromkeys(step.path for step in self.steps):
            before = files.read(path)
            after = self._after(path, before)
            if after != before:
                found.append(Change(path, before, after))
        return tuple(found)

    def _after(self, path: Path, before: str | None) -> str | None:
        edits = [step.edit for step in self.steps if step.path == path]
        if before is None and self.removing:
            return None
        if self.removing:
            ours, first = files.original(path, before)
            # Unless what it was before holds something of ours from an earlier time.
            if ours and (first is None or _all(path, edits, first) == first):
                return first
        after = _all(path, edits, before or "")
        return before if after == (before or "") else after

    def carry_out(self) -> tuple[Done, ...]:
        """Do every step that is not in place, and return what became of each.

        Raises:
            OSError: a file could not be written; it is as it was, and the steps before are done.
        """
        before = self.state()
        changes = {change.path: change for change in self.changes()}
        done = list(before)
        for index, step in enumerate(self.steps):
            if before[index] is Done.TO_DO and step.program and self._run(step, changes):
                done[index] = Done.BY_PROGRAM
        # What the programs have written is in the files by now.
        for change in self.changes():
            if not self.removing:
                assert change.after is not None
                files.note(change.path, change.before, change.after)
            files.write(change.path, change.after)
            for index, step in enumerate(self.steps):
                if step.path == change.path and done[index] is Done.TO_DO:
                    done[index] = Done.WRITTEN
        if self.removing:
            for path in {step.path for step in self.steps}:
                files.forget(path)
        return tuple(done)

    def _run(self, step: Step, changes: dict[Path, Change]) -> bool:
        """Let the host's program do a step, and return whether it has."""
        change = changes.get(step.path)
        if self.removing and change is not None and files.original(step.path, change.before)[0]:
            # We wrote it, and it is as we wrote it: nobody takes that back better.
            return False
        before = files.read(step.path)
        try:
            subprocess.run(
                step.program,
                cwd=self.project,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=PROGRAM_SECONDS_MAX,
                check=False,
            )
        except (OSError, subprocess.SubprocessError):
            return False
        after = files.read(step.path)
        if not self.removing and after is not None and self._added_only(step.path, before, after):
            files.note(step.path, before, after)
        else:
            files.forget(step.path)
        return _unchanged(step, after)

    def _added_only(self, path: Path, before: str | None, after: str) -> bool:
        """Return whether a program has added our server to a file and changed nothing else."""
        without = _judged(path, partial(_without_server, _is_toml(path), self.host.key), after)
        return _value(path, without) == _value(path, before or "")


def _is_toml(path: Path) -> bool:
    return path.suffix == ".toml"


def _value(path: Path, text: str) -> object:
    return toml_text.get_value(text, ()) if _is_toml(path) else Document(text).value


def _unchanged(step: Step, text: str | None) -> bool:
    return _judged(step.path, step.edit, text or "") == (text or "")


def _all(path: Path, edits: Sequence[Edit], text: str) -> str:
    return reduce(lambda so_far, edit: _judged(path, edit, so_far), edits, text)


def _judged(path: Path, edit: Edit, text: str) -> str:
    """Return what an edit makes of a file's text; raises `InvalidRequest`, naming file and line."""
    try:
        return edit(text)
    except (MalformedJson, toml_text.MalformedToml, marked.MalformedMarks) as error:
        raise InvalidRequest(f"{path}: {error}; nothing was changed") from error


def plan(
    host: Host,
    scope: Scope,
    project: Path,
    *,
    store: str = "",
    hooks: bool = True,
    instructions: bool = False,
) -> Plan:
    """Return the steps that set a host up.

    Args:
        project: the directory that a project's files lie in.
        store: a directory in the store to name to the host; empty: the one it works in.

    Raises:
        InvalidRequest: the host has nothing for this scope, or a file can not be read.
    """
    servers = host.servers.path(scope, project)
    if servers is None:
        raise InvalidRequest(f"{host.title} has no servers of a {scope.value}")
    command = _command(scope) + ["mcp", *_store_arguments(host, scope, project, store)]
    steps = [Step(What.SERVER, servers, _server_edit(host, servers, command))]
    if host.add is not None and scope in host.program_scopes:
        program = shutil.which(host.program)
        if program is not None:
            added = (program, *host.add(scope, command))
            steps = [Step(What.SERVER, servers, steps[0].edit, added)]
    hook_path = host.hooks.path(scope, project)
    if hooks and host.hook_style is not None and hook_path is not None:
        steps.append(Step(What.HOOK, hook_path, _hook_edit(host, scope, store)))
    if instructions:
        path = host.instructions.path(scope, project)
        if path is None:
            raise InvalidRequest(f"{host.title} reads no instructions of a {scope.value}")
        steps.append(Step(What.INSTRUCTIONS, path, marked.with_block))
    made = Plan(host, tuple(steps), project)
    made.state()
    return made


def plan_removal(host: Host, scope: Scope, project: Path) -> Plan:
    """Return the steps that take away whatever `plan` puts anywhere.

    Raises:
        InvalidRequest: a file can not be read.
    """
    steps: list[Step] = []
    servers = host.servers.path(scope, project)
    if servers is not None:
        program: tuple[str, ...] = ()
        found = shutil.which(host.program) if host.program else None
        if found is not None and host.remove is not None and scope in host.program_scopes:
            program = (found, *host.remove(scope))
        edit = partial(_without_server, _is_toml(servers), host.key)
        steps.append(Step(What.SERVER, servers, edit, program))
    hook_path = host.hooks.path(scope, project)
    if host.hook_style is not None and hook_path is not None:
        steps.append(Step(What.HOOK, hook_path, partial(_without_hook, host.hook_style)))
    path = host.instructions.path(scope, project)
    if path is not None:
        steps.append(Step(What.INSTRUCTIONS, path, marked.without_block))
    made = Plan(host, tuple(steps), project, removing=True)
    made.state()
    return made


def _command(scope: Scope) -> list[str]:
    """Return how a host starts us: by name in files that a project shares, else by path, since
    hosts with windows rarely have the path of a shell."""
    found = shutil.which(SERVER)
    if scope is Scope.PROJECT and found is not None:
        return [SERVER]
    own = Path(sys.argv[0])
    if own.name == SERVER and own.exists():
        return [str(own.absolute())]
    return [os.path.abspath(found)] if found is not None else [sys.executable, "-m", "agent_trace"]


def _store_arguments(host: Host, scope: Scope, project: Path, store: str) -> list[str]:
    directory = host.directory if scope is Scope.PROJECT else ""
    if not store:
        return ["--store", directory] if directory else []
    path = Path(store).resolve()
    if scope is Scope.PROJECT and path.is_relative_to(project):
        # A file that a project shares must not name where this machine has it.
        inside = path.relative_to(project).as_posix()
        return ["--store", f"{directory}/{inside}" if directory else inside]
    return ["--store", str(path)]


# -- servers -----------------------------------------------------------------------------------


def _server_edit(host: Host, path: Path, command: list[str]) -> Edit:
    wanted: dict[str, Json] = {**dict(host.extra), "command": command[0], "args": [*command[1:]]}
    if _is_toml(path):
        return partial(_with_toml_server, host.key, wanted)
    return partial(_with_json_server, host.key, wanted)


def _same(found: object, wanted: dict[str, Json]) -> bool:
    """Return whether an entry starts what it should, or reaches a gateway that somebody else has
    started; whatever else it says is its owner's."""
    if not isinstance(found, dict):
        return False
    entry = cast("dict[str, object]", found)
    if "command" not in entry and any(name in entry for name in _ADDRESSES):
        return True
    return all(entry.get(key) == wanted[key] for key in ("command", "args"))


def _with_json_server(key: str, wanted: dict[str, Json], text: str) -> str:
    document = Document(text)
    path = (key, SERVER)
    found = document.get(path)
    if _same(found, wanted):
        return text
    if not isinstance(found, dict):
        return document.set(path, wanted).text
    for name, value in wanted.items():
        document = document.set((*path, name), value)
    return document.text


def _with_toml_server(key: str, wanted: dict[str, Json], text: str) -> str:
    path = (key, SERVER)
    if _same(toml_text.get_value(text, path), wanted):
        return text
    return toml_text.set_value(text, path, wanted)


def _without_server(toml: bool, key: str, text: str) -> str:
    if toml:
        return toml_text.remove_value(text, (key, SERVER)) if text else text
    return _pruned(Document(text), (key, SERVER), text)


def _pruned(document: Document, path: Sequence[str | int], text: str) -> str:
    """Return the text without what is at `path`, and without what is empty for that reason."""
    if document.get(path) is None:
        return text
    document = document.remove(path)
    while len(path) > 1 and document.get(path[:-1]) in ({}, []):
        path = path[:-1]
        pruned = document.remove(path)
        if pruned.comment_count < document.comment_count:
            # Somebody has something to say about it.
            break
        document = pruned
    return document.text


# -- hooks -------------------------------------------------------------------------------------


def _hook_edit(host: Host, scope: Scope, store: str) -> Edit:
    style = host.hook_style
    assert style is not None
    words = [*_command(scope), "hook", host.name]
    if store:
        words += ["--store", str(Path(store).resolve())]
    command = shlex.join(words)
    if scope is Scope.PROJECT:
        # Whoever shares the project may not have us, and must not be bothered.
        command = f"{command} || true"
    return partial(_with_hook, style, command)


def _event(style: HookStyle) -> tuple[str, str]:
    return ("hooks", "sessionStart" if style is HookStyle.CURSOR else "SessionStart")


def _entry(style: HookStyle, command: str) -> dict[str, Json]:
    match style:
        case HookStyle.CURSOR:
            return {"command": command, "timeout": HOOK_SECONDS}
        case HookStyle.GEMINI:
            timeout = HOOK_SECONDS * 1000
            hook: Json = {"type": "command", "name": SERVER, "command": command, "timeout": timeout}
            return {"hooks": [hook]}
        case HookStyle.CLAUDE:
            hook = {"type": "command", "command": command, "timeout": HOOK_SECONDS}
            return {"matcher": _SESSION_STARTS, "hooks": [hook]}


def _is_ours(hook: Json) -> bool:
    if not isinstance(hook, dict):
        return False
    command = hook.get("command")
    if not isinstance(command, str):
        return False
    try:
        words = shlex.split(command)
    except ValueError:
        return False
    # `agent-trace hook HOST`, or `python -m agent_trace hook HOST`.
    return any(
        after == "hook" and Path(word).name in (SERVER, "agent_trace")
        for word, after in zip(words, words[1:], strict=False)
    )


def _ours(style: HookStyle, document: Document) -> list[tuple[str | int, ...]]:
    """Return the places of our hooks, the last first, so that they can be cut out in this order."""
    event = _event(style)
    listed = document.get(event)
    found: list[tuple[str | int, ...]] = []
    for index, each in enumerate(listed if isinstance(listed, list) else []):
        if style is HookStyle.CURSOR:
            if _is_ours(each):
                found.append((*event, index))
            continue
        inner = each.get("hooks") if isinstance(each, dict) else None
        found += (
            (*event, index, "hooks", place)
            for place, hook in enumerate(inner if isinstance(inner, list) else [])
            if _is_ours(hook)
        )
    return found[::-1]


def _with_hook(style: HookStyle, command: str, text: str) -> str:
    document = Document(text)
    places = _ours(style, document)
    if len(places) == 1:
        place = (*places[0], "command")
        if document.get(place) == command:
            return text
        return document.set(place, command).text
    document = Document(_without_hook(style, text))
    if style is HookStyle.CURSOR and document.get(("version",)) is None:
        document = document.set(("version",), 1)
    return document.append(_event(style), _entry(style, command)).text


def _without_hook(style: HookStyle, text: str) -> str:
    document = Document(text)
    for place in _ours(style, document):
        if style is not HookStyle.CURSOR:
            group = document.get(place[:-1])
            if isinstance(group, list) and len(group) == 1:
                # The group was ours alone.
                place = place[:-2]
        text = _pruned(document, place, text)
        document = Document(text)
    return text
