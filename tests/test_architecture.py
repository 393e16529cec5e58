"""Who may import whom, and what no file of the tree may hold.

Everything here reads source text; nothing but the last section imports what it judges.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent

PROTOCOL: Final = "agent_trace_protocol"
AGENTS: Final = "agent_trace"
COORDINATOR: Final = "agent_trace_coordinator"

PACKAGES: Final = {
    PROTOCOL: ROOT / "protocol" / PROTOCOL,
    AGENTS: ROOT / "agents" / AGENTS,
    COORDINATOR: ROOT / "coordinator" / COORDINATOR,
}

PURE_MODULES: Final = frozenset(
    {
        "__future__",
        "base64",
        "bisect",
        "collections",
        "dataclasses",
        "difflib",
        "enum",
        "functools",
        "hashlib",
        "heapq",
        "itertools",
        "math",
        "operator",
        "re",
        "string",
        "textwrap",
        "typing",
        "unicodedata",
    }
)
"""Modules of the standard library that give the same answer to the same arguments. No clock, no
randomness (both are arguments of the core), no files, no sockets, no threads, no logging."""

OWNERS: Final = {
    "git": ("coordinator/agent_trace_coordinator/storage/git",),
    "sqlite3": ("coordinator/agent_trace_coordinator/storage/",),
    "zmq": (
        "coordinator/agent_trace_coordinator/server/sockets.py",
        "coordinator/agent_trace_coordinator/server/curve.py",
        "agents/agent_trace/transport/zmq.py",
    ),
    "watchfiles": ("coordinator/agent_trace_coordinator/server/watcher.py",),
    "prometheus_client": ("coordinator/agent_trace_coordinator/server/metrics.py",),
    "opentelemetry": ("coordinator/agent_trace_coordinator/server/traces.py",),
    "regex": ("agents/agent_trace/replacing.py",),
    "mcp": ("agents/agent_trace/gateway/",),
    "starlette": ("agents/agent_trace/gateway/", "agents/agent_trace/views/"),
    "uvicorn": ("agents/agent_trace/listening.py",),
    "jinja2": ("agents/agent_trace/views/web/",),
    "tomlkit": ("agents/agent_trace/hosts/toml_text.py",),
    "click": (
        "agents/agent_trace/cli",
        "agents/agent_trace/demo/",
        "agents/agent_trace/proof/",
        "coordinator/agent_trace_coordinator/cli",
    ),
    "rich": (
        "agents/agent_trace/cli",
        "agents/agent_trace/demo/",
        # Textual's lines are made of its segments.
        "agents/agent_trace/views/terminal/",
    ),
    "textual": ("agents/agent_trace/views/terminal/",),
}
"""The places (beginnings of paths) that may import an outside library: one owner each, so that
replacing it, or working around its faults, is a change of one place."""

FACES: Final = frozenset({"__main__", "cli", "demo", "gateway", "views"})
"""Parts of the agents' package that are clients of the library; the library knows none of them."""

DISTRIBUTIONS: Final = {
    "GitPython": "git",
    "opentelemetry-sdk": "opentelemetry",
    "prometheus-client": "prometheus_client",
    "pyzmq": "zmq",
}
"""Distributions whose module has another name."""

CATCHES_ALL: Final = ("# top level:", "# passed on:")
"""What the line of a handler that catches everything must end with, and a reason: it is the last
one of its process or task, or it hands the exception to somebody else."""


class Module(NamedTuple):
    path: Path
    name: str
    tree: ast.Module

    @property
    def place(self) -> str:
        return self.path.relative_to(ROOT).as_posix()


class Import(NamedTuple):
    module: Module
    target: str
    """The dotted name that is imported; of `from a import b` it is `a.b`."""
    line: int

    @property
    def top(self) -> str:
        return self.target.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.module.place}:{self.line} imports {self.target}"


@cache
def modules(package: str) -> tuple[Module, ...]:
    folder = PACKAGES[package]
    found: list[Module] = []
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(path, name, ast.parse(path.read_text(encoding="utf-8"))))
    return tuple(found)


def product() -> tuple[Module, ...]:
    return tuple(module for package in PACKAGES for module in modules(package))


def imports_of(module: Module) -> Iterator[Import]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                package = module.name.split(".")
                if module.path.name != "__init__.py":
                    package = package[:-1]
                package = package[: len(package) - (node.level - 1)]
                origin = ".".join([*package, origin] if origin else package)
            for alias in node.names:
                yield Import(module, f"{origin}.{alias.name}", node.lineno)


def imports(package: str, below: str = "") -> list[Import]:
    prefix = f"{package}.{below}" if below else package
    return [
        each
        for module in modules(package)
        if module.name == prefix or module.name.startswith(prefix + ".")
        for each in imports_of(module)
    ]


def tracked_files() -> list[Path]:
    """Return the files of the tree that are or would be committed."""
    if not (ROOT / ".git").exists():
        pytest.skip("this tree is not a git checkout, so nothing says which files belong to it")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout.decode()
    paths = [ROOT / name for name in listed.split("\0") if name]
    return [path for path in paths if path.is_file()]


# ---- who may import whom ---------------------------------------------------------------------


def test_the_protocol_imports_msgspec_and_pure_modules_and_nothing_else() -> None:
    allowed = PURE_MODULES | {"msgspec", PROTOCOL}
    assert [str(each) for each in imports(PROTOCOL) if each.top not in allowed] == []


def test_the_core_imports_the_protocol_msgspec_and_pure_modules_and_nothing_else() -> None:
    allowed = PURE_MODULES | {"msgspec", PROTOCOL}
    core = f"{COORDINATOR}.core."
    assert [
        str(each)
        for each in imports(COORDINATOR, "core")
        if each.top not in allowed and not each.target.startswith(core)
    ] == []


def test_the_core_and_the_protocol_have_no_asynchronous_code() -> None:
    pure = [
        module for module in product() if module.name.startswith((PROTOCOL, f"{COORDINATOR}.core"))
    ]
    kinds = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)
    assert [
        f"{module.place}:{node.lineno}"
        for module in pure
        for node in ast.walk(module.tree)
        if isinstance(node, kinds)
    ] == []


def test_the_core_and_the_protocol_open_nothing_and_print_nothing() -> None:
    banned = {"open", "print", "input", "exec", "eval", "__import__", "breakpoint"}
    assert [
        f"{module.place}:{node.lineno} calls {node.func.id}"
        for module in product()
        if module.name.startswith((PROTOCOL, f"{COORDINATOR}.core"))
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in banned
    ] == []


def test_clients_and_coordinator_know_each_other_only_by_the_protocol() -> None:
    crossings = [each for each in imports(AGENTS) if each.top == COORDINATOR]
    crossings += [each for each in imports(COORDINATOR) if each.top == AGENTS]
    assert [str(each) for each in crossings] == []


def test_the_product_does_not_import_its_tests() -> None:
    ours = {path.stem for path in (ROOT / "tests").iterdir()} - {"agents", "__pycache__"}
    development = {"pytest", "hypothesis", "_pytest"}
    assert [
        str(each)
        for module in product()
        for each in imports_of(module)
        if each.top in ours | development
    ] == []


def test_storage_knows_nothing_of_the_server() -> None:
    server = f"{COORDINATOR}.server"
    assert [
        str(each)
        for each in imports(COORDINATOR, "storage")
        if each.target.startswith(server) or each.top == "anyio"
    ] == []


def test_the_client_library_knows_none_of_its_faces() -> None:
    def in_face(name: str) -> bool:
        return name.startswith(f"{AGENTS}.") and name.split(".")[1] in FACES

    assert [
        str(each)
        for each in imports(AGENTS)
        if in_face(each.target) and not in_face(each.module.name)
    ] == []


@pytest.mark.parametrize("library", OWNERS)
def test_an_outside_library_is_imported_by_its_owner_only(library: str) -> None:
    assert [
        str(each)
        for module in product()
        for each in imports_of(module)
        if each.top == library and not module.place.startswith(OWNERS[library])
    ] == []


def test_every_outside_library_is_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]["traces"]
    lines = [*project["dependencies"], *extras]
    names = [re.split(r"[^A-Za-z0-9._-]", line)[0] for line in lines]
    declared = {DISTRIBUTIONS.get(name, name) for name in names}
    allowed = declared | PACKAGES.keys() | sys.stdlib_module_names
    assert [
        str(each) for module in product() for each in imports_of(module) if each.top not in allowed
    ] == []


def test_the_three_folders_are_roots_and_no_packages() -> None:
    # A top-level package `agents` would overwrite another distribution's on installation.
    for folder in ("protocol", "agents", "coordinator"):
        assert not (ROOT / folder / "__init__.py").exists()
        assert [path.parent.name for path in (ROOT / folder).glob("*/__init__.py")] in (
            [],
            [next(name for name, path in PACKAGES.items() if path.parent.name == folder)],
        )


# ---- how product code is written -------------------------------------------------------------


def test_every_module_says_what_it_holds() -> None:
    assert [
        module.place for module in product() if not (ast.get_docstring(module.tree) or "").strip()
    ] == []


def test_nothing_sleeps_on_the_wall_clock() -> None:
    # A thread that sleeps can be neither cancelled nor tested without waiting.
    sleeping = [
        f"{each.module.place}:{each.line}"
        for module in product()
        for each in imports_of(module)
        if each.target == "time.sleep"
    ]
    sleeping += [
        f"{module.place}:{node.lineno}"
        for module in product()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute)
        and node.attr == "sleep"
        and isinstance(node.value, ast.Name)
        and node.value.id == "time"
    ]
    assert sleeping == []


def comments_of(path: Path) -> dict[int, str]:
    source = io.StringIO(path.read_text(encoding="utf-8"))
    return {
        token.start[0]: token.string
        for token in tokenize.generate_tokens(source.readline)
        if token.type == tokenize.COMMENT
    }


def test_only_a_marked_handler_catches_everything() -> None:
    broad: list[str] = []
    for module in product():
        comments = comments_of(module.path)
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.ExceptHandler):
                continue
            caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            names = {each.id for each in caught if isinstance(each, ast.Name)}
            everything = node.type is None or names & {"Exception", "BaseException"}
            # A handler that only cleans up and lets the exception go on hides nothing.
            passes_on = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
            marked = comments.get(node.lineno, "").startswith(CATCHES_ALL)
            if everything and not passes_on and not marked:
                broad.append(f"{module.place}:{node.lineno}")
    assert broad == []


# ---- what no file of the tree holds ----------------------------------------------------------

LOCK_FILES: Final = re.compile(
    r"(?:(?:uv|poetry|pdm|pipenv|Pipfile|yarn|bun|Cargo|composer|Gemfile|flake)\.lock"
    r"|pylock(?:\..+)?\.toml|package-lock\.json|npm-shrinkwrap\.json|pnpm-lock\.ya?ml|go\.sum)"
)

DOWNLOAD_ADDRESSES: Final = re.compile(
    # An archive of a package, or a host that by its name serves packages.
    r"https?://[^\s\"'<>)]+\.(?:whl|tar\.gz|tgz|tar\.bz2|tar\.xz|crate|deb|rpm)\b"
    r"|//[a-z0-9.-]*\b(?:pypi|npm|npmjs|registry|mirrors?|packages?|crates)\b[a-z0-9.-]*\.[a-z]{2,}",
    re.IGNORECASE,
)


def test_the_tree_holds_no_lock_file() -> None:
    assert [path.name for path in tracked_files() if LOCK_FILES.fullmatch(path.name)] == []


def test_no_file_of_the_tree_holds_a_download_address() -> None:
    found: list[str] = []
    for path in tracked_files():
        text = path.read_bytes().decode("utf-8", "replace")
        found += [
            f"{path.relative_to(ROOT)}: {match.group()}"
            for match in DOWNLOAD_ADDRESSES.finditer(text)
        ]
    assert found == []


def test_the_rule_about_download_addresses_recognises_one() -> None:
    scheme = "https:" + "//"
    assert DOWNLOAD_ADDRESSES.search(f"{scheme}example.org/a/agent_trace-1.0-py3-none-any.whl")
    assert DOWNLOAD_ADDRESSES.search(f"{scheme}example.org/agent-trace-1.0.tar.gz#sha256=00")
    assert DOWNLOAD_ADDRESSES.search(f"index-url = {scheme}registry.example.org/simple")
    assert not DOWNLOAD_ADDRESSES.search(f"see {scheme}example.org/docs/packages.html")


# ---- what importing costs --------------------------------------------------------------------


def modules_after(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has after the statement."""
    script = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    finished = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, encoding="utf-8"
    )
    return set(finished.stdout.split())


def test_importing_the_client_library_loads_no_face_and_no_coordinator() -> None:
    loaded = modules_after("import agent_trace")
    assert loaded & {"mcp", "click", "rich", "git", "sqlite3", "pydantic", COORDINATOR} == set()


def test_importing_the_protocol_loads_nothing_that_talks_to_the_world() -> None:
    # Modules that a bare interpreter has loaded already say nothing.
    loaded = modules_after("import agent_trace_protocol") - modules_after("import site")
    assert loaded & {"socket", "subprocess", "asyncio", "logging", "zmq", "sqlite3"} == set()
    assert "msgspec" in loaded
