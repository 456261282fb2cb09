"""Divergence is detected and traced to the step and the layer where it began."""

from dataclasses import dataclass, field

import numpy as np
import pytest

import xpnet
from conftest import Place
from laws import assert_same, fetch
from xpnet import data, losses, nn, optim, random, schedules
from xpnet.backend import namespace
from xpnet.callbacks import Callback
from xpnet.errors import DivergedError
from xpnet.nn._layer import NoResiduals


@pytest.fixture(autouse=True)
def _no_warnings():
    with np.errstate(all="ignore"):
        yield


def make_data(n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(n, 6))
    return x, (x[:, 0] > 0).astype(int)


def make_model(
    *layers: nn.Layer, place: Place = ("numpy", None), rate: float = 0.1, **options
) -> xpnet.Model:
    loss = options.pop("loss", losses.CrossEntropy())
    optimizer = options.pop("optimizer", optim.SGD(rate))
    return xpnet.Model(nn.Sequential(*layers), loss, optimizer, place[0], device=place[1], **options)


def message_of(model: xpnet.Model, x: np.ndarray, y: np.ndarray, **options) -> str:
    with pytest.raises(DivergedError) as error:
        model.fit(x, y, **{"epochs": 2, "batch_size": 16, **options})
    assert "\n" not in str(error.value)
    return str(error.value)


def end_of(story: str, step: int = 1) -> str:
    return f"run again from step 1, the first value that is not finite is {story}, in step {step}"


@dataclass(frozen=True, repr=False)
class Faulty(nn.Layer):
    """The identity, until a number of calls of forward or backward: then infinity."""

    forwards: int = 10**9
    backwards: int = 10**9
    calls: dict = field(default_factory=lambda: {"forward": 0, "backward": 0}, repr=False)
    times: int = 10**9

    def _fail(self, way: str, at: int, x):
        self.calls[way] += 1
        return x * float("inf") if at <= self.calls[way] < at + self.times else x

    def forward(self, params, x):
        return self._fail("forward", self.forwards, x), NoResiduals()

    def backward(self, params, residuals, dy):
        return self._fail("backward", self.backwards, dy), {}

    def output_shape(self, input_shape):  # without a call, which would count
        return input_shape


@dataclass(frozen=True, repr=False)
class SteepAbove(nn.Layer):
    """The identity, with an infinite gradient for a batch with an input above a limit."""

    limit: float

    def forward(self, params, x):
        return x, (x,)

    def backward(self, params, residuals, dy):
        xp = namespace(dy)
        steep = xp.any(residuals[0] > self.limit)
        return xp.where(steep, dy * float("inf"), dy), {}


def test_a_rate_too_high_is_told_alike_on_every_library(place: Place) -> None:
    """The layer is named with its place, in containers too."""
    layers = (
        nn.Linear(6, 5),
        nn.Tanh(),
        nn.Sequential(nn.Linear(5, 5), nn.ReLU()),
        nn.Residual(nn.Linear(5, 5)),
        nn.Linear(5, 2),
    )
    message = message_of(make_model(*layers, place=place, rate=1e10), *make_data())
    story = end_of("in the output of layer 3, branch, Linear(5, 5)", 3)
    expected = "epoch 1, step 3 of 13, learning rate 1e+10: expected a finite loss, got nan"
    assert message == f"{expected}; {story}; a lower learning rate may help"


def test_an_example_that_is_no_number(place: Place) -> None:
    """For a NaN in the data the error says where it is, and does not suggest a lower learning rate."""
    x, y = make_data()
    x[77, 3] = np.nan
    steps = [batch.tolist() for _, batch in data.batches(x, np.arange(200), 16, seed=0, epoch=0)]
    step = next(i for i, positions in enumerate(steps, start=1) if 77 in positions)
    message = message_of(make_model(nn.Linear(6, 2), place=place), x, y)
    assert message.startswith(f"epoch 1, step {step} of 13, ")
    assert message.endswith(f"{end_of('in the inputs', step)} (nan at x[77, 3])")


def test_a_gradient(place: Place) -> None:
    """The loss diverges one step later."""
    x, y = make_data()
    x = np.clip(x, -1, 1)
    x[:, 5] = 0
    x[77, 5] = 9
    steps = [batch.tolist() for _, batch in data.batches(x, np.arange(200), 16, seed=0, epoch=0)]
    step = next(i for i, positions in enumerate(steps, start=1) if 77 in positions)
    layers = (nn.Linear(6, 6, weight_init=identity), SteepAbove(8.5), nn.Linear(6, 2))
    message = message_of(make_model(*layers, place=place, rate=1e-6), x, y)
    assert message.startswith(f"epoch 1, step {step + 1} of 13, ")
    assert message.endswith(
        end_of("in the gradient of layer 1, SteepAbove(8.5)", step) + "; a lower learning rate may help"
    )


def identity(rng: random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.eye(*shape)


def test_the_loss_itself(place: Place) -> None:
    """Differences that float32 can hold, but whose squares overflow."""
    x, _ = make_data()
    y = np.full((200, 2), 1e30)
    message = message_of(make_model(nn.Linear(6, 2), place=place, loss=losses.MeanSquaredError()), x, y)
    assert "step 1 of 13, learning rate 0.1: expected a finite loss, got inf" in message
    assert end_of("in the loss, MeanSquaredError()") in message


def test_parameters_that_no_loss_has_seen(place: Place) -> None:
    """The last step of an epoch has a finite loss, but leaves parameters that are not finite."""
    x, y = make_data(16)
    message = message_of(make_model(nn.Linear(6, 2), place=place, rate=3e38), x * 1e3, y)
    assert (
        "steps 1 to 1 of 1, learning rate 3e+38: expected finite parameters, got infinite or NaN" in message
    )
    assert end_of("in the parameters after the update") in message


def test_parameters_given() -> None:
    model = make_model(nn.Linear(6, 2))
    model.params = ({"weight": np.full((6, 2), np.nan), "bias": np.zeros(2)},)
    assert message_of(model, *make_data()).endswith(end_of("in the parameters before it"))


def test_in_parts_with_all_that_training_does(place: Place) -> None:
    """With micro-batches in parallel on NumPy, the error names the first layer in the order of the step."""
    layers = (
        nn.Linear(6, 8),
        nn.BatchNorm(8),
        nn.Dropout(0.1),
        nn.Linear(8, 2),
        nn.LayerNorm(2),
        nn.Linear(2, 2),
    )
    model = make_model(*layers, place=place, rate=1e30, micro_batch=4)
    assert "in the output of layer 3, Linear(8, 2), in step 2" in message_of(model, *make_data())


def test_the_model_goes_back_to_the_start_of_the_epoch(place: Place) -> None:
    class Keep(Callback):
        def on_epoch(self, model, metrics) -> None:
            self.state = fetch(model.backend, model.state._asdict())

    keep = Keep()
    model = make_model(
        nn.Linear(6, 4), nn.BatchNorm(4), nn.Linear(4, 2), place=place, optimizer=optim.Adam(0.1)
    )
    message = message_of(model, *make_data(), epochs=3, schedule=schedules.Step(1, 1e38), callbacks=[keep])
    assert message.startswith("epoch 2, ")
    assert model.epoch == 1
    for name in ("params", "statistics", "optimizer", "step"):
        assert_same(model.backend, getattr(model.state, name), keep.state[name])


def test_a_metric_that_is_read_ends_the_epoch_there() -> None:
    class Read(Callback):
        steps = 0

        def on_step(self, model, step, n_steps) -> None:
            model.running_loss(16 * step)
            self.steps = step

    read = Read()
    message = message_of(make_model(nn.Linear(6, 2), Faulty(forwards=4)), *make_data(), callbacks=[read])
    assert message.startswith("epoch 1, step 4 of 13, ")
    assert read.steps == 4


def test_an_epoch_that_was_broken_off_is_run_again_from_there() -> None:
    class StopAt3(Callback):
        def on_step(self, model, step, n_steps) -> None:
            if step == 3:
                model.stop()

    model = make_model(nn.Linear(6, 2), Faulty(forwards=6))
    model.fit(*make_data(), batch_size=16, callbacks=[StopAt3()])
    message = message_of(model, *make_data())
    assert message.startswith("epoch 1, step 6 of 13, ")
    assert (
        "run again from step 4, the first value that is not finite is in the output of layer 1, Faulty("
        in message
    )
    assert model.epoch_step == 3


def test_what_does_not_happen_again() -> None:
    message = message_of(make_model(nn.Linear(6, 2), Faulty(forwards=4, times=1)), *make_data())
    assert message.endswith("run again from step 1, all values were finite: this device is not deterministic")


def test_a_good_end_is_none() -> None:
    model = make_model(nn.Linear(6, 2), rate=0.1)
    assert len(model.fit(*make_data(), epochs=2, batch_size=16)) == 2
    assert int(model.state.finite_steps) == 13
