"""Data sets and mini-batches."""

from xpnet.data.batches import batches

__all__ = ["batches"]
