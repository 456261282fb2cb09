"""Who competes: xpnet on each backend, other libraries as their users write it, and the limit.

All train the same network from the same weights, in float32, on the same batches in the same order
(but for scikit-learn, which draws its own), and all add up the training loss, as `Model.fit` does.
Each is written so as to be fast in the way that its documentation recommends, with data and
parameters on the device from the start. An epoch ends when the device has finished it.

A contestant has `prepare(workload, parts)` and `epoch(number) -> mean training loss`, where epoch i
trains on part i mod len(parts). Whatever it needs is imported in `prepare`: an ImportError there, or
`Unavailable`, means that it cannot run here.
"""

from typing import Any, ClassVar

import numpy as np

import xpnet
from bench.workloads import SEED, Part, Workload, batches
from xpnet.errors import BackendError
from xpnet.nn import Linear, ReLU, Sequential, Sigmoid


class Unavailable(Exception):
    """This contestant cannot run here; the message says why."""


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
        activation = {"sigmoid": Sigmoid, "relu": ReLU}[workload.activation]
        layers: list[Any] = []
        params: list[Any] = []
        for weight in workload.initial_weights():
            layers += [Linear(*weight.shape), activation()]
            params += [{"weight": weight, "bias": np.zeros(weight.shape[1])}, {}]
        optimizer = xpnet.optim.SGD(workload.learning_rate)
        device = "gpu" if (self.library, self.device) == ("jax", "cuda") else self.device
        try:
            self.model = xpnet.Model(
                Sequential(*layers[:-1]),
                xpnet.losses.CrossEntropy(),
                optimizer,
                self.library,
                SEED,
                device=device,
            )
        except BackendError as error:
            raise Unavailable(str(error)) from error
        self.model.params = tuple(params[:-1])
        self.parts = [self.model.prepare(x, y) for x, y in parts]
        self.batch_size = workload.batch_size

    def epoch(self, number: int) -> float:
        x, y = self.parts[number % len(self.parts)]
        history = self.model.fit(x, y, epochs=1, batch_size=self.batch_size)
        self.model.backend.synchronize()
        return history[0].train_loss


class PyTorch(Contestant):
    """Eager PyTorch; batches are gathered by indexing, since a DataLoader would be slower."""

    library = "torch"

    def prepare(self, workload: Workload, parts: list[Part]) -> None:
        import torch

        if self.device == "cuda" and not torch.cuda.is_available():
            raise Unavailable("PyTorch finds no CUDA device")
        self.torch, self.batch_size = torch, workload.batch_size
        activation = {"sigmoid": torch.nn.Sigmoid, "relu": torch.nn.ReLU}[workload.activation]
        layers: list[Any] = []
        for weight in workload.initial_weights():
            linear = torch.nn.Linear(*weight.shape)
            linear.weight.data = torch.from_numpy(weight.T.copy())
            torch.nn.init.zeros_(linear.bias)
            layers += [linear, activation()]
        self.net = torch.nn.Sequential(*layers[:-1]).to(self.device)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=workload.learning_rate)
        self.parts = [
            (torch.from_numpy(x).to(self.device), torch.from_numpy(y).to(self.device)) for x, y in parts
        ]

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
        activation = {"sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu}[workload.activation]

        def mean_loss(params: Any, x: Any, y: Any) -> Any:
            for weight, bias in params[:-1]:
                x = activation(x @ weight + bias)
            weight, bias = params[-1]
            log_p = jax.nn.log_softmax(x @ weight + bias)
            return -jax.numpy.take_along_axis(log_p, y[:, None], axis=1).mean()

        def step(state: Any, x: Any, y: Any, index: Any) -> Any:
            params, total = state
            loss, grads = jax.value_and_grad(mean_loss)(params, x[index], y[index])
            params = jax.tree.map(lambda p, g: p - workload.learning_rate * g, params, grads)
            return params, total + loss

        self.step = jax.jit(step, donate_argnums=0)
        weights = workload.initial_weights()
        self.params = jax.device_put([(w, np.zeros(w.shape[1], w.dtype)) for w in weights], device)
        self.parts = jax.device_put([(x, y.astype(np.int32)) for x, y in parts], device)

    def epoch(self, number: int) -> float:
        x, y = self.parts[number % len(self.parts)]
        order = batches(len(x), self.batch_size, number).astype(np.int32)
        state = self.params, self.jax.numpy.zeros((), device=x.device)
        for index in order:
            state = self.step(state, x, y, index)
        self.params, total = self.jax.block_until_ready(state)
        return float(total) / len(order)


class ScikitLearn(Contestant):
    """`MLPClassifier.partial_fit`, one epoch a call; batches and their order are its own."""

    library = "sklearn"
    draws_own_batches = True

    def prepare(self, workload: Workload, parts: list[Part]) -> None:
        from sklearn.neural_network import MLPClassifier

        self.parts = parts
        self.net = MLPClassifier(
            workload.sizes[1:-1],
            activation={"sigmoid": "logistic"}.get(workload.activation, workload.activation),
            solver="sgd",
            alpha=0,
            batch_size=workload.batch_size,
            learning_rate_init=workload.learning_rate,
            momentum=0,
            nesterovs_momentum=False,
            random_state=SEED,
        )
        x, y = parts[0]
        classes = np.arange(workload.sizes[-1])
        self.net.partial_fit(x[: workload.batch_size], y[: workload.batch_size], classes=classes)
        self.net.coefs_ = workload.initial_weights()
        self.net.intercepts_ = [np.zeros(w.shape[1], w.dtype) for w in self.net.coefs_]

    def epoch(self, number: int) -> float:
        self.net.partial_fit(*self.parts[number % len(self.parts)])
        return float(self.net.loss_)


class Products(Contestant):
    """The limit: a step's matrix products and nothing else, on one batch, into arrays made before.

    Forward x W, backward dW = xᵀ dy and, but for the first layer, dx = dy Wᵀ.
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
        x, _ = parts[0]
        self.steps = len(x) // workload.batch_size
        x = self.backend.asarray(x[: workload.batch_size])
        self.products: list[Any] = []
        for i, weight in enumerate(map(self.backend.asarray, workload.initial_weights())):
            y = x @ weight
            self.products += [(x, weight, y), (x.T, y, weight.copy())]
            if i > 0:
                self.products.append((y, weight.T, x.copy()))
            x = y

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
    "JAX jit": JAX(),
    "scikit-learn": ScikitLearn(),
    "limit: products in NumPy": Products("numpy"),
    "xpnet on CuPy": XPNet("cupy", "cuda"),
    "xpnet on PyTorch, CUDA": XPNet("torch", "cuda"),
    "xpnet on JAX, CUDA": XPNet("jax", "cuda"),
    "PyTorch eager, CUDA": PyTorch("cuda"),
    "JAX jit, CUDA": JAX("cuda"),
    "limit: products in CuPy": Products("cupy", "cuda"),
}

# What the others on a device are compared with.
REFERENCES = {
    "PyTorch": {"cpu": "PyTorch eager", "cuda": "PyTorch eager, CUDA"},
    "limit": {"cpu": "limit: products in NumPy", "cuda": "limit: products in CuPy"},
}
