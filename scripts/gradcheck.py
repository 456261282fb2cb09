"""Check the gradients of a network by finite differences: `python scripts/gradcheck.py --help`."""

import sys

from xpnet.__main__ import script

if __name__ == "__main__":
    sys.exit(script("gradcheck"))
