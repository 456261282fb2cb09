"""PyTorch's tensors, without its autograd."""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet.backend._graph import CapturedLoop
from xpnet.backend.backends import Backend
from xpnet.tree import Array

NARROW = 16  # columns: fewer do not fill a vector of the CPU


class Torch(Backend):
    """Training steps are replays of a CUDA graph on a GPU."""

    name = "torch"
    module = "torch"
    install = "pip install torch"
    devices = "'cpu', 'cuda' or 'cuda:N'"
    adds_products = True

    def find_namespace(self) -> Any:
        return importlib.import_module("array_api_compat.torch")

    def find_device(self, device: Any) -> Any:
        try:
            found = self.library.device(device or "cpu")
            # A tensor tells 'cuda:0' where 'cuda' was asked for, and asking for one proves that it is there.
            return self.library.empty(0, device=found).device
        except (RuntimeError, AssertionError, TypeError) as error:
            self.refuse(device, error)

    def from_host(self, x: np.ndarray) -> Array:
        return super().from_host(np.require(x, requirements="W"))  # PyTorch warns of read-only memory

    def copy(self, x: Any) -> Array:
        """Few columns lie one after the other, as in PyTorch's layers: products take up to half the time."""
        x = self.asarray(x)
        if self.device.type == "cpu" and x.ndim == 2 and 1 < x.shape[1] < NARROW:
            return x.mT.clone(memory_format=self.library.contiguous_format).mT
        return super().copy(x)

    def to_numpy(self, x: Array) -> np.ndarray:
        return x.numpy(force=True)

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            self.library.cuda.synchronize(self.device)

    def free_bytes(self) -> int | None:
        return self.library.cuda.mem_get_info(self.device)[0] if self.device.type == "cuda" else None

    def is_out_of_memory(self, error: BaseException) -> bool:
        on_gpu = isinstance(error, self.library.OutOfMemoryError)
        return on_gpu or "can't allocate memory" in str(error) or super().is_out_of_memory(error)

    def compile(self, step: Callable[..., Any]) -> Callable[..., Any]:
        return self.library.no_grad()(step)

    def compile_loop(self, step: Callable[..., Any]) -> Callable[..., Any]:
        if self.device.type != "cuda":
            return super().compile_loop(step)
        return CapturedLoop(self.compile(step), TorchRecorder(self.library))


class TorchRecorder:
    """Graphs of PyTorch's kernels."""

    def __init__(self, torch: Any) -> None:
        self.torch = torch

    def new_graph(self) -> "TorchGraph":
        return TorchGraph(self.torch)

    def copy(self, x: Array) -> Array:
        return x.clone()

    def write(self, buffer: Array, x: Array) -> None:
        buffer.copy_(x)


class TorchGraph:
    """A graph; `torch.cuda.graph` gives it memory of its own."""

    def __init__(self, torch: Any) -> None:
        self.torch = torch
        self.graph = torch.cuda.CUDAGraph()

    def warm_up(self, function: Callable[[], Any]) -> Any:
        cuda = self.torch.cuda
        stream, current = cuda.Stream(), cuda.current_stream()
        stream.wait_stream(current)
        with cuda.stream(stream):
            result = function()
        current.wait_stream(stream)
        return result

    def capture(self, function: Callable[[], None]) -> None:
        with self.torch.cuda.graph(self.graph):
            function()

    def launch(self) -> None:
        self.graph.replay()
