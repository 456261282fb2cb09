"""The command line of `scripts/doctor.py`."""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xpnet._util import files
from xpnet._util.output import say
from xpnet._util.text import did_you_mean
from xpnet.backend import BACKENDS
from xpnet.errors import ConfigError
from xpnet.train.arguments import Parser
from xpnet.train.doctor import finding, machine, report
from xpnet.train.doctor.finding import WRONG, Finding
from xpnet.train.doctor.machine import Machine
from xpnet.train.folder import user_path


def run(arguments: Sequence[str], prog: str, description: str | None) -> int:
    """Check the backends and print the report. Returns 1 if a backend that is here is wrong, else 0.

    Raises ConfigError, in one line, for an option that cannot be used.
    """
    names, path = parse(arguments, prog, description)
    began = time.perf_counter()
    here = machine.describe()
    findings = [each for name in names for each in examine(name)]
    seconds = time.perf_counter() - began
    say(report.text(here, findings, seconds))
    if path is not None:
        write(path, here, findings, seconds)
    return 1 if any(each.status == WRONG for each in findings) else 0


def parse(arguments: Sequence[str], prog: str, description: str | None) -> tuple[list[str], Path | None]:
    """The names of the backends to check, and the JSON file to write. ConfigError for a wrong option."""
    parser = Parser(prog, description)
    parser.add_argument(
        "--backend",
        nargs="+",
        metavar="NAME",
        help=f"check these only: {', '.join(BACKENDS)}",
    )
    parser.add_argument("--json", metavar="FILE", help="write all that was found to this file")
    options = parser.options(arguments)
    names = list(dict.fromkeys(options.get("backend", BACKENDS)))
    for name in names:
        if name not in BACKENDS:
            like = did_you_mean(name, BACKENDS)
            raise ConfigError(f"--backend: expected some of {', '.join(BACKENDS)}, got {name!r}{like}")
    path = user_path("--json", options["json"]) if "json" in options else None
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise ConfigError(f"--json: expected a file in a folder that exists, got {path}")
    return names, path


def examine(name: str) -> list[Finding]:
    """Check a backend in a process of its own; a terminal shows which one."""
    shown = sys.stderr.isatty()
    if shown:
        print(f"checking {name} …", end="\r", file=sys.stderr, flush=True)
    try:
        return finding.examine_apart(name)
    finally:
        if shown:
            print(" " * len(f"checking {name} …"), end="\r", file=sys.stderr, flush=True)


def write(path: Path, here: Machine, findings: Sequence[Finding], seconds: float) -> None:
    """Write all that was found as JSON, whole or not at all."""
    values: dict[str, Any] = {
        "machine": here.to_dict(),
        "backends": [each.to_dict() for each in findings],
        "seconds": seconds,
    }
    text = json.dumps(values, indent=2, allow_nan=False, ensure_ascii=False)
    with files.replacing(path) as file:
        file.write(f"{text}\n".encode())
