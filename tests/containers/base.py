"""An image to build on, made on this machine, for where no registry is reached.

Debian by debootstrap with Python and nothing else, and this machine's way to Debian's packages and
its certificates, so that the Dockerfile's own lines run as they are. It stands in for the image
that the Dockerfile names, and is for tests only.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from .engine import Engine

__all__ = ["make_base"]

PACKAGES: Final = "ca-certificates,python3,python3-venv"
CERTIFICATES: Final = Path("etc/ssl/certs/ca-certificates.crt")

APT_SETTINGS: Final = ("99", "docker-")
"""How files in apt.conf.d begin that go along: how packages are fetched, and that none is kept."""


def make_base(engine: Engine, suite: str) -> str:
    """Make the image, if it is not there yet, and return its name.

    Raises:
        SystemExit: it can not be made here; the message says why.
    """
    image = f"agent-trace-test/python:{suite}"
    if engine.run("image", "inspect", image, check=False).returncode == 0:
        return image
    debootstrap = shutil.which("debootstrap")
    if debootstrap is None or os.geteuid() != 0:
        raise SystemExit("an image to build on is made by debootstrap, as root")
    with tempfile.TemporaryDirectory(prefix="agent-trace-base-") as directory:
        root = Path(directory, "root")
        command = [debootstrap, "--variant=minbase", f"--include={PACKAGES}", suite, str(root)]
        done = subprocess.run([*command, *_mirror()], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"debootstrap failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        (root / "usr/bin/python").symlink_to("python3")
        shutil.copyfile(Path("/", CERTIFICATES), root / CERTIFICATES)
        for file in Path("/etc/apt/apt.conf.d").iterdir():
            if file.name.startswith(APT_SETTINGS):
                shutil.copyfile(file, root / "etc/apt/apt.conf.d" / file.name)
        for file in (*root.glob("var/lib/apt/lists/*"), *root.glob("var/cache/apt/archives/*.deb")):
            if file.is_file():
                file.unlink()
        archive = Path(directory, "root.tar")
        subprocess.run(["tar", "-C", str(root), "-cf", str(archive), "."], check=True)
        engine.run("import", str(archive), image)
    return image


def _mirror() -> list[str]:
    """Return the address that this machine takes Debian's packages from, if it is told simply."""
    sources = Path("/etc/apt/sources.list.d/debian.sources")
    try:
        found = re.search(r"(?m)^URIs: *(\S+)", sources.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    return [found[1]] if found else []
