"""Pickled and copied models: a copy continues the training bit for bit."""

import copy
import functools
import pickle
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import xpnet
from cases import LAYERS, LOSSES, LayerCase, LossCase
from conftest import Place
from laws import assert_same, fetch
from xpnet import data, init, losses, nn, optim, schedules
from xpnet.callbacks import Callback, EarlyStopping
from xpnet.train import Config
from xpnet.train.experiment import make_model as model_of_config

WAYS: dict[str, Callable[[xpnet.Model], xpnet.Model]] = {
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}
every_way = pytest.mark.parametrize("way", WAYS)


def make_model(place: Place = ("numpy", None)) -> xpnet.Model:
    """A model with everything that has a state or is random."""
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3, weight_init=init.scaled(init.he_normal, 0.5)),
        nn.BatchNorm(3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(48, 3, weight_init=functools.partial(init.normal, std=0.1)),
    )
    return xpnet.Model(
        net,
        losses.CrossEntropy(),
        optim.AverageWeights(optim.SGD(0.05, momentum=0.9, nesterov=True), 0.9),
        place[0],
        seed=3,
        dtype="float64",
        device=place[1],
        l2=0.001,
        augment=data.augment.RandomCrop(1),
        micro_batch=7,
    )


def make_data(seed: int = 0, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(seed).standard_normal((n, 6, 6, 1))
    return x, x[:, :3, 0, 0].argmax(axis=1)


class At(Callback):
    """Calls a function after step 3 of the second epoch."""

    def __init__(self, action: Callable[[xpnet.Model], object]) -> None:
        self.action = action

    def on_step(self, model: xpnet.Model, step: int, n_steps: int) -> None:
        if (model.epoch, step) == (1, 3):
            self.action(model)


def fit(model: xpnet.Model, epochs: int, *callbacks: Callback) -> None:
    model.fit(
        *make_data(),
        epochs=epochs,
        batch_size=13,
        validation=make_data(1),
        schedule=schedules.ReduceOnPlateau(0.5, patience=0),
        callbacks=[EarlyStopping(9, restore=False), *callbacks],
    )


def assert_same_training(model: xpnet.Model, other: xpnet.Model) -> None:
    assert [metrics[:6] for metrics in model.history] == [metrics[:6] for metrics in other.history]
    assert_same(model.backend, model.state, fetch(other.backend, other.state))
    np.testing.assert_array_equal(model.predict_proba(make_data(2)[0]), other.predict_proba(make_data(2)[0]))


@every_way
def test_a_copy_goes_on_from_the_middle_of_an_epoch(way: str, place: Place) -> None:
    """The copy is made in a callback, and the original continues too."""
    whole, copies = make_model(place), []
    fit(whole, 4, At(lambda model: copies.append(WAYS[way](model))))
    (resumed,) = copies
    assert (resumed.epoch, resumed.epoch_step, len(resumed.history)) == (1, 3, 1)
    assert resumed.backend.device == whole.backend.device
    fit(resumed, 3)
    assert_same_training(resumed, whole)


@every_way
def test_a_copy_shares_nothing(way: str) -> None:
    model = make_model()
    fit(model, 1)
    other = WAYS[way](model)
    before = fetch(other.backend, other.state)
    fit(model, 1)
    assert len(other.history) == 1
    assert_same(other.backend, other.state, before)


@every_way
def test_a_copy_goes_on_by_hand(way: str) -> None:
    """The copy keeps the mode, the optimizer's state and the random numbers of the next steps."""
    x, y = make_data()
    model = make_model()
    model.optimizer = replace(model.optimizer, decay=0.5)

    def step(model: xpnet.Model) -> None:
        model.forward(x)
        model.backward(y)
        model.step()
        model.zero_grads()

    step(model)
    model.eval()
    other = WAYS[way](model)
    assert not other.training
    for each in (model, other):
        step(each)
        each.train()
        step(each)
    assert_same_training(other, model)


def test_a_copy_keeps_the_layout_of_its_parameters() -> None:
    """Products may round differently with the layout."""
    model = xpnet.Model(nn.Linear(6, 3), losses.CrossEntropy(), optim.SGD(0.1))
    model.params = {**model.params, "weight": np.asfortranarray(model.params["weight"])}
    for way in WAYS.values():
        assert way(model).params["weight"].strides == model.params["weight"].strides == (4, 24)


@pytest.mark.parametrize("case", [*LAYERS, *LOSSES], ids=str)
def test_layers_and_losses_can_be_pickled(case: LayerCase | LossCase) -> None:
    thing = case.layer if isinstance(case, LayerCase) else case.loss
    assert pickle.loads(pickle.dumps(thing)) == thing


def test_initialisers_can_be_pickled() -> None:
    scaled = init.scaled(functools.partial(init.normal, std=2.0), 0.5)
    again = pickle.loads(pickle.dumps(scaled))
    drawn = [each(np.random.default_rng(0), (3, 2)) for each in (scaled, again)]
    np.testing.assert_array_equal(drawn[0], drawn[1])


def test_the_models_of_a_config_can_be_pickled() -> None:
    config = Config(
        dataset="shapes", random_crop=2, horizontal_flip=True, cutout=6, channels=(4,), pool=(2,),
        residual_blocks=(1,), hidden=(12,), activation="gelu", batch_norm=True, weight_init="orthogonal",
        optimizer="adamw", clip_norm=1.0, average_weights=0.9,
    )  # fmt: skip
    model = model_of_config(config, (28, 28, 3), 10)
    model.forward(np.ones((2, 28, 28, 3)))
    other = pickle.loads(pickle.dumps(model))
    assert_same(other.backend, other.state, fetch(model.backend, model.state))
