"""Data sets as arrays: `load` one by name, `split` off a part of it for validation, `augment` its images."""

from xpnet.data import augment
from xpnet.data.batches import batches
from xpnet.data.datasets import Dataset, Examples, load, split
from xpnet.data.normalization import Normalization, channel_statistics, normalize

__all__ = [
    "Dataset",
    "Examples",
    "Normalization",
    "augment",
    "batches",
    "channel_statistics",
    "load",
    "normalize",
    "split",
]
