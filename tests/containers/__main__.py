"""The image and the services of docker-compose.yml in a real engine: `make image-test`.

Builds the image from a copy of the tree, brings the services up under a project name of their own,
uses them from outside as docs/operations.md says, kills, stops, upgrades, backs up and repairs
them, and takes everything away again. It needs Docker Engine 25 with Compose 2.24, or newer, and
skips where there is none. The result is a table in Markdown; docs/testing.md has one. Ends with 1
if anything is not as it should be.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from agent_trace import AgentTraceError

from .base import make_base
from .checks import CHECKS
from .engine import EngineMissing, find
from .site import PORTS, Site, port_is_free


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _results(site: Site) -> Iterator[tuple[str, str]]:
    for name, check in CHECKS.items():
        try:
            said = check(site)
        except (AssertionError, AgentTraceError, OSError) as error:
            _say(f"FAIL {name}\n{error}")
            _say(site.compose("logs", "--tail", "40", check=False))
            yield name, "**no**"
            # What follows builds on it.
            return
        _say(f"ok   {name}{': ' + said if said else ''}")
        yield name, said or "yes"


def main() -> int:
    parser = argparse.ArgumentParser(prog="containers", description=__doc__)
    given = parser.add_mutually_exclusive_group()
    given.add_argument("--python-image", metavar="IMAGE", help="build on this one instead")
    given.add_argument(
        "--debootstrap",
        metavar="SUITE",
        help="build on an image made here, of Debian's SUITE: for where no registry is reached",
    )
    parser.add_argument("--keep", action="store_true", help="leave the services running")
    options = parser.parse_args()
    try:
        engine = find()
    except EngineMissing as error:
        sys.stdout.write(f"skipped: there is no container engine here ({error})\n")
        return 0
    taken = [port for port in PORTS.values() if not port_is_free(port)]
    if taken:
        parser.error(f"the ports of docker-compose.yml are in use: {taken}; stop what is there")
    _say(f"with {engine.name}")
    image = options.python_image or ""
    if options.debootstrap:
        image = make_base(engine, options.debootstrap)
    with tempfile.TemporaryDirectory(prefix="agent-trace-containers-") as directory:
        # The keys of the agents outside.
        os.environ["XDG_CONFIG_HOME"] = str(Path(directory, "config"))
        site = Site(engine, Path(directory), image)
        site.copy_tree()
        before = site.image()
        try:
            results = list(_results(site))
        finally:
            if not options.keep:
                site.down()
                site.forget_images(before)
    sys.stdout.write(f"| with {engine.name} | verdict |\n| --- | --- |\n")
    sys.stdout.write("".join(f"| {name} | {verdict} |\n" for name, verdict in results))
    return 0 if len(results) == len(CHECKS) and results[-1][1] != "**no**" else 1


if __name__ == "__main__":
    sys.exit(main())
