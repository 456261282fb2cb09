"""Activations: functions of each element; `Softmax` works on the last axis.

A derivative that is `fused` takes one pass over memory, where the library can.

Shapes: x and y (...), of any shape.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from xpnet import special
from xpnet._util.checks import is_number, settled
from xpnet.backend import namespace, ops
from xpnet.backend.fused import fused
from xpnet.errors import ConfigError
from xpnet.nn._layer import NoResiduals, SameShape
from xpnet.tree import Array, Tree


class OutputResiduals(NamedTuple):
    """The output alone: the derivative is a short formula in y."""

    y: Array


class GateResiduals(NamedTuple):
    """The input, and the gate by which it is multiplied: y = x · gate(x)."""

    x: Array
    gate: Array


@dataclass(frozen=True, repr=False)
class Identity(SameShape):
    """y = x.

    dx = dy

    Shapes: x and y (...).
    """

    examples = "independent"

    def forward(self, params: Tree, x: Array) -> tuple[Array, NoResiduals]:
        return x, NoResiduals()

    def backward(self, params: Tree, residuals: NoResiduals, dy: Array) -> tuple[Array, Tree]:
        return dy, {}


@dataclass(frozen=True, repr=False)
class ReLU(SameShape):
    """y = max(x, 0).

    dx = dy where y > 0, else 0: the derivative at x = 0 is set to 0.

    Shapes: x and y (...).

    (Nair and Hinton, "Rectified linear units improve restricted Boltzmann machines", 2010.)
    """

    examples = "independent"

    def forward(self, params: Tree, x: Array) -> tuple[Array, OutputResiduals]:
        y = ops(x).positive_part(x)
        return y, OutputResiduals(y)

    def backward(self, params: Tree, residuals: OutputResiduals, dy: Array) -> tuple[Array, Tree]:
        return ops(dy).where_positive(dy, residuals.y), {}


@dataclass(frozen=True, repr=False)
class LeakyReLU(SameShape):
    """y = max(x, s x).

    dx = dy where y > 0, else s dy: the derivative at x = 0 is set to s.

    Shapes: x and y (...).

    Arguments:
        slope: s, 0 ≤ s ≤ 1.

    Raises ConfigError for a slope out of its range.

    (Maas, Hannun and Ng, "Rectifier nonlinearities improve neural network acoustic models", 2013.)
    """

    examples = "independent"

    slope: float = 0.01

    def __post_init__(self) -> None:
        if not (is_number(settled(self, "slope")) and 0 <= self.slope <= 1):
            raise ConfigError(f"LeakyReLU: expected slope to be a number from 0 to 1, got {self.slope!r}")

    def forward(self, params: Tree, x: Array) -> tuple[Array, OutputResiduals]:
        y = namespace(x).maximum(x, self.slope * x)
        return y, OutputResiduals(y)

    def backward(self, params: Tree, residuals: OutputResiduals, dy: Array) -> tuple[Array, Tree]:
        xp = namespace(dy)
        dx = xp.astype(residuals.y > 0, dy.dtype)
        dx = xp.maximum(dx, xp.full_like(dx, self.slope))  # 1 or s, because s ≤ 1
        dx *= dy
        return dx, {}


@dataclass(frozen=True, repr=False)
class ELU(SameShape):
    """y = max(x, 0) + α (e^min(x, 0) - 1).

    dx = dy where y > 0, else dy · (y + α): the derivative at x = 0 is set to α.

    Shapes: x and y (...).

    Arguments:
        alpha: α ≥ 0; -α is the limit for x → -∞. Only α = 1 has no kink at 0.

    Raises ConfigError for an alpha out of its range.

    (Clevert, Unterthiner and Hochreiter, "Fast and accurate deep network learning by exponential
    linear units (ELUs)", 2016.)
    """

    examples = "independent"

    alpha: float = 1.0

    def __post_init__(self) -> None:
        if not (is_number(settled(self, "alpha")) and self.alpha >= 0):
            raise ConfigError(f"ELU: expected alpha to be a finite number and at least 0, got {self.alpha!r}")

    def forward(self, params: Tree, x: Array) -> tuple[Array, OutputResiduals]:
        xp = namespace(x)
        zero = xp.zeros_like(x)
        y = xp.expm1(xp.minimum(x, zero))
        y *= self.alpha
        y += xp.maximum(x, zero)
        return y, OutputResiduals(y)

    def backward(self, params: Tree, residuals: OutputResiduals, dy: Array) -> tuple[Array, Tree]:
        xp, y = namespace(dy), residuals.y
        dx = xp.minimum(y, xp.zeros_like(y))
        dx += self.alpha
        if self.alpha != 1:  # for α = 1, dx is 1 already where y > 0
            dx += (1 - self.alpha) * xp.astype(y > 0, y.dtype)
        dx *= dy
        return dx, {}


@dataclass(frozen=True, repr=False)
class GELU(SameShape):
    """y = x g, where the gate g is the probability that a standard normal variable is below x.

    form="exact":    g = Φ(x) = (1 + erf(x/√2)) / 2,           g' = φ(x) = e^(-x²/2) / √(2π)
    form="tanh":     g = (1 + tanh u) / 2 with
                     u = √(2/π) (x + 0.044715 x³),             g' = 2 g (1 - g) u'
    form="sigmoid":  g = σ(1.702 x),                           g' = 1.702 g (1 - g)

    dx = dy · (g + x g')

    The tanh and sigmoid forms approximate the exact one to within 5e-4 and 0.021. BERT and GPT-2 were trained
    with the tanh form.

    Shapes: x and y (...).

    Arguments:
        form: "exact", "tanh" or "sigmoid".

    Raises ConfigError for another form.

    (Hendrycks and Gimpel, "Gaussian error linear units (GELUs)", 2016.)
    """

    examples = "independent"

    form: Literal["exact", "tanh", "sigmoid"] = "exact"

    def __post_init__(self) -> None:
        if self.form not in ("exact", "tanh", "sigmoid"):
            raise ConfigError(f"GELU: expected form to be 'exact', 'tanh' or 'sigmoid', got {self.form!r}")

    def forward(self, params: Tree, x: Array) -> tuple[Array, GateResiduals]:
        gate = self._gate(x)
        return x * gate, GateResiduals(x, gate)

    def backward(self, params: Tree, residuals: GateResiduals, dy: Array) -> tuple[Array, Tree]:
        x, gate = residuals
        dx = self._gate_derivative(x, gate)
        dx *= x
        dx += gate
        dx *= dy
        return dx, {}

    def _gate(self, x: Array) -> Array:
        if self.form == "sigmoid":
            return special.sigmoid(1.702 * x)
        if self.form == "exact":
            gate = special.erf(math.sqrt(1 / 2) * x)
        else:
            u = x * x
            u *= 0.044715 * math.sqrt(2 / math.pi)
            u += math.sqrt(2 / math.pi)
            u *= x
            gate = namespace(x).tanh(u)
        gate += 1
        gate *= 0.5
        return gate

    def _gate_derivative(self, x: Array, gate: Array) -> Array:
        if self.form == "exact":
            derivative = x * x
            derivative *= -0.5
            derivative = namespace(x).exp(derivative)
            derivative *= 1 / math.sqrt(2 * math.pi)
            return derivative
        derivative = 1 - gate
        derivative *= gate
        if self.form == "sigmoid":
            derivative *= 1.702
            return derivative
        du = x * x
        du *= 2 * 3 * 0.044715 * math.sqrt(2 / math.pi)
        du += 2 * math.sqrt(2 / math.pi)
        derivative *= du
        return derivative


@dataclass(frozen=True, repr=False)
class SiLU(SameShape):
    """y = x g with the gate g = σ(x); also called swish.

    dx = dy · g (1 + x (1 - g))

    Shapes: x and y (...).

    (Elfwing, Uchibe and Doya, "Sigmoid-weighted linear units for neural network function
    approximation in reinforcement learning", 2018.)
    """

    examples = "independent"

    def forward(self, params: Tree, x: Array) -> tuple[Array, GateResiduals]:
        gate = special.sigmoid(x)
        return x * gate, GateResiduals(x, gate)

    def backward(self, params: Tree, residuals: GateResiduals, dy: Array) -> tuple[Array, Tree]:
        return _silu_gradient(dy, *residuals), {}


@fused()
def _silu_gradient(dy: Any, x: Any, gate: Any) -> Any:
    """dy · g (1 + x (1 - g))."""
    return ((1 - gate) * x + 1) * gate * dy


@dataclass(frozen=True, repr=False)
class Softplus(SameShape):
    """y = log(1 + eˣ) = max(x, 0) + log(1 + e^-|x|).

    dx = dy · σ(x) = dy · (1 - e⁻ʸ)

    Shapes: x and y (...).

    (Dugas et al., "Incorporating second-order functional knowledge for better option pricing", 2001.)
    """

    examples = "independent"

    def forward(self, params: Tree, x: Array) -> tuple[Array, OutputResiduals]:
        xp = namespace(x)
        y = xp.log1p(xp.exp(-xp.abs(x)))
        y += xp.maximum(x, xp.zeros_like(x))
        return y, OutputResiduals(y)

    def backward(self, params: Tree, residuals: OutputResiduals, dy: Array) -> tuple[Array, Tree]:
        dx = -namespace(dy).expm1(-residuals.y)
        dx *= dy
        return dx, {}


@dataclass(frozen=True, repr=False)
class Sigmoid(SameShape):
    """y = σ(x) = 1 / (1 + e⁻ˣ).

    dx = dy · y (1 - y)

    Shapes: x and y (...).
    """

    examples = "independent"

    def forward(self, params: Tree, x: Array) -> tuple[Array, OutputResiduals]:
        y = special.sigmoid(x)
        return y, OutputResiduals(y)

    def backward(self, params: Tree, residuals: OutputResiduals, dy: Array) -> tuple[Array, Tree]:
        return _sigmoid_gradient(dy, residuals.y), {}


@fused()
def _sigmoid_gradient(dy: Any, y: Any) -> Any:
    """dy · y (1 - y)."""
    return (1 - y) * y * dy


@dataclass(frozen=True, repr=False)
class Tanh(SameShape):
    """y = tanh(x).

    dx = dy · (1 - y²)

    Shapes: x and y (...).
    """

    examples = "independent"

    def forward(self, params: Tree, x: Array) -> tuple[Array, OutputResiduals]:
        y = namespace(x).tanh(x)
        return y, OutputResiduals(y)

    def backward(self, params: Tree, residuals: OutputResiduals, dy: Array) -> tuple[Array, Tree]:
        return _tanh_gradient(dy, residuals.y), {}


@fused()
def _tanh_gradient(dy: Any, y: Any) -> Any:
    """dy · (1 - y²)."""
    return (1 - y * y) * dy


@dataclass(frozen=True, repr=False)
class Softmax(SameShape):
    """yᵢ = e^xᵢ / Σⱼ e^xⱼ, over the last axis.

    dxᵢ = yᵢ (dyᵢ - Σⱼ dyⱼ yⱼ)

    Do not end a classifier with it: `losses.CrossEntropy` takes the logits x. The logarithm of this output
    would lose precision and time.

    Shapes: x and y (..., d).

    (Bridle, "Probabilistic interpretation of feedforward classification network outputs", 1990.)
    """

    examples = "independent"

    def forward(self, params: Tree, x: Array) -> tuple[Array, OutputResiduals]:
        y = special.softmax(x)
        return y, OutputResiduals(y)

    def backward(self, params: Tree, residuals: OutputResiduals, dy: Array) -> tuple[Array, Tree]:
        y = residuals.y
        dx = dy - namespace(dy).sum(dy * y, axis=-1, keepdims=True)
        dx *= y
        return dx, {}
