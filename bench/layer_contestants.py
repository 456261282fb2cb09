"""Contestants at single layers, and the layers: xpnet on each backend, and PyTorch with autograd."""

import functools
import math
import operator
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.contestants._contestant import PLACES
from bench.contestants._torch import import_torch, module
from bench.contestants._xpnet import find_backend, switch_numba
from bench.workloads import SEED
from xpnet import tree
from xpnet._training.step import examples_at_once
from xpnet.data.batches import slices
from xpnet.losses import CrossEntropy
from xpnet.nn import (
    ELU,
    GELU,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Dropout,
    LayerNorm,
    LeakyReLU,
    Linear,
    MaxPool2d,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from xpnet.nn.fast import faster, prepared
from xpnet.random import Key, generator

TURN = 0.02  # seconds of each of the two measurements of a turn


@dataclass(frozen=True)
class LayerCase:
    """A layer in training mode, or a loss, with the shape of its input."""

    layer: Any
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"{self.layer} on {'x'.join(map(str, self.shape))}"

    @property
    def is_loss(self) -> bool:
        return isinstance(self.layer, CrossEntropy)

    def draw(self) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Parameters, the input x, and dy; for a loss, labels instead of dy."""
        rng = generator(SEED, f"bench layer {self.name}")
        x = rng.standard_normal(self.shape, dtype=np.float32)
        if self.is_loss:
            return {}, x, rng.integers(self.shape[-1], size=len(x))
        params = tree.map(lambda array: array.astype(np.float32), self.layer.init(rng))
        return params, x, rng.standard_normal(self.layer.output_shape(self.shape), dtype=np.float32)


LAYER_CASES = {
    case.name: case
    for case in (
        LayerCase(Linear(784, 10), (64, 784)),
        LayerCase(Linear(784, 128), (64, 784)),
        LayerCase(Linear(512, 512), (128, 512)),
        LayerCase(Linear(2048, 2048), (512, 2048)),
        LayerCase(Conv2d(1, 16, 5), (128, 28, 28, 1)),
        LayerCase(Conv2d(16, 32, 5), (128, 12, 12, 16)),
        LayerCase(Conv2d(32, 32, 3, padding="same"), (128, 32, 32, 32)),
        LayerCase(Conv2d(64, 64, 3, padding="same"), (128, 16, 16, 64)),
        LayerCase(MaxPool2d(2), (128, 24, 24, 16)),
        LayerCase(AvgPool2d(2), (128, 24, 24, 16)),
        LayerCase(BatchNorm(64), (128, 16, 16, 64)),
        LayerCase(BatchNorm(512), (128, 512)),
        LayerCase(LayerNorm(512), (128, 512)),
        LayerCase(Dropout(0.5), (128, 512)),
        LayerCase(ReLU(), (128, 16, 16, 64)),
        *(
            LayerCase(activation(), (128, 512))
            for activation in (ReLU, LeakyReLU, ELU, GELU, SiLU, Softplus, Sigmoid, Tanh, Softmax)
        ),
        LayerCase(CrossEntropy(), (128, 10)),
    )
}
# A forward pass, and a forward with a backward pass.
Passes = tuple[Callable[[], Any], Callable[[], tuple[np.ndarray, np.ndarray]]]


class LayerContestant:
    """One library on one device, in float32."""

    library: str
    also: tuple[str, ...] = ()

    def __init__(self, device: str = "cpu") -> None:
        self.device, self.precision = device, "float32"
        self.environment: dict[str, str] = {}
        self.place = PLACES[device, self.precision]
        self.passes: dict[str, Any] = {}

    def prepare(self) -> None:
        """Import the library."""
        raise NotImplementedError

    def make(self, case: LayerCase) -> Passes:
        """The functions to time: a forward pass, and a forward with a backward pass."""
        raise NotImplementedError

    def numbers(self, result: Any) -> list[float]:
        """The norms of y and dx, from the result of the second function of `make`."""
        raise NotImplementedError

    def wait(self) -> None:
        """Wait for the device."""

    def turn(self, name: str) -> dict[str, Any]:
        """Seconds of a forward pass and of both passes, and the norms, to compare between contestants."""
        if name not in self.passes:
            passes = self.make(LAYER_CASES[name])
            self.passes = {name: [(each, self.repetitions(each)) for each in passes]}
        (forward, n), (both, m) = self.passes[name]
        return {
            "forward": self.seconds(forward, n),
            "both": self.seconds(both, m),
            "norms": self.numbers(both()),
        }

    def repetitions(self, function: Callable[[], Any]) -> int:
        """The number of calls that last `TURN` seconds."""
        self.seconds(function, 1)
        return max(1, round(TURN / self.seconds(function, 3)))

    def seconds(self, function: Callable[[], Any], times: int) -> float:
        """The mean seconds of a call, after one call that warms up the caches."""
        result = function()
        self.wait()
        start = time.perf_counter()
        for _ in range(times):
            result = function()
        self.wait()  # JAX waits only for arrays that are still referenced: `result` is
        del result
        return (time.perf_counter() - start) / times


class XPNetLayer(LayerContestant):
    """xpnet's layer as a training step runs it: compiled, in micro-batches where the backend uses them."""

    def __init__(self, backend: str, device: str = "cpu", *, numba: bool = False) -> None:
        super().__init__(device)
        self.library = backend
        switch_numba(self, numba)

    def prepare(self) -> None:
        self.backend = find_backend(self)
        self.wait = self.backend.synchronize

    def make(self, case: LayerCase) -> Passes:
        backend = self.backend
        layer = case.layer if case.is_loss else faster(case.layer, backend)  # as in a training step
        step_number = backend.from_host(np.zeros(1, np.int32))
        batch = *map(backend.asarray, case.draw()[1:]), step_number
        params = tree.map(backend.asarray, case.draw()[0])

        def in_training(number: Any, part: slice) -> Any:
            return layer if case.is_loss else layer.training_mode(Key(number, SEED, part.start))

        def forward(x: Any, dy: Any, number: Any, part: slice, params: Any) -> Any:
            if case.is_loss:
                return [layer.forward(x, dy)], {}
            return [in_training(number, part).forward(params, x[part, ...])], {}

        def both(x: Any, dy: Any, number: Any, part: slice, params: Any) -> Any:
            [(y, residuals)], _ = forward(x, dy, number, part, params)
            if case.is_loss:
                return [(y, layer.backward(residuals))], {}
            dx, grads = in_training(number, part).backward(params, residuals, dy[part, ...])
            return [(y, dx)], grads

        def add(result: Any, more: Any) -> Any:
            return result[0] + more[0], tree.map(operator.add, result[1], more[1])

        parts = [slice(0, len(batch[0]))]
        if not case.is_loss:
            shape = case.shape
            parts = slices(shape[0], examples_at_once(layer, shape[1:], shape[0], backend))

        def compile(function: Any) -> Any:
            def step(state: Any, batch: Any) -> Any:
                params, *rest = batch
                prepare = {} if case.is_loss else {"prepare": functools.partial(prepared, layer)}
                part_function = functools.partial(function, *rest)
                return state, backend.map_reduce(part_function, add, parts, params, **prepare)

            compiled = backend.compile(step)
            # JAX on a CPU would start the next call before this one has ended.
            in_turn = (self.library, self.device) == ("jax", "cpu")
            finish_call = backend.library.block_until_ready if in_turn else lambda result: result
            return lambda: finish_call(compiled((), (params, *batch))[1])

        return compile(forward), compile(both)

    def numbers(self, result: Any) -> list[float]:
        parts, _ = result
        return [norm([self.backend.to_numpy(part[i]) for part in parts]) for i in (0, 1)]


class PyTorchLayer(LayerContestant):
    """PyTorch's module with the same parameters, eager, with autograd; images in either memory format."""

    library = "torch"

    def __init__(self, device: str = "cpu", *, channels_last: bool = False) -> None:
        super().__init__(device)
        self.channels_last = channels_last

    def prepare(self) -> None:
        self.torch = import_torch(self.device)
        self.torch.backends.cudnn.benchmark = True
        if self.device == "cuda":
            self.wait = self.torch.cuda.synchronize

    def make(self, case: LayerCase) -> Passes:
        torch = self.torch
        params, x, dy = case.draw()
        x, dy = self.tensor(x).requires_grad_(), self.tensor(dy)
        if case.is_loss:
            forward = functools.partial(torch.nn.functional.cross_entropy, x, dy)
            gradient = None
        else:
            net = module(torch, case.layer, params, len(case.shape) - 1).to(self.device)
            if self.channels_last:
                net = net.to(memory_format=torch.channels_last)
            forward, gradient = functools.partial(net, x), dy

        def both() -> tuple[Any, Any]:
            x.grad = None
            if not case.is_loss:
                net.zero_grad(set_to_none=True)
            y = forward()
            y.backward(gradient)
            return y, x.grad

        return forward, both

    def tensor(self, x: np.ndarray) -> Any:
        tensor = self.torch.from_numpy(x).to(self.device)
        if x.ndim != 4:
            return tensor
        layout = self.torch.channels_last if self.channels_last else self.torch.contiguous_format
        return tensor.permute(0, 3, 1, 2).contiguous(memory_format=layout)

    def numbers(self, result: Any) -> list[float]:
        return [norm([x.numpy(force=True)]) for x in result]


def norm(parts: list[np.ndarray]) -> float:
    """The root of the sum of all squares."""
    return math.sqrt(sum(float(np.vdot(part, part)) for part in parts))


LAYER_CONTESTANTS: dict[str, LayerContestant] = {
    name + contestant.place: contestant
    for name, contestant in [
        ("xpnet on NumPy", XPNetLayer("numpy")),
        ("xpnet on NumPy with Numba", XPNetLayer("numpy", numba=True)),
        ("xpnet on PyTorch", XPNetLayer("torch")),
        ("xpnet on JAX", XPNetLayer("jax")),
        ("PyTorch", PyTorchLayer()),
        ("PyTorch, channels last", PyTorchLayer(channels_last=True)),
        ("xpnet on CuPy", XPNetLayer("cupy", "cuda")),
        ("xpnet on PyTorch", XPNetLayer("torch", "cuda")),
        ("xpnet on JAX", XPNetLayer("jax", "cuda")),
        ("PyTorch", PyTorchLayer("cuda")),
        ("PyTorch, channels last", PyTorchLayer("cuda", channels_last=True)),
    ]
}
# The reference: contestants in the same place are compared with the faster of these.
LAYER_REFERENCE = ("PyTorch", "PyTorch, channels last")
