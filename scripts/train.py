"""Train a network and write a folder with its metrics, parameters and pictures.

    python scripts/train.py                                          an MLP on the bundled sample of MNIST
    python scripts/train.py --dataset mnist --backend cupy           all of MNIST, on a GPU
    python scripts/train.py --config scripts/configs/softmax.yaml    another network; see scripts/configs
    python scripts/train.py --resume runs/20261121-081530-mlp        resume an interrupted run
    python scripts/train.py --help                                   every option

Exit status: 0, 2 for an option or a file that cannot be used, 3 where the loss diverged, 130 after Ctrl-C,
143 after SIGTERM, 129 after SIGHUP, 138 after SIGUSR1.
"""

import os
import signal

signal.signal(signal.SIGINT, lambda *_: os._exit(130))  # Ctrl-C during the imports: no traceback

import sys

from xpnet import train
from xpnet.train.command_line import parse
from xpnet.train.script import exit_status


def run() -> int:
    interrupted = train.run(*parse(sys.argv[1:], prog="train.py"))["interrupted"]
    return 128 + signal.Signals[interrupted] if interrupted else 0


def main() -> int:
    return exit_status("train.py", run)


if __name__ == "__main__":
    sys.exit(main())
