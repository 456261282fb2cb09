"""One contestant in a process of its own: `python -m bench.worker WORKLOAD CONTESTANT IMAGES`.

`bench.rounds` starts it and talks to it in lines of JSON. It says what it is, or why it cannot run;
then for each epoch number that comes in, it trains one epoch and answers how long that took.
"""

import json
import sys
import time

from bench.contestants import CONTESTANTS, Unavailable
from bench.environment import describe
from bench.workloads import WORKLOADS, parts


def main(workload_name: str, contestant_name: str, images: str) -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # so that nothing a library prints comes between

    def answer(**message: object) -> None:
        print(json.dumps(message), file=answers, flush=True)

    contestant = CONTESTANTS[contestant_name]
    try:
        workload = WORKLOADS[workload_name]
        contestant.prepare(workload, parts(workload, int(images)))
    except (ImportError, Unavailable) as error:
        answer(unavailable=" ".join(str(error).split()))
        return
    answer(library=describe(contestant))
    for line in sys.stdin:
        start = time.perf_counter()
        loss = contestant.epoch(int(line))
        answer(seconds=time.perf_counter() - start, loss=loss)


if __name__ == "__main__":
    main(*sys.argv[1:])
