"""Search for hyper-parameters with Optuna and write a report: `python scripts/search.py --help`."""

import sys

from xpnet.__main__ import script

if __name__ == "__main__":
    sys.exit(script("search"))
