"""One contestant in a process of its own.

    python -m bench.worker epochs CONTESTANT WORKLOAD IMAGES
    python -m bench.worker layers CONTESTANT
    python -m bench.worker estimators CONTESTANT TASK
    python -m bench.worker ensembles CONTESTANT CASE

`bench.process.Workers` starts it. It writes lines of JSON: first its library, or
the reason why it cannot run; then, for each number or layer name that it reads, the times of a turn.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from bench.contestants import CONTESTANTS, Contestant, Unavailable
from bench.ensemble_contestants import CASES, ENSEMBLE_CONTESTANTS
from bench.environment import describe, gpu, threads
from bench.estimators import ESTIMATORS, TASKS, Estimator
from bench.layer_contestants import LAYER_CONTESTANTS, LayerContestant
from bench.points import POINTS
from bench.workloads import WORKLOADS, parts

Turn = Callable[[str], dict[str, Any]]


def prepare_epochs(name: str, workload_name: str, images: str) -> tuple[Contestant, Turn]:
    contestant, workload = CONTESTANTS[name], (WORKLOADS | POINTS)[workload_name]
    contestant.prepare(workload, parts(workload, int(images)))
    return contestant, epochs_of(contestant)


def epochs_of(contestant: Any) -> Turn:
    def turn(number: str) -> dict[str, Any]:
        start = time.perf_counter()
        loss = contestant.epoch(int(number))
        return {"seconds": time.perf_counter() - start, "loss": loss}

    return turn


def prepare_layers(name: str) -> tuple[LayerContestant, Turn]:
    contestant = LAYER_CONTESTANTS[name]
    contestant.prepare()
    return contestant, contestant.turn


def prepare_estimators(name: str, task_name: str) -> tuple[Estimator, Turn]:
    contestant = ESTIMATORS[name]
    contestant.prepare(TASKS[task_name])
    return contestant, contestant.turn


def prepare_ensembles(name: str, case_name: str) -> tuple[Contestant, Turn]:
    contestant = ENSEMBLE_CONTESTANTS[name]
    contestant.prepare(CASES[case_name])
    return contestant, epochs_of(contestant)


def main(kind: str, *arguments: str) -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print must not mix with the answers

    def answer(**message: object) -> None:
        print(json.dumps(message), file=answers, flush=True)

    kinds = {
        "epochs": prepare_epochs,
        "layers": prepare_layers,
        "estimators": prepare_estimators,
        "ensembles": prepare_ensembles,
    }
    try:
        contestant, turn = kinds[kind](*arguments)
        library = describe(contestant.library, contestant.device, contestant.also)
    except (ImportError, Unavailable) as error:
        answer(unavailable=" ".join(str(error).split()))
        return
    on_gpu = contestant.device == "cuda"
    answer(
        library=library,
        gpu=gpu(contestant.library) if on_gpu else None,
        threads=None if on_gpu else threads(contestant.library),
    )
    for line in sys.stdin:
        answer(**turn(line.rstrip("\n")))


if __name__ == "__main__":
    main(*sys.argv[1:])
