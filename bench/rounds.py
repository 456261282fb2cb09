"""The comparison: contestants in processes of their own, timed in turn.

Every contestant has its own process, since the threads of several libraries in one process disturb each
other (PyTorch's epochs took 2 to 16 % longer), and malloc is set by the environment. In each round all of
them take a turn, in a random order, and only times of the same round are compared: a disturbance of the
machine that lasts longer than a round cancels.
"""

import math
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

from bench.contestants import CONTESTANTS, REFERENCES
from bench.peaks import peak
from bench.process import Workers
from bench.workloads import Workload

WARM_UP = 2  # rounds
Record = dict[str, Any]  # JSON: the measurements of one contestant
# Largest relative difference of the mean loss of the first epoch. TF32 keeps 10 bits of a factor.
TOLERANCE = {"float32": 1e-3, "tf32": 1e-2}
TOLERANCE_OF_OTHER_BATCHES = 0.02


@dataclass(frozen=True)
class Options:
    """Images in an epoch, rounds (None: the workload's own), and the setting of malloc."""

    images: int | None = None
    rounds: int | None = None
    malloc: str = "settled"


class Result(NamedTuple):
    """A record for each contestant that ran, and for each other one the reason why it did not."""

    records: dict[str, Record]
    missing: dict[str, str]


def compare(workload: Workload, contestants: list[str], options: Options, *, learns: bool = True) -> Result:
    """Run all rounds of one workload.

    Raises ValueError where the number of images is not a multiple of the batch size, AssertionError where the
    losses of the contestants differ or, with `learns`, do not fall, RuntimeError where a process ends or has
    another number of threads.
    """
    images, rounds = options.images or workload.images, options.rounds or workload.rounds
    if not 0 < images <= workload.data_set or images % workload.batch_size:
        limit = f"at most {workload.data_set} images"
        raise ValueError(f"{workload.name}: expected whole batches, {limit}, got {images}")
    chosen = {name: CONTESTANTS[name] for name in contestants}
    with Workers("epochs", chosen, [workload.name, str(images)], options.malloc) as workers:
        answers = workers.turns(range(WARM_UP + rounds))
    losses = {name: [answer["loss"] for answer in series] for name, series in answers.items()}
    seconds = {name: [answer["seconds"] for answer in series[WARM_UP:]] for name, series in answers.items()}
    require_same_loss(losses)
    if learns:
        require_falling_loss(losses)
    records = {}
    for name, hello in workers.hellos.items():
        steps = images // workload.batch_size
        record = {
            "workload": workload.name,
            "contestant": name,
            "device": CONTESTANTS[name].device,
            "precision": CONTESTANTS[name].precision,
            "library": hello["library"],
            "gpu": hello["gpu"],
            "images": images,
            "batch size": workload.batch_size,
            "malloc": options.malloc,
            "seconds": seconds[name],
        }
        record |= ratios(name, seconds) | share_of_peak(record, workload.step_flops * steps)
        records[name] = record
    return Result(records, workers.missing)


def ratios(name: str, seconds: dict[str, list[float]]) -> dict[str, list[float] | None]:
    """A contestant's times divided by those of each reference in the same place, round by round."""
    found: dict[str, list[float] | None] = {}
    for reference, names in REFERENCES.items():
        rivals = [rival + CONTESTANTS[name].place for rival in names]
        fastest = min((seconds[rival] for rival in rivals if rival in seconds), key=median, default=None)
        found[f"ratio to {reference}"] = fastest and divide(seconds[name], fastest)
    return found


def divide(seconds: list[float], reference: list[float]) -> list[float]:
    return [a / b for a, b in zip(seconds, reference, strict=True)]


def share_of_peak(record: Record, flops: int) -> dict[str, list[float] | None]:
    """The operations of the epoch's products, by its time and the GPU's peak; None where that is unknown."""
    most = peak(record["gpu"], record["precision"]) if record["gpu"] else None
    return {"share of peak": most and [flops / s / most for s in record["seconds"]]}


def require_same_loss(losses: dict[str, list[Any]]) -> None:
    """AssertionError unless all contestants have the same mean training loss in the first epoch."""
    first = {name: series[0] for name, series in losses.items() if series[0] is not None}
    for name, loss in first.items():
        contestant = CONTESTANTS[name]
        tolerance = TOLERANCE[contestant.precision]
        if contestant.draws_own_batches:
            tolerance = TOLERANCE_OF_OTHER_BATCHES
        reference_name, reference = next(iter(first.items()))
        assert math.isclose(loss, reference, rel_tol=tolerance), (
            f"training loss of the first epoch: {loss} for {name}, {reference} for {reference_name}"
        )


def require_falling_loss(losses: dict[str, list[Any]]) -> None:
    """AssertionError unless each contestant's last mean training loss is below its first."""
    for name, (first, *_, last) in losses.items():
        if first is not None:
            assert last < first, f"{name}: the training loss went from {first} to {last}"
