"""Small data files for the tests of xpnet.data, and the checks that they share."""

import contextlib
import gzip
import re

import numpy as np
import pytest

from xpnet.data import datasets
from xpnet.errors import DataError


def idx_bytes(array, code=8):
    shape = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, code, array.ndim]) + shape + array.tobytes()


def small_files(train=3, test=2, first=0):
    """The four files of a data set of random images, by name; labels count from `first`."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (train + test, 28, 28), np.uint8)
    labels = np.arange(train + test, dtype=np.uint8) % 10 + first
    arrays = (images[:train], labels[:train], images[train:], labels[train:])
    return dict(zip(datasets.FILES, map(idx_bytes, arrays), strict=True))


def write(data_dir, files, name="mnist", zipped=False):
    """Write the files to where `load(name, data_dir)` looks for them."""
    folder = data_dir / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        if zipped:
            (folder / f"{file}.gz").write_bytes(gzip.compress(content, mtime=0))
        else:
            (folder / file).write_bytes(content)
    return folder


@contextlib.contextmanager
def fails(pattern, error=DataError):
    """Context manager: expects the block to raise `error` with a message of one line that matches `pattern`."""
    with pytest.raises(error) as info:
        yield
    message = str(info.value)
    assert "\n" not in message
    assert re.search(pattern, message), message


def check_arrays(examples, shape, classes):
    x, y = examples
    assert x.dtype == np.float32
    assert y.dtype == np.int64
    assert x.shape == shape
    assert y.shape == shape[:1]
    assert x.min() >= 0
    assert x.max() <= 1
    assert y.min() >= 0
    assert y.max() < classes
    for array in examples:
        assert array.flags.c_contiguous
        assert array.flags.writeable
