"""Gradient descent with momentum."""

from dataclasses import dataclass
from typing import Any

from xpnet.backend.fused import fused
from xpnet.errors import ConfigError
from xpnet.optim._optimizer import Optimizer, require
from xpnet.optim.steps import Number, accumulate, descend, each_leaf, is_zero, zeros_like
from xpnet.tree import Tree


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent, with optional momentum.

    g ← g + λ w  (weights only, never biases)
    v ← μ v + g
    w ← w - η v,  or with nesterov  w ← w - η (g + μ v)

    v starts at 0. It is a sum of gradients: for constant g it tends to g / (1 - μ). `EMAMomentum` keeps an
    average instead.

    Arguments:
        learning_rate: η ≥ 0.
        momentum: μ, 0 ≤ μ < 1.
        nesterov: whether to look ahead along v; needs momentum above 0.
        weight_decay: λ ≥ 0. The reported loss does not include it, unlike the penalty of `Model(l2=…)`.

    Raises ConfigError for a value out of its range.

    (Polyak, "Some methods of speeding up the convergence of iteration methods", 1964; Sutskever et al., "On
    the importance of initialization and momentum in deep learning", 2013, for the Nesterov form, here as
    PyTorch rearranges it.)
    """

    learning_rate: Number
    momentum: Number = 0.0
    nesterov: bool = False
    weight_decay: Number = 0.0

    def __post_init__(self) -> None:
        require(self, "learning_rate", "weight_decay")
        require(self, "momentum", below=1)
        if self.nesterov and is_zero(self.momentum):
            raise ConfigError("SGD: expected momentum above 0 with nesterov=True, got 0")

    def init(self, params: Tree) -> Tree:
        return {} if is_zero(self.momentum) else {"velocity": zeros_like(params)}

    def update(self, params: Tree, grads: Tree, state: Tree) -> tuple[Tree, Tree]:
        rate, decay = self.learning_rate, self.weight_decay
        if not self.nesterov and is_zero(decay):  # a gradient may be a `Product`, multiplied as it is added
            if is_zero(self.momentum):
                return descend(params, grads, rate), state
            velocity = accumulate(state["velocity"], grads, self.momentum)
            return descend(params, velocity, rate), {"velocity": velocity}
        if is_zero(self.momentum):
            (params,) = each_leaf(sgd_step, params, grads, learning_rate=rate, weight_decay=decay)
            return params, state
        step = nesterov_step if self.nesterov else momentum_step
        numbers = {"learning_rate": rate, "momentum": self.momentum, "weight_decay": decay}
        params, velocity = each_leaf(step, params, state["velocity"], grads, **numbers)
        return params, {"velocity": velocity}


@fused(overwrites=1)
def sgd_step(w: Any, g: Any, learning_rate: Any, weight_decay: Any) -> Any:
    """w - η (g + λ w)."""
    return w - learning_rate * (g + weight_decay * w)


@fused(overwrites=2)
def momentum_step(w: Any, v: Any, g: Any, learning_rate: Any, momentum: Any, weight_decay: Any) -> Any:
    """(w, v) after `SGD`'s step: v ← μ v + g + λ w,  w ← w - η v."""
    v = momentum * v + (g + weight_decay * w)
    return w - learning_rate * v, v


@fused(overwrites=2)
def nesterov_step(w: Any, v: Any, g: Any, learning_rate: Any, momentum: Any, weight_decay: Any) -> Any:
    """(w, v) after `SGD`'s step with nesterov: g ← g + λ w,  v ← μ v + g,  w ← w - η (g + μ v)."""
    g = g + weight_decay * w
    v = momentum * v + g
    return w - learning_rate * (g + momentum * v), v


@dataclass(frozen=True)
class EMAMomentum(Optimizer):
    """Gradient descent along an exponential moving average of the gradients.

    g ← g + λ w  (weights only, never biases)
    v ← β v + (1 - β) g
    w ← w - η v

    This is the (1 - β) form of momentum. With a learning rate 1/(1 - β) times as large, it takes the same
    steps as `SGD(momentum=β)`. v starts at 0 without bias correction, so the first steps are short.

    Arguments:
        learning_rate: η ≥ 0.
        beta: β, 0 ≤ β < 1.
        weight_decay: λ ≥ 0, as in `SGD`.

    Raises ConfigError for a value out of its range.
    """

    learning_rate: Number
    beta: Number = 0.9
    weight_decay: Number = 0.0

    def __post_init__(self) -> None:
        require(self, "learning_rate", "weight_decay")
        require(self, "beta", below=1)

    def init(self, params: Tree) -> Tree:
        return {"velocity": zeros_like(params)}

    def update(self, params: Tree, grads: Tree, state: Tree) -> tuple[Tree, Tree]:
        numbers = {"learning_rate": self.learning_rate, "beta": self.beta, "weight_decay": self.weight_decay}
        params, velocity = each_leaf(ema_step, params, state["velocity"], grads, **numbers)
        return params, {"velocity": velocity}


@fused(overwrites=2)
def ema_step(w: Any, v: Any, g: Any, learning_rate: Any, beta: Any, weight_decay: Any) -> Any:
    """(w, v) after `EMAMomentum`'s step."""
    v = beta * v + (1 - beta) * (g + weight_decay * w)
    return w - learning_rate * v, v
