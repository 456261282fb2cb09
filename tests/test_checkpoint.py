"""Checkpoints: a training that goes on from one is bit for bit the one that was never interrupted."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import xpnet
from conftest import PLACES, Place
from xpnet import checkpoint, data, losses, nn, optim, schedules, tree
from xpnet.callbacks import Callback, EarlyStopping
from xpnet.errors import CheckpointError, ConfigError

EPOCHS, STEPS = 4, 5  # of 60 images in batches of 13
EXACT = ("epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "learning_rate")


def make_model(place: Place = ("numpy", None), **options) -> xpnet.Model:
    """A network with all that has a state or is random."""
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm(3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(48, 3)
    )
    options = {
        "seed": 3,
        "l2": 0.001,
        "augment": data.augment.RandomCrop(1),
        "optimizer": optim.AverageWeights(optim.SGD(0.05, momentum=0.9, nesterov=True), 0.9),
        **options,
    }
    return xpnet.Model(net, losses.CrossEntropy(), backend=place[0], device=place[1], **options)


def make_data(seed: int, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(seed).standard_normal((n, 6, 6, 1))
    return x, x[:, :3, 0, 0].argmax(axis=1)


class SaveAt(Callback):
    """Saves after that step of that epoch, or after the epoch if the step is 0."""

    def __init__(self, path: Path, epoch: int, step: int) -> None:
        self.path, self.at = path, (epoch, step)

    def on_step(self, model: xpnet.Model, step: int, n_steps: int) -> None:
        assert n_steps == STEPS
        if (model.epoch, step) == self.at:
            model.save_checkpoint(self.path)

    def on_epoch(self, model: xpnet.Model, metrics) -> None:
        if (model.epoch, 0) == self.at:
            model.save_checkpoint(self.path)


def fit(model: xpnet.Model, epochs: int, *callbacks: Callback, **options) -> list:
    options = {"batch_size": 13, "validation": make_data(1), **options}
    return model.fit(
        *make_data(0),
        epochs=epochs,
        schedule=schedules.ReduceOnPlateau(0.5, patience=0),
        callbacks=[EarlyStopping(3, restore=False), *callbacks],
        **options,
    )


def rows(model: xpnet.Model) -> list[tuple]:
    return [tuple(getattr(metrics, name) for name in EXACT) for metrics in model.history]


def arrays(model: xpnet.Model) -> dict[str, np.ndarray]:
    """All of the state."""
    state = checkpoint.capture(model)
    return {
        name: np.array(leaf)
        for name, leaf in tree.items(
            {key: state[key] for key in ("params", "statistics", "optimizer", "step")}
        )
    }


def assert_same(model: xpnet.Model, other: xpnet.Model) -> None:
    assert rows(model) == rows(other)
    for name, array in arrays(other).items():
        np.testing.assert_array_equal(arrays(model)[name], array, err_msg=name)


@pytest.mark.parametrize(
    "at", [(0, 1), (1, 3), (1, STEPS), (2, 0)], ids="after epoch {0[0]} step {0[1]}".format
)
def test_goes_on_bit_for_bit(at: tuple[int, int], place: Place, tmp_path: Path) -> None:
    whole, resumed = make_model(place), make_model(place)
    path = tmp_path / "checkpoint.safetensors"
    fit(whole, EPOCHS, SaveAt(path, *at))
    assert len({row[-1] for row in rows(whole)}) > 1  # the schedule has lowered the rate
    resumed.load_checkpoint(path)
    assert (resumed.epoch, resumed.epoch_step) == at
    history = fit(resumed, EPOCHS - resumed.epoch)
    assert [metrics.epoch for metrics in history] == list(range(at[0] + 1, EPOCHS + 1))
    assert_same(resumed, whole)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
