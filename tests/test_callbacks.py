"""Early stopping."""

import numpy as np
import pytest

import xpnet
from conftest import Place
from laws import assert_same, fetch
from xpnet import losses, nn, optim
from xpnet.callbacks import Callback, EarlyStopping
from xpnet.errors import ConfigError
from xpnet.metrics import EpochMetrics


class Watched(EarlyStopping):
    """Is told of a course of losses, whatever the model's are."""

    def __init__(self, course: list[float], **options) -> None:
        super().__init__(**options)
        self.course = course

    def on_epoch(self, model: xpnet.Model, metrics: EpochMetrics) -> None:
        super().on_epoch(model, metrics._replace(validation_loss=self.course[metrics.epoch - 1]))


class Snapshots(Callback):
    def __init__(self) -> None:
        self.taken: list = []

    def on_epoch(self, model: xpnet.Model, metrics: EpochMetrics) -> None:
        self.taken.append(fetch(model.backend, model.snapshot()))


def fit(early: EarlyStopping, place: Place = ("numpy", None), validation: bool = True):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 4)), rng.integers(3, size=20)
    net = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm(5), nn.Linear(5, 3))
    model = xpnet.Model(net, losses.CrossEntropy(), optim.SGD(0.1), place[0], device=place[1])
    snapshots = Snapshots()
    history = model.fit(
        x, y, epochs=6, validation=(x, y) if validation else None, callbacks=[early, snapshots]
    )
    return model, len(history), snapshots.taken


def test_stops_when_patience_is_over_and_goes_back_to_the_best(place: Place) -> None:
    model, epochs, snapshots = fit(Watched([5, 4, 3, 3, 3.5, 1], patience=2), place)
    assert epochs == 5
    assert_same(model.backend, model.snapshot(), snapshots[2])


def test_goes_back_at_the_end_too_unless_told_not_to() -> None:
    model, epochs, snapshots = fit(Watched([5, 4, 3, 3, 2, 4], patience=3))
    assert epochs == 6
    assert_same(model.backend, model.snapshot(), snapshots[4])
    model, _, snapshots = fit(Watched([5, 4, 3, 3, 2, 4], patience=3, restore=False))
    assert_same(model.backend, model.snapshot(), snapshots[5])


def test_min_delta_is_what_a_better_epoch_has_to_gain() -> None:
    assert fit(Watched([5, 4.9, 4.8, 4.7, 4.6, 4.5], patience=3, min_delta=0.25))[1] == 6
    assert fit(Watched([5, 4.9, 4.8, 4.7, 4.6, 4.5], patience=3, min_delta=0.5))[1] == 4


def test_of_accuracy_more_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    early = EarlyStopping(1, monitor="validation_accuracy")
    model = fit(EarlyStopping(9))[0]
    stops: list[int] = []
    for epoch, accuracy in enumerate([0.5, 0.6, 0.6], start=1):
        monkeypatch.setattr(model, "stop", lambda epoch=epoch: stops.append(epoch))
        early.on_epoch(model, EpochMetrics(epoch, 1.0, 0.5, 1.0, accuracy, 0.1, 1.0, 1.0))
    assert stops == [3]


def test_refuses_what_makes_no_sense() -> None:
    with pytest.raises(ConfigError, match="EarlyStopping: expected patience to be at least 1, got 0"):
        EarlyStopping(0)
    with pytest.raises(
        ConfigError, match=r"EarlyStopping: expected monitor validation_loss or .*, got 'loss'"
    ):
        EarlyStopping(1, monitor="loss")
    with pytest.raises(
        ConfigError, match="EarlyStopping: expected fit to have validation with a validation_loss"
    ):
        fit(EarlyStopping(1), validation=False)
