"""Who competes: xpnet on each backend, other libraries as their users write it, and the limit.

All train the same network from the same weights, in float32, on the same batches in the same order
(but for scikit-learn, which draws its own), and all add up the training loss, as `Model.fit` does.
Each is written so as to be fast in the way that its documentation recommends, with data and
parameters on the device from the start. An epoch ends when the device has finished it.

A contestant has `prepare(workload, parts)` and `epoch(number) -> mean training loss`, where epoch i
trains on part i mod len(parts). Whatever it needs is imported in `prepare`: an ImportError there, or
`Unavailable`, means that it cannot run here, or not with this workload.
"""

import math
from typing import Any, ClassVar

import numpy as np

import xpnet
from bench.workloads import SEED, Part, Workload, batches
from xpnet.errors import BackendError
from xpnet.nn import Conv2d, Flatten, Linear, MaxPool2d, Sequential
from xpnet.nn.conv import per_axis
from xpnet.random import generator


class Unavailable(Exception):
    """This contestant cannot run here, or not with this workload; the message says why."""


class Contestant:
    """One library on one device ("cpu" or "cuda")."""

    library: str
    draws_own_batches: ClassVar[bool] = False

    def __init__(self, device: str = "cpu") -> None:
        self.device = device

    def prepare(self, workload: Workload, parts: list[Part]) -> None:
        raise NotImplementedError

    def epoch(self, number: int) -> float | None:
        raise NotImplementedError


class XPNet(Contestant):
    """`Model.fit` for one epoch at a time, which also counts the errors."""

    def __init__(self, backend: str, device: str = "cpu") -> None:
        super().__init__(device)
        self.library = backend

    def prepare(self, workload: Workload, parts: list[Part]) -> None:
        device = "gpu" if (self.library, self.device) == ("jax", "cuda") else self.device
        try:
            self.model = xpnet.Model(
                Sequential(*workload.layers),
                xpnet.losses.CrossEntropy(),
                xpnet.optim.SGD(workload.learning_rate),
                self.library,
                SEED,
                device=device,
            )
        except BackendError as error:
            raise Unavailable(str(error)) from error
        self.model.params = workload.initial_params()
        self.parts = [self.model.prepare(x, y) for x, y in parts]
        self.batch_size = workload.batch_size

    def epoch(self, number: int) -> float:
        x, y = self.parts[number % len(self.parts)]
        history = self.model.fit(x, y, epochs=1, batch_size=self.batch_size)
        self.model.backend.synchronize()
        return history[0].train_loss


class PyTorch(Contestant):
    """Eager PyTorch; batches are gathered by indexing, since a DataLoader would be slower.

    Images are (n, channels, height, width); with `channels_last` they and the network are laid out
    in memory as (n, height, width, channels), which PyTorch's documentation calls the faster way.
    """

    library = "torch"

    def __init__(self, device: str = "cpu", channels_last: bool = False) -> None:
        super().__init__(device)
        self.channels_last = channels_last

    def prepare(self, workload: Workload, parts: list[Part]) -> None:
        import torch

        if self.device == "cuda" and not torch.cuda.is_available():
            raise Unavailable("PyTorch finds no CUDA device")
        if self.channels_last and not workload.has_channels:
            raise Unavailable("for images with channels only")
        torch.backends.cudnn.benchmark = True  # shapes stay the same: let cuDNN time its algorithms
        self.torch, self.batch_size = torch, workload.batch_size
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        self.net = torch.nn.Sequential(*self.modules(workload)).to(self.device, memory_format=layout)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=workload.learning_rate)
        self.parts = []
        for pixels, labels in parts:
            x = torch.from_numpy(pixels)
            x = x.permute(0, 3, 1, 2) if workload.has_channels else x
            self.parts.append(
                (x.to(self.device, memory_format=layout), torch.from_numpy(labels).to(self.device))
            )

    def modules(self, workload: Workload) -> list[Any]:
        """The layers as PyTorch's, with the initial parameters."""
        nn, modules = self.torch.nn, []
        order: Any = slice(None)  # of what comes into the next Linear: PyTorch flattens channels first
        for layer, params, (_, *shape) in workload.walk():
            match layer:
                case Linear():
                    module = nn.Linear(layer.n_in, layer.n_out)
                    weight, order = params["weight"][order].T, slice(None)
                case Conv2d():
                    channels = layer.in_channels, layer.out_channels
                    module = nn.Conv2d(*channels, layer.kernel_size, layer.stride, layer.padding)
                    weight = params["weight"].transpose(3, 2, 0, 1)
                case MaxPool2d():
                    module = nn.MaxPool2d(layer.kernel_size, layer.stride)
                case Flatten():
                    module = nn.Flatten()
                    order = np.arange(math.prod(shape)).reshape(shape).transpose(2, 0, 1).ravel()
                case _:
                    module = getattr(nn, type(layer).__name__)()
            if params:
                module.weight.data = self.torch.from_numpy(weight.copy())
                module.bias.data = self.torch.from_numpy(params["bias"])
            modules.append(module)
        return modules

    def epoch(self, number: int) -> float:
        torch = self.torch
        x, y = self.parts[number % len(self.parts)]
        order = torch.from_numpy(batches(len(x), self.batch_size, number)).to(self.device)
        total = torch.zeros((), device=self.device)
        for index in order:
            self.optimizer.zero_grad(set_to_none=True)
            loss = torch.nn.functional.cross_entropy(self.net(x[index]), y[index])
            loss.backward()
            self.optimizer.step()
            total += loss.detach()
        if self.device == "cuda":
            torch.cuda.synchronize()
        return total.item() / len(order)


class JAX(Contestant):
    """JAX, one call of a jitted step a batch: it gathers the batch and donates the old parameters."""

    library = "jax"

    def prepare(self, workload: Workload, parts: list[Part]) -> None:
        import jax

        try:
            device = jax.devices({"cuda": "gpu"}.get(self.device, self.device))[0]
        except RuntimeError as error:
            raise Unavailable("JAX finds no CUDA device") from error
        self.jax, self.batch_size = jax, workload.batch_size

        def mean_loss(params: Any, x: Any, y: Any) -> Any:
            for layer, layer_params in zip(workload.layers, params, strict=True):
                x = self.apply(layer, layer_params, x)
            log_p = jax.nn.log_softmax(x)
            return -jax.numpy.take_along_axis(log_p, y[:, None], axis=1).mean()

        def step(state: Any, x: Any, y: Any, index: Any) -> Any:
            params, total = state
            loss, grads = jax.value_and_grad(mean_loss)(params, x[index], y[index])
            params = jax.tree.map(lambda p, g: p - workload.learning_rate * g, params, grads)
            return params, total + loss

        self.step = jax.jit(step, donate_argnums=0)
        self.params = jax.device_put(workload.initial_params(), device)
        self.parts = jax.device_put([(x, y.astype(np.int32)) for x, y in parts], device)

    def apply(self, layer: Any, params: Any, x: Any) -> Any:
        """A layer in JAX's own words."""
        lax = self.jax.lax
        match layer:
            case Linear():
                return x @ params["weight"] + params["bias"]
            case Conv2d():
                padding = "SAME" if layer.padding == "same" else [(layer.padding, layer.padding)] * 2
                axes = "NHWC", "HWIO", "NHWC"
                y = lax.conv_general_dilated(
                    x, params["weight"], per_axis(layer, "stride"), padding, dimension_numbers=axes
                )
                return y + params["bias"]
            case MaxPool2d():
                window = (1, *per_axis(layer, "kernel_size"), 1)
                stride = window if layer.stride is None else (1, *per_axis(layer, "stride"), 1)
                return lax.reduce_window(x, -math.inf, lax.max, window, stride, "VALID")
            case Flatten():
                return x.reshape(len(x), -1)
            case _:
                return getattr(self.jax.nn, type(layer).__name__.lower())(x)

    def epoch(self, number: int) -> float:
        x, y = self.parts[number % len(self.parts)]
        order = batches(len(x), self.batch_size, number).astype(np.int32)
        state = self.params, self.jax.numpy.zeros((), device=x.device)
        for index in order:
            state = self.step(state, x, y, index)
        self.params, total = self.jax.block_until_ready(state)
        return float(total) / len(order)


class JAXScan(JAX):
    """JAX, one call an epoch: `lax.scan` runs the step for all batches."""

    def prepare(self, workload: Workload, parts: list[Part]) -> None:
        if workload.has_channels and self.device == "cpu":
            raise Unavailable("XLA's convolutions take many times as long inside a loop on a CPU")
        super().prepare(workload, parts)

        def run(state: Any, x: Any, y: Any, order: Any) -> Any:
            return self.jax.lax.scan(
                lambda state, index: (self.step(state, x, y, index), None), state, order
            )[0]

        self.run = self.jax.jit(run, donate_argnums=0)

    def epoch(self, number: int) -> float:
        x, y = self.parts[number % len(self.parts)]
        order = batches(len(x), self.batch_size, number).astype(np.int32)
        state = self.run((self.params, self.jax.numpy.zeros((), device=x.device)), x, y, order)
        self.params, total = self.jax.block_until_ready(state)
        return float(total) / len(order)


class ScikitLearn(Contestant):
    """`MLPClassifier.partial_fit`, one epoch a call; batches and their order are its own.

    It knows dense layers with one activation for all.
    """

    library = "sklearn"
    draws_own_batches = True

    def prepare(self, workload: Workload, parts: list[Part]) -> None:
        from sklearn.neural_network import MLPClassifier

        names = {"Sigmoid": "logistic", "Tanh": "tanh", "ReLU": "relu"}
        kinds = {type(layer).__name__ for layer in workload.layers} - {"Linear"}
        if not kinds <= names.keys():
            raise Unavailable(f"scikit-learn has no {', '.join(sorted(kinds - names.keys()))}")
        (activation,) = kinds
        params = [layer_params for layer_params in workload.initial_params() if layer_params]
        self.parts = parts
        self.net = MLPClassifier(
            [len(layer_params["bias"]) for layer_params in params[:-1]],
            activation=names[activation],
            solver="sgd",
            alpha=0,
            batch_size=workload.batch_size,
            learning_rate_init=workload.learning_rate,
            momentum=0,
            nesterovs_momentum=False,
            random_state=SEED,
        )
        x, y = parts[0]
        classes = np.arange(workload.n_classes)
        self.net.partial_fit(x[: workload.batch_size], y[: workload.batch_size], classes=classes)
        self.net.coefs_ = [layer_params["weight"] for layer_params in params]
        self.net.intercepts_ = [layer_params["bias"] for layer_params in params]

    def epoch(self, number: int) -> float:
        self.net.partial_fit(*self.parts[number % len(self.parts)])
        return float(self.net.loss_)


class Products(Contestant):
    """The limit: a step's matrix products and nothing else, on one batch, into arrays made before.

    Forward x W, backward dW = xᵀ dy and, but for the first layer, dx = dy Wᵀ. Of a convolution, x has
    a row for each position of the window, and W a row for each element of it: what `Conv2d` multiplies
    directly. (A transform that needs fewer multiplications, Winograd's, may be faster than this limit.)
    """

    def __init__(self, library: str, device: str = "cpu") -> None:
        super().__init__(device)
        self.library = library

    def prepare(self, workload: Workload, parts: list[Part]) -> None:
        try:
            self.backend = xpnet.backend.get(self.library, self.device)
        except BackendError as error:
            raise Unavailable(str(error)) from error
        self.matmul = self.backend.library.matmul
        self.steps = len(parts[0][0]) // workload.batch_size
        self.products: list[Any] = []
        rng = generator(SEED, "bench products")
        for layer, params, shape in workload.walk():
            if not params:
                continue
            n_out = params["weight"].shape[-1]
            weight = self.backend.asarray(params["weight"].reshape(-1, n_out))
            n = math.prod(layer.output_shape(shape)[:-1])
            x = self.backend.asarray(rng.random((n, len(weight)), dtype=np.float32))
            y, is_first = x @ weight, not self.products
            self.products += [(x, weight, y), (x.T, y, weight.copy())]
            if not is_first:
                self.products.append((y, weight.T, x.copy()))

    def epoch(self, number: int) -> None:
        for _ in range(self.steps):
            for left, right, out in self.products:
                self.matmul(left, right, out=out)
        self.backend.synchronize()


CONTESTANTS: dict[str, Contestant] = {
    "xpnet on NumPy": XPNet("numpy"),
    "xpnet on PyTorch": XPNet("torch"),
    "xpnet on JAX": XPNet("jax"),
    "PyTorch eager": PyTorch(),
    "PyTorch eager, channels last": PyTorch(channels_last=True),
    "JAX jit": JAX(),
    "JAX scan": JAXScan(),
    "scikit-learn": ScikitLearn(),
    "limit: products in NumPy": Products("numpy"),
    "xpnet on CuPy": XPNet("cupy", "cuda"),
    "xpnet on PyTorch, CUDA": XPNet("torch", "cuda"),
    "xpnet on JAX, CUDA": XPNet("jax", "cuda"),
    "PyTorch eager, CUDA": PyTorch("cuda"),
    "PyTorch eager, channels last, CUDA": PyTorch("cuda", channels_last=True),
    "JAX jit, CUDA": JAX("cuda"),
    "JAX scan, CUDA": JAXScan("cuda"),
    "limit: products in CuPy": Products("cupy", "cuda"),
}

# What the others on a device are compared with: the fastest of these, by its median.
REFERENCES = {
    "PyTorch": {
        "cpu": ("PyTorch eager", "PyTorch eager, channels last"),
        "cuda": ("PyTorch eager, CUDA", "PyTorch eager, channels last, CUDA"),
    },
    "limit": {"cpu": ("limit: products in NumPy",), "cuda": ("limit: products in CuPy",)},
}
