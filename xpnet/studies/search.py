"""Search for hyper-parameters with Optuna. A trial is one training; its value is the validation accuracy.

The tree-structured Parzen estimator proposes the next trial from the trials before it (Bergstra, Bardenet,
Bengio and Kégl, "Algorithms for hyper-parameter optimization", 2011). A trial is pruned if its accuracy after
an epoch is below the median of the other trials at that epoch. A journal in the folder of the search records
each trial.

A resumed search repeats the interrupted trial and proposes the same trials as an uninterrupted one: each
trial gets a new sampler, seeded by the seed of the search and the number of the trial, so its proposal
depends only on these and on the trials before.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState
from tqdm import tqdm

from xpnet import random
from xpnet._util import files
from xpnet.callbacks import Callback
from xpnet.errors import CheckpointError, ConfigError, DivergedError
from xpnet.metrics import EpochMetrics
from xpnet.model import Model
from xpnet.studies import sweep
from xpnet.studies.options import Options, make_parser
from xpnet.train import folder as folders
from xpnet.train.config import CONFIG_FILE, Config, option_name
from xpnet.train.experiment import make_model

JOURNAL = "trials.log"
RANDOM_TRIALS = 8  # before the sampler uses the results
PRUNER = optuna.pruners.MedianPruner(n_startup_trials=4)
CHANGEABLE_ON_RESUME = ("trials", "repeats", "data_dir", "download", "backend", "device", "processes", "pdf")
EACH_CALL = {"processes", "pdf"}  # not options of a search: each call says them for itself


@dataclasses.dataclass(frozen=True)
class Settings:
    """The options of a search, besides those of all studies.

    Arguments:
        trials: number of trials.
        epochs: epochs of a trial that is not pruned.
        repeats: number of new seeds to train the best trial and the default with at the end.
    """

    trials: int = 40
    epochs: int = 10
    repeats: int = 5

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if value < 1:
                raise ConfigError(f"{option_name(name)}: expected at least 1, got {value}")


QUICK = Settings(trials=12, epochs=2, repeats=2)
LARGE = Settings(trials=24, epochs=10, repeats=3)  # of a study on a large data set
FIXED: dict[str, Any] = {"schedule": "cosine"}  # the same in all trials; the rest are Config's defaults


class Request(NamedTuple):
    """The search that a command line asks for: a new one, or the one in the folder `resume`."""

    options: Options
    settings: Settings
    resume: Path | None


def propose(trial: optuna.Trial) -> dict[str, Any]:
    """Hyper-parameters from the search space, as options of a `Config`."""
    layers = trial.suggest_int("hidden layers", 1, 3)
    units = trial.suggest_categorical("units", (64, 128, 256, 512))
    return {
        "hidden": (units,) * layers,
        "activation": trial.suggest_categorical("activation", ("relu", "gelu", "tanh", "sigmoid")),
        "learning_rate": trial.suggest_float("learning rate", 3e-3, 0.3, log=True),
        "batch_size": trial.suggest_categorical("batch size", (32, 64, 128, 256)),
        "l2": trial.suggest_float("L2", 1e-6, 1e-3, log=True),
    }


def chosen(trial: FrozenTrial) -> dict[str, Any]:
    """The hyper-parameters that `propose` gave for a finished trial."""
    return propose(optuna.trial.FixedTrial(trial.params))  # type: ignore[arg-type]  # it stands in for a Trial


class Watch(Callback):
    """Report each epoch to Optuna, and stop the training if Optuna prunes the trial."""

    def __init__(self, trial: optuna.Trial, epochs: int) -> None:
        self.trial = trial
        self.epochs = epochs
        self.pruned = False

    def on_epoch(self, model: Model, metrics: EpochMetrics) -> None:
        assert metrics.validation_accuracy is not None
        self.trial.report(metrics.validation_accuracy, metrics.epoch)
        if metrics.epoch < self.epochs and self.trial.should_prune():
            self.pruned = True
            model.stop()


def run_trial(study: optuna.Study, base: Config, examples: sweep.Data) -> None:
    """Train with the hyper-parameters that Optuna proposes next, and report the result to it."""
    number = len(finished(study))
    seed = int(random.generator(base.seed, "search", number).integers(1 << 32))
    study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=RANDOM_TRIALS)
    trial = study.ask()
    config = dataclasses.replace(base, **propose(trial))
    model = make_model(config, examples.train.x.shape[1:], examples.classes)
    watch = Watch(trial, config.epochs)
    try:
        with np.errstate(all="ignore"):  # DivergedError says more than the warnings of NumPy
            model.fit(
                *examples.train,
                epochs=config.epochs,
                batch_size=config.batch_size,
                validation=examples.validation,
                schedule=config.make_schedule(),
                callbacks=[watch],
                progress=False,
            )
    except DivergedError as error:
        trial.set_user_attr("diverged", str(error))
        watch.pruned = True
    if watch.pruned:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, model.history[-1].validation_accuracy)


def run(study: optuna.Study, base: Config, examples: sweep.Data, trials: int) -> list[FrozenTrial]:
    """Run trials until `trials` are finished, and return them. ConfigError if more are finished already."""
    done = len(finished(study))
    if done > trials:
        raise ConfigError(f"--trials: expected at least {done}, which are done, got {trials}")
    with tqdm(total=trials, initial=done, unit=" trials", leave=False, disable=None) as bar:
        for _ in range(done, trials):
            run_trial(study, base, examples)
            bar.update()
    return finished(study)


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """The complete and the pruned trials, in order."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


@contextmanager
def opened(folder: Path) -> Iterator[optuna.Study]:
    """Lock and open the search in that folder, or begin a new one there.

    Raises ConfigError where another process uses it, or its journal is gone, and CheckpointError where the
    journal is damaged.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = folder / JOURNAL
    try:
        lock = files.lock(folder / "lock")
    except BlockingIOError as error:
        raise ConfigError(f"{folder}: expected a search that no process uses, got one in use") from error
    with lock:
        if (folder / CONFIG_FILE).exists() and not (path.is_file() and b"\n" in path.read_bytes()):
            raise ConfigError(
                f"--resume: expected the log of the trials in {path}, got none; begin a new search"
            )
        repair(path)
        try:
            storage = JournalStorage(JournalFileBackend(str(path), JournalFileOpenLock(str(path))))
            study = optuna.create_study(
                storage=storage, study_name="search", direction="maximize", pruner=PRUNER, load_if_exists=True
            )
        except (
            ValueError,
            LookupError,
            TypeError,
        ) as error:  # Optuna raises any of these for a damaged journal
            raise CheckpointError(f"{path}: expected a journal of Optuna: {error!r}") from error
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            study.tell(trial.number, state=TrialState.FAIL)  # interrupted: run it again
        yield study


def repair(path: Path) -> None:
    """Remove what a killed process may leave: half a line at the end of the journal, and a lock file."""
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    if path.exists() and not (written := path.read_bytes()).endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(written.rfind(b"\n") + 1)


def write_settings(folder: Path, options: Options, settings: Settings) -> None:
    """Write `config.yaml`, the options that `--resume` reads."""
    asked = dataclasses.asdict(dataclasses.replace(options, output_dir=None)) | dataclasses.asdict(settings)
    asked = {name: value for name, value in asked.items() if name not in EACH_CALL}
    folders.write_text(folder / CONFIG_FILE, yaml.safe_dump(asked, sort_keys=False, allow_unicode=True))


def parse(arguments: Sequence[str], prog: str, description: str) -> Request:
    """The search that command-line arguments describe.

    Raises ConfigError, in one line, for an option that does not exist or has a wrong value, and with
    `--resume FOLDER` for an option that differs from the search's own and cannot change.
    """
    parser = make_parser(prog, description)
    add = parser.add_argument
    add("--trials", type=int, help="number of trials")
    add("--epochs", type=int, help="epochs of a trial that is not pruned")
    add("--repeats", type=int, help="number of new seeds to compare the best trial and the default with")
    changeable = ", ".join(map(option_name, CHANGEABLE_ON_RESUME))
    add(
        "--resume",
        metavar="FOLDER",
        help=f"resume the search in that folder; only these may change: {changeable}",
    )
    given = parser.options(arguments)
    folder = given.pop("resume", None)
    if folder is not None:
        folder = folders.user_path("--resume", folder)
        return Request(*_resumed(folder, given), folder)
    own = {name: given.pop(name) for name in dataclasses.asdict(QUICK) if name in given}
    options = Options(**given)
    return Request(options, dataclasses.replace(options.choose(Settings(), quick=QUICK), **own), None)


def _resumed(folder: Path, given: dict[str, Any]) -> tuple[Options, Settings]:
    """The options of the search in that folder, with the ones given now."""
    path = folder / CONFIG_FILE
    try:
        saved = yaml.safe_load(path.read_text(encoding="utf-8"))
        names = {field.name for kind in (Options, Settings) for field in dataclasses.fields(kind)}
        saved = {name: value for name, value in saved.items() if name not in EACH_CALL}
        if set(saved) != names - EACH_CALL:
            raise ValueError("its options are not those of a search")
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(
            f"--resume: expected the folder of a search, got {folder}: {path.name}: {reason}"
        ) from error
    for name, value in given.items():
        if name not in CHANGEABLE_ON_RESUME and value != saved[name]:
            raise ConfigError(
                f"{option_name(name)}: expected the search's own {saved[name]} with --resume, got {value}"
            )
    if given.get("backend", saved["backend"]) != saved["backend"]:
        given = {"device": None, **given}  # the search's device belongs to its own library
    saved |= given
    settings = Settings(**{name: saved.pop(name) for name in dataclasses.asdict(QUICK)})
    return Options(**saved), settings
