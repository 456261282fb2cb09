"""The same training gives the same bits: again, beside another one, and with other numbers of threads."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import xpnet
from conftest import Place
from xpnet import data, losses, nn, optim, tree
from xpnet.backend import _numpy

pytestmark = pytest.mark.usefixtures("two_threads")

Bits = dict[str, bytes]


def convolutional(place: Place = ("numpy", None), **options) -> xpnet.Model:
    """A convolutional network: on NumPy its batches are split into parts that run in parallel."""
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(8 * 196, 10),
    )
    augment = data.augment.RandomCrop(2)
    optimizer = optim.SGD(0.05, momentum=0.9)
    return xpnet.Model(
        net, losses.CrossEntropy(), optimizer, place[0], device=place[1], augment=augment, **options
    )


def dense() -> xpnet.Model:
    """A dense network: OpenBLAS sums its products of 784 terms in another order with several threads."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.BatchNorm(64), nn.Tanh(), nn.Linear(64, 10))
    return xpnet.Model(net, losses.CrossEntropy(), optim.Adam(0.001))


def bits(model: xpnet.Model, epochs: int = 2, n: int = 300) -> Bits:
    """The bits of all parameters and losses after a training."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((n, 28, 28, 1)), rng.integers(10, size=n)
    model.fit(x, y, epochs=epochs, batch_size=100, validation=(x, y))
    found = {name: model.backend.to_numpy(array).tobytes() for name, array in tree.items(model.snapshot())}
    numbers = [(metrics.train_loss, metrics.validation_loss) for metrics in model.history]
    return {**found, "losses": np.array(numbers).tobytes()}


def test_twice_in_a_row(place: Place) -> None:
    assert bits(convolutional(place), epochs=1, n=60) == bits(convolutional(place), epochs=1, n=60)


@pytest.mark.parametrize("threads", [1, 3, 8])
def test_with_another_number_of_threads(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = bits(convolutional(micro_batch=13))
    with ThreadPoolExecutor(threads) as pool:
        monkeypatch.setattr(_numpy, "_threads", lambda workers: pool)
        assert bits(convolutional(micro_batch=13)) == expected


def test_two_models_in_two_threads_give_what_each_gives_alone() -> None:
    """One model repeatedly limits BLAS to one thread while the other uses all."""
    alone = bits(convolutional(micro_batch=13)), bits(dense(), epochs=8)
    together: dict[int, Bits] = {}

    def run(i: int, model: xpnet.Model, epochs: int) -> None:
        together[i] = bits(model, epochs)

    threads = [
        threading.Thread(target=run, args=(0, convolutional(micro_batch=13), 2)),
        threading.Thread(target=run, args=(1, dense(), 8)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together[0] == alone[0]
    assert together[1] == alone[1]
