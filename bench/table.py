"""The table of a run of the speed suite: `python -m bench.table FILE.json` prints it in Markdown.

FILE.json is what `pytest --benchmark-only bench --benchmark-json=FILE.json` wrote.
"""

import json
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from bench.workloads import WORKLOADS

HEADER = ("", "ms / step", "s / 48,000", "images / s", "time / PyTorch", "time / limit")


def render(records: list[dict[str, Any]], missing: dict[str, str]) -> str:
    """A Markdown table for each workload, and under them what each row ran on."""
    paragraphs = []
    for workload, group in groupby(records, key=lambda record: record["workload"]):
        in_group = list(group)
        images, rounds = in_group[0]["images"], len(in_group[0]["seconds"])
        paragraphs += [
            f"{workload}: {rounds} rounds of {images:,} images, malloc {in_group[0]['malloc']}",
            align([HEADER, *map(row, in_group)]),
        ]
    if records:
        paragraphs.append(
            "Times are medians over the rounds. Ratios are of times in the same round, below 1 where the "
            "row is faster: median (quartiles). PyTorch is eager PyTorch on the row's device, in the faster "
            "of its memory formats; the limit is the step's matrix products alone."
        )
        libraries = {record["contestant"]: record["library"] for record in records}
        paragraphs.append("\n".join(f"- {name}: {library}" for name, library in libraries.items()))
    if missing:
        paragraphs.append("\n".join(["Left out:\n", *(f"- {name}: {why}" for name, why in missing.items())]))
    return "\n\n".join(paragraphs)


def row(record: dict[str, Any]) -> tuple[str, ...]:
    images_per_second = record["images"] / np.median(record["seconds"])
    step = 1000 * WORKLOADS[record["workload"]].batch_size / images_per_second
    times = (f"{step:.2f}", f"{48_000 / images_per_second:.3f}", f"{images_per_second:,.0f}")
    ratios = (spread(record["ratio to PyTorch"]), spread(record["ratio to limit"]))
    return record["contestant"], *times, *ratios


def spread(ratios: list[float] | None) -> str:
    if ratios is None:
        return ""
    low, median, high = np.percentile(ratios, (25, 50, 75))
    return f"{median:.2f} ({low:.2f}-{high:.2f})"


def align(rows: list[tuple[str, ...]]) -> str:
    """Rows, the first one the header, as Markdown: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    first, *others = [
        [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        for row in rows
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (first, rule, *others))


def main(path: str) -> None:
    run = json.loads(Path(path).read_text())
    machine = run["machine_info"]
    print(f"{machine['cpu']['brand_raw']}, {machine['cores']} cores, {machine['system']}")
    commit = run["commit_info"]
    changes = " with changes" if commit.get("dirty") else ""
    print(
        f"Python {machine['python_version']}, {run['datetime'][:10]}, xpnet at {commit['id'][:12]}{changes}\n"
    )
    print(render([benchmark["extra_info"] for benchmark in run["benchmarks"]], machine["missing"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
