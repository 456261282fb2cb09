"""Losses: one number that measures how wrong a prediction is, and its gradient.

    forward(prediction, target)  ->  value, residuals
    backward(residuals)          ->  dprediction

The value is a 0-d array, the mean over the n examples of a batch. Predictions (K, n, d) of K networks give K
values. Targets are integer labels (..., n), the classes 0 to d-1, or an array of the prediction's shape.

Weights of examples need nothing of a loss: `prediction[:, None, :]` is n networks of one example each, for
which `forward` gives n values. So `Model.fit` weights any loss whose `examples` are "independent".
"""

from xpnet.losses._loss import Loss
from xpnet.losses.binary import BinaryCrossEntropy
from xpnet.losses.classification import CrossEntropy, Hinge
from xpnet.losses.penalty import l2
from xpnet.losses.regression import Huber, MeanAbsoluteError, MeanSquaredError

__all__ = [
    "BinaryCrossEntropy",
    "CrossEntropy",
    "Hinge",
    "Huber",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "l2",
]
