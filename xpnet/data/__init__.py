"""Data sets as arrays: `load` one by name, `split` off a part of it for validation."""

from xpnet.data.batches import batches
from xpnet.data.datasets import Dataset, Examples, load, split

__all__ = ["Dataset", "Examples", "batches", "load", "split"]
