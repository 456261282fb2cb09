"""Write a model as an ONNX file, after a comparison with the trained one."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xpnet import data, losses, tree
from xpnet._util import files
from xpnet._util.checks import is_number, one_network, require_shape
from xpnet.backend._reading import numbers
from xpnet.errors import ConfigError, DivergedError, ShapeError
from xpnet.losses import Loss
from xpnet.model import Model
from xpnet.nn import Layer
from xpnet.nn._layer import Shape, show_shape
from xpnet.onnx.build import build
from xpnet.onnx.compare import compare, first_that_differs
from xpnet.onnx.graph import OPSET
from xpnet.onnx.trained import Trained
from xpnet.tree import ArrayLike

LIMITS = {"float32": 3e-5, "float64": 1e-11}  # of a difference, relative to the largest output
LOGITS: dict[type[Loss], str] = {losses.CrossEntropy: "Softmax", losses.BinaryCrossEntropy: "Sigmoid"}


class Exported(NamedTuple):
    """What `export` wrote; as text, one line.

    Fields:
        path: the file.
        opset: the version of ONNX's operators.
        nodes: the number of nodes in the graph.
        size: of the file, in bytes.
        difference: the largest absolute difference between outputs of the file and of the model.
        largest: the largest absolute output of the model.
        examples: the number of examples that were compared.
        engine: what ran the file, with its version.
    """

    path: Path
    opset: int
    nodes: int
    size: int
    difference: float
    largest: float
    examples: int
    engine: str

    def __str__(self) -> str:
        return (
            f"{self.path}: opset {self.opset}, {self.nodes} nodes, {self.size:,} bytes; outputs up to "
            f"{self.largest:.3g} differ from the model's by at most {self.difference:.2g} "
            f"({self.examples} examples, {self.engine})"
        )


def export(
    model: Model,
    path: str | Path,
    input_shape: Shape | None = None,
    *,
    probabilities: bool = False,
    normalization: data.Normalization | None = None,
    class_names: Sequence[str] = (),
    metadata: Mapping[str, str] | None = None,
    x: ArrayLike | None = None,
    tolerance: float | None = None,
) -> Exported:
    """Write the network of a model as an ONNX file of native operators, opset 20.

    The graph takes `x` (n, ...), channels last, for any n, and returns `y`, the outputs of the network. It
    has the parameters and statistics that `predict` uses: those that an optimizer averaged, and the running
    statistics of batch normalisation. Dropout and noise are off. Its dtype is that of the model.

    Before the file is written, the checker of onnx checks the graph, and outputs are compared with the
    model's. The file is written whole or not at all.

    Arguments:
        model: the trained model, on any backend.
        path: the file.
        input_shape: the shape of one example, such as `(28, 28, 1)`. None: that of x, else of the last x of
            the model.
        probabilities: end with the softmax of `CrossEntropy`, or the sigmoid of `BinaryCrossEntropy`.
        normalization: let the graph begin with `data.normalize`.
        class_names: the name of each class, for the metadata of the file.
        metadata: more entries of the metadata.
        x: examples to compare on. None: 8 examples of normal random numbers.
        tolerance: the largest difference, relative to the largest output or 1. None: 3e-5 for float32, 1e-11
            for float64.

    Returns an `Exported`, which as text says what was written and the largest difference that was seen.

    Raises BackendError without the package onnx, ConfigError for a layer or loss that cannot be exported and
    for a difference above the tolerance, ShapeError for inputs that do not fit, DivergedError for parameters
    that are infinite or NaN, and CheckpointError where the file cannot be written.
    """
    class_names = class_names if isinstance(class_names, str) else tuple(class_names)
    _check(model, normalization, class_names, metadata, tolerance)
    dtype, loss = model.backend.dtype_name, model.loss_function
    given = None if x is None else _examples(x, model.net, dtype)
    trained = Trained(
        model.net,
        tree.map(model.backend.to_numpy, model.snapshot()),
        dtype,
        _input_shape(model, input_shape, given),
        normalization,
        _function(loss) if probabilities else "",
    )
    _require_finite(trained)
    told = {**_told(loss, probabilities, normalization, class_names), **(metadata or {})}
    limit = tolerance or LIMITS[dtype]
    made = build(trained, told)
    _check_names(class_names, made)
    examples = trained.draw() if given is None else given
    found = compare(made, trained, examples)
    if not found.relative <= limit:
        raise ConfigError(
            f"export: expected outputs within {limit:g} of the model's, got a difference of "
            f"{found.relative:.2g}{first_that_differs(trained, examples, limit)} ({found.engine})"
        )
    content = made.SerializeToString()
    with files.saving(path) as file:
        file.write(content)
    nodes = len(made.graph.node)
    return Exported(
        Path(path), OPSET, nodes, len(content), found.difference, found.largest, len(examples), found.engine
    )


def _check(
    model: Any,
    normalization: Any,
    class_names: Sequence[str],
    metadata: Mapping[str, str] | None,
    tolerance: float | None,
) -> None:
    """ConfigError for an argument of another type."""
    if not isinstance(model, Model):
        last = model[-1] if hasattr(model, "named_steps") else model  # a pipeline of scikit-learn
        way_out = "; pass model_ of the estimator" if hasattr(last, "model_") else one_network(model)
        raise ConfigError(f"export: expected a Model, got {type(model).__name__}{way_out}")
    if normalization is not None and not isinstance(normalization, data.Normalization):
        raise ConfigError(
            f"export: expected normalization to be a data.Normalization, got {normalization!r}; "
            "write data.Normalization(mean=(0.13,), std=(0.31,)), a number for each channel"
        )
    if isinstance(class_names, str):
        raise ConfigError(f"export: expected class_names to be a list of strings, got {class_names!r}")
    if tolerance is not None and not (is_number(tolerance) and tolerance > 0):
        raise ConfigError(f"export: expected tolerance to be a number above 0, got {tolerance!r}")
    if not isinstance(metadata, Mapping | None):
        raise ConfigError(f"export: expected metadata to be a dict, got {metadata!r}")
    for each in (*class_names, *(metadata or {}), *(metadata or {}).values()):
        if not isinstance(each, str):
            raise ConfigError(f"export: expected class_names and metadata to hold strings, got {each!r}")


def _require_finite(trained: Trained) -> None:
    """DivergedError for a network that computes nothing but NaN, as its ONNX file would."""
    for name, array in tree.items(trained.variables):
        if not np.isfinite(array).all():
            raise DivergedError(f"export: expected finite parameters, got infinite or NaN in {name}")


def _check_names(class_names: Sequence[str], made: Any) -> None:
    """ConfigError unless there is a name for each output, or two for one output."""
    outputs = made.graph.output[0].type.tensor_type.shape.dim[-1].dim_value
    if class_names and len(class_names) != max(2, outputs):
        raise ConfigError(f"export: expected {max(2, outputs)} class names, got {len(class_names)}")


def _examples(x: ArrayLike, net: Layer, dtype: str) -> np.ndarray:
    """x of the user in the dtype that the graph takes."""
    read = np.asarray(numbers(x)[...])
    if read.ndim < 1 or len(read) < 1:
        raise ShapeError(
            f"export: expected x of shape (n, ...) with at least one example, got {show_shape(read.shape)}"
        )
    return read.astype(dtype if net.integers is None else np.int64)


def _input_shape(model: Model, input_shape: Shape | None, given: np.ndarray | None) -> Shape:
    """The shape of one example, as the caller says it, or of the last x of the model."""
    if given is not None:
        if input_shape is not None and require_shape("export", input_shape) != given.shape[1:]:
            expected, got = show_shape(("n", *input_shape)), show_shape(given.shape)
            raise ShapeError(f"export: expected x of shape {expected}, got {got}")
        return given.shape[1:]
    if input_shape is not None:
        return require_shape("export", input_shape)
    shape = model.input_shape
    if shape is None:
        raise ConfigError(
            "export: expected input_shape, such as (28, 28, 1), for a model that has seen no x; got none"
        )
    return shape


def _told(
    loss: Loss, probabilities: bool, normalization: data.Normalization | None, class_names: Sequence[str]
) -> dict[str, str]:
    """The metadata: what the outputs are, how the graph normalizes x, what the classes are called."""
    told = {"loss": repr(loss), "outputs": "values"}
    if probabilities:
        told["outputs"] = "probabilities"
    elif function := _function(loss, required=False):
        told |= {"outputs": "logits", "probabilities": function}
    elif type(loss).predict is not Loss.predict:
        told["outputs"] = "scores"
    if normalization:
        told["normalization"] = json.dumps(normalization._asdict())
    if class_names:
        told["class_names"] = json.dumps(list(class_names), ensure_ascii=False)
    return told


def _function(loss: Loss, required: bool = True) -> str:
    """The operator that makes probabilities of the outputs; "", or ConfigError, for a loss without one."""
    for cls in type(loss).__mro__:
        if cls in LOGITS:
            return LOGITS[cls]
        if "probabilities" in vars(cls):
            break
    if required:
        known = " or ".join(cls.__name__ for cls in LOGITS)
        raise ConfigError(f"export: expected the loss {known} with probabilities=True, got {loss}")
    return ""
