"""A user's own layers, losses, optimizers and augmentations: what they do not declare costs only speed."""

import inspect
import re
import sys
import textwrap
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import xpnet
from laws import assert_same, fetch
from xpnet import data, init, losses, nn, optim, random, tree
from xpnet._training import step
from xpnet.backend import namespace
from xpnet.errors import ConfigError, ShapeError
from xpnet.nn import fast
from xpnet.testing import check_layer

SGD = optim.SGD(0.01)


def images(n: int = 32) -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(0).normal(size=(n, 28, 28, 1)), np.arange(n) % 10


def first_loss(net: nn.Layer, **options: Any) -> float:
    """The training loss of one step on 256 images, with a convolution that splits the batch into parts."""
    model = xpnet.Model(net, losses.CrossEntropy(), SGD, dtype="float64", **options)
    return model.fit(*images(256), epochs=1, batch_size=256, shuffle=False)[0].train_loss


def test_the_layer_in_the_docstring_of_layer_obeys_the_laws(monkeypatch: pytest.MonkeyPatch) -> None:
    found = re.search(
        r" *class ScaleResiduals.*?(?=\nThen check it)", inspect.getdoc(nn.Layer) or "", re.DOTALL
    )
    assert found
    module = types.ModuleType("docstring_of_layer")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    vars(module).update(
        Array=Any, NamedTuple=NamedTuple, dataclass=dataclass, init=init, namespace=namespace, nn=nn
    )
    exec(textwrap.dedent(found[0]), vars(module))
    check_layer(module.Scale(3), (5, 3), backends=["numpy"])


@dataclass(frozen=True, repr=False)
class Center(nn.Layer):
    """x minus its mean over the batch, in code for NumPy or for the standard."""

    def forward(self, params: Any, x: Any) -> Any:
        return x - x.mean(axis=0), ()

    def backward(self, params: Any, residuals: Any, dy: Any) -> Any:
        return dy - dy.mean(axis=0), {}


@dataclass(frozen=True, repr=False)
class MeanOfReLU(nn.ReLU):
    """Derived from a layer with independent examples, but mixes them."""

    def forward(self, params: Any, x: Any) -> Any:
        return super().forward(params, x - x.mean(axis=0))

    def backward(self, params: Any, residuals: Any, dy: Any) -> Any:
        dx, _ = super().backward(params, residuals, dy)
        return dx - dx.mean(axis=0), {}


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("layer", [Center(), MeanOfReLU()], ids=str)
@pytest.mark.parametrize("workers", [1, 4])
def test_a_layer_that_mixes_examples_need_not_say_so(
    layer: nn.Layer, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xpnet.backend.NumPy, "workers", workers)
    net = nn.Sequential(nn.Conv2d(1, 8, 5, padding="same"), layer, nn.GlobalAvgPool(), nn.Linear(8, 10))
    assert layer.examples == net.examples == "mixed"
    np.testing.assert_allclose(first_loss(net), first_loss(net, micro_batch=256), rtol=1e-12)


@dataclass(frozen=True, repr=False)
class MaximumOverBatch(losses.CrossEntropy):
    """A loss that is not a mean over examples."""

    def forward(self, logits: Any, target: Any) -> Any:
        return super().forward(logits / np.abs(logits).max(), target)


def test_a_loss_and_an_augmentation_need_not_say_so_either() -> None:
    net = nn.Sequential(nn.Conv2d(1, 8, 5, padding="same"), nn.GlobalAvgPool(), nn.Linear(8, 10))
    assert MaximumOverBatch().examples == "mixed"
    for loss, augment in (
        (MaximumOverBatch(), None),
        (losses.CrossEntropy(), lambda x, key: x - x.mean(axis=0)),
        (
            losses.CrossEntropy(),
            data.augment.Compose(data.augment.Cutout(9), lambda x, key: x - x.mean(axis=0)),
        ),
    ):
        found = []
        for micro_batch in (None, 256):
            model = xpnet.Model(net, loss, SGD, dtype="float64", augment=augment, micro_batch=micro_batch)
            history = model.fit(*images(256), epochs=1, batch_size=256, shuffle=False)
            found.append(history[0].train_loss)
        np.testing.assert_allclose(found[0], found[1], rtol=1e-12)


def test_what_is_known_to_keep_examples_apart_is_cut_up() -> None:
    augment = data.augment.Compose(data.augment.RandomCrop(2), data.augment.HorizontalFlip())
    assert {losses.CrossEntropy().examples, augment.examples, nn.Linear(2, 3).examples} == {"independent"}
    net = nn.Sequential(nn.Conv2d(1, 8, 5), nn.Residual(nn.BatchNorm(8)))
    assert net.examples == "independent"
    assert net.training_mode(random.Key(None)).examples == "summed"


@dataclass(frozen=True, repr=False)
class EverySecond(nn.Layer):
    """Changes the number of columns and defines no `output_shape`."""

    def forward(self, params: Any, x: Any) -> Any:
        return x[:, ::2], x.shape

    def backward(self, params: Any, residuals: Any, dy: Any) -> Any:
        dx = np.zeros(residuals, dy.dtype)
        dx[:, ::2] = dy
        return dx, {}


def test_the_output_shape_is_found_by_a_dry_run() -> None:
    assert EverySecond().output_shape((64, 5)) == (64, 3)
    assert EverySecond().output_shape(("n", 5)) == ("n", 3)
    model = xpnet.Model(nn.Sequential(EverySecond(), nn.Linear(2, 2)), losses.CrossEntropy(), SGD)
    model.fit(np.zeros((8, 4)), np.zeros(8, int), epochs=1)
    with pytest.raises(
        ShapeError, match=r"layer 1, Linear\(2, 2\): expected x of shape \(n, 2\), got \(8, 3\)"
    ):
        model.fit(np.zeros((8, 6)), np.zeros(8, int), epochs=1)


@dataclass(frozen=True, repr=False)
class Hungry(nn.Layer):
    """Has a hyper-parameter that cannot be hashed, and accepts only matrices."""

    columns: list[int]

    def forward(self, params: Any, x: Any) -> Any:
        return x[:, self.columns], ()


@pytest.mark.parametrize("layer", [EverySecond(), nn.LayerNorm(3), nn.Embedding(2, 3)], ids=str)
def test_a_shape_without_axes_is_refused(layer: nn.Layer) -> None:
    with pytest.raises(ShapeError, match=r"expected x of shape \(n, \.\.\.[^)]*\), got \(\)"):
        layer.output_shape(())


def test_a_dry_run_that_fails_names_the_layer_and_keeps_its_error() -> None:
    net = nn.Sequential(nn.Tanh(), Hungry([0, 7]))
    assert net.output_shape((3, 8)) == (3, 2)
    with pytest.raises(
        ShapeError, match=r"layer 1, Hungry\(\[0, 7\]\): forward fails on zeros of shape \(1, 5\)"
    ) as error:
        net.output_shape((3, 5))
    assert isinstance(error.value.__cause__, IndexError)
    with pytest.raises(ShapeError, match="layer 1, Hungry") as error:
        net.forward(({}, {}), np.zeros((3, 5)))
    assert isinstance(error.value.__cause__, IndexError)


class Plain(nn.Layer):
    """Not a dataclass."""

    def forward(self, params: Any, x: Any) -> Any:
        return x * x, (x,)

    def backward(self, params: Any, residuals: Any, dy: Any) -> Any:
        return 2 * residuals[0] * dy, {}


def test_a_layer_that_is_no_dataclass_trains_and_is_summed_up() -> None:
    net = nn.Sequential(nn.Linear(4, 3), Plain())
    model = xpnet.Model(net, losses.MeanSquaredError(), SGD)
    model.fit(np.ones((8, 4)), np.ones((8, 3)), epochs=1)
    assert "Plain()" in model.summary((4,))


@pytest.mark.parametrize("name", ["file", "allow_pickle"])
def test_a_parameter_may_have_any_name(name: str, tmp_path: Path) -> None:
    class Named(Plain):
        def init(self, rng: np.random.Generator) -> dict[str, Any]:
            return {name: rng.normal(size=3)}

    saved, loaded = (
        xpnet.Model(Named(), losses.MeanSquaredError(), SGD, seed=seed, dtype="float64") for seed in (1, 2)
    )
    saved.save(tmp_path / "model.npz")
    loaded.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(loaded.params[name], saved.params[name])


class PlainLoss(losses.Loss):
    """Not a dataclass."""

    def forward(self, prediction: Any, target: Any) -> Any:
        return (prediction * prediction).mean(), prediction

    def backward(self, residuals: Any) -> Any:
        return residuals * (2 / residuals.size)


class PlainDescent(optim.Optimizer):
    """Not a dataclass."""

    learning_rate = 0.1

    def update(self, params: Any, grads: Any, state: Any) -> Any:
        return tree.map(lambda p, g: p - self.learning_rate * g, params, grads), state


def test_so_may_losses_and_optimizers_be() -> None:
    assert repr(PlainLoss()) == "PlainLoss()"
    x, y = np.ones((8, 4)), np.ones((8, 3))
    found, expected = (
        xpnet.Model(nn.Linear(4, 3), PlainLoss(), optimizer) for optimizer in (PlainDescent(), optim.SGD(0.1))
    )
    for model in (found, expected):
        model.fit(x, y, epochs=3, batch_size=4, schedule=xpnet.schedules.Exponential(0.5))
    assert PlainDescent.learning_rate == 0.1
    np.testing.assert_allclose(found.params["weight"], expected.params["weight"], rtol=1e-5)


@dataclass(frozen=True)
class Twice(optim.SGD):
    """Doubles the gradients."""

    def update(self, params: Any, grads: Any, state: Any) -> Any:
        return super().update(params, tree.map(lambda g: 2 * g, grads), state)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_an_optimizer_derived_from_sgd_gets_gradients(momentum: float) -> None:
    assert not step.only_adds_gradients(Twice(0.05, momentum))
    x, y = np.random.default_rng(0).normal(size=(32, 300)), np.arange(32) % 3
    net = nn.Sequential(nn.Linear(300, 40), nn.Tanh(), nn.Linear(40, 3))
    found, expected = (
        xpnet.Model(net, losses.CrossEntropy(), optimizer, dtype="float64")
        for optimizer in (Twice(0.05, momentum), optim.SGD(0.1, momentum))
    )
    for model in (found, expected):
        model.fit(x, y, epochs=2, batch_size=16)
    for name, array in tree.items(expected.params):
        np.testing.assert_allclose(dict(tree.items(found.params))[name], array, rtol=1e-10, atol=1e-13)


@dataclass(frozen=True, repr=False)
class DoubledLinear(nn.Linear):
    """A derived layer with another backward pass."""

    def backward(self, params: Any, residuals: Any, dy: Any) -> Any:
        dx, grads = super().backward(params, residuals, dy)
        return dx, tree.map(lambda g: 2 * g, grads)


@dataclass(frozen=True, repr=False)
class DoubledConv2d(nn.Conv2d):
    def backward(self, params: Any, residuals: Any, dy: Any) -> Any:
        dx, grads = super().backward(params, residuals, dy)
        return dx, tree.map(lambda g: 2 * g, grads)


@dataclass(frozen=True, repr=False)
class DoubledEmbedding(nn.Embedding):
    def backward(self, params: Any, residuals: Any, dy: Any) -> Any:
        dx, grads = super().backward(params, residuals, dy)
        return dx, tree.map(lambda g: 2 * g, grads)


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (DoubledLinear(4, 3), np.ones((5, 4))),
        (DoubledConv2d(2, 3, 2), np.ones((2, 4, 4, 2))),
        (DoubledEmbedding(4, 3), np.array([1, 3, 0])),
    ],
    ids=str,
)
def test_parameter_gradients_are_not_inherited_past_another_backward(layer: nn.Layer, x: np.ndarray) -> None:
    params = layer.init(np.random.default_rng(0))
    y, residuals = layer.forward(params, x)
    dy = np.random.default_rng(1).normal(size=y.shape)
    assert_same(
        xpnet.backend.get("numpy", dtype="float64"),
        layer.parameter_gradients(params, residuals, dy),
        fetch(xpnet.backend.get("numpy", dtype="float64"), layer.backward(params, residuals, dy)[1]),
    )


def test_a_training_mode_that_would_skip_a_derived_forward_is_refused() -> None:
    message = (
        "Louder: expected a training_mode of its own, because Dropout.training_mode does not call the new "
    )
    with pytest.raises(ConfigError, match=message):

        class Louder(nn.Dropout):
            def forward(self, params: Any, x: Any) -> Any:
                return 2 * x, ()


@dataclass(frozen=True, repr=False)
class Gate(nn.Container):
    """y = f(x) g(x), a user's own container."""

    value: nn.Layer
    gate: nn.Layer

    examples = nn.Container.examples

    def children(self) -> dict[Any, nn.Layer]:
        return {"value": self.value, "gate": self.gate}

    def with_children(self, children: dict[Any, nn.Layer]) -> "Gate":
        return Gate(**children)

    def forward(self, params: Any, x: Any) -> Any:
        value, of_value = self.value.forward(params["value"], x)
        gate, of_gate = self.gate.forward(params["gate"], x)
        return value * gate, (nn.ContainerResiduals({"value": of_value, "gate": of_gate}), value, gate)

    def backward(self, params: Any, residuals: Any, dy: Any) -> Any:
        inner, value, gate = residuals
        dx, of_value = self.value.backward(params["value"], inner.children["value"], dy * gate)
        dx_gate, of_gate = self.gate.backward(params["gate"], inner.children["gate"], dy * value)
        return dx + dx_gate, {"value": of_value, "gate": of_gate}

    def new_statistics(self, statistics: Any, residuals: Any) -> Any:
        return super().new_statistics(statistics, residuals[0])


def test_a_container_of_one_s_own_gets_statistics_training_mode_and_a_place_in_errors() -> None:
    gate = Gate(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm(4)), nn.Sigmoid())
    net = nn.Sequential(gate, nn.Dropout(0.5), nn.Linear(4, 3))
    xpnet.gradcheck.check(gate, np.random.default_rng(0).normal(size=(5, 4)))
    model = xpnet.Model(net, losses.CrossEntropy(), optim.SGD(0.1))
    x, y = np.random.default_rng(0).normal(2, size=(30, 4)), np.arange(30) % 3
    before = fetch(model.backend, model.statistics)
    model.fit(x, y, epochs=1, batch_size=10)
    after = fetch(model.backend, model.statistics)
    assert not np.array_equal(after[0]["value"][1]["running_mean"], before[0]["value"][1]["running_mean"])
    assert net.training_mode(random.Key(None)).examples == "summed"
    broken = xpnet.Model(net, losses.CrossEntropy(), optim.SGD(1e30))
    with (
        np.errstate(all="ignore"),
        pytest.raises(xpnet.DivergedError, match=r"layer 0, value, layer \d|layer \d"),
    ):
        broken.fit(x, y, epochs=2, batch_size=10)


@dataclass(frozen=True, repr=False, init=False)
class Stack(nn.Sequential):
    """Derived from `Sequential`, with other arguments and another forward pass."""

    def __init__(self, n: int) -> None:
        super().__init__(nn.Linear(n, n), nn.Dropout(0.5), nn.Linear(n, n))

    def forward(self, params: Any, x: Any) -> Any:
        y, residuals = super().forward(params, x)
        return 3 * y, residuals

    def backward(self, params: Any, residuals: Any, dy: Any) -> Any:
        return super().backward(params, residuals, 3 * dy)


def test_a_derived_container_keeps_its_class_in_training_and_its_children_as_they_are() -> None:
    stack = Stack(4)
    in_training = stack.training_mode(random.Key(np.zeros(1, np.int32)))
    assert type(in_training) is Stack
    assert in_training.layers[0] is stack.layers[0]
    assert in_training.layers[1] is not stack.layers[1]
    assert fast.deferred(stack) is stack
    assert stack.examples == "mixed"
    params = stack.init(np.random.default_rng(0))
    x = np.random.default_rng(0).normal(size=(3, 4))
    y, residuals = in_training.forward(params, x)
    assert_same(
        xpnet.backend.get("numpy", dtype="float64"),
        in_training.parameter_gradients(params, residuals, y),
        in_training.backward(params, residuals, y)[1],
    )
