"""The findings as text of at most 99 columns."""

import textwrap
from collections.abc import Iterable, Sequence

from xpnet.train.doctor.checks import TOLERANCE, TOLERANCE_FLOAT32, Check
from xpnet.train.doctor.finding import MISSING, WRONG, Finding
from xpnet.train.doctor.machine import Machine

WIDTH = 99
HEAD = ("backend", "version", "steps", "float64", "float32", "compiled", "repeatable", "images/s", "of NumPy")
LEGEND = (
    ("steps", "how `fit` runs training steps"),
    (
        "float64",
        "largest relative difference from NumPy, of losses and parameters of a small MLP and a small CNN; "
        f"right up to {TOLERANCE:.0e}. NumPy's own: from known losses",
    ),
    ("float32", f"of losses in float32, from NumPy in float64; right up to {TOLERANCE_FLOAT32:.0e}"),
    ("compiled", f"of `fit` from steps by hand, which are never compiled; right up to {TOLERANCE:.0e}"),
    ("repeatable", "two trainings from one seed give the same bits"),
    ("images/s", "speed of 784-512-512-10, batch 100, float32, on random images"),
)


def text(machine: Machine, findings: Sequence[Finding], seconds: float) -> str:
    """The report: the machine, a table of the backends, and what is wrong, missing or advised."""
    here = [finding for finding in findings if finding.status != MISSING]
    parts = [describe(machine)]
    if here:
        parts += [table(here), pairs(LEGEND)]
    devices = [(finding.name, device(finding)) for finding in here if has_gpu(finding)]
    missing = [(finding.name, finding.reason) for finding in findings if finding.status == MISSING]
    wrong = [(finding.name, fault) for finding in here for fault in finding.faults]
    warned = [(finding.name, warning) for finding in here for warning in finding.warnings]
    for title, rows in (
        ("Devices", devices),
        ("Missing", missing),
        ("Advice", advice(machine, findings)),
        ("Warnings", warned),
        ("WRONG", wrong),
    ):
        if rows:
            parts.append(f"{title}\n{pairs(rows)}")
    parts.append(verdict(findings, seconds))
    return "\n\n".join(parts)


def describe(machine: Machine) -> str:
    """A line for each fact about the machine."""
    memory = "" if machine.memory is None else f", {gibibytes(machine.memory)} of memory"
    return pairs(
        [
            ("xpnet", f"{machine.xpnet}, in {machine.location}"),
            ("Python", f"{machine.python}, {machine.executable}"),
            ("system", machine.platform),
            ("CPU", f"{machine.cpu}, {count(machine.cores, 'core')}{memory}"),
            ("BLAS", f"{machine.blas}, for NumPy"),
            *(("GPU", gpu) for gpu in machine.gpus or ["no NVIDIA GPU found"]),
            *(("set", f"{name}={value}") for name, value in machine.environment.items()),
        ],
        indent="",
    )


def table(findings: Sequence[Finding]) -> str:
    """A row for each backend and device."""
    numpy = next((f.images_per_second for f in findings if f.backend == "numpy"), None)
    rows = [HEAD, *(row(finding, numpy) for finding in findings)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for cells in rows:
        left = [cell.ljust(width) for cell, width in zip(cells[:-2], widths[:-2], strict=True)]
        right = [cell.rjust(width) for cell, width in zip(cells[-2:], widths[-2:], strict=True)]
        lines.append("  ".join([*left, *right]).rstrip())
    return "\n".join(lines)


def row(finding: Finding, numpy: float | None) -> tuple[str, ...]:
    """The cells of one backend and device."""
    found = {check.name: cell(check) for check in finding.checks}
    speed = finding.images_per_second
    return (
        finding.name,
        finding.facts.get("version", "?"),
        finding.facts.get("steps", "?"),
        *(found.get(name, "failed") for name in ("float64", "float32", "compiled", "repeatable")),
        "failed" if speed is None else f"{speed:,.0f}",
        "" if speed is None or numpy is None else f"{speed / numpy:.2f}",
    )


def cell(check: Check) -> str:
    """ "ok" or a small difference; in capitals if it is wrong."""
    shown = "" if check.difference is None else f"{check.difference:.0e}".replace("0e+00", "0")
    if check.ok:
        return shown or "ok"
    return f"WRONG {shown}".rstrip()


def has_gpu(finding: Finding) -> bool:
    """Whether the device is not the CPU."""
    return finding.facts.get("device", "CPU") != "CPU"


def device(finding: Finding) -> str:
    """The device, its memory and driver, and whether float32 is computed in TF32."""
    facts = finding.facts
    memory = [f"{gibibytes(facts['memory'])} of memory"] if facts["memory"] else []
    reduced = " and ".join(finding.reduced_precision)
    precision = f"TF32 or less for {reduced}" if reduced else "no TF32: float32 has its full precision"
    return ", ".join(filter(None, [facts["device"], *memory, facts["driver"], precision]))


def advice(machine: Machine, findings: Sequence[Finding]) -> list[tuple[str, str]]:
    """What to change: (backend, advice)."""
    rows = []
    for finding in findings:
        texts = [finding.facts.get("advice", "")]
        if machine.gpus and not any(has_gpu(other) for other in findings if other.backend == finding.backend):
            texts.append(finding.facts.get("gpu_advice", ""))
        if finding.reduced_precision and not has_gpu(finding):
            texts.append(f"less than float32 for {' and '.join(finding.reduced_precision)}")
        rows += [(finding.name, each) for each in texts if each]
    measured = any(finding.images_per_second for finding in findings)
    if measured and machine.load is not None and machine.load > 0.75 * machine.cores:
        load = f"load {machine.load:.1f}, {count(machine.cores, 'core')}"
        threads = "; where it is always so, OPENBLAS_NUM_THREADS=1 makes NumPy faster"
        way_out = "" if "OPENBLAS_NUM_THREADS" in machine.environment else threads
        rows.append(("speed", f"the machine is busy ({load}): speeds are too low{way_out}"))
    if machine.gpus and not any(map(has_gpu, findings)):
        rows.append(("GPU", "none of these backends uses it; see xpnet/docs/gpu.md"))
    return rows


def verdict(findings: Sequence[Finding], seconds: float) -> str:
    """The last line: whether all numbers are right."""
    here = [finding for finding in findings if finding.status != MISSING]
    wrong = [finding.name for finding in here if finding.status == WRONG]
    took = f"({seconds:.0f} seconds)"
    if wrong:
        return f"WRONG numbers or errors: {', '.join(wrong)} {took}"
    if not here:
        return f"Nothing to check: no backend that was asked for is here {took}"
    return f"All numbers are right: {', '.join(finding.name for finding in here)} {took}"


def pairs(rows: Iterable[tuple[str, str]], indent: str = "  ") -> str:
    """Lines of a name and its text, wrapped."""
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    lines = []
    for name, words in rows:
        first = f"{indent}{name:{width}}  "
        wrapped = textwrap.wrap(
            words, WIDTH, initial_indent=first, subsequent_indent=" " * len(first), break_on_hyphens=False
        )
        lines += wrapped or [first.rstrip()]
    return "\n".join(lines)


def count(n: int, noun: str) -> str:
    """ "1 core", "2 cores"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def gibibytes(n: int) -> str:
    """Bytes in GiB: "15.6 GiB"."""
    return f"{n / 2**30:.1f} GiB"
