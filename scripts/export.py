"""Write the network of a trained run as an ONNX file: `python scripts/export.py --help`."""

import os
import signal

signal.signal(signal.SIGINT, lambda *_: os._exit(130))  # Ctrl-C during the imports: no traceback

import sys

from xpnet.__main__ import script

if __name__ == "__main__":
    sys.exit(script("export"))
