"""K networks at once against K fits, one after the other: `python -m bench.ensembles [numpy jax torch …]`.

Each round trains one epoch both ways, in turn. The ratio is the median of the rounds' ratios: below 1, the
ensemble is faster. On a machine that does other work, set OPENBLAS_NUM_THREADS=1, and compare the smallest
times as well.
"""

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import xpnet
from xpnet import losses, nn, optim

ROUNDS = 9
EXAMPLES = 6400


class Case(NamedTuple):
    """An architecture, the number of networks, and the shape of an example; batch 64, momentum 0.9."""

    name: str
    net: nn.Layer
    networks: int
    shape: tuple[int, ...]


def dense(*sizes: int) -> nn.Layer:
    n, hidden, classes = sizes
    return nn.Sequential(nn.Linear(n, hidden), nn.ReLU(), nn.Linear(hidden, classes))


CASES = [
    Case("784-128-10", dense(784, 128, 10), 8, (784,)),
    Case("20-32-10", dense(20, 32, 10), 32, (20,)),
    Case(
        "8x8 images, two convolutions",
        nn.Sequential(
            *(nn.Conv2d(1, 8, 3, padding="same"), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(8, 16, 3, padding="same"), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(64, 10)),
        ),
        8,
        (8, 8, 1),
    ),
]


class Times(NamedTuple):
    """The seconds of an epoch of all K networks in each round: one after the other, and at once."""

    alone: list[float]
    together: list[float]

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return statistics.median(b / a for a, b in zip(*self, strict=True))


def measure(case: Case, backend: str, shuffle: str, rounds: int = ROUNDS, examples: int = EXAMPLES) -> Times:
    """One epoch in each round, after one that warms up."""
    rng = np.random.default_rng(0)
    x, y = rng.random((examples, *case.shape), np.float32), rng.integers(10, size=examples)
    made: dict[str, Any] = {
        "loss": losses.CrossEntropy(),
        "optimizer": optim.SGD(0.01, momentum=0.9),
        "backend": backend,
    }
    models = [xpnet.Model(case.net, seed=k, **made) for k in range(case.networks)]
    ensemble = xpnet.Ensemble(case.net, seeds=range(case.networks), **made)

    def alone() -> None:
        for model in models:
            model.fit(x, y, epochs=1)

    def together() -> None:
        ensemble.fit(x, y, epochs=1, shuffle=shuffle)

    times = Times([], [])
    for i in range(rounds + 1):
        for run, seconds in zip((alone, together), times, strict=True):
            found = _seconds(run)
            if i:
                seconds.append(found)
    return times


def _seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main(backends: list[str]) -> None:
    """Print a row for each backend, case and order of the examples."""
    print("| backend | networks | order | K fits | ensemble | ratio | of smallest |")
    print("|---|---|---|--:|--:|--:|--:|")
    for backend in backends:
        for case in CASES:
            for shuffle in ("each", "shared"):
                times = measure(case, backend, shuffle)
                alone, together = (1000 * statistics.median(each) for each in times)
                smallest = min(times.together) / min(times.alone)
                print(
                    f"| {backend} | {case.networks} of {case.name} | {shuffle} | {alone:.0f} ms | "
                    f"{together:.0f} ms | {times.ratio:.2f} | {smallest:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main(sys.argv[1:] or ["numpy"])
