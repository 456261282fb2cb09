"""Dask: arrays in blocks, computed by threads, processes or a cluster."""

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from xpnet import tree
from xpnet.backend.backends import Backend
from xpnet.backend.ops import Ops

Array = Any  # a Dask array with all of its methods


class Dask(Backend):
    """Dask. The configured scheduler computes each training step as one task graph."""

    name = "dask"
    module = "dask.array"
    install = "pip install 'dask[array]'"

    def find_namespace(self) -> Any:
        return importlib.import_module("array_api_compat.dask.array")

    def find_device(self, device: Any) -> Any:
        super().find_device(device)
        return None  # Dask arrays have no device attribute; the workers hold them

    def precision(self) -> AbstractContextManager[Any]:
        return np.errstate(under="ignore")

    def compile(self, step: Callable[..., Any]) -> Callable[..., Any]:
        dask = importlib.import_module("dask")

        def computed(state: Any, batch: Any) -> Any:
            with np.errstate(all="ignore"):  # as for NumPy, which computes inside
                results = step(state, batch)
                leaves = tree.leaves(results)
                found = dict(zip(map(id, leaves), dask.persist(*leaves), strict=True))
            return tree.map(lambda leaf: found[id(leaf)], results)

        return computed


class DaskOps(Ops, library="dask"):
    """Forms for operations that Dask arrays lack."""

    def transposed(self, x: Array) -> Array:
        return self.xp.matrix_transpose(x)

    def exp_or_infinity(self, x: Array) -> Array:
        return x.map_blocks(_exp_or_infinity, dtype=x.dtype)


def _exp_or_infinity(block: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.exp(block)
