"""Finite differences of a trained network's loss at weights of its second layer: for `finite_differences`."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from xpnet import data, losses, nn, optim, tree
from xpnet.model import Model
from xpnet.studies.options import Options

WEIGHTS = 10
COURSE = 5 * 10**5  # the largest N in the course; larger ones show the rounding error
SIZES = tuple(k * 10**i for i in range(11) for k in (1, 5))
TYPES = {"float64": 2.0**-53, "float32": 2.0**-24}  # with their unit roundoff u
KINDS = ("central", "one-sided")
NAMES: dict[type[nn.Layer], str] = {nn.Tanh: "tanh", nn.ReLU: "ReLU"}
PARAMETERS = 10**6  # the course asks for 0.5 to 1.0 million
LAST = 3  # sizes through which a line of the truncation error is fitted
SEARCHED = 3000  # training examples among which one is chosen
SETTINGS = {"batch size": 50, "learning rate": 0.03, "momentum": 0.9, "hidden layers": 2}


class Trained(NamedTuple):
    """A trained network in both types, with the same parameters, and a training example.

    Fields:
        models: by type.
        activation: its name.
        units: in each hidden layer.
        sample: the example, of shape (1, …).
        number: of the example in the training set, from 1.
        loss: of the example.
        searched: the number of examples from which it was chosen.
    """

    models: dict[str, Model]
    activation: str
    units: int
    sample: data.Examples
    number: int
    loss: float
    searched: int


class Line(NamedTuple):
    """log₁₀ error = slope · log₁₀ N + start, fitted to the sizes at the positions `sizes`."""

    sizes: np.ndarray
    slope: float
    start: float


class Regimes(NamedTuple):
    """A curve of errors against N: the least error, and the lines fitted before and after it, if any."""

    best: int
    error: float
    before: Line | None
    after: Line | None

    @property
    def crossing(self) -> float | None:
        """The N at which the lines meet."""
        if self.before is None or self.after is None:
            return None
        faster = self.after.slope - self.before.slope
        return float(10 ** ((self.before.start - self.after.start) / faster)) if faster > 0 else None


def epochs(examples: int, seen: int) -> int:
    """The number of epochs in which the network sees about `seen` examples, at least one."""
    return max(1, round(seen / examples))


def train(options: Options, dataset: data.Dataset, activation: nn.Layer, epochs: int) -> Trained:
    """Train in float32, copy the parameters to float64, and choose the example whose loss is nearest to 1."""
    train = dataset.train
    shape = train.x.shape[1:]
    units = width(math.prod(shape), dataset.classes)
    net = nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(math.prod(shape), units), activation),
        *(nn.Linear(units, units), activation),
        nn.Linear(units, dataset.classes),
    )
    models = {
        dtype: Model(
            net, losses.CrossEntropy(), optim.SGD(SETTINGS["learning rate"], momentum=SETTINGS["momentum"]),
            backend=options.backend, device=options.device, seed=options.seed, dtype=dtype,
        )
        for dtype in TYPES
    }  # fmt: skip
    model = models["float32"]
    model.fit(*train, epochs=epochs, batch_size=int(SETTINGS["batch size"]), progress=False)
    models["float64"].params = tree.map(model.backend.to_numpy, model.params)
    x, y = train.x[:SEARCHED], train.y[:SEARCHED]
    probabilities = models["float64"].predict_proba(x)[np.arange(len(y)), y]
    each = -np.log(np.maximum(probabilities, np.finfo(float).tiny))
    i = int(np.abs(each - 1).argmin())
    sample = data.Examples(x[i : i + 1], y[i : i + 1])
    return Trained(models, NAMES[type(activation)], units, sample, i + 1, float(each[i]), len(y))


def width(inputs: int, classes: int) -> int:
    """Units of both hidden layers: the largest power of 2, up to 512, with at most PARAMETERS parameters."""
    units = 512
    while units > 1 and (inputs + 1 + units + 1 + classes) * units + classes > PARAMETERS:
        units //= 2
    return units


def second_layer(model: Model) -> int:
    """The position of the second layer with weights."""
    return [i for i, params in enumerate(model.params) if "weight" in params][1]


def gradient(model: Model, sample: data.Examples) -> np.ndarray:
    """The gradient of the second layer's weights from the backward pass, flattened, (m,)."""
    model.forward(sample.x)
    model.zero_grads()
    model.backward(sample.y)
    found = model.grads[second_layer(model)]["weight"]
    return model.backend.to_numpy(found).reshape(-1).astype(np.float64)


def loss_of_weights(model: Model, sample: data.Examples) -> Callable[[int, float], float]:
    """The loss as a function of a change of the i-th weight of the second layer.

    The outputs of the layers before it do not depend on that weight: they are computed once.
    """
    backend = model.backend
    h, rest, params = _cut(model, sample)
    host, target = np.array(backend.to_numpy(params[0]["weight"])), backend.asarray(sample.y)

    def loss(i: int, step: float) -> float:
        kept = host.flat[i]
        host.flat[i] = kept + step
        changed = ({**params[0], "weight": backend.asarray(host)}, *params[1:])
        value = float(model.loss_function.forward(rest.forward(changed, h)[0], target)[0])
        host.flat[i] = kept  # not before the value is there: the array library may share the memory
        return value

    return loss


def _cut(model: Model, sample: data.Examples) -> tuple[tree.Array, nn.Sequential, tree.Tree]:
    """The input of the second layer, (1, units), and the network from that layer on with its parameters."""
    assert isinstance(model.net, nn.Sequential)
    at, layers = second_layer(model), model.net.layers
    first = nn.Sequential(*layers[:at])
    h, _ = first.forward(model.params[:at], model.backend.asarray(sample.x))
    return h, nn.Sequential(*layers[at:]), model.params[at:]


def errors_by_size(
    loss: Callable[[int, float], float], places: Sequence[int] | np.ndarray, exact: np.ndarray
) -> dict[str, np.ndarray]:
    """The largest difference from the backward pass over the weights, for each N: (sizes,) of each kind."""
    here = loss(0, 0.0)
    found = {kind: np.zeros(len(SIZES)) for kind in KINDS}
    for i, size in enumerate(SIZES):
        ahead = np.array([loss(j, 1 / size) for j in places])
        behind = np.array([loss(j, -1 / size) for j in places])
        found["central"][i] = np.abs((ahead - behind) * size / 2 - exact).max()
        found["one-sided"][i] = np.abs((ahead - here) * size - exact).max()
    return found


def first_output(trained: Trained) -> float:
    """The output of the first unit of the first hidden layer for the example."""
    model = trained.models["float64"]
    h, _, _ = _cut(model, trained.sample)
    return float(model.backend.to_numpy(h)[0, 0])


def kink(trained: Trained, places: np.ndarray) -> float:
    """The N below which a step of 1/N at one of these weights moves the input of its unit past 0."""
    h, rest, params = _cut(trained.models["float64"], trained.sample)
    backend = trained.models["float64"].backend
    inputs = backend.to_numpy(rest.layers[0].forward(params[0], h)[0])[0]
    outputs = backend.to_numpy(h)[0]
    rows, columns = np.divmod(places, trained.units)
    return float(np.max(np.abs(outputs[rows] / inputs[columns])))


def regimes(errors: np.ndarray, largest: float) -> Regimes:
    """The truncation and the rounding error as straight lines in log-log axes, each of two or more sizes.

    A line takes the sizes whose error is at least 10 times the least: of those before it the last LAST, where
    ε is small enough for Taylor's theorem, and of those after it the ones whose error is small against the
    gradient, for otherwise the difference carries no information.

    Arguments:
        errors: for each N, (sizes,).
        largest: the largest gradient.
    """
    least, sizes = int(np.argmin(errors)), np.arange(len(SIZES))
    clear = (errors >= 10 * errors[least]) & (errors > 0)
    before = sizes[clear & (sizes < least)][-LAST:]
    after = sizes[clear & (sizes > least) & (errors < 0.3 * largest)]
    lines = [
        Line(part, *map(float, np.polyfit(np.log10(SIZES)[part], np.log10(errors[part]), 1)))
        if len(part) > 1
        else None
        for part in (before, after)
    ]
    return Regimes(SIZES[least], float(errors[least]), *lines)


def rounding(errors: np.ndarray, unit: float) -> float:
    """The c of an error of c u/ε: the median over the 4 sizes that follow 10 times the best N."""
    first = int(np.argmin(errors)) + 2
    sizes = np.array(SIZES[first : first + 4], float)
    return float(np.median(errors[first : first + 4] / sizes) / unit)
