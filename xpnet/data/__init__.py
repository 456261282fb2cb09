"""Data sets as arrays: `load` by name, `split` into training and validation examples, `augment` images."""

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
