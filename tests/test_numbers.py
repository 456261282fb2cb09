"""NumPy's numbers as hyper-parameters: taken and checked like Python's, and kept as Python's."""

import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import xpnet
from cases import AUGMENTATIONS, LAYERS, LOSSES, OPTIMIZERS, SCHEDULES
from conftest import Place
from xpnet import init, losses, nn, optim, schedules
from xpnet.data import augment
from xpnet.errors import ConfigError
from xpnet.train import Config

EVERYTHING = [
    *(case.layer for case in LAYERS),
    *(case.loss for case in LOSSES),
    *OPTIMIZERS,
    *(case.make() for case in SCHEDULES),
    *AUGMENTATIONS,
]


def arguments(thing: Any) -> dict[str, Any]:
    """The arguments that would make the thing; none if it takes any number of them."""
    parameters = inspect.signature(type(thing)).parameters.values()
    if any(each.kind is each.VAR_POSITIONAL for each in parameters):
        return {}
    return {each.name: getattr(thing, each.name) for each in parameters}


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def numbers() -> Iterator[tuple[Any, str]]:
    """Each thing with each of its arguments that is a number, or a tuple of numbers."""
    seen = set()
    for thing in EVERYTHING:
        for name, value in arguments(thing).items():
            is_tuple = isinstance(value, tuple) and all(map(is_number, value))
            if (is_number(value) or is_tuple) and (type(thing), name, type(value)) not in seen:
                seen.add((type(thing), name, type(value)))
                yield thing, name


every_number = pytest.mark.parametrize(
    ("thing", "name"), [pytest.param(*pair, id=f"{type(pair[0]).__name__}-{pair[1]}") for pair in numbers()]
)


def make(thing: Any, name: str, value: Any) -> Any:
    return type(thing)(**{**arguments(thing), name: value})


@every_number
def test_numbers_of_numpy_are_numbers(thing: Any, name: str) -> None:
    value = getattr(thing, name)
    parts = value if isinstance(value, tuple) else (value,)
    kinds = [np.float64, np.float32, np.float16, np.longdouble, np.array]
    if all(isinstance(part, int) for part in parts):
        kinds = [np.int64, np.int32, np.array] + [np.uint8] * (min(parts) >= 0)
    for kind in kinds:
        given = [kind(part) for part in parts]
        plain = [float(part) if kind is np.longdouble else part.item() for part in given]
        made, expected = (
            make(thing, name, tuple(each) if isinstance(value, tuple) else each[0]) for each in (given, plain)
        )
        assert arguments(made) == arguments(expected)
        assert repr(arguments(made)) == repr(arguments(expected))


@every_number
@pytest.mark.parametrize(
    "wrong",
    [
        True,
        np.bool_(True),
        math.nan,
        np.float32(math.nan),
        np.float64(-math.inf),
        np.int64(-3),
        np.float32(-3),
        "1",
    ],
    ids=repr,
)
def test_what_is_no_number_or_out_of_range(thing: Any, name: str, wrong: Any) -> None:
    if name == "ignore_label" and isinstance(wrong, np.int64):
        return  # any integer is a label
    with pytest.raises(ConfigError):
        make(thing, name, wrong)


@pytest.mark.parametrize(
    "wrong", [np.array([0.1, -0.1]), np.array([0.1, math.nan]), np.array(-0.1), np.array(["a"])]
)
def test_values_of_arrays_on_the_host_are_checked(wrong: np.ndarray) -> None:
    for make in (optim.SGD, optim.Adam, lambda rate: optim.ClipNorm(optim.SGD(0.1), rate)):
        with pytest.raises(ConfigError):
            make(wrong)
    assert optim.SGD(np.array([0.1, 0.2])).learning_rate.tolist() == [0.1, 0.2]


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda number: optim.SGD(number(0.1), number(0.9), weight_decay=number(0.01)),
        lambda number: optim.Adam(number(0.1), number(0.5)),
        lambda number: optim.ClipNorm(
            optim.AverageWeights(optim.RMSprop(number(0.1)), number(0.5)), number(1)
        ),
    ],
)
def test_a_training_with_numbers_of_numpy(optimizer: Callable, place: Place) -> None:
    """PyTorch's `addcmul_` took no NumPy number, and float64 ones made float64 parameters of float32 ones."""
    x, y = np.random.default_rng(0).normal(size=(20, 4)), np.arange(20) % 3

    def trained(number: Callable) -> np.ndarray:
        net = nn.Sequential(
            nn.Linear(4, 5), nn.LeakyReLU(number(0.25)), nn.Dropout(number(0.5)), nn.Linear(5, 3)
        )
        model = xpnet.Model(
            net,
            losses.CrossEntropy(number(0.25)),
            optimizer(number),
            place[0],
            device=place[1],
            l2=number(0.5),
            seed=np.int64(3) if number is np.float64 else 3,
        )
        model.fit(x, y, epochs=2, batch_size=8, schedule=schedules.Exponential(number(0.5)))
        return model.backend.to_numpy(model.params[0]["weight"])

    plain, found = trained(float), trained(np.float64)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, plain)


def test_counts_of_numpy(tmp_path) -> None:
    """A checkpoint holds the seed and the batch size: NumPy's integers have no place in its JSON."""
    x, y = np.eye(6), np.arange(6) % 2
    model = xpnet.Model(
        nn.Linear(6, 2), losses.CrossEntropy(), optim.SGD(0.1), seed=np.int64(1), micro_batch=np.int32(2)
    )
    model.fit(x, y, epochs=np.int64(2), batch_size=np.uint8(4))
    model.save_checkpoint(tmp_path / "checkpoint.safetensors")
    assert model.evaluate(x, y, batch_size=np.int64(4)).accuracy is not None
    assert model.predict(x, np.int32(4)).shape == (6,)


def test_other_numbers_of_numpy() -> None:
    assert Config(learning_rate=np.float32(0.5), epochs=np.int64(3)) == Config(learning_rate=0.5, epochs=3)
    weights = init.scaled(init.ones, np.float32(0.5))(np.random.default_rng(0), (2, 3))
    assert weights.dtype == np.float64
    assert augment.Compose(augment.RandomCrop(np.int64(2))) == augment.Compose(augment.RandomCrop(2))
    with pytest.raises(ConfigError):
        xpnet.Model(nn.Linear(6, 2), losses.CrossEntropy(), optim.SGD(0.1), l2=np.float32(-1))
