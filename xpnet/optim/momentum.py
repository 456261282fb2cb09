"""Gradient descent with momentum."""

from dataclasses import dataclass

from xpnet.errors import ConfigError
from xpnet.optim._optimizer import Optimizer, require
from xpnet.optim.steps import (
    Number,
    accumulate,
    average,
    decay_weights,
    descend,
    is_zero,
    look_ahead,
    zeros_like,
)
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
        grads = decay_weights(grads, params, self.weight_decay)
        if is_zero(self.momentum):
            return descend(params, grads, self.learning_rate), state
        velocity = accumulate(state["velocity"], grads, self.momentum)
        direction = look_ahead(grads, velocity, self.momentum) if self.nesterov else velocity
        return descend(params, direction, self.learning_rate), {"velocity": velocity}


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
        grads = decay_weights(grads, params, self.weight_decay)
        velocity = average(state["velocity"], grads, self.beta)
        return descend(params, velocity, self.learning_rate), {"velocity": velocity}
