"""Data sets as arrays: `load` by name, `split` into training and validation examples, `augment` images."""

from xpnet.data import augment
from xpnet.data.batches import batches
from xpnet.data.dataset import Dataset, Examples, Preparation
from xpnet.data.datasets import load, register
from xpnet.data.normalization import Normalization, channel_statistics, normalize
from xpnet.data.splits import split

__all__ = [
    "Dataset",
    "Examples",
    "Normalization",
    "Preparation",
    "augment",
    "batches",
    "channel_statistics",
    "load",
    "normalize",
    "register",
    "split",
]
