"""The networks that the benchmarks train, and their data, drawn from a seed.

To add a network, add a row to `WORKLOADS`.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from xpnet import tree
from xpnet.nn import BatchNorm, Conv2d, Flatten, Layer, Linear, MaxPool2d, ReLU, Sequential, Sigmoid
from xpnet.optim import SGD, Adam
from xpnet.random import generator

SEED = 0
DATA_SET = 48_000 * 784  # pixels; as float32 150 MB, so that batches come from memory, not from a cache
Part = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Workload:
    """The training of a network on images with cross-entropy, in float32.

    Layers and optimizer are xpnet's, mere hyper-parameters; each contestant builds its own from them.

    Arguments:
        network: the name of the network.
        input_shape: the shape of an image, (pixels,) or (height, width, channels).
        layers: `Linear`, `Conv2d`, `MaxPool2d`, `BatchNorm`, `Flatten`, and activations without arguments.
        optimizer: SGD, plain or with Nesterov momentum, or Adam; without weight decay.
        batch_size: images in a step.
        images: images in an epoch, unless the command line sets them; a multiple of the batch size.
        rounds: rounds, unless the command line sets them.
        data_set: images in the data set; 0 for as many as fill 150 MB.
        l2: λ of the penalty λ/2 Σw² over the weights.
    """

    network: str
    input_shape: tuple[int, ...]
    layers: tuple[Layer, ...]
    optimizer: SGD | Adam
    batch_size: int
    images: int
    rounds: int = 20
    data_set: int = 0
    l2: float = 0.0

    def __post_init__(self) -> None:
        if not self.data_set:
            object.__setattr__(self, "data_set", DATA_SET // math.prod(self.input_shape))

    @property
    def name(self) -> str:
        return f"{self.network}, batch {self.batch_size}"

    @property
    def has_channels(self) -> bool:
        """Whether an image is (height, width, channels)."""
        return len(self.input_shape) == 3

    @property
    def n_classes(self) -> int:
        return Sequential(*self.layers).output_shape((1, *self.input_shape))[-1]

    def initial_params(self, seed: int = SEED) -> tuple[dict[str, np.ndarray], ...]:
        """The parameters of each layer: weights by Glorot and Bengio (2010), biases 0."""
        params = Sequential(*self.layers).init(generator(seed, "bench weights"))
        return tree.map(lambda array: array.astype(np.float32), params)

    def penalty(self, weights: Iterable[np.ndarray]) -> float:
        """λ/2 Σw²."""
        return self.l2 / 2 * sum(float(np.vdot(w, w)) for w in weights) if self.l2 else 0.0

    def walk(self, seed: int = SEED) -> Iterator[tuple[Any, dict[str, np.ndarray], tuple[int, ...]]]:
        """Each layer with its initial parameters and the shape of its input for a batch."""
        shape = (self.batch_size, *self.input_shape)
        for layer, params in zip(self.layers, self.initial_params(seed), strict=True):
            yield layer, params, shape
            shape = layer.output_shape(shape)

    def products(self) -> Iterator[tuple[tuple[int, int, int], np.ndarray]]:
        """For each layer with weights, the sizes n, k, m of its product (n, k)(k, m), and the weights.

        For a convolution, n is the number of window positions in all images, and k the elements of a window.
        """
        for layer, params, shape in self.walk():
            if "weight" in params:
                weight = params["weight"]
                m = weight.shape[-1]
                yield (math.prod(layer.output_shape(shape)[:-1]), weight.size // m, m), weight

    @property
    def step_flops(self) -> int:
        """The floating-point operations of a step's products: two for a multiplication and an addition.

        A layer has three products: forward, dW and dx. The first layer has no dx.
        """
        products = [2 * n * k * m for (n, k, m), _ in self.products()]
        return 3 * sum(products) - products[0]


def dense(activation: type[Layer], *sizes: int, norm: bool = False) -> tuple[Layer, ...]:
    """Linear layers between these sizes; between them activations, with batch normalisation before each."""
    layers: list[Layer] = []
    for n_in, n_out in pairwise(sizes):
        layers += [Linear(n_in, n_out), *([BatchNorm(n_out)] if norm else []), activation()]
    return tuple(layers[: -2 if norm else -1])


def convolve(size: int, *channels: int, padding: Any = 0, norm: bool = False) -> tuple[Layer, ...]:
    """Convolutions of size x size between these numbers of channels, each followed by a ReLU.

    With `norm`, batch normalisation comes before each ReLU.
    """
    layers: list[Layer] = []
    for n_in, n_out in pairwise(channels):
        convolution = Conv2d(n_in, n_out, size, padding=padding)
        layers += [convolution, *([BatchNorm(n_out)] if norm else []), ReLU()]
    return tuple(layers)


def cnn_a(norm: bool) -> Workload:
    """CNN A of the documents, with or without batch normalisation."""
    between = "-norm" if norm else ""
    return Workload(
        f"conv5x5x16{between}-pool-conv5x5x32{between}-pool-128-10 relu",
        (28, 28, 1),
        (
            *convolve(5, 1, 16, norm=norm),
            MaxPool2d(2),
            *convolve(5, 16, 32, norm=norm),
            MaxPool2d(2),
            Flatten(),
            *dense(ReLU, 512, 128, 10),
        ),
        SGD(0.1),
        batch_size=128,
        images=6_400,
        rounds=12,
    )


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(
            "784-10 softmax",
            (784,),
            dense(ReLU, 784, 10),
            SGD(0.1),
            batch_size=64,
            images=19_200,
        ),
        Workload(
            "784-128-10 sigmoid",
            (784,),
            dense(Sigmoid, 784, 128, 10),
            SGD(0.1),
            batch_size=64,
            images=9_600,
        ),
        Workload(
            "784-512-512-10 relu",
            (784,),
            dense(ReLU, 784, 512, 512, 10),
            SGD(0.1),
            batch_size=128,
            images=9_600,
        ),
        Workload(
            "784-512-512-10 relu adam",
            (784,),
            dense(ReLU, 784, 512, 512, 10),
            Adam(0.001),
            batch_size=128,
            images=9_600,
        ),
        Workload(
            "784-512-512-10 relu nesterov l2",  # scripts/configs/mlp.yaml
            (784,),
            dense(ReLU, 784, 512, 512, 10),
            SGD(0.1, momentum=0.9, nesterov=True),
            batch_size=100,
            images=9_600,
            l2=0.00003,
        ),
        Workload(
            "784-512-512-10 relu norm",
            (784,),
            dense(ReLU, 784, 512, 512, 10, norm=True),
            SGD(0.1),
            batch_size=128,
            images=9_600,
        ),
        Workload(
            "784-2048-2048-10 relu",
            (784,),
            dense(ReLU, 784, 2048, 2048, 10),
            SGD(0.1),
            batch_size=512,
            images=5_120,
            rounds=12,
        ),
        cnn_a(norm=False),
        cnn_a(norm=True),
        Workload(
            "conv3x3x32-conv3x3x32-pool-conv3x3x64-conv3x3x64-pool-10 relu",
            (32, 32, 3),
            (
                *convolve(3, 3, 32, 32, padding="same"),
                MaxPool2d(2),
                *convolve(3, 32, 64, 64, padding="same"),
                MaxPool2d(2),
                Flatten(),
                *dense(ReLU, 4096, 10),
            ),
            SGD(0.1),
            batch_size=128,
            images=1_280,
            rounds=12,
        ),
    )
}


def parts(workload: Workload, images: int) -> list[Part]:
    """The data set in parts of that many images: pixels (images, *input_shape) and labels (images,).

    Images of a class are 0 but for a fifth of the pixels, its own: most of a digit image is 0, too. A tenth
    of the labels are random: the loss falls as it does on digits, and does not go to 0.
    """
    n, n_pixels, n_classes = workload.data_set, math.prod(workload.input_shape), workload.n_classes
    rng = generator(SEED, "bench data")
    labels = rng.integers(n_classes, size=n)
    shape_of_class = rng.random((n_classes, n_pixels)) < 0.2
    x = rng.random((n, n_pixels), dtype=np.float32)
    x *= shape_of_class[labels]
    x = x.reshape(n, *workload.input_shape)
    wrong = rng.random(n) < 0.1
    labels[wrong] = rng.integers(n_classes, size=np.count_nonzero(wrong))
    return [(x[i : i + images], labels[i : i + images]) for i in range(0, n - images + 1, images)]


def batches(n: int, batch_size: int, epoch: int) -> np.ndarray:
    """The indices of each batch's images, (n / batch_size, batch_size), as `Model.fit` draws them."""
    return generator(SEED, "shuffle", epoch).permutation(n).reshape(-1, batch_size)
