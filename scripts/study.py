"""Run one of the courses' experiments and leave a report: one HTML file, with its numbers as CSV files.

    python scripts/study.py list                                     the names of all of them
    python scripts/study.py initialization                           on the bundled sample of MNIST
    python scripts/study.py learning-rate --dataset mnist            on all of MNIST
    python scripts/study.py all --quick                              all of them, small, in minutes

Exit status: 0, 2 for a name, an option or a file that cannot be used, 3 where a loss diverged that was not
expected to, 130 after Ctrl-C.
"""

import shlex
import sys

from xpnet.studies import options, runner
from xpnet.train.script import exit_status


def run() -> None:
    name, chosen = options.parse(sys.argv[1:], prog="study.py", description=__doc__)
    runner.run_and_tell(name, chosen, command=shlex.join(["python", *sys.argv]))


def main() -> int:
    return exit_status("study.py", run)


if __name__ == "__main__":
    sys.exit(main())
