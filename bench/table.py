"""The tables of the speed suite: `python -m bench.table FILE.json` prints them in Markdown.

FILE.json was written by `pytest --benchmark-only bench --benchmark-json=FILE.json`.
"""

import json
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from bench.ensemble_contestants import REFERENCES as ENSEMBLE_REFERENCES
from bench.points import PARTS, SCALED

Record = dict[str, Any]
HEADER = ("", "ms / step", "s / 48,000", "images / s", "time / PyTorch", "time / JAX", "time / limit")
EPOCHS = (
    "Times are medians over the rounds. Ratios are of times in the same round, below 1 where the row is "
    "faster: median (quartiles). PyTorch is eager PyTorch, in the faster of its memory formats, JAX the "
    "faster of its two rows, both on the row's device and in its precision; the limit is the step's matrix "
    "products alone."
)
PEAK = (
    "The share of peak is that of the products' operations, two for a multiplication and an addition, in "
    "what the GPU's data sheet promises for the row's precision; `bench/peaks.py` has the numbers."
)
LAYERS = (
    "PyTorch's times are medians over the rounds, eager with autograd, images in the faster of its memory "
    "formats. The others are ratios to it in the same round: median (quartiles). In training mode; forward "
    "and backward gives the gradients at the input and at the parameters."
)
MEMORY = (
    "MB at the peak of a training step of xpnet on NumPy, without the data set, and of what has to be there: "
    "parameters, gradients, the optimizer's state, and the activations saved for the backward pass if the "
    "whole batch is in the network at once (convolutional networks run in micro-batches, and save fewer)."
)
ESTIMATORS = (
    "Times of `fit` are medians over the rounds, ratios those in the same round: median (quartiles). Scores, "
    "the accuracy or R² on the test data, are means ± standard deviations over the rounds, each of which has "
    "another `random_state`."
)
ENSEMBLES = (
    "ms of an epoch of all networks, medians over the rounds. Ratios are of times in the same round, below 1 "
    "where the row is faster: median (quartiles). K fits, one after the other, are those of the row's own "
    "library. `torch.func.vmap` is PyTorch's `functional_call` of stacked modules, with autograd and a fused "
    "optimizer; `jax.vmap` is a jitted step of all networks in a `lax.scan` over the epoch."
)


def render(records: list[Record], missing: dict[str, str]) -> str:
    """Markdown tables of all records, then the libraries, then what was left out and why."""
    tables = {
        "epochs": epochs,
        "layers": layers,
        "scaling": scaling,
        "memory": memory,
        "estimators": estimators,
        "ensembles": ensembles,
    }
    paragraphs = []
    for suite, table in tables.items():
        if of_suite := [record for record in records if record["suite"] == suite]:
            paragraphs += table(of_suite)
    libraries = {_library_of(record): record["library"] for record in records if "library" in record}
    paragraphs.append("\n".join(f"- {name}: {library}" for name, library in libraries.items()))
    if missing:
        paragraphs.append("\n".join(["Left out:\n", *left_out(missing)]))
    return "\n\n".join(paragraphs)


def _library_of(record: Record) -> str:
    """The contestant; of ensembles, the ways of one library have one line."""
    name: str = record["contestant"]
    return name.partition(":")[0] if record["suite"] == "ensembles" else name


def left_out(missing: dict[str, str]) -> list[str]:
    """A line for each reason, with the contestants that it applies to."""
    names: dict[str, list[str]] = {}
    for name, why in missing.items():
        names.setdefault(why, []).append(name)
    return [f"- {'; '.join(group)}: {why}" for why, group in names.items()]


def epochs(records: list[Record]) -> list[str]:
    """A table for each workload."""
    paragraphs = []
    for workload, in_group in grouped(records, "workload"):
        images, rounds = in_group[0]["images"], len(in_group[0]["seconds"])
        on_gpu = any(record["gpu"] for record in in_group)
        header = (*HEADER, "% of peak") if on_gpu else HEADER
        paragraphs += [
            f"{workload}: {rounds} rounds of {images:,} images, malloc {in_group[0]['malloc']}",
            align([header, *(row(record)[: len(header)] for record in in_group)]),
        ]
    return [*paragraphs, EPOCHS] + ([PEAK] if any(record["gpu"] for record in records) else [])


def row(record: Record) -> tuple[str, ...]:
    images_per_second = record["images"] / np.median(record["seconds"])
    ratios = [spread(record[f"ratio to {reference}"]) for reference in ("PyTorch", "JAX", "limit")]
    return (
        record["contestant"],
        f"{milliseconds_of_step(record):.2f}",
        f"{48_000 / images_per_second:.3f}",
        f"{images_per_second:,.0f}",
        *ratios,
        share(record),
    )


def share(record: Record) -> str:
    """The share of peak in percent."""
    if record["gpu"] is None:
        return ""
    if record["share of peak"] is None:
        return f"{record['gpu']}: peak unknown"
    return spread(100 * np.asarray(record["share of peak"]))


def milliseconds_of_step(record: Record) -> float:
    return 1000 * record["batch size"] / record["images"] * float(np.median(record["seconds"]))


def layers(records: list[Record]) -> list[str]:
    """A table for each device, with a row for each layer."""
    paragraphs = []
    for place, in_place in grouped(records, "place"):
        ours = list(dict.fromkeys(r["contestant"] for r in in_place if "xpnet" in r["contestant"]))
        columns = [column for name in ours for column in (f"{name}: forward", "and backward")]
        rows = [(f"layer{place}", "PyTorch, ms: forward", "and backward", *columns)]
        for layer, in_row in grouped(in_place, "layer"):
            found = {record["contestant"]: record for record in in_row}
            rivals = [record for name, record in found.items() if name not in ours]
            cells = [
                f"{1000 * min(np.median(rival[kind]['seconds']) for rival in rivals):.3f}" if rivals else ""
                for kind in ("forward", "both")
            ]
            for name in ours:
                cells += [
                    spread(found[name][kind]["ratio to PyTorch"]) if name in found else ""
                    for kind in ("forward", "both")
                ]
            rows.append((layer, *cells))
        paragraphs.append(align(rows))
    return [*paragraphs, LAYERS]


def scaling(records: list[Record]) -> list[str]:
    """One table, a point of the figure a row."""
    rows = [("", *(f"{name}, ms / step" for name in SCALED), "xpnet / PyTorch", "xpnet / limit")]
    for workload, in_row in grouped(records, "workload"):
        found = {record["contestant"]: record for record in in_row}
        times = [f"{milliseconds_of_step(found[name]):.3f}" if name in found else "" for name in SCALED]
        ours = found.get(SCALED[0], {})
        rows.append((workload, *times, *(spread(ours.get(f"ratio to {to}")) for to in ("PyTorch", "limit"))))
    return [align(rows)]


def memory(records: list[Record]) -> list[str]:
    """One table, a network and batch size a row."""
    rows = [("", "batch size", "peak", "sum of parts", "peak / sum", *PARTS)]
    for record in records:
        parts = [record[part] for part in PARTS]
        ratio = f"{record['peak'] / sum(parts):.2f}"
        sizes = [f"{size / 1e6:.2f}" for size in (record["peak"], sum(parts), *parts)]
        rows.append((record["network"], f"{record['batch size']:,}", *sizes[:2], ratio, *sizes[2:]))
    return [align(rows), MEMORY]


def estimators(records: list[Record]) -> list[str]:
    """A table for each task."""
    paragraphs = []
    for task, in_task in grouped(records, "task"):
        first = in_task[0]
        rows = [("", "s", "time / scikit-learn", "score")]
        for each in in_task:
            ratio = spread(each["ratio to scikit-learn"])
            rows.append(
                (each["contestant"], f"{np.median(each['seconds']):.3f}", ratio, score(each["scores"]))
            )
        paragraphs += [
            f"{task}: {len(first['seconds'])} rounds of {first['epochs']} epochs, malloc {first['malloc']}",
            align(rows),
        ]
    return [*paragraphs, ESTIMATORS]


def ensembles(records: list[Record]) -> list[str]:
    """A table for each case."""
    paragraphs = []
    for case, in_case in grouped(records, "workload"):
        first = in_case[0]
        rows = [("", "ms", *(f"time / {reference}" for reference in ENSEMBLE_REFERENCES))]
        for each in in_case:
            ratios = (spread(each[f"ratio to {reference}"]) for reference in ENSEMBLE_REFERENCES)
            rows.append((each["contestant"], f"{1000 * np.median(each['seconds']):.1f}", *ratios))
        rounds, examples = len(first["seconds"]), first["images"]
        paragraphs += [
            f"{case}: {rounds} rounds of {examples:,} examples, malloc {first['malloc']}",
            align(rows),
        ]
    return [*paragraphs, ENSEMBLES]


def score(scores: list[float]) -> str:
    return f"{np.mean(scores):.4f} ± {np.std(scores, ddof=min(1, len(scores) - 1)):.4f}"


def grouped(records: list[Record], key: str) -> list[tuple[str, list[Record]]]:
    """The records with the same value there, in the order in which the values come first."""
    order = list(dict.fromkeys(record[key] for record in records))
    in_order = sorted(records, key=lambda record: order.index(record[key]))
    return [(value, list(group)) for value, group in groupby(in_order, key=lambda record: record[key])]


def spread(ratios: Any) -> str:
    if ratios is None:
        return ""
    low, median, high = np.percentile(ratios, (25, 50, 75))
    return f"{median:.2f} ({low:.2f}-{high:.2f})"


def align(rows: list[tuple[str, ...]]) -> str:
    """Rows, the first one the header, as a Markdown table; the first column left-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    first, *others = [
        [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        for row in rows
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (first, rule, *others))


def load(path: str) -> tuple[dict[str, Any], list[Record]]:
    """The content of a file of pytest-benchmark, and the records in it."""
    run = json.loads(Path(path).read_text())
    return run, [benchmark["extra_info"] for benchmark in run["benchmarks"]]


def main(path: str) -> None:
    run, records = load(path)
    machine, commit = run["machine_info"], run["commit_info"]
    changes = " with changes" if commit.get("dirty") else ""
    print(f"{machine['cpu']['brand_raw']}, {machine['cores']} cores, {machine['system']}")
    print(
        f"Python {machine['python_version']}, {run['datetime'][:10]}, xpnet at {commit['id'][:12]}{changes}\n"
    )
    print(render(records, machine["missing"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
