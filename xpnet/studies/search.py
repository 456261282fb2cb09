"""Search for hyper-parameters with Optuna. A trial is one training; its value is the validation accuracy.

The tree-structured Parzen estimator proposes the next trial from the trials before it (Bergstra, Bardenet,
Bengio and Kégl, "Algorithms for hyper-parameter optimization", 2011). A trial is pruned if its accuracy after
an epoch is below the median of the other trials at that epoch. A journal in the folder of the search, or a
database, records each trial.

Each trial gets a new sampler, seeded by the seed of the search and the number of the trial, so its proposal
depends only on these and on the trials that have ended. One process alone repeats an interrupted trial
before it begins another: the resumed search proposes the same trials as an uninterrupted one. Several
processes share the trials; then it depends on their speed what is known when a trial begins, and which trials
are pruned.
"""

import dataclasses
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
import yaml
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from xpnet import random
from xpnet.callbacks import Callback
from xpnet.errors import ConfigError, DivergedError
from xpnet.metrics import EpochMetrics
from xpnet.model import Model
from xpnet.studies import _search_storage as storages
from xpnet.studies import _search_trials, sweep
from xpnet.studies._search_storage import JOURNAL as JOURNAL
from xpnet.studies._search_trials import Worker
from xpnet.studies.options import Options, make_parser
from xpnet.train import folder as folders
from xpnet.train.config import CONFIG_FILE, Config, option_name
from xpnet.train.experiment import make_model

RANDOM_TRIALS = 8  # before the sampler uses the results
PRUNER = optuna.pruners.MedianPruner(n_startup_trials=4)
CHANGEABLE_ON_RESUME = (
    "trials", "repeats", "data_dir", "download", "backend", "device", "processes", "workers", "pdf",
)  # fmt: skip
EACH_CALL = {"processes", "workers", "pdf"}  # not options of a search: each call says them for itself


@dataclasses.dataclass(frozen=True)
class Settings:
    """The options of a search, besides those of all studies.

    Arguments:
        trials: number of trials.
        epochs: epochs of a trial that is not pruned.
        repeats: number of new seeds to train the best trial and the default with at the end.
        workers: trials at the same time, each in a process of its own with its share of the cores.
        storage: URL of a database for the trials; None: a journal in the folder of the search.
    """

    trials: int = 40
    epochs: int = 10
    repeats: int = 5
    workers: int = 1
    storage: str | None = None

    def __post_init__(self) -> None:
        for name in ("trials", "epochs", "repeats", "workers"):
            if (value := getattr(self, name)) < 1:
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


def drawn(trial: FrozenTrial) -> dict[str, Any]:
    """The hyper-parameters of a trial that was interrupted; none if it had not drawn all of them."""
    try:
        chosen(trial)
    except ValueError:
        return {}
    return trial.params


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """The complete and the pruned trials, in the order of their numbers."""
    return list(_search_trials.finished(study).values())


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


class Sampler(optuna.samplers.BaseSampler):
    """For each trial a new sampler, seeded by the seed of the search and the number of the trial."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.own: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler(seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        number = _search_trials.number_of(study, trial)
        seed = int(random.generator(self.seed, "search", number).integers(1 << 32))
        if number < RANDOM_TRIALS:
            self.own = optuna.samplers.RandomSampler(seed)
        else:
            self.own = optuna.samplers.TPESampler(seed=seed, n_startup_trials=RANDOM_TRIALS)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> Any:
        return self.own.infer_relative_search_space(study, trial)

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: Any) -> Any:
        return self.own.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        return self.own.sample_independent(study, trial, param_name, param_distribution)


def run_trial(
    study: optuna.Study, trial: optuna.Trial, worker: Worker, base: Config, examples: sweep.Data
) -> None:
    """Train with the hyper-parameters that Optuna proposes, and report the result to it.

    A trial that is interrupted, also by an error, is left to be repeated.
    """
    try:
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
            study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
        else:
            study.tell(trial, model.history[-1].validation_accuracy, skip_if_finished=True)
    except UpdateFinishedTrialError:
        return  # another process took it over: this one was silent for long, as on a laptop that slept
    except BaseException:
        with suppress(Exception):
            _search_trials.fail(study, trial.number)
        raise
    finally:
        worker.trial = None


def write_settings(folder: Path, options: Options, settings: Settings) -> None:
    """Write `config.yaml`, the options that `--resume` reads, without a password."""
    asked = dataclasses.asdict(dataclasses.replace(options, output_dir=None)) | dataclasses.asdict(settings)
    asked["storage"] = settings.storage and storages.masked(settings.storage)
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
    add(
        "--workers",
        type=int,
        help="trials at the same time, each in a process with its share of the cores; default 1, which gives "
        "the same trials each time",
    )
    add(
        "--storage",
        metavar="URL",
        help=f"database for the trials, which other computers may share: {storages.EXAMPLES}; default: a "
        "file in the folder of the search",
    )
    changeable = ", ".join(map(option_name, CHANGEABLE_ON_RESUME))
    add(
        "--resume",
        metavar="FOLDER",
        help="resume the search in that folder, or help the processes that run it; only these may change: "
        f"{changeable}",
    )
    given = parser.options(arguments)
    folder = given.pop("resume", None)
    if "storage" in given:
        given["storage"] = storages.text(storages.parsed(given["storage"]))
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
        saved = {"storage": None} | {name: value for name, value in saved.items() if name not in EACH_CALL}
        if set(saved) != names - EACH_CALL:
            raise ValueError("its options are not those of a search")
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(
            f"--resume: expected the folder of a search, got {folder}: {path.name}: {reason}"
        ) from error
    saved["storage"] = _storage(given.pop("storage", None), saved["storage"])
    for name, value in given.items():
        if name not in CHANGEABLE_ON_RESUME and value != saved[name]:
            raise ConfigError(
                f"{option_name(name)}: expected the search's own {saved[name]} with --resume, got {value}"
            )
    if given.get("backend", saved["backend"]) != saved["backend"]:
        given = {"device": None, **given}  # the search's device belongs to its own library
    saved |= given
    own = [field.name for field in dataclasses.fields(Settings)]
    settings = Settings(**{name: saved.pop(name) for name in own if name in saved})
    return Options(**saved), settings


def _storage(given: str | None, saved: str | None) -> str | None:
    """The URL of a search's database, whose password `config.yaml` does not keep."""
    if given is not None:
        if storages.masked(given) != saved:
            raise ConfigError(
                f"--storage: expected the search's own {saved or 'file'} with --resume, got "
                f"{storages.masked(given)}"
            )
        return given
    if saved is not None and storages.is_masked(saved):
        raise ConfigError(
            f"--storage: expected the URL of the search with its password, which is not in {saved}"
        )
    return saved


def without_password(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command line to show to others."""
    shown = list(arguments)
    for i, word in enumerate(shown):
        if word.startswith("--storage="):
            shown[i] = f"--storage={storages.masked(word.partition('=')[2])}"
        elif i and shown[i - 1] == "--storage":
            shown[i] = storages.masked(word)
    return shown
