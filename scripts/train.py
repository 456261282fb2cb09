"""Train a network and write a folder with its results: `python scripts/train.py --help`."""

import sys

from xpnet.__main__ import script

if __name__ == "__main__":
    sys.exit(script("train"))
