"""Train a multi-layer perceptron and leave a folder with all that came of it.

    python scripts/train.py                                          the bundled sample of MNIST
    python scripts/train.py --dataset mnist --backend cupy           all of MNIST, on a GPU
    python scripts/train.py --config scripts/configs/softmax.yaml    another network; see scripts/configs
    python scripts/train.py --help                                   every option

Exit status: 0, 2 for an option or a file that cannot be used, 3 where the loss diverged, 130 after Ctrl-C.
"""

import sys

import xpnet.errors
from xpnet import train
from xpnet.train.config import parse


def main() -> int:
    try:
        summary = train.run(parse(sys.argv[1:], prog="train.py"))
    except xpnet.errors.DivergedError as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 3
    except (xpnet.Error, OSError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    return 130 if summary["interrupted"] else 0


if __name__ == "__main__":
    sys.exit(main())
