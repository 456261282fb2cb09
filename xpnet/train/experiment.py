"""A training run, from its config to its folder of results."""

import dataclasses
import json
import platform
import shlex
import signal
import statistics
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xpnet import data, distributed
from xpnet._util.output import say
from xpnet._util.version import __version__
from xpnet.backend import Backend
from xpnet.callbacks import Callback, Checkpoints, EarlyStopping
from xpnet.errors import ConfigError, DivergedError
from xpnet.metrics import EpochMetrics
from xpnet.model import Model
from xpnet.train import folder as folders
from xpnet.train import networks, recorded_data
from xpnet.train.config import Config, option_name
from xpnet.train.reporting import Best, Interrupts, MetricsFile, ProgressBar, Timer


class Outcome(NamedTuple):
    """The result of training. The model then holds the parameters of the best epoch."""

    history: list[EpochMetrics]
    best: EpochMetrics | None
    seconds: float
    interrupted: str | None


def run(config: Config, resume: str | Path | None = None) -> dict[str, Any]:
    """Train as the config says, test the epoch that is best on validation, and write the run folder.

    The folder holds `config.yaml` (all options, to run again), `data.json` (sizes, class names and checksums
    of the data, and how the inputs were made of files), `metrics.csv` (a row for each epoch), `best.npz` (the
    parameters of the best epoch), `summary.json`, `curves.png`, `confusion.png`, and `checkpoints/`, from
    which the run can resume. A picture that cannot be drawn costs a line on standard error. SIGINT (Ctrl-C),
    SIGTERM, SIGHUP and SIGUSR1 end the training after the current step, with a checkpoint; the other files
    then cover the complete epochs. Of several processes (`xpnet.distributed`) the first one writes the folder
    and prints, and a signal to any of them ends the training of all.

    Arguments:
        config: all options.
        resume: the folder of a run to resume; `config` must be that of the run, except for the options
            in `command_line.CHANGEABLE_ON_RESUME`.

    Returns the content of `summary.json`.

    Raises ConfigError, DataError or BackendError before it writes anything, also where the run to resume has
    no checkpoint or began with other data; CheckpointError where a file cannot be written or read, and
    DivergedError after an epoch with a loss or parameter that is not finite.
    """
    first = distributed.process_id() == 0
    _require_same_run(config, resume)
    if resume is not None:
        resume = folders.user_path("--resume", resume)
    if first:
        folders.check(config, resume)  # before the data are read
    with distributed.first_alone():  # where the data set is not there, it is downloaded once
        dataset = data.load(config.dataset, config.data_dir, config.download).as_images()
    train, validation = data.split(
        dataset.train, config.train_fraction, config.split, seed=config.seed, names=dataset.class_names
    )
    config.check_inputs(train.x.shape[1:])
    recorded = recorded_data.describe(dataset)
    distributed.require_same(
        "--dataset: ", {f"{word} data": recorded[part] for part, word in recorded_data.WORDS.items()}
    )
    if first and resume is not None:
        recorded_data.check(resume, recorded)
    test, normalization = dataset.test, None
    if config.normalize:
        normalization = data.channel_statistics(train.x)
        train, validation, test = (
            data.Examples(data.normalize(x, normalization), y) for x, y in (train, validation, test)
        )
    model = make_model(config, train.x.shape[1:], dataset.classes)
    if distributed.num_processes() > 1 and not model.backend.spans_processes:
        raise ConfigError(
            f"--device: expected the devices of all processes with --distributed, such as gpu:all, "
            f"got {config.device}"
        )
    with folders.opened(config, resume) as folder, Interrupts() as interrupts:
        checkpoints = Checkpoints(folder / folders.CHECKPOINTS, config.checkpoint_every)
        if first and not config.quiet:
            say(
                f"{first_line(dataset, train, validation, test)}\n{model.backend}, seed {config.seed}\n\n"
                f"{model.summary(train.x.shape[1:], config.batch_size)}\n"
            )
        if resume is not None:
            restore(model, config, checkpoints, folder)
        if first:
            recorded_data.write(folder, recorded, normalization)
        parts = train, validation, test
        outcome = train_model(model, config, parts, checkpoints, folder, interrupts)
        return report(model, config, dataset, data.Examples(*test), normalization, outcome, folder)


def _require_same_run(config: Config, resume: str | Path | None) -> None:
    """ConfigError unless all processes have the same options, but for names, folders and what is printed."""
    options = {
        option_name(name): value
        for name, value in dataclasses.asdict(config).items()
        if name not in {"name", "dataset", "data_dir", "download", "output_dir", "quiet"}
    }
    resumes = "none" if resume is None else "a run"
    distributed.require_same("", {"--resume": resumes, **options})


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
        if distributed.process_id() == 0:
            say(f"{error}; using the checkpoint before it", error=True)
    if config.epochs < model.epoch + (model.epoch_step > 0):
        raise ConfigError(
            f"--epochs: expected at least {model.epoch + (model.epoch_step > 0)}, which {folder} has begun, "
            f"got {config.epochs}"
        )
    if distributed.process_id() > 0:
        return
    folders.write_config(folder, config)
    if not config.quiet:
        say(f"resuming {folder} after epoch {model.epoch}, step {model.epoch_step}\n")


def report(
    model: Model,
    config: Config,
    dataset: data.Dataset,
    test: data.Examples,
    normalization: data.Normalization | None,
    outcome: Outcome,
    folder: Path,
) -> dict[str, Any]:
    """Test the model, write `summary.json`, print the last line, and then draw the pictures.

    Returns what `summary.json` holds.
    """
    tested = model.evaluate(*test)
    rates = [metrics.images_per_second for metrics in outcome.history]
    summary = {
        "name": config.name,
        "backend": config.backend,
        "device": model.backend.device_name,
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
    if distributed.process_id() == 0:
        folders.write_text(folder / folders.SUMMARY, json.dumps(summary, indent=2) + "\n")
    accuracy = f"test accuracy {tested.accuracy:.4f}"
    of = "before the first epoch's end"
    if outcome.best:
        which = "the last" if outcome.best.validation_accuracy is None else "the best on validation"
        of = f"epoch {outcome.best.epoch}, {which}"
    if distributed.process_id() == 0:
        say(f"{accuracy} ({of}); files in {folder}")
        if outcome.interrupted:
            say(f"interrupted; resume with --resume {shlex.quote(str(folder))}")
    title = f"{config.name} on {dataset.name}, {config.backend}"
    draw(model, dataset, test, outcome, folder, title, accuracy)
    return summary


def draw(
    model: Model,
    dataset: data.Dataset,
    test: data.Examples,
    outcome: Outcome,
    folder: Path,
    title: str,
    accuracy: str,
) -> None:
    """Draw the pictures. One that fails is named on standard error: the results are written already."""

    def curves(path: Path) -> None:
        from xpnet.train import plots  # imports Matplotlib, which may fail and takes a while

        if outcome.history and distributed.process_id() == 0:
            plots.curves(path, outcome.history, outcome.best, title)

    def confusion(path: Path) -> None:
        predictions = model.predict(test.x)  # in every process
        if predictions.ndim > 1:  # the loss has no classes: the largest output counts, as in the accuracy
            predictions = predictions.argmax(axis=-1)
        if distributed.process_id() > 0:
            return
        from xpnet.train import plots

        plots.confusion(path, test.y, predictions, dataset.label_names, f"{title}: {accuracy}")

    for name, picture in (("curves.png", curves), ("confusion.png", confusion)):
        try:
            if distributed.process_id() == 0:
                (folder / name).unlink(missing_ok=True)  # of the run before it was resumed
            picture(folder / name)
        except Exception as error:  # of any kind: Matplotlib, its fonts, memory, a full disk
            reason = " ".join(str(error).split()) or type(error).__name__
            if distributed.process_id() == 0:
                say(f"{folder / name}: not drawn ({reason})", error=True)


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
    parts: tuple[data.Examples, data.Examples, data.Examples],
    checkpoints: Checkpoints,
    folder: Path,
    interrupts: Interrupts,
) -> Outcome:
    """Fit the model on the first of training, validation and test part, and write files during training.

    The model ends with the best parameters.
    """
    train, validation, test = parts
    best, timer = Best(folder / folders.BEST), Timer()
    watchers: list[Callback] = [best, timer]
    if config.early_stopping:
        watchers.append(EarlyStopping(config.early_stopping, "validation_accuracy", restore=False))
    quiet = config.quiet or distributed.process_id() > 0
    progress, table = ProgressBar(config.epochs, len(train.x)), MetricsFile(folder / folders.METRICS)
    try:
        # DivergedError says more than the warnings of NumPy.
        with np.errstate(all="ignore"):
            model.fit(
                *train,
                epochs=config.epochs - model.epoch,
                batch_size=config.batch_size,
                validation=validation if len(validation.y) else None,
                test=test if config.test_each_epoch else None,
                train_metrics=config.train_metrics,
                train_metrics_examples=config.train_metrics_examples,
                shuffle=config.shuffle,
                schedule=config.make_schedule(),
                callbacks=[*([] if quiet else [progress]), *watchers, interrupts, checkpoints, table],
                progress=False,  # it has its own
            )
    except DivergedError as error:
        last = checkpoints.newest()
        kept = "no checkpoint was written" if last is None else f"the last good checkpoint is {last}"
        raise DivergedError(f"{error}; {kept}") from error
    finally:
        progress.close()
    seconds = timer.seconds
    if best.metrics is not None:
        model.restore(best.arrays)
    elif distributed.process_id() == 0:
        model.save(best.path)  # stopped in the first epoch: save the current parameters
    number = distributed.largest(interrupts.received or 0)  # in any of the processes
    interrupted = signal.Signals(number).name if number else None
    return Outcome(model.history, best.metrics, seconds, interrupted)


def versions(backend: Backend) -> dict[str, str]:
    """Versions of all software that a result may depend on."""
    names = ("numpy", "array-api-compat")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "xpnet": __version__,
        **{name: metadata.version(name) for name in names},
        backend.name: backend.version,
    }
