"""What does this machine give xpnet, and are the numbers right? `python scripts/doctor.py --help`."""

import sys

from xpnet.__main__ import script

if __name__ == "__main__":
    sys.exit(script("doctor"))
