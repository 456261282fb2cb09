"""A run of several processes: how each of them joins the others, and ends."""

import ctypes
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial

from xpnet import distributed
from xpnet.errors import ProcessError
from xpnet.train.command_line import Launch
from xpnet.train.script import STATUS, exit_status

GRACE = 3.0  # seconds in which the others notice a fault, before the first one ends

# Passes on what the libraries below Python write, except for what Gloo says when it connects, whose threads
# interrupt each other within a line. All errors of JAX when a process is lost become one line, after which
# this process is told by a byte.
FILTER = r"""
import re, signal, sys
for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU"):
    signal.signal(getattr(signal, name), signal.SIG_IGN)
error = re.compile(r"(^|: )[EF](\d{4})? .*(coordination_service|JAX distributed)")
lost = False
for line in sys.stdin:
    if not lost and (error.search(line) or sys.argv[1] in line):
        lost = True
        print(sys.argv[2], file=sys.stderr, flush=True)
        print(end="!", flush=True)
    of_gloo = "[Gloo]" in line or "peer ranks" in line or line.strip().isdigit()
    if not lost and not of_gloo:
        print(line, end="", file=sys.stderr, flush=True)
"""
ENDED = (
    "another process has ended or has not come; start all of them again, with --resume if the run had begun"
)
MARK = "xpnet: lost"


def run(launch: Launch, prog: str, action: Callable[[], int | None]) -> int:
    """Join the other processes, and do what all of them do; the exit status, as `exit_status` says.

    A process that fails ends at once, without waiting for the others, which then fail too, in one line.
    """
    _filter_output(f"{prog}: {ENDED}")
    try:
        status = exit_status(prog, partial(_joined, launch, action))
    except BaseException:
        traceback.print_exc()
        status = 1
    else:
        if status == 0 or status > 128:
            distributed.leave()
            return status
    return _exit(status)


def _joined(launch: Launch, action: Callable[[], int | None]) -> int | None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # JAX waits without looking for Python's signals
    _delay_abort()
    distributed.initialize(*launch)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return action()
    except Exception as error:
        if not distributed.is_lost(error):
            raise
    os.write(2, f"{MARK}\n".encode())  # now the filter has this process end
    time.sleep(GRACE)
    return _exit(STATUS[ProcessError])


def _delay_abort() -> None:
    """Have `abort` sleep for 6 s, the number of its signal; meanwhile `_end_when_told` ends the process.

    JAX aborts a process that hears nothing of the others. It takes no function of Python to call instead:
    `missed_heartbeat_callback` ends in std::bad_cast, in jaxlib 0.10.
    """
    library = ctypes.CDLL(None)
    library.signal.argtypes = ctypes.c_int, ctypes.c_void_p
    library.signal.restype = ctypes.c_void_p
    library.signal(signal.SIGABRT, ctypes.cast(library.sleep, ctypes.c_void_p))


def _end_when_told(reads: int) -> None:
    if os.read(reads, 1):
        os._exit(STATUS[ProcessError])


def _exit(status: int) -> int:
    """End this process. The end of Python would wait for the others."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.flush()
    if distributed.num_processes() > 1:  # they may be about to find the same error
        time.sleep(GRACE if distributed.process_id() == 0 else GRACE / 3)
    os._exit(status)


def _filter_output(lost: str) -> None:
    """Pass what is written below Python through `FILTER`. Python's own output goes where it went before."""
    (reads, writes), (told, tells) = os.pipe(), os.pipe()
    os.posix_spawn(
        sys.executable,
        [sys.executable, "-S", "-E", "-c", FILTER, MARK, lost],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, reads, 0), (os.POSIX_SPAWN_DUP2, tells, 1)],
        setpgroup=0,
    )
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:  # the process was started without it
            continue
        stream.flush()
        own = os.dup(number)
        encoding = getattr(stream, "encoding", None)
        setattr(sys, name, open(own, "w", 1, encoding, "backslashreplace", closefd=False))  # noqa: SIM115
        os.dup2(writes, number)
    for each in (reads, writes, tells):
        os.close(each)
    threading.Thread(target=_end_when_told, args=(told,), daemon=True).start()
