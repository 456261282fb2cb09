"""Train a multi-layer perceptron and leave a folder with all that came of it.

    python scripts/train.py                                          the bundled sample of MNIST
    python scripts/train.py --dataset mnist --backend cupy           all of MNIST, on a GPU
    python scripts/train.py --config scripts/configs/softmax.yaml    another network; see scripts/configs
    python scripts/train.py --resume runs/20261121-081530-mlp        a run that was interrupted goes on
    python scripts/train.py --help                                   every option

Exit status: 0, 2 for an option or a file that cannot be used, 3 where the loss diverged, 130 after Ctrl-C,
143 after SIGTERM.
"""

import signal
import sys

import xpnet
from xpnet import train
from xpnet.train.config import parse


def main() -> int:
    try:
        config, resume = parse(sys.argv[1:], prog="train.py")
        summary = train.run(config, resume)
    except xpnet.DivergedError as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 3
    except (xpnet.Error, OSError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before or after the training, which saves and ends by itself
        return 128 + signal.SIGINT
    return 128 + signal.Signals[summary["interrupted"]] if summary["interrupted"] else 0


if __name__ == "__main__":
    sys.exit(main())
