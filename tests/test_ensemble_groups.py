"""What makes an ensemble faster leaves its networks the same: groups on NumPy, copies of x on JAX."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import threadpoolctl

import xpnet
from test_ensemble import CE, CNN, MLP, SEEDS, assert_equal, both, drawn
from xpnet import nn, optim, schedules, tree
from xpnet._training import groups
from xpnet.backend import NumPy

NET = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm(5), nn.Tanh(), nn.Dropout(0.3), nn.Linear(5, 3))


@pytest.fixture
def numbers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Two cores, and groups for the smallest networks. The number of parts of each `map_reduce`."""
    found: list[int] = []
    run = NumPy.map_reduce

    def counted(self: NumPy, function: Any, add: Any, parts: Any, *others: Any) -> Any:
        found.append(len(parts))
        return run(self, function, add, parts, *others)

    monkeypatch.setattr(NumPy, "map_reduce", counted)
    monkeypatch.setattr(NumPy, "workers", 2)
    monkeypatch.setattr(groups, "LEAST", 1)
    return found


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"net": MLP, "shuffle": False, "micro_batch": 3, "augment": lambda x, key: x + 1},
        {"l2": [0.0, 0.1, 0.01], "optimizer": [optim.SGD(r, m) for r, m in ((0.1, 0), (0.2, 0), (0.3, 0.9))],
         "schedule": schedules.Cosine(4)},
        {"optimizer": optim.ClipNorm(optim.AverageWeights(optim.SGD(0.1, nesterov=True, momentum=0.5), 0.5), 1)},
        {"optimizer": [optim.SGD(0.1), optim.Adam(), optim.SGD(0.3)]},
        {"net": [nn.Sequential(*NET.layers[:3], nn.Dropout(p), NET.layers[4]) for p in (0.1, 0.1, 0.4)]},
    ],
    ids=["plain", "parts", "numbers", "wrappers", "optimizers", "nets"],
)  # fmt: skip
def test_each_network_is_that_of_a_model(options: dict[str, Any], numbers: list[int]) -> None:
    """Network by network, whatever differs between them; optimizers of several classes stay together."""
    x, y = drawn()
    both(x, y, **({"net": NET} | options), validation=(x, y))
    several = isinstance(options.get("optimizer"), list) and "l2" not in options
    assert (2 in numbers) is not several


def test_each_networks_own_weights_and_data(numbers: list[int]) -> None:
    rng = np.random.default_rng(1)
    x, y, weights = rng.normal(size=(3, 11, 6)), rng.integers(3, size=(3, 11)), rng.random((3, 11))
    for own in (True, False):
        data = (x, y) if own else (x[0], y[0])
        found = xpnet.Ensemble(NET, CE, optim.SGD(0.1, 0.9), seeds=SEEDS, dtype="float64")
        found.fit(*data, epochs=2, batch_size=4, sample_weight=weights, own_data=own)
        for k, seed in enumerate(SEEDS):
            model = xpnet.Model(NET, CE, optim.SGD(0.1, 0.9), seed=seed, dtype="float64")
            one = (x[k], y[k]) if own else data
            model.fit(*one, epochs=2, batch_size=4, sample_weight=weights[k])
            assert_equal(found[k], model)
    assert 2 in numbers


def test_a_warning_is_given_once(numbers: list[int]) -> None:
    x, y = drawn(n=1)
    with pytest.warns(xpnet.errors.TrainingWarning, match="2 or more values") as caught:
        xpnet.Ensemble(NET, CE, optim.SGD(0.1), seeds=SEEDS).fit(x, y, epochs=1)
    assert len(caught) == 1
    assert 2 in numbers


def parts_of(net: nn.Layer, networks: int, shape: tuple[int, ...], numbers: list[int]) -> int:
    numbers.clear()
    x, y = drawn(shape, 4)
    xpnet.Ensemble(net, CE, optim.SGD(0.1), seeds=range(networks)).fit(x, y, epochs=1)
    return max(numbers)


def test_when_there_are_groups(numbers: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as there are cores, if each has enough to do, and most cores have one."""
    dense = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3))
    operations = 4 * 2 * (6 * 5 + 5 * 3) + 4 * 2 * (6 * 5 + 2 * 5 * 3)
    assert parts_of(dense, 4, (6,), numbers) == 2
    assert parts_of(dense, 1, (6,), numbers) == 1
    assert parts_of(CNN, 4, (4, 4, 1), numbers) == 1
    monkeypatch.setattr(groups, "LEAST", 2 * operations)
    assert parts_of(dense, 4, (6,), numbers) == 2
    assert parts_of(dense, 3, (6,), numbers) == 1
    monkeypatch.setattr(groups, "LEAST", 1)
    for cores, expected in ((1, 1), (3, 3), (8, 4), (9, 1)):
        monkeypatch.setattr(NumPy, "workers", cores)
        assert parts_of(dense, 4, (6,), numbers) == expected


def bits(run: Callable[[], xpnet.Ensemble], threads: int = 2) -> list[list[bytes]]:
    with threadpoolctl.threadpool_limits(threads, user_api="blas"):
        found = run()
    return [[array.tobytes() for array in tree.leaves(model.params)] for model in found]


def test_bits_depend_neither_on_threads_nor_on_networks_that_leave(numbers: list[int]) -> None:
    """OpenBLAS sums products of 784 terms in another order with several threads."""
    x, y = drawn((784,), 128, 10)

    def run(*rates: float) -> xpnet.Ensemble:
        net = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
        found = xpnet.Ensemble(net, CE, optim.SGD(np.array(rates), 0.9), seeds=range(3))
        found.fit(x, y, epochs=3, batch_size=128)
        return found

    whole = bits(lambda: run(0.01, 0.01, 0.01))
    assert bits(lambda: run(0.01, 0.01, 0.01), threads=1) == whole
    for left in (2, 1):
        with pytest.warns(UserWarning, match="has diverged"):
            found = bits(lambda: run(*[0.01] * left, *[1e30] * (3 - left)))  # noqa: B023
        assert found[:left] == whole[:left]
    assert {*numbers} >= {2}


def test_one_order_for_all_on_jax() -> None:
    """A CPU multiplies copies of x."""
    pytest.importorskip("jax")
    x, y = drawn()
    found, expected = (
        xpnet.Ensemble(MLP, CE, optim.SGD(0.1), seeds=SEEDS, dtype="float64", backend=each)
        for each in ("jax", "numpy")
    )
    for each in (found, expected):
        each.fit(x, y, epochs=1, batch_size=4, shuffle="shared")
    for one, other in zip(found, expected, strict=True):
        assert_equal(one, other)
    one_x = found.backend.asarray(x)[None]
    np.testing.assert_array_equal(found.backend.for_products(one_x, 3), np.stack([x] * 3))
