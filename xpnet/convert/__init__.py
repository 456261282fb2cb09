"""Weights in and out: parameters of PyTorch, Keras and scikit-learn, in their own names and layouts.

Networks are not converted: write the equal network in xpnet's layers, then take its weights. No pickle is
ever read.
"""

from xpnet.convert.keras import from_keras, to_keras
from xpnet.convert.sklearn import from_sklearn, to_sklearn
from xpnet.convert.torch import from_torch, save_torch, to_torch

__all__ = ["from_keras", "from_sklearn", "from_torch", "save_torch", "to_keras", "to_sklearn", "to_torch"]
