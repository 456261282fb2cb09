"""The laws of layers, losses, optimizers and backends, for your own: checked in one call, on every library.

    >>> import numpy as np
    >>> from dataclasses import dataclass
    >>> from xpnet import nn, testing
    >>> @dataclass(frozen=True, repr=False)
    ... class Scale(nn.Layer):
    ...     features: int
    ...     examples = "independent"
    ...     def init(self, rng):
    ...         return {"scale": np.ones(self.features)}
    ...     def forward(self, params, x):
    ...         return x * params["scale"], (x,)
    ...     def backward(self, params, residuals, dy):
    ...         (x,) = residuals
    ...         dy *= params["scale"]
    ...         return dy, {"scale": (dy * x).sum(axis=0)}
    >>> print(testing.check_layer(Scale(3), (4, 3), backends=["numpy"], raise_on_failure=False))
    check_layer: Scale(3), x (4, 3)
    <BLANKLINE>
                                        numpy
    is a frozen dataclass                 ok
    repr tells every field                ok
    init gives float64 NumPy arrays       ok
    forward and backward fit together     ok
    output_shape is the shape of y        ok
    results keep library, device, dtype   ok
    arguments are left alone             FAIL
    the same call gives the same bits     ok
    nothing is kept on self               ok
    parameter_gradients is backward's     ok
    gradient is right                    FAIL
    numbers are NumPy's                   ok
    examples is as declared               ok
    <BLANKLINE>
    11 of 13 passed
    <BLANKLINE>
    FAIL arguments are left alone (numpy)
         backward writes into dy; make a fresh array, a = a * b, in place of a *= b, a += b or a[…] = b
    <BLANKLINE>
    FAIL gradient is right (numpy)
         Scale: the gradient at params.scale[0] is -2.85..., finite differences give -2.16...
         (relative error 2.4e-01 > 1e-07)

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
