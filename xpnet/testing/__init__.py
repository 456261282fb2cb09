"""The laws of layers, losses, optimizers and backends, for your own: checked in one call, on every library.

    >>> import numpy as np
    >>> from dataclasses import dataclass
    >>> from xpnet import nn, testing
    >>> @dataclass(frozen=True, repr=False)
    ... class Scale(nn.Layer):
    ...     features: int
    ...     def init(self, rng):
    ...         return {"scale": np.ones(self.features)}
    ...     def forward(self, params, x):
    ...         return x * params["scale"], (x,)
    ...     def backward(self, params, residuals, dy):
    ...         (x,) = residuals
    ...         dy *= x
    ...         return dy * params["scale"], {"scale": dy.sum(axis=0)}
    >>> print(testing.check_layer(Scale(3), (4, 3), backends=["numpy"], raise_on_failure=False))

Without `raise_on_failure=False` the same faults are raised as a `LawError`, a line for each, so that one call
makes a test: `def test_scale(): check_layer(Scale(3), (4, 3))`. The report has the score of an autograder in
`passed` and `total`.
"""

from xpnet.testing.backends import check_backend
from xpnet.testing.layers import check_layer
from xpnet.testing.losses import check_loss
from xpnet.testing.optimizers import check_optimizer
from xpnet.testing.report import LawError, Report, Result

__all__ = [
    "LawError",
    "Report",
    "Result",
    "check_backend",
    "check_layer",
    "check_loss",
    "check_optimizer",
]
