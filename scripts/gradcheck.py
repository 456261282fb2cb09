"""Check the gradients of a network by finite differences, parameter by parameter.

    python scripts/gradcheck.py                                          the default network of train.py
    python scripts/gradcheck.py --config scripts/configs/cnn.yaml        all options of train.py
    python scripts/gradcheck.py --hidden 64 --activation tanh --l2 0.01
    python scripts/gradcheck.py --resume runs/20261121-081530-mlp        the best parameters of a run

The batch is the first 16 images of the data set (or --batch-size, if that is less), with a little noise. The
network is in training mode, in float64.

Exit status: 0, 1 for a wrong gradient, 2 for an option or a file that cannot be used, 130 after Ctrl-C.
"""

import os
import signal

signal.signal(signal.SIGINT, lambda *_: os._exit(130))  # Ctrl-C during the imports: no traceback

import sys

from xpnet.train import gradients
from xpnet.train.command_line import parse
from xpnet.train.script import exit_status


def run() -> int:
    rows = gradients.check(*parse(sys.argv[1:], prog="gradcheck.py"))
    print(gradients.table(rows))
    wrong = sum(not row.is_right for row in rows)
    print(
        f"\n{len(rows) - wrong} of {len(rows)} parameters have gradients that agree with finite differences"
    )
    return 1 if wrong else 0


def main() -> int:
    return exit_status("gradcheck.py", run)


if __name__ == "__main__":
    sys.exit(main())
