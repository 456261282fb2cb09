"""What the laws need: arrays in every shape of container, and comparisons that check more than values."""

from typing import Any

import numpy as np

from xpnet import tree
from xpnet.backend import Backend, device, namespace


def put(backend: Backend, host_tree: Any) -> Any:
    """A tree of NumPy arrays on a backend's device."""
    return tree.map(backend.asarray, host_tree)


def fetch(backend: Backend, device_tree: Any) -> Any:
    """A tree of a backend's arrays as NumPy arrays; what is no array stays."""
    return tree.map(lambda x: backend.to_numpy(x).copy() if hasattr(x, "dtype") else x, device_tree)


def assert_kept(backend: Backend, arrays: Any) -> None:
    """All arrays of a tree are of the backend's library and device; the real ones in its dtype."""
    for name, array in tree.items(arrays):
        if hasattr(array, "dtype"):
            assert namespace(array) is backend.xp, name
            assert device(array) == backend.device, name
            if backend.xp.isdtype(array.dtype, "real floating"):
                assert array.dtype == backend.dtype, name


def assert_close(backend: Backend, actual: Any, expected: Any, tolerance: float) -> None:
    """Two trees have the same names, and arrays of the same shape and, up to rounding, values."""
    found, wanted = dict(tree.items(fetch(backend, actual))), dict(tree.items(expected))
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert np.shape(found[name]) == np.shape(array), name
        np.testing.assert_allclose(found[name], array, rtol=tolerance, atol=tolerance, err_msg=name)


def assert_same(backend: Backend, actual: Any, expected: Any) -> None:
    """Two trees, the expected one already on the host, have the same names and bits."""
    found, wanted = dict(tree.items(fetch(backend, actual))), dict(tree.items(expected))
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
