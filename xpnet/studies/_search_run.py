"""Run the trials of a search, in one process, in several, or together with other computers."""

import dataclasses
import functools
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from typing import IO, Any, NamedTuple

import optuna
import yaml
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial
from tqdm import tqdm

from xpnet._util import files
from xpnet._util.output import say
from xpnet._util.text import program, some
from xpnet.errors import ConfigError, Error
from xpnet.studies import _processes, _search_trials, search, sweep
from xpnet.studies import _search_storage as storages
from xpnet.studies._search_storage import JOURNAL
from xpnet.studies._search_trials import Worker
from xpnet.studies.options import Options
from xpnet.studies.report import Report
from xpnet.studies.search import Settings
from xpnet.train import recorded_data
from xpnet.train.config import CONFIG_FILE, Config, option_name

OF_DATABASE = ("dataset", "quick", "seed", "epochs")  # the same in all folders that share a database
PAUSE = 0.2  # seconds between two looks for a trial that another process left
GONE = "--resume: expected the log of the trials in {}, got none; begin a new search"
IN_USE = "{}: expected a search that no process uses, got one in use"


class Search(NamedTuple):
    """An open search."""

    folder: Path
    study: optuna.Study
    storage: BaseStorage
    settings: Settings
    worker: Worker


class Elsewhere(Error):
    """Other processes still work on the search, and will write its report."""


def run(found: Search, base: Config, examples: sweep.Data) -> list[FrozenTrial]:
    """Run trials until as many as the search has are finished by all its processes, and return them in order.

    Raises `Elsewhere` where other processes have not finished theirs.
    """
    folder, study, storage, settings, worker = found
    done, codes = len(search.finished(study)), list[int]()
    count = min(settings.workers, settings.trials - done)
    if count > 1:
        say(
            f"{count} workers, {some(_processes.share_of_threads(count), 'BLAS thread')} each; which trials "
            f"follow the first {search.RANDOM_TRIALS} depends on their speed"
        )
    try:
        with tqdm(total=settings.trials, initial=done, unit=" trials", leave=False, disable=None) as bar:

            def watch(*_: int) -> None:
                bar.n = len(search.finished(study))
                bar.refresh()

            if count == 1:
                work(study, settings.trials, worker, base, examples, watch)
            elif count > 1:
                fork = _processes.can_fork(base.backend)
                if isinstance(storage, RDBStorage):
                    storage.engine.dispose()  # a connection belongs to one process
                call = functools.partial(_work, folder, settings, worker.session, base, examples)
                codes = _processes.together(call, count, fork, watch)
    except KeyboardInterrupt:
        if count > 1:
            with suppress(Exception):  # of a database that is gone
                done = len(search.finished(study))
            so_far = f"{done} of {some(settings.trials, 'trial')}"
            say(f"interrupted: {so_far} are finished, all workers have ended", error=True)
        raise
    if codes:
        killed = f"{len(codes)} of {count} workers ended early, with exit code {codes[0]}"
        if len(codes) == count:
            raise Error(f"{killed}; fewer --workers need less memory: {resume_line(folder, settings)}")
        say(f"{killed}; the others repeated their trials", error=True)
    trials = search.finished(study)
    if len(trials) < settings.trials:
        left = _search_trials.running(study, settings.trials)
        signed = [trial.user_attrs.get(_search_trials.WORKER) for trial in left]
        names = [f"process {each['process']} on {each['host']}" for each in signed if each]
        raise Elsewhere(
            f"{len(trials)} of {some(settings.trials, 'trial')} are finished; others have the rest "
            f"({', '.join(names) or 'interrupted'}), and the last to finish writes the report; if one was "
            f"killed: {resume_line(folder, settings)}"
        )
    return trials


def work(
    study: optuna.Study,
    total: int,
    worker: Worker,
    base: Config,
    examples: sweep.Data,
    watch: Callable[[], None] = lambda: None,
) -> None:
    """Run trials in this process until all have begun. It stays while others of the same call have one."""
    while True:
        with worker.turn():
            _search_trials.repeat_interrupted(study, total, worker.is_dead, search.drawn)
            begun = _search_trials.begin(study, total)
            if begun is not None:
                worker.sign(begun)
        if begun is not None:
            search.run_trial(study, begun, worker, base, examples)
            watch()
        elif worker.waits_for_others(study, total):
            time.sleep(PAUSE)
        else:
            return


def _work(folder: Path, settings: Settings, session: str, base: Config, examples: sweep.Data) -> None:
    """`work`, in a process of its own."""
    with storages.one_line(settings.storage):
        storage = storages.storage_of(folder, settings.storage)
        study = storages.study_in(storage, search.Sampler(base.seed), search.PRUNER)
        worker = Worker(folder, storage, session)
        try:
            work(study, settings.trials, worker, base, examples)
        finally:
            worker.close()


@contextmanager
def opened(
    report: Report, options: Options, settings: Settings, recorded: dict[str, Any]
) -> Iterator[Search]:
    """Open the search in the report's folder, or begin one; other processes may work on the same.

    Raises an Error where the settings or the data are others than theirs, where the trials are gone, and
    where the database or the journal cannot be used.
    """
    new, url = "folder" not in vars(report), settings.storage  # a resumed search has its folder
    sampler = search.Sampler(options.seed)
    with storages.one_line(url), ExitStack() as stack:
        if url is not None:
            if not new and not storages.has_trials(report.folder, url):
                raise ConfigError(GONE.format(storages.masked(url)))
            storage: BaseStorage = storages.connect(url)
            study = storages.study_in(storage, sampler, search.PRUNER)
            settings = _agreed(study, options, settings, recorded, new)
        folder = report.folder
        recorded_data.check(folder, recorded)
        lock, alone = _lock(folder)
        stack.enter_context(lock)
        if url is None:
            path = folder / JOURNAL
            if (folder / CONFIG_FILE).exists() and not storages.has_trials(folder, url):
                raise ConfigError(GONE.format(path))
            if alone:
                storages.repair(path)
            with storages.sound(path):
                storage = storages.storage_of(folder, url)
                study = storages.study_in(storage, sampler, search.PRUNER)
        done = 1 + max(_search_trials.finished(study), default=-1)
        if done > settings.trials:
            raise ConfigError(f"--trials: expected at least {done}, which are done, got {settings.trials}")
        if alone:
            search.write_settings(folder, options, settings)
            recorded_data.write(folder, recorded, None)
        else:
            _check_same(folder, settings)
        worker = stack.enter_context(closing(Worker(folder, storage, _search_trials.new_session())))
        if alone:
            is_dead = functools.partial(worker.is_dead, alone=url is None)
            _search_trials.repeat_interrupted(study, settings.trials, is_dead, search.drawn)
            files.share(lock)
        yield Search(folder, study, storage, settings, worker)


def _lock(folder: Path) -> tuple[IO[bytes], bool]:
    """Lock the folder for this process and others that share it, and say whether there are none yet."""
    for _ in range(20):  # another process may be opening it at this moment
        for shared in (False, True):
            with suppress(BlockingIOError):
                return files.lock(folder / "lock", shared=shared), not shared
        time.sleep(0.05)
    raise ConfigError(IN_USE.format(folder))


def _check_same(folder: Path, settings: Settings) -> None:
    """ConfigError for settings that differ from those of the processes that run the search."""
    saved = yaml.safe_load((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    for name in ("trials", "repeats"):
        if (value := getattr(settings, name)) != saved[name]:
            raise ConfigError(
                f"{option_name(name)}: expected the {saved[name]} of the processes that run the search in "
                f"{folder}, got {value}"
            )


def _agreed(
    study: optuna.Study, options: Options, settings: Settings, recorded: dict[str, Any], new: bool
) -> Settings:
    """The settings, with the number of trials in the database. ConfigError where others differ."""
    place, attributes = storages.masked(settings.storage or ""), study.user_attrs
    both = dataclasses.asdict(options) | dataclasses.asdict(settings)
    own = {name: both[name] for name in OF_DATABASE}
    if "settings" not in attributes:
        study.set_user_attr("data", recorded)
        study.set_user_attr("settings", own | {"trials": settings.trials})
        return settings
    saved = attributes["settings"]
    asked = own | ({"trials": settings.trials} if new else {})
    for name, value in asked.items():
        if value != saved[name]:
            raise ConfigError(
                f"{option_name(name)}: expected the {saved[name]} of the search in {place}, got {value}; "
                "another search needs another database"
            )
    if difference := recorded_data.difference(attributes["data"], recorded):
        raise ConfigError(f"--storage: expected the data of the search in {place}, got {difference}")
    trials = max(settings.trials, saved["trials"])
    if trials > saved["trials"]:
        study.set_user_attr("settings", saved | {"trials": trials})
    return dataclasses.replace(settings, trials=trials)


@contextmanager
def reporting(found: Search) -> Iterator[None]:
    """Raises `Elsewhere` where another process is writing the report of the same folder."""
    workers = found.folder / _search_trials.WORKERS
    try:
        lock = files.lock(workers / "report")
    except (BlockingIOError, FileNotFoundError) as error:  # it does so now, or has done so at this moment
        raise Elsewhere(
            f"all trials are finished; another process writes the report to {found.folder}"
        ) from error
    with lock:
        yield
        rmtree(workers, ignore_errors=True)


def resume_line(folder: Path, settings: Settings) -> str:
    """The command that resumes the search."""
    url = settings.storage
    again = " --storage URL" if url is not None and storages.masked(url) != url else ""
    return f"{program('search')} --resume {shlex.quote(str(folder))}{again}"
