"""A store's directory: making it, opening it, and its settings.

Its settings file is written last, so a store is there exactly when `config.toml` is; what an
interrupted making left is finished by the next one.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from agent_trace_coordinator.errors import StoreInvalid, StoreNested
from agent_trace_protocol.layout import CONFIG_FILE, STORE_DIRECTORY
from agent_trace_protocol.limits import DOCUMENT_BYTES_DEFAULT, DOCUMENT_BYTES_MAX

from .git_recovery import sync_directory, write_file
from .versions import FORMAT_VERSION, check_format

__all__ = [
    "DEFAULT_CONFIG",
    "DIRECTORIES",
    "Store",
    "StoreConfig",
    "create_store",
    "load_config",
    "open_store",
    "parse_config",
]

CONFIG_BYTES_MAX: Final = 64 * 1024
"""Bytes of a settings file: a person writes it."""

DIRECTORIES: Final = ("run", "run/tmp", "locks", "quarantine", "drafts", "keys")

# Their locks or their syncs may promise what they do not keep.
_DOUBTFUL_FILE_SYSTEMS: Final = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|9p|vboxsf|drvfs|afs|ceph|glusterfs|virtiofs|fuse(?:\..+)?"
)
_VOLATILE_FILE_SYSTEMS: Final = frozenset({"tmpfs", "ramfs"})


class StoreConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings of a store; each is a line of `config.toml`, explained there."""

    format_version: int = FORMAT_VERSION
    document_bytes_max: Annotated[int, msgspec.Meta(ge=1, le=DOCUMENT_BYTES_MAX)] = (
        DOCUMENT_BYTES_DEFAULT
    )
    idle_seconds: Annotated[float, msgspec.Meta(ge=0, le=31_536_000)] = 900.0
    heartbeat_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=3600)] = 2.5
    stale_seconds: Annotated[float, msgspec.Meta(ge=0.5, le=86_400)] = 10.0
    grace_seconds: Annotated[float, msgspec.Meta(ge=0, le=604_800)] = 30.0
    grace_cli_seconds: Annotated[float, msgspec.Meta(ge=0, le=604_800)] = 1800.0
    git_lag_records_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 2000
    repository_budget_bytes: Annotated[int, msgspec.Meta(ge=0)] = 1024 * 1024 * 1024
    quarantine_bytes_max: Annotated[int, msgspec.Meta(ge=0)] = 64 * 1024 * 1024
    leases: Literal["advisory", "enforced"] = "advisory"
    out_of_band_author: Literal["user", "unknown"] = "user"
    generated: bool = True
    # Clients ask a language model, the coordinator never does.
    synthesis_url: str = ""
    synthesis_model: str = ""
    synthesis_key_variable: str = ""
    synthesis_calls_per_hour: Annotated[int, msgspec.Meta(ge=0, le=3600)] = 6
    scan_seconds: Annotated[float, msgspec.Meta(ge=1, le=86_400)] = 30.0
    listen: str = ""
    listen_any: bool = False
    metrics: str = ""
    traces: str = ""


DEFAULT_CONFIG: Final = f"""\
# Settings of this store. A line that starts with # shows a default; remove the # to change it.
# The coordinator reads this file when it starts.

# The layout of the store's files. Written by the program; do not change it.
format_version = {FORMAT_VERSION}

# Bytes of one document; larger ones are refused. At most {DOCUMENT_BYTES_MAX} (8 MiB).
# document_bytes_max = {DOCUMENT_BYTES_DEFAULT}

# Seconds without any client after which a coordinator that started itself ends; 0: never.
# idle_seconds = 900.0

# Seconds between the signs of life that clients send.
# heartbeat_seconds = 2.5

# Seconds without one after which a session counts as stale and may be taken over.
# At least twice heartbeat_seconds.
# stale_seconds = 10.0

# Seconds a stale session of a library or MCP client is kept before it ends and its leases are free.
# grace_seconds = 30.0

# The same for sessions of the command line, which have no process between two commands.
# grace_cli_seconds = 1800.0

# What a lease means for a write that does not hold it: "advisory" warns its writer, "enforced"
# refuses it.
# leases = "advisory"

# Operations that the git history may lag behind the journal before new writes have to wait.
# git_lag_records_max = 2000

# Bytes that the git directory should stay below; `agent-trace status` compares. 0 for no budget.
# repository_budget_bytes = 1073741824

# Bytes of refused content that are kept; beyond it a refusal keeps only its hash.
# quarantine_bytes_max = 67108864

# Who counts as the author of a change that was made in a file itself: "user" or "unknown".
# out_of_band_author = "user"

# Whether agent-trace writes documents of its own: AGENT-TRACE.md, context.md, running_summary.md
# and a log for each session. What is there stays when it is turned off.
# generated = true

# Seconds between two looks at all files for changes that were made in them; most are noticed at
# once without.
# scan_seconds = 30.0

# Where to listen for clients on other machines, such as "tcp://127.0.0.1:7117"; empty: nowhere.
# Each of them needs a key: agent-trace keys. docs/security.md says more.
# listen = ""

# Whether `listen` and `metrics` may be addresses that other machines can reach.
# listen_any = false

# Where to serve metrics for Prometheus, such as "127.0.0.1:9464"; empty: nowhere. Numbers only.
# metrics = ""

# Where to send OpenTelemetry traces, such as "http://127.0.0.1:4318/v1/traces"; empty: nowhere.
# Needs pip install 'agent-trace[traces]'. They name authors and paths, and hold no contents.
# traces = ""

# Where `agent-trace context synthesize` finds a language model: the base address of any endpoint
# that speaks OpenAI's chat completions, such as http://localhost:11434/v1. Empty: nowhere.
# synthesis_url = ""

# The name of that model, as its endpoint knows it.
# synthesis_model = ""

# The environment variable that holds its key; the key itself does not belong into a file.
# synthesis_key_variable = ""

# How often in an hour the model may be asked.
# synthesis_calls_per_hour = 6
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Store:
    """An opened store: where everything of it lies."""

    root: Path
    """The directory with the documents, absolute."""
    warnings: tuple[str, ...] = ()
    """What a person should know about where or how it lies; the store works all the same."""

    @property
    def directory(self) -> Path:
        """The store's own directory."""
        return self.root / STORE_DIRECTORY

    @property
    def config(self) -> Path:
        """The settings."""
        return self.root / CONFIG_FILE

    @property
    def state_db(self) -> Path:
        """The journal and the index."""
        return self.directory / "state.db"

    @property
    def search_db(self) -> Path:
        """The full-text index; made anew when it is missing."""
        return self.directory / "search.db"

    @property
    def repo(self) -> Path:
        """The git directory."""
        return self.directory / "repo"

    @property
    def run(self) -> Path:
        """Sockets, pids and logs of the running coordinator."""
        return self.directory / "run"

    @property
    def lock(self) -> Path:
        """The file whose lock makes a process the store's coordinator."""
        return self.run / "coordinator.lock"

    @property
    def temporary(self) -> Path:
        """Files on their way to their place, on the same file system."""
        return self.run / "tmp"

    @property
    def manifest(self) -> Path:
        """The readable mirror of the documents."""
        return self.directory / "manifest.toml"

    @property
    def locks(self) -> Path:
        """Readable mirrors of sessions and leases."""
        return self.directory / "locks"

    @property
    def drafts(self) -> Path:
        """The texts of writes that did not fit, one file for each draft."""
        return self.directory / "drafts"

    @property
    def quarantine(self) -> Path:
        """Content that was refused or set aside."""
        return self.directory / "quarantine"

    @property
    def keys(self) -> Path:
        """Secret keys, and the list of known clients."""
        return self.directory / "keys"


def create_store(root: Path, *, nested: bool = False) -> None:
    """Make `root` a store; it is one, durably, when this returns.

    Raises:
        StoreInvalid: it is one already, lies in the `.agent-trace` of one, lies below another one
            and `nested` is not set, or can not be written.
    """
    root = _directory_path(root)
    store = Store(root)
    if STORE_DIRECTORY in root.parts:
        raise StoreInvalid(
            f"{root} lies inside a {STORE_DIRECTORY} directory; choose another place"
        )
    if os.path.lexists(store.config):
        raise StoreInvalid(f"{root} is a store already")
    if not nested:
        for parent in root.parents:
            if (parent / CONFIG_FILE).is_file():
                raise StoreNested(f"{root} lies inside the store {parent}")
    try:
        _make_directory(store.directory)
        for name in DIRECTORIES:
            _make_directory(store.directory / name)
        for name in ("run", "."):
            sync_directory(store.directory / name)
        sync_directory(root)
        write_file(store.config, DEFAULT_CONFIG.encode("utf-8"))
    except OSError as error:
        raise StoreInvalid(f"{root} can not be made a store: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    """Return what went wrong, and with which file, without the number it has in C."""
    reason = error.strerror or str(error)
    return f"{reason} ({error.filename})" if error.filename else reason


def _make_directory(path: Path) -> None:
    """Make a private directory; one that an interrupted making left is taken over."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode):
            raise StoreInvalid(f"{path} is in the way; it must be a directory") from None
        if stat.S_IMODE(status.st_mode) != 0o700:
            path.chmod(0o700)


def open_store(root: Path) -> Store:
    """Return the store at exactly `root`, with what its directories lack put right.

    Raises:
        StoreInvalid: there is none, it is not ours, or this version can not open it; the message
            says what to do.
    """
    root = _directory_path(root)
    store = Store(root)
    try:
        status = store.directory.lstat()
    except FileNotFoundError:
        raise StoreInvalid(f"{root} is not a store; `agent-trace init` makes it one") from None
    if not stat.S_ISDIR(status.st_mode):
        raise StoreInvalid(f"{store.directory} is not a directory; move it out of the way")
    if not os.path.lexists(store.config):
        raise StoreInvalid(
            f"{root} is a store that was never finished (no {CONFIG_FILE}); "
            "run `agent-trace init` again"
        )
    if status.st_uid != os.geteuid():
        raise StoreInvalid(
            f"{store.directory} belongs to user {status.st_uid}, not to {os.geteuid()}; "
            "run the coordinator as its owner"
        )
    warnings = _file_system_warnings(root)
    try:
        if status.st_mode & 0o077:
            # Keys, refused content and the socket are in it.
            store.directory.chmod(0o700)
            warnings.append(
                f"{store.directory} was open to others (mode {status.st_mode & 0o777:o}); "
                "it is private again"
            )
        # Empty directories get lost when a store is copied by way of git or an archive.
        for name in DIRECTORIES:
            _make_directory(store.directory / name)
        for directory in (store.directory, store.run, store.locks, store.keys):
            _refuse_links(directory)
    except OSError as error:
        raise StoreInvalid(f"{store.directory} can not be written: {_reason(error)}") from error
    load_config(store)
    return dataclasses.replace(store, warnings=tuple(warnings))


def _refuse_links(directory: Path) -> None:
    """What lies here is opened by its name: a link would lead our own writing out of the store."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_symlink():
                raise StoreInvalid(
                    f"{entry.path} is a symbolic link, and nothing of a store may lie elsewhere; "
                    "put what it leads to in its place, or remove it"
                )


def load_config(store: Store) -> StoreConfig:
    """Return the store's settings.

    Raises:
        StoreInvalid: the file can not be read, names a setting that is none, or gives one a value
            out of its range; the message names the file and the setting.
    """
    path = store.config
    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_BYTES_MAX + 1)
    except OSError as error:
        raise StoreInvalid(f"{path} can not be read: {_reason(error)}") from error
    return parse_config(data, path)


def parse_config(data: bytes, path: Path) -> StoreConfig:
    """Return the settings that a file's bytes hold; `path` is named in errors.

    Raises:
        StoreInvalid: as for `load_config`.
    """
    try:
        if len(data) > CONFIG_BYTES_MAX:
            raise StoreInvalid(f"{path} is larger than {CONFIG_BYTES_MAX} bytes")
        values: dict[str, Any] = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise StoreInvalid(f"{path} is not valid TOML: {error}") from error
    # Before anything else: what a newer version wrote is not ours to judge.
    check_format(values.get("format_version"), path)
    known = StoreConfig.__struct_fields__
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise StoreInvalid(f"{path}: there is no setting {key!r}{hint}")
    try:
        config = msgspec.convert(values, StoreConfig)
    except msgspec.ValidationError as error:
        raise StoreInvalid(f"{path}: {error}".replace("`$.", "`")) from error
    if config.stale_seconds < 2 * config.heartbeat_seconds:
        raise StoreInvalid(
            f"{path}: stale_seconds ({config.stale_seconds:g}) must be at least twice "
            f"heartbeat_seconds ({config.heartbeat_seconds:g}), or one lost heartbeat ends sessions"
        )
    return config


def _directory_path(root: Path) -> Path:
    try:
        root = root.resolve(strict=True)
    except RuntimeError as error:
        raise StoreInvalid(f"{root} can not be opened: {error}") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreInvalid(f"{root} can not be opened: {reason}") from error
    if not root.is_dir():
        raise StoreInvalid(f"{root} is not a directory")
    return root


def _file_system_warnings(root: Path) -> list[str]:
    kind = _file_system_of(root)
    if kind in _VOLATILE_FILE_SYSTEMS:
        return [f"{root} is on {kind}: it is gone when the machine restarts"]
    if _DOUBTFUL_FILE_SYSTEMS.fullmatch(kind):
        return [
            f"{root} is on {kind}: locks and syncs may not hold there; "
            "keep the store on a local disk"
        ]
    return []


def _file_system_of(root: Path) -> str:
    """Return the kind of file system a directory is on; empty where the system does not say."""
    best, kind = -1, ""
    try:
        lines = Path("/proc/self/mounts").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[1])
        # Of mounts on one point the last is on top.
        if root.is_relative_to(point) and len(point) >= best:
            best, kind = len(point), fields[2]
    return kind
