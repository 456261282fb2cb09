"""A graph of ONNX operators, built node by node."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xpnet.errors import BackendError, ConfigError
from xpnet.nn._layer import Shape
from xpnet.tree import Tree

OPSET = 20  # of November 2023, the first with Gelu
IR_VERSION = 9  # the oldest that goes with it: every runtime that knows the operators reads the file
INPUT, OUTPUT = "x", "y"


@dataclass(frozen=True)
class Value:
    """An array in a graph.

    Attributes:
        name: its name in the graph.
        shape: its shape in xpnet, channels last: `("n", 28, 28, 1)`.
        channels_first: whether the graph holds it as (n, channels, ...), as convolutions of ONNX take it.
    """

    name: str
    shape: Shape
    channels_first: bool = False


class Graph:
    """A graph of ONNX operators, from an input `x` on.

    Call it to add a node: `graph("Mul", x, params["scale"])` returns the node's first output. An input is a
    `Value`, an array or a number. Arrays and numbers become constants: real ones in the graph's dtype,
    integers in an array or a list as int64.

    Arguments:
        dtype: "float32" or "float64", of the parameters and the activations.

    Attributes:
        nodes: the nodes, `onnx.NodeProto`, in the order in which they run.
        constants: the constants by name, `onnx.TensorProto`.
    """

    def __init__(self, dtype: str) -> None:
        self.onnx = library()
        self.dtype = np.dtype(dtype)
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self._of_content: dict[Any, str] = {}
        self._transposed: dict[str, Value] = {}
        self._names = {INPUT, OUTPUT}
        self._path: list[str] = []
        self._params: Tree = {}

    @property
    def double(self) -> bool:
        """Whether the graph computes in float64.

        Attributes of ONNX's operators are float32, and onnxruntime has no Conv, LeakyRelu and some more for
        float64. Other operators then stand for these.
        """
        return self.dtype == np.float64

    def __call__(self, operator: str, *inputs: Any, **attributes: Any) -> Value:
        values = [each if isinstance(each, Value) else self.constant(each) for each in inputs]
        name = self._free(operator)
        node = self.onnx.helper.make_node(
            operator, [each.name for each in values], [name], name=name, **attributes
        )
        self.nodes.append(node)
        like = next((each for each in values if each.name not in self.constants), values[0])
        return replace(like, name=name)

    def constant(self, array: Any, name: str = "") -> Value:
        """A constant. Equal arrays become one.

        Arguments:
            name: its name within the layer; by default that of the parameter that the array is.
        """
        given = np.asarray(array)
        if given.dtype.kind not in "biuf":
            where = f"layer {self.place}" if self.place else "onnx"
            raise ConfigError(f"{where}: expected a Value, an array or a number, got {array!r}")
        real = given.dtype.kind == "f" or isinstance(array, int | float)
        stored = np.ascontiguousarray(given, self.dtype if real else np.int64).reshape(given.shape)
        content = (stored.dtype, stored.shape, stored.tobytes())
        if content not in self._of_content:
            own = self._params if isinstance(self._params, dict) else {}
            name = name or next((key for key, each in own.items() if each is array), "constant")
            name = self._free(name, ".")
            self._of_content[content] = name
            self.constants[name] = self.onnx.numpy_helper.from_array(stored, name)
        return Value(self._of_content[content], stored.shape)

    def first(self, x: Value) -> Value:
        """x as (n, channels, ...)."""
        axes = len(x.shape)
        return x if x.channels_first or axes < 3 else self._moved(x, [0, axes - 1, *range(1, axes - 1)])

    def last(self, x: Value) -> Value:
        """x as (n, ..., channels)."""
        return self._moved(x, [0, *range(2, len(x.shape)), 1]) if x.channels_first else x

    def _moved(self, x: Value, axes: list[int]) -> Value:
        """x with its channels moved; of the transpose of y that is y, and no node is added twice."""
        if x.name not in self._transposed:
            moved = replace(self("Transpose", x, perm=axes), channels_first=not x.channels_first)
            self._transposed |= {x.name: moved, moved.name: x}
        return replace(self._transposed[x.name], shape=x.shape)

    @contextmanager
    def inside(self, place: str, params: Tree) -> Iterator[None]:
        """Within the block, names begin with this place: nodes `0/Conv`, constants `0.weight`."""
        outer = self._path, self._params
        self._path, self._params = [*self._path, *filter(None, [place])], params
        try:
            yield
        finally:
            self._path, self._params = outer

    @property
    def place(self) -> str:
        """Where in the network the graph is: `8.branch.0`, or "" at the top."""
        return ".".join(self._path)

    def _free(self, name: str, separator: str = "/") -> str:
        """The name, after the place in the network, with a number if another node or constant has it."""
        name = separator.join([*self._path, name])
        free, i = name, 1
        while free in self._names:
            free, i = f"{name}_{i}", i + 1
        self._names.add(free)
        return free


def library() -> Any:
    """The package onnx. BackendError where it is missing."""
    try:
        import onnx
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as error:
        raise BackendError("expected the package onnx: pip install onnx") from error
    return onnx
