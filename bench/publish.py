"""Write measured figures where people read them: `python -m bench.publish`.

Every bench/results/NAME.json was written by `pytest --benchmark-json`. This writes its tables beside it, in
NAME.md, and from the epochs of all of them the table of `xpnet/docs/speed.md` and README's paragraph, from
the estimators the table of `xpnet/docs/sklearn.md`, from the ensembles that of `xpnet/docs/ensembles.md`.
"""

import contextlib
import io
import itertools
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from bench import table
from bench.ensemble_contestants import JAX, K_FITS, TORCH
from bench.estimators import REFERENCE
from bench.table import Record, align

ROOT = Path(__file__).parents[1]
RESULTS, SPEED, README = ROOT / "bench/results", "xpnet/docs/speed.md", "README.md"
SKLEARN, ENSEMBLES = "xpnet/docs/sklearn.md", "xpnet/docs/ensembles.md"
Run = tuple[dict[str, Any], list[Record]]
Records = dict[tuple[str, str], Record]  # by workload and contestant
ROWS = {
    "784-10 softmax, batch 64": "784-10, batch 64",
    "784-128-10 sigmoid, batch 64": "784-128-10, batch 64",
    "784-512-512-10 relu, batch 128": "784-512-512-10, batch 128",
    "784-512-512-10 relu adam, batch 128": "… with Adam",
    "784-512-512-10 relu nesterov l2, batch 100": "… with Nesterov momentum and L2, batch 100",
    "784-512-512-10 relu norm, batch 128": "… with batch normalisation",
    "784-2048-2048-10 relu, batch 512": "784-2048-2048-10, batch 512",
    "conv5x5x16-pool-conv5x5x32-pool-128-10 relu, batch 128": "CNN A, batch 128",
    "conv5x5x16-norm-pool-conv5x5x32-norm-pool-128-10 relu, batch 128": "… with batch normalisation",
    "conv3x3x32-conv3x3x32-pool-conv3x3x64-conv3x3x64-pool-10 relu, batch 128": "CNN B, batch 128",
}
# Contestants, of which the one with the lowest median counts, and what their times are shares of.
COLUMNS = {
    "**xpnet on NumPy with Numba**": (("xpnet on NumPy with Numba",), "PyTorch"),
    "**on NumPy**": (("xpnet on NumPy",), "PyTorch"),
    "on PyTorch": (("xpnet on PyTorch",), "PyTorch"),
    "on JAX": (("xpnet on JAX",), "PyTorch"),
    "PyTorch, eager": (("PyTorch eager", "PyTorch eager, channels last"), "PyTorch"),
    "`torch.compile`": (("torch.compile",), "PyTorch"),
    "JAX": (("JAX jit", "JAX scan"), "PyTorch"),
    "scikit-learn": (("scikit-learn",), "PyTorch"),
    "NumPy with Numba / JAX": (("xpnet on NumPy with Numba",), "JAX"),
    "NumPy / products": (("xpnet on NumPy",), "limit"),
}
# The same for K networks at once: rows, and shares of K fits or of the peer that is named.
CASES = {
    "32 of 20-32-10, batch 64": "32 of 20-32-10",
    "8 of 784-128-10, batch 64": "8 of 784-128-10",
    "8 of two convolutions on 8x8 images, batch 64": "8 with two convolutions, on 8×8 images",
}
ENSEMBLE_COLUMNS = {
    f'{name}, `"{order}"`': ((f"xpnet on {name}: {order}",), K_FITS)
    for name, orders in (
        ("NumPy with Numba", ("each", "shared")),
        ("NumPy", ("each",)),
        ("PyTorch", ("each",)),
        ("JAX", ("each", "shared")),
    )
    for order in orders
} | {
    f"{name} / `{peer}`": ((f"xpnet on {name}: shared",), peer)
    for name, peer in (("NumPy with Numba", TORCH), ("NumPy with Numba", JAX), ("JAX", JAX))
}
TABLE = re.compile(r"(?<=\n)(?:\|.*\n)+")
PARAGRAPH = re.compile(r"(?<=## How fast it is\n\n).*?(?=\n\n)", re.DOTALL)


def documents(runs: list[Run]) -> dict[str, str]:
    """The texts of `speed.md`, README, `sklearn.md` and `ensembles.md` with these figures, by their paths.

    Arguments:
        runs: each what `bench.table.load` gives. The first record of a workload and contestant counts.
    """
    measured = [each for _, records in runs for each in records if each["suite"] == "estimators"]
    ensembles = {
        (each["workload"], each["contestant"]): each
        for _, records in reversed(runs)
        for each in records
        if each["suite"] == "ensembles"
    }
    runs = [(run, [record for record in records if record["suite"] == "epochs"]) for run, records in runs]
    machine = next(run for run, records in runs if records)["machine_info"]
    found = {(r["workload"], r["contestant"]): r for _, records in reversed(runs) for r in records}
    return {
        SPEED: with_table(SPEED, "## Epochs", ratio_table(found, ROWS, COLUMNS)),
        README: PARAGRAPH.sub(lambda _: paragraph(found, machine), (ROOT / README).read_text(), count=1),
        SKLEARN: with_table(SKLEARN, "## How fast it is", sklearn_table(measured)),
        ENSEMBLES: with_table(ENSEMBLES, "## What it costs", ratio_table(ensembles, CASES, ENSEMBLE_COLUMNS)),
    }


def with_table(path: str, heading: str, rows: str) -> str:
    """The text of a document with this table, in place of the first under the heading, else at its end."""
    text = (ROOT / path).read_text()
    before, section, after = re.split(rf"({heading}\n.*?\n(?=## |\Z))", text, maxsplit=1, flags=re.DOTALL)
    if not rows:
        return text
    with_it, found = TABLE.subn(lambda _: f"{rows}\n", section, count=1)
    return before + (with_it if found else f"{section}{rows}\n\n") + after


def sklearn_table(records: list[Record]) -> str:
    """The table of `sklearn.md`: a task a row; "" where nothing was measured."""
    rows: list[tuple[str, ...]] = []
    for task, in_row in table.grouped(records, "task"):
        of = {record["contestant"]: record for record in in_row}
        ratios = (
            f"{np.median(of[name]['ratio to scikit-learn']):.2f}" if name in of else ""
            for name in ("xpnet on NumPy with Numba", "xpnet on NumPy")
        )
        scores = (table.score(of[name]["scores"]) for name in ("xpnet on NumPy", REFERENCE))
        rows.append((task, *ratios, *scores))
    if not rows:
        return ""
    threads = records[0]["library"].rpartition(", ")[2]
    header = f"time / scikit-learn's, {threads}", "with Numba", "on NumPy", "score", "its score"
    return align([header, *rows])


def ratio_table(found: Records, labels: dict[str, str], columns: dict[str, Any]) -> str:
    """A table with a row for each workload, without empty columns; "" where nothing was measured.

    Arguments:
        found: the records.
        labels: the workloads, and what they are called in the table.
        columns: contestants, of which the one with the lowest median counts, and their reference.
    """
    workloads = {workload for workload, _ in found}
    rows = [
        (label, *(cell(found, workload, *column) for column in columns.values()))
        for workload, label in labels.items()
        if workload in workloads
    ]
    if not rows:
        return ""
    used = [i for i in range(1 + len(columns)) if any(row[i] for row in rows)]
    return align([tuple(row[i] for i in used) for row in (("", *columns), *rows)])


def cell(found: Records, workload: str, names: tuple[str, ...], reference: str) -> str:
    """The lowest median of these contestants' ratios."""
    return min(
        (f"{each:.2f}" for each in medians(found, [workload], names, reference)), default="", key=float
    )


def medians(found: Records, workloads: Iterable[str], names: tuple[str, ...], reference: str) -> list[float]:
    """The median over the rounds of each contestant's ratios with each workload."""
    records = [found[key] for key in itertools.product(workloads, names) if key in found]
    ratios = [record[f"ratio to {reference}"] for record in records]
    return [float(np.median(each)) for each in ratios if each]


def paragraph(found: Records, machine: dict[str, Any]) -> str:
    """README's, in lines: the lowest and the highest median of xpnet on NumPy and of scikit-learn."""
    workloads = list(dict.fromkeys(workload for workload, _ in found))

    def span(name: str) -> str:
        of_it = medians(found, workloads, (name,), "PyTorch")
        return f"{min(of_it):.2f} to {max(of_it):.2f}" if of_it else ""

    plain, numba, sklearn = map(span, ("xpnet on NumPy", "xpnet on NumPy with Numba", "scikit-learn"))
    where = f"{machine['cores']} cores of an {machine['cpu']['brand_raw']}"
    with_numba = f", {numba} with Numba (`pip install '.[fast]'`)" if numba else ""
    sentences = [
        f"On {where}, in float32, training on NumPy takes {plain} of the time of eager PyTorch on the "
        f"{len(workloads)} networks of the speed suite{with_numba}.",
        *([f"scikit-learn takes {sklearn} on those that it has."] if sklearn else []),
        "These are medians of alternating rounds. There are no figures of a GPU yet.",
        "[Speed](xpnet/docs/speed.md) has the table and how it was measured.",
    ]
    text = " ".join(sentences)
    return textwrap.fill(text, 119, break_long_words=False, break_on_hyphens=False)


def main() -> None:
    """Read all results; write their tables, and the documents."""
    files = sorted(RESULTS.glob("*.json"))
    for file in files:
        with contextlib.redirect_stdout(io.StringIO()) as tables:
            table.main(str(file))
        file.with_suffix(".md").write_text(tables.getvalue())
    for path, text in documents([table.load(str(file)) for file in files]).items():
        (ROOT / path).write_text(text)


if __name__ == "__main__":
    main()
