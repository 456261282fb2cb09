"""Search for hyper-parameters with Optuna, and leave a report: the study `hyperparameter-search`, by itself.

    python scripts/search.py                                         on the bundled sample of MNIST
    python scripts/search.py --dataset mnist --trials 30 --epochs 8  on all of MNIST
    python scripts/search.py --resume runs/20261121-081530-hyperparameter-search
                                                                     a search that was broken off goes on

The folder holds every trial as it comes, so a search may be killed at any time. With --resume and more
--trials than before, a search that was finished goes on too.

Exit status: 0, 2 for an option or a file that cannot be used, 3 where a loss diverged that was not expected
to, 130 after Ctrl-C.
"""

import shlex
import signal
import sys

import xpnet
from xpnet.studies import runner, search


def main() -> int:
    try:
        options, settings, resume = search.parse(sys.argv[1:], prog="search.py", description=__doc__)
        command = shlex.join(["python", *sys.argv])
        runner.tell(runner.run("hyperparameter-search", options, command, folder=resume, settings=settings))
    except xpnet.DivergedError as error:
        print(f"search.py: {error}", file=sys.stderr)
        return 3
    except (xpnet.Error, OSError) as error:
        print(f"search.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main())
