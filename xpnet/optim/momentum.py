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
    """Stochastic gradient descent, with momentum as Polyak and PyTorch write it.

    g ← g + λ w  (weights only, never biases)
    v ← μ v + g
    w ← w - η v,  or with nesterov  w ← w - η (g + μ v)

    v starts at 0 and is a sum of gradients, up to 1/(1 - μ) times one: `EMAMomentum` averages them.

    Arguments:
        learning_rate: η ≥ 0.
        momentum: μ, 0 ≤ μ < 1.
        nesterov: look ahead along v; needs momentum.
        weight_decay: λ ≥ 0. The reported loss does not show it; that of `Model(l2=…)` does.

    Raises ConfigError for a value out of its range.

    (Polyak, 1964; Sutskever et al., "On the importance of initialization and momentum in deep
    learning", 2013, for the Nesterov form, here as PyTorch rearranges it.)
    """

    learning_rate: Number
    momentum: Number = 0.0
    nesterov: bool = False
    weight_decay: Number = 0.0

    def __post_init__(self) -> None:
        require(self, "learning_rate")
        require(self, "momentum", below=1)
        require(self, "weight_decay")
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

    One course teaches this "(1 - β)" form. It differs from `SGD(momentum=β)` by the factor (1 - β):
    the same path if the learning rate is 1/(1 - β) times as large here. v starts at 0 and is not
    corrected for it, so the first steps are short.

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
        require(self, "learning_rate")
        require(self, "beta", below=1)
        require(self, "weight_decay")

    def init(self, params: Tree) -> Tree:
        return {"velocity": zeros_like(params)}

    def update(self, params: Tree, grads: Tree, state: Tree) -> tuple[Tree, Tree]:
        grads = decay_weights(grads, params, self.weight_decay)
        velocity = average(state["velocity"], grads, self.beta)
        return descend(params, velocity, self.learning_rate), {"velocity": velocity}
