"""Which trial a process of a search takes next, and who repeats an interrupted one.

Optuna gives each trial that begins a number of its own, in one step. The number of a trial *in the search*
counts only trials that are new: one that repeats an interrupted trial has the number of that, in the
attribute `REPEATS`. So all processes see the same numbers, and a search of n trials has the numbers 0 to
n - 1, no matter how many were interrupted.
"""

import itertools
import os
import platform
import secrets
import threading
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from multiprocessing import parent_process
from pathlib import Path
from signal import SIGTERM
from typing import IO, Any

import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from xpnet._util import files
from xpnet.studies._search_storage import BEAT, GRACE

REPEATS, WORKER = "repeats", "worker"  # attributes of a trial
WORKERS = "workers"  # folder of the files that processes hold locked while they live
DONE = (TrialState.COMPLETE, TrialState.PRUNED)
HOST = platform.node()
TICK = 1  # seconds between two looks whether the parent process is there


def numbered(study: optuna.Study) -> list[tuple[int, FrozenTrial]]:
    """All of Optuna's trials, in its order, each with its number in the search."""
    new = itertools.count()
    trials = study.get_trials(deepcopy=False)
    return [(t.user_attrs[REPEATS] if REPEATS in t.user_attrs else next(new), t) for t in trials]


def number_of(study: optuna.Study, trial: FrozenTrial | optuna.Trial) -> int:
    """The number in the search of a trial that has begun."""
    return next(number for number, each in numbered(study) if each.number == trial.number)


def finished(study: optuna.Study) -> dict[int, FrozenTrial]:
    """The complete and the pruned trials by their numbers, in order."""
    found: dict[int, FrozenTrial] = {}
    for number, trial in numbered(study):
        if trial.state in DONE:
            found.setdefault(number, trial)
    return dict(sorted(found.items()))


def running(study: optuna.Study, total: int) -> list[FrozenTrial]:
    """The trials that a process works on, or that one left when it was killed."""
    return [t for number, t in numbered(study) if t.state == TrialState.RUNNING and number < total]


def begin(study: optuna.Study, total: int) -> optuna.Trial | None:
    """Begin the next trial: an interrupted one, or a new one. None where all of `total` have begun."""
    while True:
        before = numbered(study)
        waiting = any(trial.state == TrialState.WAITING for _, trial in before)
        if not waiting and 1 + max((number for number, _ in before), default=-1) >= total:
            return None
        with warnings.catch_warnings():  # that heartbeats want Study.optimize: `Worker` has its own
            warnings.simplefilter("ignore", UserWarning)
            trial = study.ask()
        number = number_of(study, trial)
        # A process of another folder may have begun the last trial, or this one, at the same moment.
        earlier = any(
            each.state != TrialState.FAIL
            for other, each in numbered(study)
            if other == number and each.number < trial.number
        )
        if number < total and not earlier:
            return trial
        fail(study, trial.number)


def fail(study: optuna.Study, number: int) -> None:
    """Say that the trial with this number of Optuna was interrupted, unless it has ended by now."""
    with suppress(ValueError, RuntimeError):
        study.tell(number, state=TrialState.FAIL)


def repeat_interrupted(
    study: optuna.Study,
    total: int,
    is_dead: Callable[[FrozenTrial], bool],
    parameters: Callable[[FrozenTrial], dict[str, Any]],
) -> None:
    """Put each interrupted trial at the head of the queue, with the hyper-parameters that it had drawn.

    Arguments:
        total: number of trials of the search.
        is_dead: whether the process of a running trial is known to have ended.
        parameters: the drawn hyper-parameters of a trial; none if it was interrupted before it had all.
    """
    with warnings.catch_warnings():  # it is experimental
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)  # in a database: trials without a heartbeat
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if is_dead(trial):
            fail(study, trial.number)
    by_number: dict[int, list[FrozenTrial]] = defaultdict(list)
    for number, trial in numbered(study):
        by_number[number].append(trial)
    for number, trials in sorted(by_number.items()):
        if number < total and all(trial.state == TrialState.FAIL for trial in trials):
            drawn = next(filter(None, map(parameters, trials)), {})
            study.enqueue_trial(drawn, user_attrs={REPEATS: number})


class Worker:
    """A process that works on a search, from its construction to `close`.

    It holds a file in the folder of the search locked, which ends with the process in any way; it touches the
    file, and records Optuna's heartbeat of its trial in a database. With `close` it ends both.

    Arguments:
        folder: folder of the search.
        storage: storage of the search.
        session: name of the call of the program that the process belongs to.
    """

    def __init__(self, folder: Path, storage: BaseStorage, session: str) -> None:
        self.folder = folder / WORKERS
        self.folder.mkdir(exist_ok=True)
        self.storage = storage if isinstance(storage, RDBStorage) else None
        self.session = session
        self.path = self.folder / f"{session}-{os.getpid()}"
        self.file = files.lock(self.path)
        try:
            files.lock(self.path).close()
            self.locks = False  # the system or the file system has none
        except BlockingIOError:
            self.locks = True
        self.trial: int | None = None
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._signs_of_life, daemon=True)
        self.thread.start()

    def close(self) -> None:
        """Leave the search."""
        self.ended.set()
        self.thread.join()
        self.path.unlink(missing_ok=True)
        self.file.close()
        with suppress(OSError):  # others are in it
            self.folder.rmdir()

    def turn(self) -> IO[bytes]:
        """A lock for the next look at the trials: the processes of a folder take turns."""
        self.folder.mkdir(exist_ok=True)  # the report removes it, which may be written by now
        return files.lock(self.folder / "turn", wait=True)

    def sign(self, trial: optuna.Trial) -> None:
        """Sign a trial that this process has begun."""
        signature = {"host": HOST, "process": os.getpid(), "session": self.session, "file": self.path.name}
        trial.set_user_attr(WORKER, signature)
        self.trial = trial._trial_id
        self._beat()

    def _beat(self) -> None:
        with suppress(OSError):  # somebody removed the file
            os.utime(self.path)
        if self.storage is not None and self.trial is not None:
            self.storage.record_heartbeat(self.trial)

    def _signs_of_life(self) -> None:
        parent = parent_process()
        for ticks in itertools.count(1):
            if self.ended.wait(TICK):
                return
            if parent is not None and not parent.is_alive():  # killed: nobody waits for this process
                os.kill(os.getpid(), SIGTERM)
                if not self.ended.wait(GRACE):
                    os._exit(1)
                return
            if ticks % BEAT == 0:
                with suppress(Exception):  # the trial itself will meet what is wrong, and say it
                    self._beat()

    def is_dead(self, trial: FrozenTrial, *, alone: bool = False) -> bool:
        """Whether the process of a running trial has ended. False where nobody can know.

        Arguments:
            alone: whether no other process uses the folder of the search, and the trials are in its journal.
        """
        signed = trial.user_attrs.get(WORKER)
        if signed is None:  # it was killed before it signed, or it is about to
            begun = trial.datetime_start or datetime.now()
            return alone or (datetime.now() - begun).total_seconds() > GRACE
        path = self.folder / signed["file"]
        try:
            if signed["host"] != HOST or not self.locks:
                self._beat()
                return (
                    self.path.stat().st_mtime - path.stat().st_mtime > GRACE
                )  # the clock of one file server
            path.stat()  # or there is none, which a lock would make
            files.lock(path).close()
        except BlockingIOError:
            return False
        except OSError:
            return alone  # in a database: the process of another folder, whose heartbeat counts
        return True

    def waits_for_others(self, study: optuna.Study, total: int) -> bool:
        """Whether another process of this call has a trial, which may be killed and left to this one."""
        signs = [trial.user_attrs.get(WORKER) for trial in running(study, total)]
        return any(sign and sign["session"] == self.session for sign in signs)


def new_session() -> str:
    """A name for a call of the program."""
    return secrets.token_hex(4)


def at_the_same_time(trials: Iterable[FrozenTrial]) -> bool:
    """Whether a trial began before an earlier one had ended."""
    spans = sorted(
        (t.datetime_start, t.datetime_complete) for t in trials if t.datetime_start and t.datetime_complete
    )
    return any(after[0] < before[1] for before, after in itertools.pairwise(spans))
