"""Exit status, error line and output of all scripts."""

import signal
import threading
from collections.abc import Callable

from xpnet._util import output
from xpnet.errors import DivergedError, Error, ProcessError

STATUS: dict[type[Error], int] = {DivergedError: 3, ProcessError: 4}  # of other errors: 2


def exit_status(prog: str, action: Callable[[], int | None]) -> int:
    """Run the action and return the exit status of the script: the action's own, or 0 for None.

    2 for an option or a file that cannot be used, 3 for a loss that diverged, and 4 where another process of
    the same training has ended, each with one line on standard error that begins with `prog`; 130 after
    Ctrl-C. Output that cannot be written, to a reader that is gone or in an encoding without some character,
    changes neither the action nor its status.
    """
    if threading.current_thread() is threading.main_thread():  # scripts replace it during their imports
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with output.patient():
        try:
            return action() or 0
        except (Error, OSError) as error:
            output.say(f"{prog}: {error}", error=True)
            return next((status for kind, status in STATUS.items() if isinstance(error, kind)), 2)
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
