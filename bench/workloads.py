"""What is trained in the benchmarks: networks, and data made from a seed.

A new network of dense layers is one more row of `WORKLOADS`.
"""

from dataclasses import dataclass

import numpy as np

from xpnet.random import generator

SEED = 0
DATA_SET = 48_000  # images; with float32 pixels 150 MB, so that batches come from memory, not from a cache
Part = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Workload:
    """Training of a dense network on digit images, cross-entropy and plain SGD, in float32.

    Arguments:
        sizes: of the input, any hidden layers and the output; every layer has biases.
        activation: of the hidden layers, "sigmoid" or "relu".
        batch_size, learning_rate: of SGD.
        images: how many make an epoch here, if the command line does not say; whole batches, and
            `DATA_SET` a multiple of it.
    """

    sizes: tuple[int, ...]
    activation: str
    batch_size: int
    learning_rate: float
    images: int = 9_600

    @property
    def name(self) -> str:
        activation = f" {self.activation}" if len(self.sizes) > 2 else ""
        return f"{'-'.join(map(str, self.sizes))}{activation}, batch {self.batch_size}"

    def initial_weights(self) -> list[np.ndarray]:
        """Each layer's (n_in, n_out) weights (Glorot and Bengio's, 2010); biases start at 0."""
        rng = generator(SEED, "bench weights")
        bounds = [(6 / (n_in + n_out)) ** 0.5 for n_in, n_out in self.shapes]
        return [
            rng.uniform(-a, a, shape).astype(np.float32) for a, shape in zip(bounds, self.shapes, strict=True)
        ]

    @property
    def shapes(self) -> list[tuple[int, int]]:
        return list(zip(self.sizes[:-1], self.sizes[1:], strict=True))


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload((784, 128, 10), "sigmoid", batch_size=64, learning_rate=0.1),
        Workload((784, 512, 512, 10), "relu", batch_size=128, learning_rate=0.1),
    )
}


def parts(images: int, n_pixels: int = 784, n_classes: int = 10) -> list[Part]:
    """The data set, cut into parts of that many images: pixels (images, 784) and labels (images,).

    A class has its own fifth of the pixels, and only these are not 0, as most of a digit image is 0.
    A tenth of the labels are drawn anew: the loss falls as it does on digits, and does not go to 0.
    """
    rng = generator(SEED, "bench data")
    labels = rng.integers(n_classes, size=DATA_SET)
    shape_of_class = rng.random((n_classes, n_pixels)) < 0.2
    x = rng.random((DATA_SET, n_pixels), dtype=np.float32)
    x *= shape_of_class[labels]
    wrong = rng.random(DATA_SET) < 0.1
    labels[wrong] = rng.integers(n_classes, size=np.count_nonzero(wrong))
    return [(x[i : i + images], labels[i : i + images]) for i in range(0, DATA_SET - images + 1, images)]


def batches(n: int, batch_size: int, epoch: int) -> np.ndarray:
    """The positions of each batch's images, (n / batch_size, batch_size), as `Model.fit` draws them."""
    return generator(SEED, "shuffle", epoch).permutation(n).reshape(-1, batch_size)
