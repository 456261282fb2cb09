"""Rounds of K networks at once: ensembles beside K fits, and beside `torch.func.vmap` and `jax.vmap`.

In each round every contestant trains all K networks for an epoch; otherwise as `rounds` does for epochs.
"""

from statistics import mean
from typing import Any

import numpy as np

from bench.ensemble_contestants import ENSEMBLE_CONTESTANTS, K_FITS, REFERENCES, Case, XPNetNetworks
from bench.process import Workers
from bench.rounds import WARM_UP, Record, Result, divide

TOLERANCE = 2e-5  # sums in another order differ by 1e-6, examples in another order by 1e-4 and more
TOLERANCE_OF_IMAGES = 1e-3  # rounding decides now and then which value of a pooling window is the largest


def compare(case: Case, contestants: list[str], rounds: int | None, malloc: str) -> Result:
    """Run all rounds of one case.

    Raises AssertionError where the losses of the contestants differ, or do not fall, RuntimeError where a
    process ends or has another number of threads.
    """
    workload = case.workload
    chosen = {name: ENSEMBLE_CONTESTANTS[name] for name in contestants}
    with Workers("ensembles", chosen, [case.name], malloc) as workers:
        answers = workers.turns(range(WARM_UP + (rounds or workload.rounds)))
    tolerance = TOLERANCE_OF_IMAGES if len(workload.input_shape) > 1 else TOLERANCE
    require_same_losses({name: series[0]["loss"] for name, series in answers.items()}, tolerance)
    for name, series in answers.items():
        first, last = (mean(series[i]["loss"]) for i in (0, -1))
        assert last < first, f"{name}: the training loss went from {first} to {last}"
    seconds = {name: [answer["seconds"] for answer in series[WARM_UP:]] for name, series in answers.items()}
    records: dict[str, Record] = {
        name: {
            "workload": case.name,
            "contestant": name,
            "networks": case.networks,
            "images": workload.images,
            "library": hello["library"],
            "gpu": hello["gpu"],
            "malloc": malloc,
            "seconds": seconds[name],
        }
        | ratios(name, seconds)
        for name, hello in workers.hellos.items()
    }
    return Result(records, workers.missing)


def ratios(name: str, seconds: dict[str, list[float]]) -> dict[str, list[float] | None]:
    """A contestant's times divided by those of each reference in the same place, round by round.

    K fits are those of the same library.
    """
    contestant = ENSEMBLE_CONTESTANTS[name]
    found: dict[str, list[float] | None] = {}
    for reference in REFERENCES:
        rival = reference
        if reference == K_FITS:
            rival = f"{name.partition(':')[0]}: {K_FITS}" if isinstance(contestant, XPNetNetworks) else ""
        times = seconds.get(rival + contestant.place)
        found[f"ratio to {reference}"] = times and divide(seconds[name], times)
    return found


def has_own_orders(name: str) -> bool:
    """Whether each network sees the examples in an order of its own."""
    contestant: Any = ENSEMBLE_CONTESTANTS[name]
    return isinstance(contestant, XPNetNetworks) and contestant.way != "shared"


def require_same_losses(losses: dict[str, list[float]], tolerance: float = TOLERANCE) -> None:
    """AssertionError unless the mean losses of the first epoch are the same for contestants of one order.

    The first network has the same order in all of them.
    """
    for own_orders in (True, False):
        group = {name: each for name, each in losses.items() if has_own_orders(name) == own_orders}
        require_close(group, tolerance)
    require_close({name: each[:1] for name, each in losses.items()}, tolerance)


def require_close(losses: dict[str, list[float]], tolerance: float) -> None:
    reference_name, reference = next(iter(losses.items()), ("", []))
    for name, each in losses.items():
        assert np.allclose(each, reference, rtol=tolerance, atol=0), (
            f"training losses of the first epoch: {each} for {name}, {reference} for {reference_name}"
        )
