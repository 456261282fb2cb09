"""The command `python -m bench.gpu`."""

import argparse
import importlib.metadata
import json
import platform
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import xpnet
from bench.gpu import kernels, training
from bench.gpu.card import SMALL, Card, Line, Quantities, Scale
from xpnet.backend._reading import one_line
from xpnet.errors import BackendError
from xpnet.train.doctor.machine import cpu_name
from xpnet.train.script import exit_status

FOLDER = Path(__file__).parents[1] / "results/gpu"
CUPY = ("cupy-cuda13x", "cupy-cuda12x", "nvmath-python", "array-api-compat")
PACKAGES = ("xpnet", "numpy", *CUPY, "torch", "jax")


def lines(card: Card) -> Iterator[Line]:
    """The lines of the table, the most wanted first."""
    yield "versions", lambda: versions(card)
    yield "card before", card.condition
    yield from training.lines(card)
    yield from kernels.lines(card)
    yield "card after", card.condition


def versions(card: Card) -> Quantities:
    facts, cupy = card.backend.facts(), card.cupy
    found = {"card": facts.device, "compute capability": cupy.cuda.Device().compute_capability}
    found |= {"CUDA": facts.driver, "NVRTC": ".".join(map(str, cupy.cuda.nvrtc.getVersion()))}
    found["cuBLAS"] = str(card.backend.cublas.get_version(card.cublas.handle))
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found | {"Python": platform.python_version(), "CPU": cpu_name()}


def measured(measure: Callable[[], Quantities]) -> Quantities:
    """What a measurement finds, or its error. A step that cannot be captured is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return measure()
        except Exception as error:
            return {"error": f"{type(error).__name__}: {one_line(error)}"}


def cell(quantities: Quantities) -> str:
    """Numbers with three digits before their unit, and text after its name."""
    told = []
    for name, value in quantities.items():
        if isinstance(value, str):
            told.append(f"{name} {value}")
        elif value is not None:
            told.append(
                f"{float(f'{value:.3g}'):,g} {name}" if isinstance(value, float) else f"{value:,} {name}"
            )
    return ", ".join(told).replace("|", "/")


def run(folder: Path, scale: Scale) -> int:
    """Print and write all lines. The exit status is 1 if some are errors."""
    backend: Any = xpnet.backend.get("cupy")
    facts, failed = backend.facts(), False
    if backend.cublas is None:
        raise BackendError(f"expected nvmath-python, for CUDA graphs: {facts.advice}")
    try:
        card = Card(backend, scale)
    except Exception as error:
        raise BackendError(f"expected cuBLAS by nvmath-python, got an error: {one_line(error)}") from error
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / re.sub("[^a-z0-9]+", "-", facts.device.lower()).strip("-")
    table, numbers = (file.with_suffix(kind).open("w", encoding="utf-8") for kind in (".md", ".jsonl"))
    with table, numbers:

        def write(*cells: str) -> None:
            for output in (sys.stdout, table):
                print(f"| {' | '.join(cells)} |", file=output, flush=True)

        write(facts.device, "" if scale != SMALL else "little work: the times say nothing")
        write("---", "---")
        for name, measure in lines(card):
            found = measured(measure)
            write(name, cell(found))
            print(json.dumps({"line": name, **found}, ensure_ascii=False), file=numbers, flush=True)
            failed |= "error" in found
    return int(failed)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m bench.gpu", description="What an NVIDIA GPU costs and gives.")
    parser.add_argument(
        "--output",
        type=Path,
        default=FOLDER,
        metavar="FOLDER",
        help="where to write CARD.md and CARD.jsonl (default: bench/results/gpu)",
    )
    parser.add_argument("--small", action="store_true", help="little work, for tests")
    options = parser.parse_args(arguments)
    return exit_status("bench.gpu", lambda: run(options.output, SMALL if options.small else Scale()))


if __name__ == "__main__":
    sys.exit(main())
