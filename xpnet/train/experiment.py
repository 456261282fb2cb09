"""A training run, from its config to its folder of results."""

import json
import platform
import statistics
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xpnet import data
from xpnet._util.version import __version__
from xpnet.backend import Backend
from xpnet.callbacks import Callback, Checkpoints, EarlyStopping
from xpnet.errors import ConfigError, DivergedError
from xpnet.metrics import EpochMetrics
from xpnet.model import Model
from xpnet.train import folder as folders
from xpnet.train import networks, plots
from xpnet.train.config import Config
from xpnet.train.reporting import Best, Interrupts, MetricsFile, ProgressBar, Timer


class Outcome(NamedTuple):
    """The result of training. The model then holds the parameters of the best epoch."""

    history: list[EpochMetrics]
    best: EpochMetrics | None
    seconds: float
    interrupted: str | None


def run(config: Config, resume: str | Path | None = None) -> dict[str, Any]:
    """Train as the config says, test the epoch that is best on validation, and write the run folder.

    The folder holds `config.yaml` (all options, to run again), `dataset.json` (the names of the classes, and
    how the inputs were made from the files: `data.Dataset.describe`), `metrics.csv` (a row for each epoch),
    `best.npz` (the parameters of the best epoch), `curves.png`, `confusion.png`, `summary.json`, and
    `checkpoints/`, from which the run can resume. SIGINT (Ctrl-C) and SIGTERM end the training after
    the current step, with a checkpoint; the other files then cover the complete epochs.

    Arguments:
        config: all options.
        resume: the folder of a run to resume; `config` must be that of the run, except for the options
            in `command_line.CHANGEABLE_ON_RESUME`.

    Returns the content of `summary.json`.

    Raises ConfigError, DataError or BackendError before it writes anything, CheckpointError where a file
    cannot be written or read, and DivergedError after an epoch with a loss or parameter that is not finite.
    """
    dataset = data.load(config.dataset, config.data_dir, config.download).as_images()
    train, validation = data.split(
        dataset.train, config.train_fraction, config.split, seed=config.seed, names=dataset.class_names
    )
    config.check_inputs(train.x.shape[1:])
    test, normalization = dataset.test, None
    if config.normalize:
        normalization = data.channel_statistics(train.x)
        train, validation, test = (
            data.Examples(data.normalize(x, normalization), y) for x, y in (train, validation, test)
        )
    model = make_model(config, train.x.shape[1:], dataset.classes)
    opened = folders.new(config) if resume is None else folders.old(Path(resume))
    with opened as folder:
        checkpoints = Checkpoints(folder / folders.CHECKPOINTS, config.checkpoint_every)
        folders.write_dataset(folder, dataset)
        if not config.quiet:
            print(
                f"{first_line(dataset, train, validation, test)}\n{model.backend}, seed {config.seed}\n\n"
                f"{model.summary(train.x.shape[1:], config.batch_size)}\n"
            )
        if resume is not None:
            restore(model, config, checkpoints, folder)
        outcome = train_model(model, config, train, validation, checkpoints, folder)
        return report(model, config, dataset, data.Examples(*test), normalization, outcome, folder)


def first_line(dataset: data.Dataset, *parts: data.Examples) -> str:
    """The data set, the sizes of its training, validation and test part, and what was found in reading it."""
    counts = [
        f"{len(part.y):,} {name}" if len(part.y) else f"no {name}"
        for name, part in zip(("training", "validation", "test"), parts, strict=True)
    ]
    kind = "images" if dataset.train.x.ndim == 4 else "examples"
    return "; ".join([f"{dataset.name}: {counts[0]}, {counts[1]} and {counts[2]} {kind}", *dataset.notes])


def restore(model: Model, config: Config, checkpoints: Checkpoints, folder: Path) -> None:
    """Load the newest checkpoint of the run in that folder. ConfigError for too few epochs."""
    for error in checkpoints.resume(model):
        print(f"{error}; using the checkpoint before it", file=sys.stderr)
    if config.epochs < model.epoch + (model.epoch_step > 0):
        raise ConfigError(
            f"--epochs: expected at least {model.epoch + (model.epoch_step > 0)}, which {folder} has begun, "
            f"got {config.epochs}"
        )
    folders.write_config(folder, config)
    if not config.quiet:
        print(f"resuming {folder} after epoch {model.epoch}, step {model.epoch_step}\n")


def report(
    model: Model,
    config: Config,
    dataset: data.Dataset,
    test: data.Examples,
    normalization: data.Normalization | None,
    outcome: Outcome,
    folder: Path,
) -> dict[str, Any]:
    """Test the model, draw the pictures, write `summary.json` and return what it holds."""
    tested = model.evaluate(*test)
    title = f"{config.name} on {dataset.name}, {config.backend}"
    if outcome.history:
        plots.curves(folder / "curves.png", outcome.history, outcome.best, title)
    accuracy = f"test accuracy {tested.accuracy:.4f}"
    predictions = model.predict(test.x)
    if predictions.ndim > 1:  # the loss has no classes: the largest output counts, as in the accuracy
        predictions = predictions.argmax(axis=-1)
    plots.confusion(
        folder / "confusion.png", test.y, predictions, dataset.label_names, f"{title}: {accuracy}"
    )
    rates = [metrics.images_per_second for metrics in outcome.history]
    summary = {
        "name": config.name,
        "backend": config.backend,
        "device": str(model.backend.device),
        "dtype": config.dtype,
        "dataset": dataset.name,
        "epochs": len(outcome.history),
        "parameters": model.parameter_count(),
        "best_epoch": outcome.best.epoch if outcome.best else 0,
        "best_validation_accuracy": outcome.best.validation_accuracy if outcome.best else None,
        "test_accuracy": tested.accuracy,
        "test_loss": tested.loss,
        "normalization": normalization and normalization._asdict(),
        "seconds": round(outcome.seconds, 3),
        "images_per_second": round(statistics.median(rates), 1) if rates else None,
        "seed": config.seed,
        "interrupted": outcome.interrupted,
        "versions": versions(model.backend),
    }
    folders.write_text(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    if outcome.best is None:
        of = "before the first epoch's end"
    else:
        validated = outcome.best.validation_accuracy is not None
        of = f"epoch {outcome.best.epoch}, the {'best on validation' if validated else 'last'}"
    print(f"{accuracy} ({of}); files in {folder}")
    if outcome.interrupted:
        print(f"interrupted; resume with --resume {folder}")
    return summary


def make_model(config: Config, input_shape: tuple[int, ...], classes: int) -> Model:
    """The untrained model that the config describes, for inputs of that shape."""
    return Model(
        networks.build(config, input_shape, classes),
        config.make_loss(),
        config.make_optimizer(),
        backend=config.backend,
        seed=config.seed,
        dtype=config.dtype,
        device=config.device,
        l2=config.l2,
        augment=config.make_augmentation(),
        micro_batch=config.micro_batch or None,
        tf32=config.tf32,
    )


def train_model(
    model: Model,
    config: Config,
    train: data.Examples,
    validation: data.Examples,
    checkpoints: Checkpoints,
    folder: Path,
) -> Outcome:
    """Fit the model and write files during training; end with the best parameters."""
    best, timer = Best(folder / "best.npz"), Timer()
    watchers: list[Callback] = [MetricsFile(folder / "metrics.csv"), best, timer]
    if config.early_stopping:
        watchers.append(EarlyStopping(config.early_stopping, "validation_accuracy", restore=False))
    progress = ProgressBar(config.epochs, len(train.x))
    try:
        # DivergedError says more than the warnings of NumPy.
        with Interrupts() as interrupts, np.errstate(all="ignore"):
            model.fit(
                *train,
                epochs=config.epochs - model.epoch,
                batch_size=config.batch_size,
                validation=validation if len(validation.y) else None,
                shuffle=config.shuffle,
                schedule=config.make_schedule(),
                callbacks=[*([] if config.quiet else [progress]), *watchers, interrupts, checkpoints],
            )
    except DivergedError as error:
        last = checkpoints.newest()
        kept = "no checkpoint was written" if last is None else f"the last good checkpoint is {last}"
        raise DivergedError(f"{error}; {kept}") from error
    finally:
        progress.close()
    seconds = timer.seconds
    if best.metrics is None:
        model.save(best.path)  # stopped in the first epoch: save the current parameters
    else:
        model.load(best.path)
    return Outcome(
        model.history, best.metrics, seconds, interrupts.received.name if interrupts.received else None
    )


def versions(backend: Backend) -> dict[str, str]:
    """Versions of all software that a result may depend on."""
    names = ("numpy", "array-api-compat")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "xpnet": __version__,
        **{name: metadata.version(name) for name in names},
        backend.name: backend.library.__version__,
    }
