"""PyTorch: tensors on a CPU or a GPU, without autograd."""

import functools
import importlib
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from xpnet._util.windows import Lengths, strided_windows
from xpnet.backend._facts import Facts
from xpnet.backend._formula import as_written
from xpnet.backend._graph import CAPTURING, CapturedLoop
from xpnet.backend._lazy import LazyArray
from xpnet.backend._numba import loop, numba_is_installed
from xpnet.backend._passes import passes
from xpnet.backend._reading import unreadable
from xpnet.backend._torch_fused import do_nothing, in_a_loop, with_three_arguments, words
from xpnet.backend.backends import Backend
from xpnet.backend.fused import Fused
from xpnet.backend.ops import FUNCTIONS, CapturedOps, Padding
from xpnet.errors import ShapeError

Array = Any  # a PyTorch array with all of its methods

NARROW = 16  # columns; fewer do not fill a vector register of the CPU


class Torch(Backend):
    """PyTorch. Training steps on a GPU are replays of a CUDA graph."""

    name = "torch"
    module = "torch"
    install = "pip install torch"
    oldest = "2.4"  # `OutOfMemoryError`
    devices = "'cpu', 'cuda' or 'cuda:N'"
    adds_products = True
    has_convolution = True
    has_max_pool = True

    def find_namespace(self) -> Any:
        return importlib.import_module("array_api_compat.torch")

    def find_device(self, device: Any) -> Any:
        try:
            found = self.library.device(device or "cpu")
            # An empty tensor resolves 'cuda' to 'cuda:0', and raises if the device does not exist.
            return self.library.empty(0, device=found).device
        except (RuntimeError, AssertionError, TypeError) as error:
            self.refuse(device, error)

    def asarray(self, x: Any, real: bool = False) -> Array:
        self._require_plain(x)
        return super().asarray(x, real)

    def numbers(self, x: Any, name: str = "x") -> np.ndarray | LazyArray:
        self._require_plain(x, name)
        return super().numbers(x, name)

    def _require_plain(self, x: Any, name: str = "x") -> None:
        if isinstance(x, self.library.Tensor):
            if x.requires_grad:
                raise ShapeError(unreadable(x, "it requires grad", name))
            if x.layout != self.library.strided:
                raise ShapeError(unreadable(x, "it is sparse", name))

    def from_host(self, x: np.ndarray) -> Array:
        return super().from_host(_shareable(x))

    def copy(self, x: Any) -> Array:
        """A fresh array. A CPU stores narrow matrices by columns: products take up to half the time."""
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

    def facts(self) -> Facts:
        facts, cuda = super().facts(), self.library.version.cuda
        if self.device.type != "cuda":
            index = "https://download.pytorch.org/whl/cu130"
            advice = "" if cuda else f"this PyTorch has no CUDA: pip install torch --index-url {index}"
            return facts._replace(gpu_advice=advice)
        properties = self.library.cuda.get_device_properties(self.device)
        return facts._replace(
            device=properties.name,
            memory=properties.total_memory,
            driver=f"CUDA {cuda}, cuDNN {self.library.backends.cudnn.version()}",
            steps="CUDA graph",
        )

    def other_devices(self) -> tuple[str, ...]:
        return ("cuda",) if self.library.cuda.is_available() else ()

    def refilled(self, buffer: Array | None, x: Array) -> Array:
        if self.device.type != "cuda":
            return super().refilled(None, x)
        given = self.owns(x)
        if buffer is None or len(buffer) < len(x):
            return x.clone() if given else self.from_host(x)
        buffer[: len(x)].copy_(x if given else self.library.from_numpy(_shareable(x)))
        return buffer

    @contextmanager
    def precision(self) -> Iterator[None]:
        """PyTorch's switches belong to the process, and convolutions use TF32 unless told not to."""
        if self.device.type != "cuda":
            yield
            return
        value: Any
        products, cudnn = self.library.backends.cuda.matmul, self.library.backends.cudnn
        name, value, convolutions = "allow_tf32", self.tf32, cudnn  # before PyTorch 2.9
        if hasattr(products, "fp32_precision"):
            name, value, convolutions = "fp32_precision", "tf32" if self.tf32 else "ieee", cudnn.conv
        with PRECISION, _switched(products, name, value), _switched(convolutions, name, value):
            yield

    def compile(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def compiled(*arguments: Any) -> Any:
            with self.library.no_grad(), self.precision():
                return step(*arguments)

        return compiled if self.device.type == "cuda" else self.library.no_grad()(step)

    def compile_loop(self, step: Callable[..., Any]) -> Callable[..., Any]:
        if self.device.type != "cuda":
            return super().compile_loop(step)
        return CapturedLoop(self.compile(step), TorchRecorder(self.library, self.device))


def _shareable(x: np.ndarray) -> np.ndarray:
    """x, or a copy if PyTorch cannot share its memory: it refuses negative steps and warns of read-only."""
    steps = all(step >= 0 and step % x.itemsize == 0 for step in x.strides)
    shareable = steps and x.flags.writeable and x.dtype.isnative
    return x if shareable else x.astype(x.dtype.newbyteorder("="), order="K", copy=True)


PRECISION = threading.RLock()  # held while PyTorch's switches are set for one thread


@contextmanager
def _switched(of: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(of, name)
    setattr(of, name, value)
    try:
        yield
    finally:
        setattr(of, name, before)


class TorchOps(CapturedOps, library="torch"):
    """PyTorch's fused operations, which need fewer passes over memory, and its convolution and pooling.

    A factor that is a tensor is multiplied by hand: as PyTorch's `alpha` or `beta` it would go to the host.
    """

    def __init__(self, xp: Any) -> None:
        super().__init__(xp)
        self.torch = importlib.import_module("torch")

    def advice(self, x: Array) -> str:
        if x.device.type == "meta":
            return "pass a tensor with values"
        if x.layout != self.torch.strided or x.is_quantized:
            return "pass x.to_dense()" if x.layout != self.torch.strided else "pass x.dequantize()"
        if x.requires_grad:
            return "pass x.detach()"
        if x.dtype not in (self.torch.float32, self.torch.float64):
            return "pass x.to(torch.float32)"
        return "pass x.cpu()"

    def weighted_sum(self, weights: Array, x: Array) -> Array:
        """On a CPU without a pass to replace infinite x, which takes 9 µs, unless the sum is NaN."""
        if x.is_cpu and x.ndim == 2:
            total = (weights * x).sum((-2, -1))
            if math.isfinite(total.item()):
                return total
        return super().weighted_sum(weights, x)

    def take(self, x: Array, index: Array) -> Array:
        """5 µs for 64 rows of 784; array-api-compat's `take` looks for negative positions first, 12 µs."""
        return x.index_select(0, index)

    def window_view(self, x: Array, kernel: Lengths, stride: Lengths) -> Array:
        return x.as_strided(*strided_windows(x.shape, x.stride(), kernel, stride))

    def positive_part(self, x: Array) -> Array:
        return x.relu()

    def where_positive(self, x: Array, y: Array) -> Array:
        return self.torch.ops.aten.threshold_backward(x, y, 0)

    def fused(self, function: Fused, arguments: tuple[Any, ...]) -> Any:
        if (
            arguments[0].ndim and arguments[0].device.type == "cpu"
        ):  # a number takes a pass less than a tensor of one element
            arguments = tuple([each.item() if getattr(each, "ndim", 1) == 0 else each for each in arguments])
        return super().fused(function, arguments)

    def compile_fused(self, function: Fused, kinds: tuple[str, ...]) -> Callable[..., Any]:
        formula = function.formula(kinds)
        if not formula.is_elementwise:
            return as_written(formula, FUNCTIONS)
        program = passes(with_three_arguments(formula), function.overwrites, words(self.torch), FUNCTIONS)
        if len(formula.results) > function.overwrites or not numba_is_installed():
            return program  # PyTorch's operations use all cores: a loop pays where it spares many passes
        return in_a_loop(program, loop(formula, function.overwrites, do_nothing, FUNCTIONS), formula)

    def add_product(self, total: Array, left: Array, right: Array, scale: Any, decay: Any) -> Array:
        if hasattr(scale, "ndim"):
            right, scale = scale * right, 1
        if hasattr(decay, "ndim"):
            total *= decay
            decay = 1
        if total.ndim == 3:
            return total.baddbmm_(left.expand(len(total), -1, -1), right, beta=decay, alpha=scale)
        return total.addmm_(left, right, beta=decay, alpha=scale)

    # With these, a step of a network of 3×3 convolutions with 32 and 64 channels takes a quarter of the time
    # on 2 cores.

    def convolve(
        self, x: Array, weight: Array, bias: Array | None, stride: Lengths, padding: Padding
    ) -> Array:
        x, before = self._padded(x, padding)
        arrays = _channels_first(x), _out_in(weight), bias
        return _channels_last(self.torch.convolution(*arrays, stride, before, *_plain(stride, x, weight)))

    def convolve_gradients(
        self, x: Array, weight: Array, dy: Array, stride: Lengths, padding: Padding, of_input: bool
    ) -> tuple[Array | None, Array, Array]:
        padded, before = self._padded(x, padding)
        dx, dweight, dbias = self.torch.ops.aten.convolution_backward(
            _channels_first(dy), _channels_first(padded), _out_in(weight), [dy.shape[-1]],
            stride, before, *_plain(stride, x, weight), [of_input, True, True],
        )  # fmt: skip
        if of_input:
            dx = _channels_last(dx)
            if padded is not x:
                inner = [slice(low, low + n) for n, (low, _) in zip(x.shape[1:-1], padding, strict=True)]
                dx = dx[(slice(None), *inner, slice(None))]
        return dx, dweight.movedim((0, 1), (-1, -2)), dbias

    def _padded(self, x: Array, padding: Padding) -> tuple[Array, list[int]]:
        """(x, padding for PyTorch), which pads both sides equally: if they differ, x is padded here."""
        if all(low == high for low, high in padding):
            return x, [low for low, _ in padding]
        return self.pad(x, padding), [0 for _ in padding]

    def max_pool(self, x: Array, kernel: Lengths, stride: Lengths) -> tuple[Array, Array]:
        if len(kernel) != 2:
            return super().max_pool(x, kernel, stride)
        y, positions = self.torch.ops.aten.max_pool2d_with_indices(_channels_first(x), kernel, stride)
        return _channels_last(y), positions

    def max_pool_gradient(
        self, dy: Array, x: Array, positions: Array, kernel: Lengths, stride: Lengths
    ) -> Array:
        if len(kernel) != 2:
            return super().max_pool_gradient(dy, x, positions, kernel, stride)
        dx = self.torch.ops.aten.max_pool2d_with_indices_backward(
            _channels_first(dy), _channels_first(x), kernel, stride, [0, 0], [1, 1], False, positions
        )
        return _channels_last(dx)


# Views in PyTorch's order of axes. The memory layout stays channels-last.


def _channels_first(x: Array) -> Array:
    return x.movedim(-1, 1)


def _channels_last(x: Array) -> Array:
    return x.movedim(1, -1)


def _out_in(weight: Array) -> Array:
    """(*kernel, c, o) as (o, c, *kernel): a copy, since PyTorch refuses some views in float64."""
    return weight.movedim((-1, -2), (0, 1)).contiguous()


def _plain(stride: Lengths, x: Array, weight: Array) -> tuple[list[int], bool, list[int], int]:
    """PyTorch's dilation, transposed, output_padding and groups for a convolution of channels-last x."""
    return [1] * len(stride), False, [0] * len(stride), x.shape[-1] // weight.shape[-2]


class TorchRecorder:
    """Capture of PyTorch's kernels on a device."""

    def __init__(self, torch: Any, device: Any) -> None:
        self.torch = torch
        self.device = device

    def new_graph(self) -> "TorchGraph":
        return TorchGraph(self)

    def copy(self, x: Array) -> Array:
        return x.clone()

    def write(self, buffer: Array, x: Array) -> None:
        buffer.copy_(x)

    @functools.cached_property
    def stream(self) -> Any:
        return self.torch.cuda.Stream(self.device)

    @functools.cached_property
    def pool(self) -> Any:
        """The memory of all graphs of this recorder: they run one after the other."""
        return self.torch.cuda.graph_pool_handle()


class TorchGraph:
    """A graph in its recorder's memory."""

    def __init__(self, recorder: TorchRecorder) -> None:
        self.recorder = recorder
        self.graph = recorder.torch.cuda.CUDAGraph()

    def warm_up(self, function: Callable[[], Any]) -> Any:
        cuda, stream = self.recorder.torch.cuda, self.recorder.stream
        with CAPTURING, cuda.device(self.recorder.device):
            current = cuda.current_stream()
            stream.wait_stream(current)
            with cuda.stream(stream):
                result = function()
            current.wait_stream(stream)
            return result

    def capture(self, function: Callable[[], None]) -> None:
        cuda, recorder = self.recorder.torch.cuda, self.recorder
        with CAPTURING, cuda.device(recorder.device):
            current = cuda.current_stream()
            # By default what another thread allocates would break the capture.
            options = {"pool": recorder.pool, "stream": recorder.stream, "capture_error_mode": "thread_local"}
            try:
                with cuda.graph(self.graph, **options):
                    function()
            finally:
                cuda.set_stream(current)  # PyTorch leaves its side stream current after a failed capture

    def launch(self) -> None:
        self.graph.replay()
