"""What is found about one backend on one device."""

import json
import subprocess
import sys
import time
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from xpnet import backend as backends
from xpnet.errors import BackendError
from xpnet.train.doctor import checks
from xpnet.train.doctor.checks import Check

MISSING, RIGHT, WRONG = "missing", "right", "wrong"
PACKAGE = Path(__file__).parents[2]  # the folder of xpnet
NOT_CAPTURED = "expected to capture training steps as a CUDA graph"  # xpnet's warning begins so
TIME_LIMIT = 600  # seconds for all devices of a backend


@dataclass
class Finding:
    """What is found about one backend on one device.

    Attributes:
        backend: its name.
        device: the device asked for; None: the library's default.
        status: "missing", "right" or "wrong".
        reason: why it is missing, or what stopped the checks; or empty.
        facts: `backend.Facts`, as a dict.
        checks: the results, without those that were not reached.
        reduced_precision: what is computed in less than float32: "products", "convolutions".
        images_per_second: the speed of the default network.
        warnings: the warnings that the library or xpnet gave, each once.
        seconds: how long the checks took.
    """

    backend: str
    device: str | None = None
    status: str = RIGHT
    reason: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    reduced_precision: list[str] = field(default_factory=list)
    images_per_second: float | None = None
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def name(self) -> str:
        return self.backend if self.device is None else f"{self.backend} {self.device}"

    @property
    def faults(self) -> list[str]:
        """All that is wrong, one line each."""
        stopped = [self.reason] if self.status == WRONG and self.reason else []
        return [check.fault for check in self.checks if not check.ok] + stopped

    def to_dict(self) -> dict[str, Any]:
        """The finding as JSON values."""
        return {**asdict(self), "checks": [check._asdict() for check in self.checks]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Finding":
        """The finding that `to_dict` describes."""
        return cls(**{**values, "checks": [Check(**check) for check in values["checks"]]})


def examine(name: str) -> list[Finding]:
    """Check a backend on its default device and on the other kinds of devices that it finds here."""
    try:
        others = backends.get(name).other_devices()
    except BackendError as error:
        return [Finding(name, status=MISSING, reason=str(error).partition(": ")[2])]
    except Exception as error:  # of the library itself, while it is imported
        return [Finding(name, status=WRONG, reason=one_line(f"{type(error).__name__}: {error}"))]
    return [examine_device(name, device) for device in (None, *others)]


def examine_device(name: str, device: str | None) -> Finding:
    """Check a backend on one device. An exception is a fault, in one line."""
    finding = Finding(name, device)
    began = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        try:
            finding.facts = backends.get(name, device).facts()._asdict()
            finding.images_per_second = checks.images_per_second((name, device))
            finding.reduced_precision = checks.reduced_precision((name, device))
            finding.checks = checks.check((name, device))
        except Exception as error:
            finding.reason = one_line(f"{type(error).__name__}: {error}")
    finding.seconds = time.perf_counter() - began
    if any(str(warning.message).startswith(NOT_CAPTURED) for warning in caught):
        finding.facts["steps"] = "kernel by kernel"
    finding.warnings = list(dict.fromkeys(one_line(warning.message) for warning in caught))
    if finding.reason or not all(check.ok for check in finding.checks):
        finding.status = WRONG
    return finding


def examine_apart(name: str) -> list[Finding]:
    """`examine` in a process of its own.

    Libraries change their process: JAX takes most of a GPU's memory and has one switch for float64, OpenMP
    and BLAS threads compete for cores, and a faulty driver may end the process.
    """
    code = "from xpnet.train.doctor import finding; finding.main()"
    folder = str(PACKAGE.parent)
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {folder!r}); {code}", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIME_LIMIT)
    except subprocess.TimeoutExpired:
        return [Finding(name, status=WRONG, reason=f"the checks did not end within {TIME_LIMIT} seconds")]
    if done.returncode == 0:
        return [Finding.from_dict(values) for values in json.loads(done.stdout.splitlines()[-1])]
    last = ([line for line in done.stderr.splitlines() if line.strip()] or ["without a message"])[-1]
    reason = f"the process of the checks ended with status {done.returncode}: {one_line(last)}"
    return [Finding(name, status=WRONG, reason=reason)]


def main() -> None:
    """Print the findings about the backend in `sys.argv[1]` as JSON, on the last line."""
    print("\n" + json.dumps([finding.to_dict() for finding in examine(sys.argv[1])]))


def one_line(text: object) -> str:
    """The text in one line, with single spaces."""
    return " ".join(str(text).split())
