"""A training run, from its config to the folder that it leaves."""

import dataclasses
import json
import platform
import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import yaml

from xpnet import data, files
from xpnet.callbacks import Callback, EarlyStopping
from xpnet.errors import ConfigError
from xpnet.metrics import EpochMetrics
from xpnet.model import Model
from xpnet.train import networks, plots
from xpnet.train.callbacks import Best, MetricsFile, Progress, StopIfDiverged
from xpnet.train.config import Config


class Outcome(NamedTuple):
    """What training left: the model holds the parameters of the best epoch."""

    history: list[EpochMetrics]
    best: EpochMetrics | None
    seconds: float
    interrupted: bool


def run(config: Config) -> dict[str, Any]:
    """Train as the config says, test the epoch that was best on validation, and write the run folder.

    The folder gets `config.yaml` (all options, to run again), `metrics.csv` (a row an epoch),
    `best.npz` (the parameters of the best epoch), `curves.png`, `confusion.png` and `summary.json`.
    Ctrl-C ends the training after the current step; the files tell of the epochs that were whole.

    Returns what `summary.json` holds. Raises ConfigError, DataError or BackendError before anything
    is written, and DivergedError after an epoch whose loss is not finite.
    """
    dataset = data.load(config.dataset, config.data_dir, config.download)
    train, validation = data.split(dataset.train, config.train_fraction)
    config.check_inputs(train.x.shape[1:])
    test, normalization = dataset.test, None
    if config.normalize:
        normalization = data.channel_statistics(train.x)
        train, validation, test = (
            data.Examples(data.normalize(x, normalization), y) for x, y in (train, validation, test)
        )
    model = make_model(config, train.x.shape[1:], dataset.classes)
    folder = make_folder(config)
    if not config.quiet:
        print(
            f"{dataset.name}: {len(train.x):,} images to train on, {len(validation.x):,} for validation, "
            f"{len(test.x):,} to test\n{model.backend}, seed {config.seed}\n\n"
            f"{model.summary(train.x.shape[1:])}\n"
        )
    outcome = train_model(model, config, train, validation, folder)

    tested = model.evaluate(*test)
    title = f"{config.name} on {dataset.name}, {config.backend}"
    if outcome.history:
        plots.curves(folder / "curves.png", outcome.history, outcome.best, title)
    accuracy = f"test accuracy {tested.accuracy:.4f}"
    predictions = model.predict(test.x)
    if predictions.ndim > 1:  # the loss knows no classes: the largest output counts, as in the accuracy
        predictions = predictions.argmax(axis=-1)
    class_names = dataset.class_names or tuple(map(str, range(dataset.classes)))
    plots.confusion(folder / "confusion.png", test.y, predictions, class_names, f"{title}: {accuracy}")
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
        "versions": versions(model),
    }
    write_text(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    of = (
        f"epoch {outcome.best.epoch}, the best on validation"
        if outcome.best
        else "before the first epoch's end"
    )
    print(f"{accuracy} ({of}); {'interrupted; ' if outcome.interrupted else ''}files in {folder}")
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
    )


def train_model(
    model: Model, config: Config, train: data.Examples, validation: data.Examples, folder: Path
) -> Outcome:
    """Fit the model, with the files that are written on the way; end with its best parameters."""
    metrics = MetricsFile(folder / "metrics.csv")
    best = Best(folder / "best.npz")
    watchers: list[Callback] = [metrics, best, StopIfDiverged()]
    if config.early_stopping:
        watchers.append(EarlyStopping(config.early_stopping, "validation_accuracy", restore=False))
    progress = Progress(config.epochs, len(train.x))
    start = time.perf_counter()
    try:
        with stopping_on_interrupt(model) as interrupts:
            history = model.fit(
                *train,
                epochs=config.epochs,
                batch_size=config.batch_size,
                validation=validation,
                shuffle=config.shuffle,
                schedule=config.make_schedule(),
                callbacks=watchers if config.quiet else [progress, *watchers],
            )
    finally:
        progress.close()
    seconds = time.perf_counter() - start
    if best.metrics is None:
        model.save(best.path)  # stopped in the first epoch: what there is
    else:
        model.load(best.path)
    return Outcome(history, best.metrics, seconds, bool(interrupts))


@contextmanager
def stopping_on_interrupt(model: Model) -> Iterator[list[int]]:
    """Let Ctrl-C end `model.fit` after the current step; a second one leaves at once.

    Gives a list that holds the signals that came.
    """
    interrupts: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        interrupts.append(number)
        model.stop()
        signal.signal(signal.SIGINT, before)

    before = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, handle)
    except ValueError:  # not the main thread, which alone gets signals
        yield interrupts
        return
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)


def make_folder(config: Config) -> Path:
    """The run folder, new and with `config.yaml` in it."""
    stamp = f"{datetime.now():%Y%m%d-%H%M%S}"
    folder = Path(config.output_dir) if config.output_dir else Path("runs") / f"{stamp}-{config.name}"
    try:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise ConfigError(f"--output-dir: expected a folder that does not exist, got {folder}") from error
    except OSError as error:
        raise ConfigError(f"--output-dir: cannot make {folder}: {error.strerror}") from error
    options = dataclasses.asdict(dataclasses.replace(config, output_dir=None))
    write_text(folder / "config.yaml", yaml.safe_dump(options, sort_keys=False, allow_unicode=True))
    return folder


def write_text(path: Path, text: str) -> None:
    """Write a small file, whole or not at all."""
    with files.saving(path) as file:
        file.write(text.encode())


def versions(model: Model) -> dict[str, str]:
    """Versions of all that a result may depend on."""
    names = ("xpnet", "numpy", "array-api-compat")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: metadata.version(name) for name in names},
        model.backend.name: model.backend.library.__version__,
    }
