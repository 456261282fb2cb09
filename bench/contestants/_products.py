"""The limit: matrix products alone."""

from typing import Any

import numpy as np

from bench.contestants._contestant import Contestant
from bench.contestants._xpnet import find_backend
from bench.workloads import SEED, Part, Workload
from xpnet.random import generator


class Products(Contestant):
    """A step's matrix products and nothing else, on one batch, into arrays that exist already.

    Forward x W; backward dW = xᵀ dy and, except in the first layer, dx = dy Wᵀ. For a convolution, x has a
    row for each position of the window and W a row for each element of it, as `Conv2d` multiplies them
    directly. (A transform that needs fewer multiplications, such as Winograd's, can be faster.)
    """

    def __init__(self, library: str, device: str = "cpu", precision: str = "float32") -> None:
        super().__init__(device, precision)
        self.library = library

    def prepare(self, workload: Workload, parts: list[Part]) -> None:
        self.backend = find_backend(self)
        self.matmul = self.backend.library.matmul
        self.steps = len(parts[0][0]) // workload.batch_size
        self.products: list[Any] = []
        rng = generator(SEED, "bench products")
        for (n, k, m), weight in workload.products():
            weight = self.backend.asarray(weight.reshape(k, m))
            x = self.backend.asarray(rng.random((n, k), dtype=np.float32))
            y, is_first = x @ weight, not self.products
            self.products += [(x, weight, y), (x.T, y, weight.copy())]
            if not is_first:
                self.products.append((y, weight.T, x.copy()))

    def epoch(self, number: int) -> None:
        for _ in range(self.steps):
            for left, right, out in self.products:
                self.matmul(left, right, out=out)
        self.backend.synchronize()
