"""What several processes that train together must have in common."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xpnet.backend import Backend

ROWS = 64  # of an array, that are compared


def require_same(models: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any]) -> None:
    """ConfigError for a model, an argument of `fit` or data that are not the same in all processes.

    Else each process would train another network, or wait for what no other one does.

    Arguments:
        models: the settings of the model, or of those of an ensemble.
        arguments: the arguments of `fit`, checked.
    """
    backend: Backend = models[0]["backend"]
    if not backend.spans_processes:
        return
    found: dict[str, Any] = {name: [model[name] for model in models] for name in models[0]}
    if len(models) == 1:
        found = dict(models[0])
    theirs = {name: _text(value) for name, value in arguments.items() if name != "progress"}
    backend.require_same("fit: ", found | theirs)


def _text(value: Any) -> str:
    """The value, or what an array or an iterable is."""
    if isinstance(value, tuple):
        return f"({', '.join(_text(each) for each in value)})"
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is not None and dtype is not None:
        return f"{tuple(shape)} {dtype}{_checksum(value)}"
    if isinstance(value, list):
        return f"{len(value)} values"
    return type(value).__name__ if hasattr(value, "__iter__") and not isinstance(value, str) else str(value)


def _checksum(array: Any) -> str:
    """The checksum of some rows, from the first to the last; empty for an array that NumPy cannot read."""
    found = 0
    try:
        for i in np.linspace(0, len(array) - 1, min(ROWS, len(array))).astype(int).tolist():
            found = zlib.crc32(np.asarray(array[i]).tobytes(), found)
    except (TypeError, RuntimeError):
        return ""
    return f", checksum {found:08x}"
