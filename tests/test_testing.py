"""`xpnet.testing` finds each fault in classes that are wrong on purpose, and says how to mend it."""

import doctest
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from conftest import MakeBackend, Place
from xpnet import backend, losses, nn, optim, testing, tree
from xpnet.backend import namespace, sum_over_parts
from xpnet.errors import BackendError, ConfigError
from xpnet.testing import LawError, backends, check_backend, check_layer, check_loss, check_optimizer

NUMPY = {"backends": ["numpy"]}


@dataclass(frozen=True, repr=False)
class Scale(nn.Layer):
    """y = x w: right, and the base class of the wrong layers below."""

    features: int
    factor: float = 1.0
    examples = "independent"

    def init(self, rng):
        return {"weight": 1 + rng.standard_normal((self.features,))}

    def forward(self, params, x):
        return self.factor * x * params["weight"], (x,)

    def backward(self, params, residuals, dy):
        (x,) = residuals
        dweight = self.factor * namespace(x).sum(dy * x, axis=-2)
        return self.factor * dy * params["weight"], {"weight": dweight}


def test_a_right_layer_obeys_all_laws() -> None:
    for stacks in (False, True):
        report = check_layer(Scale(3), (4, 3)) if not stacks else check_layer(Stacked(3), (4, 3), stacks=True)
        assert report.ok
        assert report.passed == report.total > 20  # with two libraries, more with others
        assert report.notes == ()
        assert repr(report) == str(report)  # a notebook shows the table


@dataclass(frozen=True, repr=False)
class Stacked(Scale):
    examples = "independent"

    def forward(self, params, x):
        return x * params["weight"][..., None, :], (x,)

    def backward(self, params, residuals, dy):
        dweight = namespace(dy).sum(dy * residuals[0], axis=-2)
        return dy * params["weight"][..., None, :], {"weight": dweight}


# Layers that are wrong on purpose, as their names say.


@dataclass(frozen=True, repr=False)
class WrongGradient(Scale):
    def backward(self, params, residuals, dy):
        dx, grads = super().backward(params, residuals, dy)
        return dx, {"weight": 0.5 * grads["weight"]}


@dataclass(frozen=True, repr=False)
class WrongInputGradient(Scale):
    def backward(self, params, residuals, dy):
        dx, grads = super().backward(params, residuals, dy)
        return dx + dy, grads


@dataclass(frozen=True, repr=False)
class OtherParameterGradients(Scale):
    def parameter_gradients(self, params, residuals, dy):
        return tree.map(lambda g: 2 * g, self.backward(params, residuals, dy)[1])


@dataclass(frozen=True, repr=False)
class WritesIntoX(Scale):
    def forward(self, params, x):
        y, _ = super().forward(params, x)
        x0 = x + 0.0
        x *= 0.5
        return y, (x0,)


@dataclass(frozen=True, repr=False)
class WritesIntoParams(Scale):
    def forward(self, params, x):
        y, residuals = super().forward(params, x)
        params["weight"] += 1.0
        return y, residuals


@dataclass(frozen=True, repr=False)
class WritesIntoDy(Scale):
    def backward(self, params, residuals, dy):
        result = super().backward(params, residuals, dy)
        dy *= 2.0
        return result


@dataclass(frozen=True, repr=False)
class WritesIntoResiduals(Scale):
    def backward(self, params, residuals, dy):
        result = super().backward(params, residuals, dy)
        residuals[0][...] = 0.0
        return result


@dataclass(frozen=True, repr=False)
class WritesInParameterGradients(Scale):
    def parameter_gradients(self, params, residuals, dy):
        grads = self.backward(params, residuals, dy)[1]
        dy *= 2.0
        return grads


@dataclass(frozen=True, repr=False)
class WrongOutputShape(Scale):
    def output_shape(self, input_shape):
        return (*input_shape[:-1], 2 * input_shape[-1])


@dataclass(frozen=True, repr=False)
class NoLetterForTheBatch(Scale):
    def output_shape(self, input_shape):
        return input_shape if isinstance(input_shape[0], int) else (0, 9)


@dataclass(frozen=True, repr=False)
class Center(nn.Layer):
    """Mixes the examples and declares nothing: right."""

    def forward(self, params, x):
        return x - namespace(x).mean(x, axis=0), ()

    def backward(self, params, residuals, dy):
        return dy - namespace(dy).mean(dy, axis=0), {}


@dataclass(frozen=True, repr=False)
class CenterSaysIndependent(Center):
    examples = "independent"


@dataclass(frozen=True, repr=False)
class CenterSaysSummed(Center):
    examples = "summed"


@dataclass(frozen=True, repr=False)
class CenterBySums(nn.Layer):
    """The same with `sum_over_parts`: right."""

    examples = "summed"

    def mean(self, x):
        sums = sum_over_parts((namespace(x).sum(x, axis=0), x.shape[0]))
        return sums[0] / sums[1]

    def forward(self, params, x):
        return x - self.mean(x), ()

    def backward(self, params, residuals, dy):
        return dy - self.mean(dy), {}


@dataclass(frozen=True, repr=False)
class BackwardForgetsTheOtherParts(CenterBySums):
    examples = "summed"

    def backward(self, params, residuals, dy):
        return dy - namespace(dy).mean(dy, axis=0), {}


@dataclass(frozen=True, repr=False)
class StatisticsOfOnePart(nn.BatchNorm):
    def training_mode(self, key):
        return StatisticsOfOnePartInTraining(self.features, self.momentum, self.epsilon)


@dataclass(frozen=True, repr=False)
class StatisticsOfOnePartInTraining(nn.norm.BatchNormInTraining):
    examples = "summed"

    def new_statistics(self, statistics, residuals):
        rows = residuals.centered + residuals.mean
        found = {"running_mean": namespace(rows).max(rows, axis=0), "running_variance": residuals.variance}
        return tree.map(lambda old, new: 0.9 * old + 0.1 * new, statistics, found)


@dataclass(frozen=True, repr=False)
class WrongWord(Scale):
    examples = "alone"


@dataclass(frozen=True, repr=False)
class Float64SneaksIn(Scale):
    def forward(self, params, x):
        xp = namespace(x)
        return x * xp.astype(params["weight"], xp.float64), (x,)


@dataclass(frozen=True, repr=False)
class NumPyAlone(Scale):
    def forward(self, params, x):
        return np.asarray(x) * np.asarray(params["weight"]), (x,)


class NoDataclass(nn.Layer):
    def __init__(self, factor: float = 2.0) -> None:
        self.factor = factor

    def forward(self, params, x):
        return self.factor * x, ()

    def backward(self, params, residuals, dy):
        return self.factor * dy, {}


@dataclass(repr=False)
class NotFrozen(nn.Layer):
    factor: float = 2.0

    def forward(self, params, x):
        return self.factor * x, ()

    def backward(self, params, residuals, dy):
        return self.factor * dy, {}


class ForgottenDecorator(Scale):
    offset: float = 1.0


@dataclass(frozen=True, repr=False)
class HiddenHyperParameter(Scale):
    def __post_init__(self) -> None:
        object.__setattr__(self, "slope", 0.3)


@dataclass(frozen=True, repr=False)
class ReprIsSilent(Scale):
    def __repr__(self) -> str:
        return "ReprIsSilent()"


@dataclass(frozen=True, repr=False)
class ParamsAreAList(Scale):
    def init(self, rng):
        return [np.ones(self.features)]


@dataclass(frozen=True, repr=False)
class ListInParams(Scale):
    def init(self, rng):
        return {"weight": [1.0] * self.features}


@dataclass(frozen=True, repr=False)
class ParamsAreFloat32(Scale):
    def init(self, rng):
        return {"weight": np.ones(self.features, np.float32)}


@dataclass(frozen=True, repr=False)
class InitIgnoresTheSeed(Scale):
    def init(self, rng):
        return {"weight": np.random.default_rng().standard_normal(self.features)}


@dataclass(frozen=True, repr=False)
class OtherNames(Scale):
    def backward(self, params, residuals, dy):
        dx, grads = super().backward(params, residuals, dy)
        return dx, {"w": grads["weight"]}


@dataclass(frozen=True, repr=False)
class OtherShapes(Scale):
    def backward(self, params, residuals, dy):
        dx, grads = super().backward(params, residuals, dy)
        return dx, {"weight": grads["weight"][None, :]}


@dataclass(frozen=True, repr=False)
class GradsAreAList(Scale):
    def backward(self, params, residuals, dy):
        dx, grads = super().backward(params, residuals, dy)
        return dx, [grads["weight"]]


@dataclass(frozen=True, repr=False)
class WrongDxShape(Scale):
    def backward(self, params, residuals, dy):
        dx, grads = super().backward(params, residuals, dy)
        return dx[:, :2], grads


@dataclass(frozen=True, repr=False)
class ForwardGivesYAlone(Scale):
    def forward(self, params, x):
        return super().forward(params, x)[0]


@dataclass(frozen=True, repr=False)
class Random(Scale):
    def forward(self, params, x):
        noise = namespace(x).asarray(np.random.default_rng().standard_normal(x.shape), dtype=x.dtype)
        return x * params["weight"] + noise, (x,)


@dataclass(frozen=True, repr=False)
class KeepsXOnSelf(Scale):
    memory: list = field(default_factory=list, repr=False, compare=False)

    def forward(self, params, x):
        self.memory[:] = [x]
        return super().forward(params, x)[0], ()

    def backward(self, params, residuals, dy):
        return super().backward(params, tuple(self.memory), dy)


@dataclass(frozen=True, repr=False)
class CountsCalls(Scale):
    memory: list = field(default_factory=list, repr=False, compare=False)

    def forward(self, params, x):
        self.memory.append(1)
        return super().forward(params, x)


@dataclass(frozen=True, repr=False)
class WrongInTraining(Scale):
    def training_mode(self, key):
        return WrongGradient(self.features)


@dataclass(frozen=True, repr=False)
class GradientOfIntegers(Scale):
    integers = range(5)

    def forward(self, params, x):
        return super().forward(params, namespace(x).astype(x, params["weight"].dtype))


@dataclass(frozen=True, repr=False)
class Breaks(Scale):
    def forward(self, params, x):
        return x @ params["weight"][:, None] @ x, (x,)


LAYERS_AND_FAULTS = [
    (WrongGradient(3), "gradient is right (numpy): WrongGradient: the gradient at params.weight["),
    (WrongInputGradient(3), "gradient is right (numpy): WrongInputGradient: the gradient at x["),
    (OtherParameterGradients(3), "parameter_gradients match backward (numpy): parameter_gradients differs from backward: grads.weight["),
    (WritesIntoX(3), "arguments are not modified (numpy): forward writes into x; make a fresh array"),
    (WritesIntoParams(3), "arguments are not modified (numpy): forward writes into params.weight; make"),
    (WritesIntoDy(3), "arguments are not modified (numpy): backward writes into dy; make"),
    (WritesIntoResiduals(3), "arguments are not modified (numpy): backward writes into residuals.0; make"),
    (WritesInParameterGradients(3), "arguments are not modified (numpy): parameter_gradients writes into dy; make"),
    (WrongOutputShape(3), "output_shape is the shape of y: output_shape((4, 3)) says (4, 6), forward gives y of shape (4, 3); correct"),
    (GradientOfIntegers(3), "forward and backward fit together (numpy): backward gives a dx other than 0 for an x of integers"),
    (NoLetterForTheBatch(3), "output_shape is the shape of y: output_shape for a batch of n examples says (0, 9), forward gives"),
    (CenterSaysIndependent(), 'examples is as declared: examples says "independent", but the other examples matter: dx['),
    (CenterSaysSummed(), 'examples is as declared: examples says "summed", but sum_over_parts is not all that they share: '),
    (BackwardForgetsTheOtherParts(), 'examples is as declared: examples says "summed", but sum_over_parts is not all that they share: dx['),
    (StatisticsOfOnePart(3), 'examples is as declared in training: examples says "summed", but sum_over_parts is not all that they share: statistics.running_mean['),
    (WrongWord(3), "examples is as declared: examples is 'alone', expected \"independent\", \"summed\" or \"mixed\""),
    (Float64SneaksIn(3), "results keep library, device, dtype (numpy): y is float64, expected"),
    (NoDataclass(), "is a frozen dataclass: NoDataclass is not a dataclass; write @dataclass(frozen=True, repr=False) above class NoDataclass"),
    (NotFrozen(), "is a frozen dataclass: NotFrozen is mutable; write @dataclass(frozen=True, repr=False) above"),
    (ForgottenDecorator(3), "is a frozen dataclass: ForgottenDecorator: offset is not a field; write @dataclass(frozen=True, repr=False)"),
    (HiddenHyperParameter(3), "is a frozen dataclass: HiddenHyperParameter: self.slope is not a field, so repr and == ignore it"),
    (ReprIsSilent(3), "repr shows every field: ReprIsSilent() does not show features=3; leave __repr__ out"),
    (ParamsAreAList(3), "init gives float64 NumPy arrays: init gives a list, expected a dict of float64 NumPy arrays; write return {"),
    (ListInParams(3), "init gives float64 NumPy arrays: init gives weight as list, expected a float64 NumPy array"),
    (ParamsAreFloat32(3), "init gives float64 NumPy arrays: init gives weight as an array of float32, expected a float64 NumPy array"),
    (InitIgnoresTheSeed(3), "init gives float64 NumPy arrays: init draws other parameters for the same seed: weight["),
    (OtherNames(3), "forward and backward fit together (numpy): backward's grads has the arrays w, expected those of params: weight"),
    (OtherShapes(3), "forward and backward fit together (numpy): backward's grads.weight has shape (1, 3), expected (3,), as in params"),
    (GradsAreAList(3), "forward and backward fit together (numpy): backward's grads is a list; expected a dict of arrays by name"),
    (WrongDxShape(3), "forward and backward fit together (numpy): backward gives dx of shape (4, 2), expected the shape of x, (4, 3)"),
    (ForwardGivesYAlone(3), "forward and backward fit together (numpy): forward gives one ndarray, expected a pair (y, residuals)"),
    (Random(3), "the same call gives the same bits (numpy): the same call gives something else the second time: y["),
    (KeepsXOnSelf(3), "nothing is kept on self (numpy): another forward pass in between changes backward: grads.weight["),
    (CountsCalls(3), "nothing is kept on self (numpy): forward or backward changes an attribute of the layer; keep nothing"),
    (WrongInTraining(3), "gradient is right in training (numpy): WrongGradient: the gradient at params.weight["),
    (Breaks(3), "forward and backward fit together (numpy): ValueError: matmul: "),
]  # fmt: skip


def name(subject: Any) -> str:
    return type(subject).__name__


@pytest.mark.parametrize(
    ("layer", "fault"), LAYERS_AND_FAULTS, ids=lambda value: "" if isinstance(value, str) else name(value)
)
def test_a_wrong_layer(layer: nn.Layer, fault: str) -> None:
    report = check_layer(layer, (4, 3), **NUMPY, raise_on_failure=False)
    assert not report.ok
    assert report.faults[0].startswith(fault), report.faults
    with pytest.raises(LawError) as error:
        check_layer(layer, (4, 3), **NUMPY)
    first, *faults = str(error.value).split("\n")
    assert first.startswith(f"check_layer: {name(layer)}")
    assert first.endswith(f"{report.passed} of {report.total} passed")
    assert [line.partition(": ")[0].strip() for line in faults] == [
        f.partition(": ")[0] for f in report.faults
    ]


ALONE = [
    WrongGradient,
    OtherParameterGradients,
    WritesIntoX,
    WritesIntoDy,
    WrongOutputShape,
    Float64SneaksIn,
    WrongWord,
]


@pytest.mark.parametrize("cls", ALONE)
def test_one_fault_breaks_few_laws(cls: type) -> None:
    """A report that blames all laws for one fault helps nobody."""
    faults = check_layer(cls(3), (4, 3), **NUMPY, raise_on_failure=False).faults
    assert len(faults) <= 2, faults


def test_right_layers_that_mix_examples() -> None:
    for layer in (Center(), CenterBySums()):
        assert check_layer(layer, (5, 3), **NUMPY).notes == ()


def test_a_layer_that_could_say_more_is_told_so() -> None:
    @dataclass(frozen=True, repr=False)
    class Silent(Scale):
        examples = "mixed"

    (note,) = check_layer(Silent(3), (4, 3), **NUMPY).notes
    assert note.startswith('each row of y depends on its row of x alone: write examples = "independent"')


def test_arrays_of_another_library() -> None:
    report = check_layer(
        NumPyAlone(3), (4, 3), backends=["numpy", "array-api-strict"], raise_on_failure=False
    )
    assert next(result.library for result in report.results if result.outcome == "FAIL") == "array-api-strict"
    pytest.importorskip("torch", reason="PyTorch is not installed")
    report = check_layer(NumPyAlone(3), (4, 3), backends=["torch"], raise_on_failure=False)
    assert any(
        "not an array of torch" in fault or "NumPyAlone" in fault or "TypeError" in fault
        for fault in report.faults
    )


def test_arrays_on_another_device() -> None:
    place = backend.get("array-api-strict", "device1")

    @dataclass(frozen=True, repr=False)
    class OnTheDefaultDevice(Scale):
        def forward(self, params, x):
            xp = namespace(x)
            return xp.zeros(x.shape, dtype=x.dtype), (x,)

    report = check_layer(
        OnTheDefaultDevice(3), (4, 3), backends=[place], dtypes=["float32"], raise_on_failure=False
    )
    assert any("y is on " in fault and "xpnet.backend.device(x)" in fault for fault in report.faults), (
        report.faults
    )


def test_numbers_that_differ_between_libraries() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")

    @dataclass(frozen=True, repr=False)
    class Divides(Scale):
        def forward(self, params, x):
            y, residuals = super().forward(params, x)
            return (y, residuals) if isinstance(x, np.ndarray) else (1.001 * y, residuals)

        def backward(self, params, residuals, dy):
            dx, grads = super().backward(params, residuals, dy)
            if isinstance(dy, np.ndarray):
                return dx, grads
            return 1.001 * dx, tree.map(lambda g: 1.001 * g, grads)

    (fault,) = check_layer(Divides(3), (4, 3), backends=["numpy", "torch"], raise_on_failure=False).faults
    assert fault.startswith("numbers agree with NumPy (torch): differs from NumPy: ")


def test_networks_in_a_stack() -> None:
    (fault,) = check_layer(Scale(3), (4, 3), **NUMPY, stacks=True, raise_on_failure=False).faults
    assert fault.startswith("K networks in one pass (numpy): ")


def test_integers_and_wrong_arguments() -> None:
    assert check_layer(nn.Embedding(7, 3), np.array([[1, 6], [0, 3], [2, 2]]), **NUMPY).ok
    with pytest.raises(
        ConfigError, match=r"check_layer: expected a layer, got the class Scale; write Scale\(…\)"
    ):
        check_layer(Scale, (4, 3))
    with pytest.raises(
        ConfigError, match=r"check_layer: expected a layer, derived from xpnet.nn.Layer, got 3"
    ):
        check_layer(3, (4, 3))
    with pytest.raises(
        ConfigError, match="check_layer: expected x to be a shape or an array of numbers, got 'x'"
    ):
        check_layer(Scale(3), "x")
    with pytest.raises(BackendError, match="unknown backend 'abacus'"):
        check_layer(Scale(3), (4, 3), backends=["abacus"])
    with pytest.raises(ConfigError, match="expected a backend, its class or its name, got 3"):
        check_layer(Scale(3), (4, 3), backends=[3])


def test_an_array_of_any_library_is_an_input(place: Place) -> None:
    x = backend.get(*place, dtype="float64").asarray(np.linspace(0.1, 1, 12).reshape(4, 3))
    assert check_layer(Scale(3), x, **NUMPY).ok


# Losses


@dataclass(frozen=True, repr=False)
class Squares(losses.Loss):
    """½ Σ (p - t)² / n: right."""

    scale: float = 0.5

    def forward(self, prediction, target):
        difference = prediction - target
        n = prediction.shape[-2]
        value = namespace(prediction).sum(difference * difference, axis=(-2, -1)) * (self.scale / n)
        return value, (difference, n)

    def backward(self, residuals):
        difference, n = residuals
        return difference * (2 * self.scale / n)


@dataclass(frozen=True, repr=False)
class SumNotMean(Squares):
    def forward(self, prediction, target):
        value, (difference, n) = super().forward(prediction, target)
        return value * n, (difference, n)

    def backward(self, residuals):
        return super().backward(residuals) * residuals[1]


@dataclass(frozen=True, repr=False)
class WrongLossGradient(Squares):
    def backward(self, residuals):
        return 2 * super().backward(residuals)


@dataclass(frozen=True, repr=False)
class LossInFloat64(Squares):
    def forward(self, prediction, target):
        value, residuals = super().forward(prediction, target)
        return namespace(value).astype(value, namespace(value).float64), residuals


@dataclass(frozen=True, repr=False)
class LossWritesIntoPrediction(Squares):
    def forward(self, prediction, target):
        difference, n = prediction, prediction.shape[-2]
        difference -= target
        return namespace(prediction).sum(difference * difference) * (0.5 / n), (difference, n)


@dataclass(frozen=True, repr=False)
class LossWritesIntoResiduals(Squares):
    def backward(self, residuals):
        gradient, n = residuals
        gradient *= 1 / n
        return gradient


@dataclass(frozen=True, repr=False)
class PredictWrites(Squares):
    def predict(self, prediction):
        prediction *= 2.0
        return prediction


@dataclass(frozen=True, repr=False)
class OneValueForEachExample(Squares):
    def forward(self, prediction, target):
        difference = prediction - target
        return namespace(prediction).sum(difference * difference, axis=-1), (difference, 1)


@dataclass(frozen=True, repr=False)
class APythonNumber(Squares):
    def forward(self, prediction, target):
        value, residuals = super().forward(prediction, target)
        return float(value), residuals


@dataclass(frozen=True, repr=False)
class WrongLossShape(Squares):
    def backward(self, residuals):
        return super().backward(residuals)[0, ...]


@dataclass(frozen=True, repr=False)
class KeepsTheDifference(Squares):
    memory: list = field(default_factory=list, repr=False, compare=False)

    def forward(self, prediction, target):
        value, residuals = super().forward(prediction, target)
        self.memory[:] = [residuals]
        return value, ()

    def backward(self, residuals):
        return super().backward(self.memory[0])


@dataclass(frozen=True, repr=False)
class OneValueForAllNetworks(Squares):
    def forward(self, prediction, target):
        value, residuals = super().forward(prediction, target)
        return namespace(value).sum(value), residuals


class LossNoDataclass(losses.Loss):
    pass


LOSSES_AND_FAULTS = [
    (SumNotMean(), "value is the mean over the batch: the value is "),
    (WrongLossGradient(), "gradient is right (numpy): WrongLossGradient: the gradient at prediction["),
    (LossInFloat64(), "results keep library, device, dtype (numpy): value is float64, expected"),
    (LossWritesIntoPrediction(), "arguments are not modified (numpy): forward writes into prediction; make a fresh array"),
    (LossWritesIntoResiduals(), "arguments are not modified (numpy): backward writes into residuals.0; make"),
    (PredictWrites(), "arguments are not modified (numpy): predict writes into prediction; make"),
    (OneValueForEachExample(), "forward and backward fit together (numpy): forward gives a value of shape (4,), expected a 0-d array"),
    (APythonNumber(), "forward and backward fit together (numpy): forward gives a value of type float, expected a 0-d array"),
    (WrongLossShape(), "forward and backward fit together (numpy): backward gives a gradient of shape (3,), expected the shape of the prediction, (4, 3)"),
    (KeepsTheDifference(), "the same call gives the same bits (numpy): the same call gives something else the second time: gradient["),
    (OneValueForAllNetworks(), "K networks in one pass (numpy): predictions (3, 4, 3) give a value of shape (), expected (3,)"),
    (LossNoDataclass(), "is a frozen dataclass: LossNoDataclass is not a dataclass; write @dataclass"),
]  # fmt: skip


def test_a_right_loss_obeys_all_laws() -> None:
    report = check_loss(Squares(), (4, 3), (4, 3), stacks=True)
    assert report.passed == report.total > 15  # with two libraries, more with others


@pytest.mark.parametrize(
    ("loss", "fault"), LOSSES_AND_FAULTS, ids=lambda value: "" if isinstance(value, str) else name(value)
)
def test_a_wrong_loss(loss: losses.Loss, fault: str) -> None:
    arguments = (4, 3), np.linspace(-1, 1, 12).reshape(4, 3)
    report = check_loss(loss, *arguments, **NUMPY, stacks=True, raise_on_failure=False)
    assert any(found.startswith(fault) for found in report.faults), report.faults
    with pytest.raises(LawError, match=f"^check_loss: {name(loss)}"):
        check_loss(loss, *arguments, **NUMPY, stacks=True)


# Optimizers


@dataclass(frozen=True)
class Momentum(optim.Optimizer):
    """SGD with momentum, written without `optim.steps`: right, except for K networks."""

    learning_rate: Any = 0.1
    momentum: float = 0.9

    def init(self, params):
        return {"velocity": tree.map(lambda p: 0 * p, params)}

    def update(self, params, grads, state):
        velocity = tree.map(lambda v, g: self.momentum * v + g, state["velocity"], grads)
        return tree.map(lambda p, v: p - self.learning_rate * v, params, velocity), {"velocity": velocity}


@dataclass(frozen=True)
class Doubled(Momentum):
    def update(self, params, grads, state):
        return super().update(params, tree.map(lambda g: 2 * g, grads), state)


@dataclass(frozen=True)
class WritesIntoGradients(Momentum):
    def update(self, params, grads, state):
        for g in tree.leaves(grads):
            g *= 0.5
        return super().update(params, grads, state)


@dataclass(frozen=True)
class WritesInInit(Momentum):
    def init(self, params):
        for p in tree.leaves(params):
            p *= 0.0
        return super().init(params)


@dataclass(frozen=True)
class Renames(Momentum):
    def update(self, params, grads, state):
        params, state = super().update(params, grads, state)
        return params, {"speed": state["velocity"]}


@dataclass(frozen=True)
class DropsABranch(Momentum):
    def update(self, params, grads, state):
        params, state = super().update(params, grads, state)
        return params[:1], state


@dataclass(frozen=True)
class AddsAnAxis(Momentum):
    def update(self, params, grads, state):
        params, state = super().update(params, grads, state)
        return params, tree.map(lambda v: v[None, ...], state)


@dataclass(frozen=True)
class StateInFloat64(Momentum):
    def init(self, params):
        return tree.map(lambda p: namespace(p).astype(p, namespace(p).float64), super().init(params))


@dataclass(frozen=True)
class CountsInPython(Momentum):
    def init(self, params):
        return super().init(params) | {"t": 0}

    def update(self, params, grads, state):
        params, new = super().update(params, grads, state)
        return params, new | {"t": state["t"] + 1}


@dataclass(frozen=True)
class Climbs(Momentum):
    def update(self, params, grads, state):
        return super().update(params, tree.map(lambda g: -g, grads), state)


@dataclass(frozen=True)
class IgnoresTheRate(Momentum):
    def update(self, params, grads, state):
        return tree.map(lambda p, g: p - 0.1 * g, params, grads), state


@dataclass(frozen=True)
class RateMustBeANumber(Momentum):
    def update(self, params, grads, state):
        rate = float(np.float64(self.learning_rate)) if isinstance(self.learning_rate, float) else 0.5
        return tree.map(lambda p, g: p - rate * g, params, grads), state


@dataclass(frozen=True)
class DividesByZero(Momentum):
    def update(self, params, grads, state):
        with np.errstate(all="ignore"):
            return tree.map(lambda p, g: p - self.learning_rate * g / abs(g), params, grads), state


@dataclass(frozen=True)
class DecaysBiases(Momentum):
    def update(self, params, grads, state):
        return super().update(params, tree.map(lambda g, p: g + 0.1 * p, grads, params), state)


@dataclass(frozen=True)
class StateIsTheParameters(Momentum):
    def init(self, params):
        return {"velocity": params}

    def update(self, params, grads, state):
        return tree.map(lambda p, g: p - self.learning_rate * g, params, grads), state


@dataclass(frozen=True)
class RemembersOnSelf(Momentum):
    memory: list = field(default_factory=list, repr=False, compare=False)

    def update(self, params, grads, state):
        self.memory.append(1)
        rate = self.learning_rate / len(self.memory)
        return tree.map(lambda p, g: p - rate * g, params, grads), state


@dataclass(frozen=True)
class FailsWithoutParameters(Momentum):
    def init(self, params):
        first = tree.leaves(params)[0]
        return super().init(params) | {"total": 0 * namespace(first).sum(first)}

    def update(self, params, grads, state):
        params, new = super().update(params, grads, state)
        return params, new | {"total": state["total"] + 1}


class OptimizerNoDataclass(optim.Optimizer):
    learning_rate = 0.1

    def update(self, params, grads, state):
        return tree.map(lambda p, g: p - 0.1 * g, params, grads), state


OPTIMIZERS_AND_FAULTS = [
    (WritesIntoGradients(), "gradients are not modified (numpy): update writes into grads.0.bias; make a fresh array, a = a * b"),
    (WritesInInit(), "gradients are not modified (numpy): init writes into params.0.bias; make"),
    (Renames(), "update keeps names and shapes (numpy): update's state has the arrays speed."),
    (DropsABranch(), "update keeps names and shapes (numpy): update's params has the arrays 0.bias, 0.weight, expected those of"),
    (AddsAnAxis(), "update keeps names and shapes (numpy): update's state.velocity.0.bias has shape (1, 2), expected (2,)"),
    (StateInFloat64(), "results keep library, device, dtype (numpy): init's state.velocity.0.bias is float64, expected"),
    (CountsInPython(), "update keeps names and shapes (numpy): init gives state.t as int, expected an array; a compiled step"),
    (Climbs(), "a convex function decreases: 100 steps on ½Σa(w - c)² take it from "),
    (IgnoresTheRate(), "learning rate can be replaced (numpy): with a learning rate of 0: 0.bias["),
    (RateMustBeANumber(), "learning rate can be replaced (numpy): a learning rate of 0.03 as a 0-d array: 0.0.bias["),
    (DividesByZero(), "zero gradients move no bias (numpy): a gradient of 0 makes 0.bias NaN or infinite; add an ε"),
    (DecaysBiases(), "zero gradients move no bias (numpy): a gradient of 0 moves 0.bias[0] is "),
    (StateIsTheParameters(), "state has its own memory: init gives a state whose velocity.0.bias is a parameter's own memory; copy it"),
    (RemembersOnSelf(), "the same steps give the same bits (numpy): the same steps give something else the second time: 0.0.bias["),
    (FailsWithoutParameters(), "a network may have no parameters: IndexError: list index out of range (in init, line "),
    (OptimizerNoDataclass(), "is a frozen dataclass: OptimizerNoDataclass is not a dataclass; write @dataclass"),
]  # fmt: skip


def test_a_right_optimizer_obeys_all_laws() -> None:
    assert check_optimizer(Momentum(), stacks=False).ok
    assert check_optimizer(Doubled(0.05), stacks=False).ok
    assert check_optimizer(optim.Adam(0.01), **NUMPY).ok


@pytest.mark.parametrize(
    ("optimizer", "fault"),
    OPTIMIZERS_AND_FAULTS,
    ids=lambda value: "" if isinstance(value, str) else name(value),
)
def test_a_wrong_optimizer(optimizer: optim.Optimizer, fault: str) -> None:
    report = check_optimizer(optimizer, **NUMPY, stacks=False, raise_on_failure=False)
    assert any(found.startswith(fault) for found in report.faults), report.faults
    with pytest.raises(LawError, match=f"^check_optimizer: {name(optimizer)}"):
        check_optimizer(optimizer, **NUMPY, stacks=False)


def test_an_optimizer_for_one_network_alone() -> None:
    (fault,) = check_optimizer(Momentum(), **NUMPY, raise_on_failure=False).faults
    assert fault.startswith("K networks in one update (numpy): ")


def test_an_optimizer_that_is_traced_anew() -> None:
    pytest.importorskip("jax", reason="JAX is not installed")

    @dataclass(frozen=True)
    class BranchesOnTheRate(Momentum):
        def update(self, params, grads, state):
            if self.learning_rate > 0.05:
                return super().update(params, grads, state)
            return params, state

    faults = check_optimizer(
        BranchesOnTheRate(), backends=["jax"], stacks=False, raise_on_failure=False
    ).faults
    assert faults[-1].startswith("a compiled step does the same (jax): TracerBoolConversionError: "), faults


# Backends


def test_backends_obey_all_laws(make_backend: MakeBackend) -> None:
    assert check_backend(make_backend("float32")).ok


class Rounds(backend.BACKENDS["array-api-strict"]):
    name = "rounds"

    def to_numpy(self, x):
        host = super().to_numpy(x)
        return np.asarray(np.round(host, 3)) if host.dtype.kind == "f" else host


class NoCopy(backend.BACKENDS["numpy"]):
    name = "no-copy"

    def copy(self, x):
        return self.asarray(x)


class WrongDtype(backend.BACKENDS["numpy"]):
    name = "wrong-dtype"

    def asarray(self, x, real=False):
        array = super().asarray(x, real)
        return array.astype(np.float64) if array.dtype.kind == "f" else array


class SkipsAStep(backend.BACKENDS["numpy"]):
    name = "skips"

    def compile_loop(self, step):
        loop = super().compile_loop(step)
        return lambda state, constants, rows, start, stop: loop(state, constants, rows, start + 1, stop)


class CompilesWrongly(backend.BACKENDS["numpy"]):
    name = "compiles"

    def compile(self, step):
        return lambda state, batch: step(step(state, batch)[0], batch)


@pytest.mark.parametrize(
    ("cls", "fault"),
    [
        (Rounds, "operations match their formulas (rounds): "),
        (NoCopy, "copies have their own memory (no-copy): a copy of shape (3,) shares memory"),
        (
            WrongDtype,
            "values survive a round trip (wrong-dtype): asarray returns float64 for float64, expected ",
        ),
        (SkipsAStep, "compiled steps give the same (skips): compile_loop: "),
        (CompilesWrongly, "compiled steps give the same (compiles): compile: "),
    ],
)
def test_a_wrong_backend(cls: type, fault: str) -> None:
    report = check_backend(cls, raise_on_failure=False)
    assert any(found.startswith(fault) for found in report.faults), report.faults
    with pytest.raises(LawError, match=f"^check_backend: {cls.name}"):
        check_backend(cls)


@pytest.mark.parametrize("entry", ["sum_of_products", "max_pool_gradient", "convolve", "fused"])
def test_a_wrong_entry_of_the_table_of_ops(entry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table = type(backend.ops(np.zeros(1)))
    right = getattr(table, entry)
    monkeypatch.setattr(table, entry, lambda *arguments: 1.001 * right(*arguments))
    faults = check_backend("numpy", raise_on_failure=False).faults
    assert faults[0].startswith(f"operations match their formulas (numpy): {entry}["), faults


def test_every_entry_of_the_table_of_ops_is_checked() -> None:
    entries = {
        name for name, value in vars(backend.Ops).items() if callable(value) and not name.startswith("_")
    }
    checked = {row[0] for row in (*backends.FORMULAS, *backends.AGAINST_REFERENCE)}
    # Text for errors, the attributes that `assert_kept` reads, and what `fused` calls.
    assert entries - checked == {"advice", "device", "compile_fused"}


# The report


def test_the_docstring_shows_a_real_report() -> None:
    results = doctest.testmod(testing, optionflags=doctest.ELLIPSIS)
    assert results.attempted >= 5
    assert results.failed == 0


def test_a_needed_law_that_fails_stops_its_library_alone() -> None:
    @dataclass(frozen=True, repr=False)
    class OnNumPyAlone(Scale):
        def forward(self, params, x):
            if not isinstance(x, np.ndarray):
                raise RuntimeError("too\nmany cooks")
            return super().forward(params, x)

    report = check_layer(
        OnNumPyAlone(3), (4, 3), backends=["numpy", "array-api-strict"], raise_on_failure=False
    )
    assert {r.outcome for r in report.results if r.library == "numpy"} == {"ok"}
    outcomes = [r.outcome for r in report.results if r.library == "array-api-strict"]
    assert outcomes == ["FAIL"] + ["-"] * (len(outcomes) - 1)
    (fault,) = report.faults
    assert fault.startswith(
        "forward and backward fit together (array-api-strict): RuntimeError: too many cooks (in forward, line "
    )
    lines = str(report).split("\n")
    assert f"{report.passed} of {report.total} passed" in lines
    assert max(map(len, lines)) <= 110


def test_one_dtype_alone() -> None:
    faults = check_layer(
        Float64SneaksIn(3), (4, 3), **NUMPY, dtypes=["float64"], raise_on_failure=False
    ).faults
    assert faults == ()
