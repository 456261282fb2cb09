"""PyTorch with autograd, eager and compiled."""

import math
from typing import Any

import numpy as np

from bench.contestants._contestant import Contestant, Unavailable
from bench.workloads import SEED, Part, Workload, batches
from xpnet.nn import AvgPool2d, BatchNorm, Conv2d, Dropout, Flatten, LayerNorm, Linear, MaxPool2d, Softmax
from xpnet.optim import SGD, Adam


class PyTorch(Contestant):
    """Eager PyTorch; batches are gathered by indexing, since a DataLoader would be slower.

    Images are (n, channels, height, width). With `channels_last`, they and the network are laid out in memory
    as (n, height, width, channels), which PyTorch's documentation recommends for speed. So are the fused
    optimizers, used here; `fused=False` is PyTorch's default, which is slower with momentum and Adam.
    """

    library = "torch"

    def __init__(
        self,
        device: str = "cpu",
        precision: str = "float32",
        *,
        channels_last: bool = False,
        fused: bool = True,
    ) -> None:
        super().__init__(device, precision)
        self.channels_last = channels_last
        self.fused = fused

    def prepare(self, workload: Workload, parts: list[Part]) -> None:
        torch = import_torch(self.device)
        if self.channels_last and not workload.has_channels:
            raise Unavailable("for images with channels only")
        if not self.fused and workload.optimizer == SGD(workload.optimizer.learning_rate):
            raise Unavailable("for optimizers with a state only")
        torch.backends.cudnn.benchmark = True  # shapes stay the same: let cuDNN time its algorithms
        self.torch, self.batch_size = torch, workload.batch_size
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        net = network(torch, workload).to(self.device, memory_format=layout)
        self.optimizer = optimizer(torch, workload, net, self.fused or None)
        self.mean_loss = lambda x, y: torch.nn.functional.cross_entropy(net(x), y)
        self.parts = self.placed(workload, parts, layout)

    def placed(self, workload: Workload, parts: list[Part], layout: Any) -> list[Any]:
        """Images (n, channels, height, width) or rows, and labels, on the device."""
        found = []
        for pixels, labels in parts:
            x = self.torch.from_numpy(pixels)
            x = x.permute(0, 3, 1, 2) if workload.has_channels else x
            x, y = x.to(self.device, memory_format=layout), self.torch.from_numpy(labels).to(self.device)
            found.append((x, y))
        return found

    def epoch(self, number: int) -> float:
        torch = self.torch
        x, y = self.parts[number % len(self.parts)]
        order = torch.from_numpy(batches(len(x), self.batch_size, number)).to(self.device)
        total = torch.zeros((), device=self.device)
        for index in order:
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.mean_loss(x[index], y[index])
            loss.backward()
            self.optimizer.step()
            total += loss.detach()
        if self.device == "cuda":
            torch.cuda.synchronize()
        return total.item() / len(order)


class CompiledPyTorch(PyTorch):
    """The same with network and loss, forward and backward, through `torch.compile`.

    The mode "reduce-overhead" is for CUDA: it captures both passes into graphs. (On a CPU, `channels_last`
    made no difference here.)
    """

    def __init__(
        self,
        device: str = "cpu",
        precision: str = "float32",
        *,
        channels_last: bool = False,
        mode: str | None = None,
    ) -> None:
        super().__init__(device, precision, channels_last=channels_last)
        self.mode = mode

    def prepare(self, workload: Workload, parts: list[Part]) -> None:
        super().prepare(workload, parts)
        self.mean_loss = self.torch.compile(self.mean_loss, mode=self.mode)
        x, y = self.parts[0]
        try:  # compile now: without a compiler for the device's code it fails only when called
            self.mean_loss(x[: self.batch_size], y[: self.batch_size]).backward()
        except RuntimeError as error:
            reason = next(line for line in str(error).splitlines() if line.strip())
            raise Unavailable(f"torch.compile: {reason}") from error


def import_torch(device: str) -> Any:
    """The module `torch`. Raises Unavailable where PyTorch does not find the device."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise Unavailable("PyTorch finds no CUDA device")
    return torch


def optimizer(torch: Any, workload: Workload, net: Any, fused: bool | None) -> Any:
    """The optimizer of PyTorch that does what the workload's does, with weight decay in the place of L2."""
    weights = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim == 1]
    groups = [{"params": weights, "weight_decay": workload.l2}, {"params": others}]
    parameters = groups if workload.l2 else net.parameters()
    match workload.optimizer:
        case SGD(rate, momentum, nesterov, weight_decay=0):
            return torch.optim.SGD(parameters, lr=rate, momentum=momentum, nesterov=nesterov, fused=fused)
        case Adam(rate, beta1, beta2, epsilon):
            return torch.optim.Adam(parameters, lr=rate, betas=(beta1, beta2), eps=epsilon, fused=fused)
    raise Unavailable(f"no optimizer for {workload.optimizer}")


def network(torch: Any, workload: Workload, seed: int = SEED) -> Any:
    """The workload's network in PyTorch, with the initial parameters."""
    modules = []
    order: Any = slice(None)  # of the inputs of the next Linear: PyTorch flattens channels first
    for layer, params, (_, *shape) in workload.walk(seed):
        if isinstance(layer, Flatten):
            order = np.arange(math.prod(shape)).reshape(shape).transpose(2, 0, 1).ravel()
        elif isinstance(layer, Linear):
            params, order = params | {"weight": params["weight"][order]}, slice(None)
        modules.append(module(torch, layer, params, len(shape)))
    return torch.nn.Sequential(*modules)


def module(torch: Any, layer: Any, params: dict[str, np.ndarray], axes: int) -> Any:
    """The PyTorch module of a layer, with these parameters; `axes` is the number of axes of one example."""
    nn = torch.nn
    weight = params.get("weight")
    match layer:
        case Linear():
            made = nn.Linear(layer.n_in, layer.n_out)
            weight = weight.T
        case Conv2d():
            channels = layer.in_channels, layer.out_channels
            made = nn.Conv2d(*channels, layer.kernel_size, layer.stride, layer.padding)
            weight = weight.transpose(3, 2, 0, 1)
        case MaxPool2d() | AvgPool2d():
            made = getattr(nn, type(layer).__name__)(layer.kernel_size, layer.stride)
        case BatchNorm():
            kind = nn.BatchNorm2d if axes == 3 else nn.BatchNorm1d
            made = kind(layer.features, layer.epsilon, layer.momentum)
        case LayerNorm():
            made = nn.LayerNorm(layer.features, layer.epsilon)
        case Dropout():
            made = nn.Dropout(layer.rate)
        case Softmax():
            made = nn.Softmax(dim=-1)
        case _:  # activations without arguments, and Flatten
            made = getattr(nn, type(layer).__name__)()
    if isinstance(layer, Linear | Conv2d):
        made.weight.data = torch.from_numpy(weight.copy())
        made.bias.data = torch.from_numpy(params["bias"])
    return made
