"""Checks of your own layers, losses, optimizers and backends, in one call and on every library.

Each check tests the laws: properties that every layer, loss, optimizer or backend must have.

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
    repr shows every field                ok
    init gives float64 NumPy arrays       ok
    forward and backward fit together     ok
    output_shape is the shape of y        ok
    results keep library, device, dtype   ok
    arguments are not modified           FAIL
    the same call gives the same bits     ok
    nothing is kept on self               ok
    parameter_gradients match backward    ok
    gradient is right                    FAIL
    numbers agree with NumPy              ok
    examples is as declared               ok
    <BLANKLINE>
    11 of 13 passed
    <BLANKLINE>
    FAIL arguments are not modified (numpy)
         backward writes into dy; make a fresh array, a = a * b, in place of a *= b, a += b or a[…] = b
    <BLANKLINE>
    FAIL gradient is right (numpy)
         Scale: the gradient at params.scale[0] is -2.85..., finite differences give -2.16...
         (relative error 2.4e-01 > 1e-07)

Without `raise_on_failure=False` a check raises a `LawError` with one line per fault, so that one call is a
test: `def test_scale(): check_layer(Scale(3), (4, 3))`. `passed` and `total` of the report are a score for
autograders.
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
