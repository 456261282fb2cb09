"""Check the gradients of the network of a config by finite differences."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xpnet import data, gradcheck, tree
from xpnet.errors import ConfigError
from xpnet.model import Model
from xpnet.random import Key, generator
from xpnet.train import folder as folders
from xpnet.train.config import Config
from xpnet.train.experiment import make_model

EXAMPLES = 16
NOISE = 0.01  # images have equal pixels, which are kinks of max-pooling, and of ReLU with a bias of 0
TOLERANCE = 1e-6


class Row(NamedTuple):
    """The result for one parameter."""

    parameter: str
    shape: tuple[int, ...]
    worst: gradcheck.Difference

    @property
    def is_right(self) -> bool:
        return self.worst.error <= TOLERANCE


def check(config: Config, resume: Path | None = None) -> list[Row]:
    """Check the gradient of each parameter, in float64, in training mode, with the loss and L2 of the config.

    The batch is the first `EXAMPLES` images of the data set, or `batch_size` if that is less, with a little
    noise.

    Arguments:
        resume: the folder of a run, to check its best parameters; default: the initial parameters.

    Raises ConfigError, DataError or BackendError where the network cannot be made, and CheckpointError where
    the parameters of the run cannot be read.
    """
    dataset = data.load(config.dataset, config.data_dir, config.download).as_images()
    config.check_inputs(dataset.train.x.shape[1:])
    examples = min(EXAMPLES, config.batch_size)
    if config.batch_norm and examples < 2:
        raise ConfigError(f"--batch-size: expected at least 2 with --batch-norm, got {config.batch_size}")
    x, y = dataset.train.x[:examples], dataset.train.y[:examples]
    if config.normalize:
        x = data.normalize(x, data.channel_statistics(dataset.train.x))
    model = make_model(replace(config, dtype="float64"), x.shape[1:], dataset.classes)
    if resume is not None:
        model.load(resume / folders.BEST)
    in_training(model)
    rng = generator(config.seed, "gradcheck")
    found = gradcheck.measure(model, x + NOISE * rng.standard_normal(x.shape), y, tolerance=TOLERANCE)
    shapes = {name: tuple(array.shape) for name, array in tree.items(model.params)}
    order = sorted(found, key=lambda name: [int(p) if p.isdigit() else p for p in name.split(".")])
    return [Row(name, shapes[name], found[name]) for name in order]


def in_training(model: Model) -> None:
    """Switch the objective to training mode, with the random masks of the first step."""
    key = Key(model.backend.from_host(np.zeros(1, np.int32)))
    model.objective = replace(model.objective, net=model.net.training_mode(key))


def table(rows: list[Row]) -> str:
    """A line for each parameter: its largest relative error, and a wrong entry beside the right value."""
    cells = [("parameter", "shape", "largest relative error")]
    cells += [(row.parameter, "x".join(map(str, row.shape)), f"{row.worst.error:.1e}") for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    verdicts = ["", *(verdict(row) for row in rows)]
    lines = []
    for (parameter, shape, error), words in zip(cells, verdicts, strict=True):
        line = f"{parameter:{widths[0]}}  {shape:{widths[1]}}  {error:>{widths[2]}}  {words}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def verdict(row: Row) -> str:
    """ "ok", or where the gradient is wrong, and the two numbers."""
    if row.is_right:
        return "ok"
    where = f"at {row.worst.where}" if row.worst.where else "along a random direction"
    return f"WRONG: {where} it is {row.worst}"
