"""Run an experiment and write a report: `python scripts/study.py --help`."""

import sys

from xpnet.__main__ import script

if __name__ == "__main__":
    sys.exit(script("study"))
