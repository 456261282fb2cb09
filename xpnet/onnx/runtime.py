"""Read and run ONNX models: by onnxruntime where it is installed, else by onnx's reference implementation."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xpnet._util.text import shortened
from xpnet.errors import CheckpointError, ConfigError
from xpnet.nn._layer import show_shape
from xpnet.onnx.graph import library

Run = Callable[[np.ndarray], np.ndarray]


class Opened(NamedTuple):
    """A model in a file: one input x (n, ...), and an output (n, d).

    Fields:
        shape: of one example of x.
        dtype: of x.
        n_out: d.
        metadata: what the file says of itself.
        run: takes x and returns the output.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    n_out: int
    metadata: dict[str, str]
    run: Run


def read(path: Path) -> Opened:
    """The model in a file. CheckpointError unless it has one input (n, ...) and one output (n, d)."""
    onnx = library()
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from error
    except Exception as error:  # of protobuf, by way of its parts in C++
        raise CheckpointError(f"{path}: expected an ONNX model: {shortened(str(error))}") from error
    stored = {each.name for each in model.graph.initializer}
    values = [*(each for each in model.graph.input if each.name not in stored), *model.graph.output]
    lengths = [[dim.dim_value for dim in each.type.tensor_type.shape.dim] for each in values]
    if len(values) != 2 or len(lengths[1]) != 2 or not all([*lengths[0][1:], lengths[1][1]]):
        got = ", ".join(
            f"{each.name} {show_shape(tuple(shape))}" for each, shape in zip(values, lengths, strict=True)
        )
        raise CheckpointError(
            f"{path}: expected an ONNX model with an input (n, ...) and an output (n, d), each length but n "
            f"known, got {got or 'neither'}"
        )
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(values[0].type.tensor_type.elem_type)
        _, run_it = runner(model)
    except (ConfigError, LookupError) as error:
        raise CheckpointError(f"{path}: {error}") from error

    def run(x: np.ndarray) -> np.ndarray:
        try:
            return run_it(x)
        except ConfigError as error:
            raise CheckpointError(f"{path}: {error}") from error

    told = {each.key: each.value for each in model.metadata_props}
    return Opened(tuple(lengths[0][1:]), dtype, lengths[1][1], told, run)


class Runner(NamedTuple):
    """A model that runs.

    Fields:
        engine: what runs it, with its version.
        run: takes the input and returns the first output.
    """

    engine: str
    run: Run


def runner(model: Any) -> Runner:
    """Runs a model, `onnx.ModelProto`, on the CPU. ConfigError where it cannot be run."""
    name = model.graph.input[0].name
    try:
        import onnxruntime
    except ImportError:
        onnxruntime = None
    try:
        if onnxruntime is None:
            from onnx.reference import ReferenceEvaluator

            engine, session = f"onnx.reference {library().__version__}", ReferenceEvaluator(model)
        else:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3  # errors alone
            engine = f"onnxruntime {onnxruntime.__version__}"
            given = {"providers": ["CPUExecutionProvider"], "enable_fallback": 0}  # it prints what it tries
            session = onnxruntime.InferenceSession(model.SerializeToString(), options, **given)
    except Exception as error:  # their own kinds, of many modules
        raise _cannot_run(error) from error

    def run(x: np.ndarray) -> np.ndarray:
        try:
            return np.asarray(session.run(None, {name: x})[0])
        except Exception as error:
            raise _cannot_run(error) from error

    return Runner(engine, run)


def _cannot_run(error: Exception) -> ConfigError:
    return ConfigError(
        f"expected a model that runs, got {type(error).__name__}: {shortened(str(error), 200)}"
    )
