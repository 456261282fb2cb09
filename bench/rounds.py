"""The comparison itself: contestants in processes of their own, timed in turn.

Threads of several libraries in one process get in each other's way (PyTorch's epochs took 2 to 16 %
longer), and malloc is set by the environment, so every contestant has its own process. All take their
turn in each round, in an order drawn anew, and only times of the same round are compared: what
disturbs the machine for longer than a round cancels.
"""

import json
import math
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from bench.contestants import CONTESTANTS, REFERENCES
from bench.workloads import SEED, WORKLOADS
from xpnet.random import generator

WARM_UP = 2  # rounds
# Seconds before each turn. Idle threads of OpenBLAS look for work for about 0.1 s and take the cores from
# the next in turn: with 0.05 s here PyTorch and NumPy took up to twice as long; 0.15 s and 0.3 s agree.
PAUSE = 0.2

# glibc gives big blocks back to the system when they are freed, and pays for page faults when it gets
# them anew. "settled" keeps them.
MALLOC: dict[str, dict[str, str]] = {
    "default": {},
    "settled": {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "4294967296"},
}
# float32 and not TF32, and memory for all.
CUDA = {
    "NVIDIA_TF32_OVERRIDE": "0",
    "JAX_DEFAULT_MATMUL_PRECISION": "highest",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}
Record = dict[str, Any]  # JSON: what was measured of one contestant


@dataclass(frozen=True)
class Options:
    """How to measure: images in an epoch (None: as the workload says), rounds, the setting of malloc."""

    images: int | None = None
    rounds: int = 20
    malloc: str = "default"


class Result(NamedTuple):
    """What the rounds gave: a record for each contestant, and why the others are missing."""

    records: dict[str, Record]
    missing: dict[str, str]


def compare(workload_name: str, contestants: list[str], options: Options) -> Result:
    """Play all rounds of one workload.

    Raises ValueError where the number of images is not whole batches, AssertionError where the
    contestants do not learn the same, RuntimeError where one of them breaks down.
    """
    workload = WORKLOADS[workload_name]
    images = options.images or workload.images
    if not 0 < images <= workload.data_set or images % workload.batch_size:
        limit = f"at most {workload.data_set} images"
        raise ValueError(f"{workload_name}: expected whole batches, {limit}, got {images}")
    records, missing = {}, {}
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(Worker(workload_name, name, images, options)) for name in contestants
        }
        for name, worker in workers.items():
            hello = worker.answer()
            if "unavailable" in hello:
                missing[name] = hello["unavailable"]
            else:
                records[name] = {
                    "workload": workload_name,
                    "contestant": name,
                    "device": CONTESTANTS[name].device,
                    "library": hello["library"],
                    "images": images,
                    "malloc": options.malloc,
                }
        losses, seconds = take_turns({name: workers[name] for name in records}, options.rounds)
    require_same_learning(losses)
    for name, record in records.items():
        record["seconds"] = seconds[name]
        for reference, names in REFERENCES.items():
            there = [seconds[other] for other in names[record["device"]] if other in seconds]
            fastest = min(there, key=median, default=None)
            record[f"ratio to {reference}"] = fastest and [
                a / b for a, b in zip(seconds[name], fastest, strict=True)
            ]
    return Result(records, missing)


class Worker:
    """A contestant's process; a context manager that ends it."""

    def __init__(self, workload: str, contestant: str, images: int, options: Options) -> None:
        self.contestant = contestant
        on_device = CUDA if CONTESTANTS[contestant].device == "cuda" else {}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker", workload, contestant, str(images)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
            env=os.environ | MALLOC[options.malloc] | on_device,
        )

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()

    def answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.contestant}: its process ended with exit status {self.process.wait()}")
        return json.loads(line)

    def epoch(self, number: int) -> dict[str, Any]:
        time.sleep(PAUSE)
        self.process.stdin.write(f"{number}\n")
        self.process.stdin.flush()
        return self.answer()


def take_turns(
    workers: dict[str, Worker], rounds: int
) -> tuple[dict[str, list[Any]], dict[str, list[float]]]:
    """Each contestant's mean training losses, from the first epoch on, and its seconds after warm-up."""
    losses: dict[str, list[Any]] = {name: [] for name in workers}
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    rng = generator(SEED, "bench rounds")
    for number in range(WARM_UP + rounds):
        for name in rng.permutation(list(workers)):
            answer = workers[name].epoch(number)
            losses[name].append(answer["loss"])
            seconds[name].append(answer["seconds"])
    return losses, {name: series[WARM_UP:] for name, series in seconds.items()}


def require_same_learning(losses: dict[str, list[Any]]) -> None:
    """AssertionError unless each mean training loss fell, and was the same for all in the first epoch."""
    learners = {name: series for name, series in losses.items() if series[0] is not None}
    for name, (first, *_, last) in learners.items():
        assert last < first, f"{name}: the training loss went from {first} to {last}"
        reference_name, (reference, *_) = next(iter(learners.items()))
        tolerance = 0.02 if CONTESTANTS[name].draws_own_batches else 1e-3
        assert math.isclose(first, reference, rel_tol=tolerance), (
            f"training loss of the first epoch: {first} for {name}, {reference} for {reference_name}"
        )
