"""Short trainings that show whether a backend computes right numbers, and how fast it is."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from xpnet import data, losses, nn, optim, tree
from xpnet.model import Model
from xpnet.train import networks
from xpnet.train.config import Config

TOLERANCE = 1e-10  # float64, between libraries
TOLERANCE_FLOAT32 = 1e-3  # float32, between libraries; reduced precision such as TF32 stays below it
SECONDS = 1.0  # of training for the speed, after warming up
BATCH, FEW = 100, 4  # images in a step, and steps in a first epoch, for the speed
EXAMPLES, BATCH_SIZE, EPOCHS = 24, 8, 2  # for the checks
SEED = 1

Place = tuple[str, str | None]  # the name of a backend and its device
NUMPY: Place = ("numpy", None)

# The loss of the last step on NumPy in float64. It depends on the seed alone, not on the machine.
LAST_LOSS = {"MLP": 0.7213268339674639, "CNN": 1.8907814681562893}


class Check(NamedTuple):
    """The result of a check.

    Fields:
        name: "float64", "float32", "compiled" or "repeatable".
        ok: whether the numbers are right.
        difference: the largest relative difference; None for a check of equal bits, or if it is infinite.
        fault: what is wrong, in one line; or empty.
    """

    name: str
    ok: bool
    difference: float | None = None
    fault: str = ""


class Curve(NamedTuple):
    """A training: the loss of each step or epoch, and the parameters at the end, on the host."""

    losses: np.ndarray
    params: np.ndarray


def make_model(name: str, place: Place, dtype: str) -> Model:
    """The untrained model of the "MLP" or the "CNN"."""
    optimizer: optim.Optimizer
    if name == "MLP":
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        optimizer = optim.SGD(0.1, momentum=0.9)
    else:
        convolution = nn.Conv2d(1, 4, 3, padding="same")
        net = nn.Sequential(convolution, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 10))
        optimizer = optim.Adam(0.01)
    return Model(net, losses.CrossEntropy(), optimizer, place[0], SEED, dtype, device=place[1])


def examples() -> tuple[np.ndarray, np.ndarray]:
    """Random images (n, 8, 8, 1) and labels."""
    rng = np.random.default_rng(SEED)
    return rng.standard_normal((EXAMPLES, 8, 8, 1)), rng.integers(10, size=EXAMPLES)


def by_hand(name: str, place: Place, dtype: str = "float64") -> Curve:
    """Train step by step, without `fit`: nothing is compiled. The losses are those of the steps."""
    model = make_model(name, place, dtype)
    x, y = model.prepare(*examples())
    steps = []
    for epoch in range(EPOCHS):
        for batch, labels in data.batches(x, y, BATCH_SIZE, seed=SEED, epoch=epoch):
            model.forward(batch)
            steps.append(model.loss(labels))
            model.zero_grads()
            model.backward(labels)
            model.step()
    return Curve(np.array(steps), parameters(model))


def by_fit(name: str, place: Place, dtype: str) -> Curve:
    """Train by `fit`, in compiled or captured steps where the backend has them. The losses are per epoch."""
    model = make_model(name, place, dtype)
    history = model.fit(*examples(), epochs=EPOCHS, batch_size=BATCH_SIZE, progress=False)
    return Curve(np.array([epoch.train_loss for epoch in history]), parameters(model))


def parameters(model: Model) -> np.ndarray:
    """All parameters in one array on the host."""
    arrays = [model.backend.to_numpy(array).ravel() for array in tree.leaves(model.params)]
    return np.concatenate(arrays)


def check(place: Place) -> list[Check]:
    """All checks of a backend: float32 first, since float64 changes JAX for the rest of the process."""
    single = {name: by_fit(name, place, "float32") for name in LAST_LOSS}
    again = by_fit("CNN", place, "float32")
    double = {name: by_fit(name, place, "float64") for name in LAST_LOSS}
    by_step = by_hand("MLP", place)  # of one network only: JAX compiles each operation
    numpy = {name: by_hand(name, NUMPY) for name in LAST_LOSS}
    float64, float32 = [], []
    for name, curve in numpy.items():
        means = per_epoch(curve.losses)
        float64 += [
            Pair(f"losses of the {name}", double[name].losses, means),
            Pair(f"parameters of the {name}", double[name].params, curve.params),
        ]
        float32.append(Pair(f"losses of the {name}", single[name].losses, means))
        if place == NUMPY:
            known = np.array([LAST_LOSS[name]])
            float64.append(Pair(f"last loss of the {name}", curve.losses[-1:], known, "the known one"))
    compiled = [
        Pair("losses of the MLP", double["MLP"].losses, per_epoch(by_step.losses), BY_HAND),
        Pair("parameters of the MLP", double["MLP"].params, by_step.params, BY_HAND),
    ]
    return [
        close("float64", float64, TOLERANCE),
        close("float32", float32, TOLERANCE_FLOAT32),
        close("compiled", compiled, TOLERANCE),
        repeatable(single["CNN"], again),
    ]


BY_HAND = "those of steps by hand"


class Pair(NamedTuple):
    """Numbers to compare with those expected, and what both are in words."""

    what: str
    found: np.ndarray
    expected: np.ndarray
    whose: str = "NumPy's in float64"


def per_epoch(steps: np.ndarray) -> np.ndarray:
    """The mean loss of each epoch."""
    return np.mean(np.reshape(steps, (EPOCHS, -1)), axis=1)


def close(name: str, pairs: Sequence[Pair], tolerance: float) -> Check:
    """The check of these pairs, with their largest difference and the first fault."""
    sizes = [difference(pair.found, pair.expected) for pair in pairs]
    largest = max(sizes)
    for (what, found, expected, whose), size in zip(pairs, sizes, strict=True):
        if size > tolerance:
            at = int(np.argmax(np.abs(found - expected)))
            fault = (
                f"{name}: the {what} differ from {whose} by {size:.1e}, expected at most {tolerance:.0e}; "
                f"got {found[at]:.12g} for {expected[at]:.12g}"
            )
            return Check(name, False, largest if np.isfinite(largest) else None, fault)
    return Check(name, True, largest)


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, divided by the largest value expected; infinite if a value is not finite."""
    if not np.isfinite(found).all():
        return float("inf")
    return float(np.max(np.abs(found - expected)) / np.max(np.abs(expected)))


def repeatable(one: Curve, other: Curve) -> Check:
    """Whether two trainings of the CNN from the same seed have the same bits."""
    for what, mine, its in zip(Curve._fields, one, other, strict=True):
        if mine.tobytes() != its.tobytes():
            fault = f"repeatable: two trainings of the CNN from one seed end in different {what}"
            return Check("repeatable", False, None, fault)
    return Check("repeatable", True)


def reduced_precision(place: Place) -> list[str]:
    """Which of "products" and "convolutions" a training step in float32 computes in TF32 or less.

    Each output is one input times 1. Inputs need 13 bits of the mantissa: float32 keeps them, TF32 rounds.
    """
    rng = np.random.default_rng(SEED)
    identity, kernel = np.eye(128), np.zeros((3, 3, 32, 32))
    kernel[1, 1] = np.eye(32)
    cases: dict[str, tuple[nn.Layer, np.ndarray, tuple[int, ...]]] = {
        "products": (nn.Linear(128, 128, bias=False), identity, (256, 128)),
        "convolutions": (nn.Conv2d(32, 32, 3, padding="same", bias=False), kernel, (32, 8, 8, 32)),
    }
    reduced = []
    for what, (layer, weight, shape) in cases.items():
        net = nn.Sequential(layer, nn.Flatten())
        options: dict[str, Any] = {"device": place[1]}
        model = Model(net, losses.MeanSquaredError(), optim.SGD(1e-30), place[0], **options)
        model.params = ({"weight": weight}, {})
        x = 1 + rng.integers(1, 4, shape) * 2.0**-13
        [epoch] = model.fit(x, x.reshape(len(x), -1), epochs=1, batch_size=shape[0] // 2, progress=False)
        if epoch.train_loss > 1e-10:  # TF32: 1e-8; float32: 0, or 1e-13 in Winograd's form
            reduced.append(what)
    return reduced


def images_per_second(place: Place) -> float:
    """The speed of the default network of `scripts/train.py` on random images.

    An epoch lasts about a quarter of a second, or 4 steps where these take longer.
    """
    rate = speed(place, FEW, 0.0)
    batches = min(int(rate * SECONDS / 4 / BATCH), 256)
    return rate if batches <= FEW else speed(place, batches, SECONDS)


def speed(place: Place, batches: int, seconds: float) -> float:
    """Images per second: the median over epochs that take this time together, after one to warm up."""
    config = Config(batch_size=BATCH)
    rng = np.random.default_rng(SEED)
    x, y = rng.random((batches * BATCH, 28, 28, 1), np.float32), rng.integers(10, size=batches * BATCH)
    net = networks.build(config, x.shape[1:], 10)
    model = Model(net, config.make_loss(), config.make_optimizer(), place[0], device=place[1])
    while len(model.history) < 2 or sum(epoch.seconds for epoch in model.history[1:]) < seconds:
        model.fit(x, y, epochs=1, batch_size=BATCH, progress=False)
    return float(np.median([epoch.images_per_second for epoch in model.history[1:]]))
