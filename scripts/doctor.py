"""What does this machine give xpnet, and are the numbers right?

    python scripts/doctor.py                        check every array library that is installed
    python scripts/doctor.py --backend numpy torch  check these only
    python scripts/doctor.py --json doctor.json     write all that was found to a file, too

Paste the output, or attach the file, when you report a problem. It takes about half a minute.

Exit status: 0, 1 if a backend that is here gives wrong numbers or an error, 2 for an option or a file that
cannot be used, 130 after Ctrl-C. A library that is not installed is not an error.
"""

import os
import signal

signal.signal(signal.SIGINT, lambda *_: os._exit(130))  # Ctrl-C during the imports: no traceback

import sys

from xpnet.train.doctor import command
from xpnet.train.script import exit_status


def main() -> int:
    return exit_status("doctor.py", lambda: command.run(sys.argv[1:], "doctor.py", __doc__))


if __name__ == "__main__":
    sys.exit(main())
