"""Exit status and error line of all scripts."""

import signal
import sys
from collections.abc import Callable

from xpnet.errors import DivergedError, Error


def exit_status(prog: str, action: Callable[[], int | None]) -> int:
    """Run the action and return the exit status of the script: the action's own, or 0 for None.

    2 for an option or a file that cannot be used, and 3 for a loss that diverged, each with one line on
    standard error that begins with `prog`; 130 after Ctrl-C.
    """
    try:
        return action() or 0
    except (Error, OSError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 3 if isinstance(error, DivergedError) else 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
