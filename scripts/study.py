"""Run an experiment and write a report: one HTML file, and its numbers as CSV files.

    python scripts/study.py list                                     list the experiments
    python scripts/study.py initialization                           on the bundled sample of MNIST
    python scripts/study.py learning-rate --dataset mnist            on all of MNIST
    python scripts/study.py all --quick                              all experiments, small, in minutes

Exit status: 0, 2 for a name, an option or a file that cannot be used, 3 for an unexpected divergence of
the loss, 130 after Ctrl-C.
"""

import os
import signal

signal.signal(signal.SIGINT, lambda *_: os._exit(130))  # Ctrl-C during the imports: no traceback

import shlex
import sys

from xpnet.studies import options, runner
from xpnet.train.script import exit_status


def run() -> None:
    name, chosen = options.parse(sys.argv[1:], prog="study.py", description=__doc__)
    runner.run_and_print(name, chosen, command=shlex.join(["python", *sys.argv]))


def main() -> int:
    return exit_status("study.py", run)


if __name__ == "__main__":
    sys.exit(main())
