"""Search for hyper-parameters with Optuna and write a report: the study `hyperparameter-search`.

    python scripts/search.py                                         on the bundled sample of MNIST
    python scripts/search.py --dataset mnist --trials 30 --epochs 8  on all of MNIST
    python scripts/search.py --resume runs/20261121-081530-hyperparameter-search
                                                                     resume an interrupted search

Each finished trial is saved at once, so a search may be killed at any time. --resume with more --trials than
before also extends a finished search.

Exit status: 0, 2 for an option or a file that cannot be used, 3 for an unexpected divergence of the loss, 130
after Ctrl-C.
"""

import os
import signal

signal.signal(signal.SIGINT, lambda *_: os._exit(130))  # Ctrl-C during the imports: no traceback

import shlex
import sys

from xpnet.studies import runner, search
from xpnet.train.script import exit_status


def run() -> None:
    options, settings, resume = search.parse(sys.argv[1:], prog="search.py", description=__doc__)
    command = shlex.join(["python", *sys.argv])
    runner.print_result(
        runner.run("hyperparameter-search", options, command, folder=resume, settings=settings)
    )


def main() -> int:
    return exit_status("search.py", run)


if __name__ == "__main__":
    sys.exit(main())
