"""Adaptive optimizers: a step size for each parameter."""

import math
from dataclasses import dataclass

from xpnet import tree
from xpnet.backend import namespace
from xpnet.optim._optimizer import Optimizer, require
from xpnet.optim.steps import (
    Number,
    accumulate,
    accumulate_squares,
    average,
    average_squares,
    decay_weights,
    descend,
    descend_by_root,
    interpolate,
    shrink_weights,
    sign,
    start_weight,
    weighted_sum,
    zeros_like,
)
from xpnet.tree import Array, Tree


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """RMSprop: divide the gradient by the root of a moving average of its square.

    g ← g + λ w  (weights only, never biases)
    v ← β v + (1 - β) g²
    w ← w - η g / (√v + ε)

    v starts at 0 without bias correction, and ε is outside the root, as in PyTorch. TensorFlow puts it
    inside.

    Arguments:
        learning_rate: η ≥ 0.
        beta: β, 0 ≤ β < 1; PyTorch calls it alpha.
        epsilon: ε ≥ 0.
        weight_decay: λ ≥ 0.

    Raises ConfigError for a value out of its range.

    (Tieleman and Hinton, "Lecture 6.5: RMSprop", Coursera, 2012.)
    """

    learning_rate: Number = 0.01
    beta: Number = 0.99
    epsilon: Number = 1e-8
    weight_decay: Number = 0.0

    def __post_init__(self) -> None:
        require(self, "learning_rate", "epsilon", "weight_decay")
        require(self, "beta", below=1)

    def init(self, params: Tree) -> Tree:
        return {"square": zeros_like(params)}

    def update(self, params: Tree, grads: Tree, state: Tree) -> tuple[Tree, Tree]:
        grads = decay_weights(grads, params, self.weight_decay)
        square = average_squares(state["square"], grads, self.beta)
        params = descend_by_root(params, grads, square, self.epsilon, self.learning_rate)
        return params, {"square": square}


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """Adagrad: divide the gradient by the root of the sum of its squares so far.

    g ← g + λ w  (weights only, never biases)
    s ← s + g²
    w ← w - η g / (√s + ε)

    s starts at 0, as in PyTorch. TensorFlow starts at 0.1.

    Arguments:
        learning_rate: η ≥ 0.
        epsilon: ε ≥ 0.
        weight_decay: λ ≥ 0.

    Raises ConfigError for a value out of its range.

    (Duchi, Hazan and Singer, "Adaptive subgradient methods", 2011, §1.1.)
    """

    learning_rate: Number = 0.01
    epsilon: Number = 1e-10
    weight_decay: Number = 0.0

    def __post_init__(self) -> None:
        require(self, "learning_rate", "epsilon", "weight_decay")

    def init(self, params: Tree) -> Tree:
        return {"square": zeros_like(params)}

    def update(self, params: Tree, grads: Tree, state: Tree) -> tuple[Tree, Tree]:
        grads = decay_weights(grads, params, self.weight_decay)
        square = accumulate_squares(state["square"], grads)
        params = descend_by_root(params, grads, square, self.epsilon, self.learning_rate)
        return params, {"square": square}


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam: the mean of the gradients, divided by the root of the mean of their squares.

    g ← g + λ w  (weights only, never biases)
    m ← β₁ m + g,   a ← β₁ a + 1
    v ← β₂ v + g²,  b ← β₂ b + 1
    w ← w - η (m/a) / (√(v/b) + ε)

    m and v are sums in which the weight of a gradient falls by the factor β with every step; a and b are the
    sums of these weights. So m/a and v/b are weighted means. The paper stores (1 - β₁) m and (1 - β₂) v and
    divides by 1 - β₁ᵗ and 1 - β₂ᵗ, which gives the same numbers; ε is in the same place as in the paper and
    in PyTorch. Weight decay enters the gradient, as an L2 penalty does; `AdamW` decouples it.

    Arguments:
        learning_rate: η ≥ 0.
        beta1, beta2: β₁ and β₂, at least 0 and below 1.
        epsilon: ε ≥ 0.
        weight_decay: λ ≥ 0.

    Raises ConfigError for a value out of its range.

    (Kingma and Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1.)
    """

    learning_rate: Number = 0.001
    beta1: Number = 0.9
    beta2: Number = 0.999
    epsilon: Number = 1e-8
    weight_decay: Number = 0.0

    def __post_init__(self) -> None:
        require(self, "learning_rate", "epsilon", "weight_decay")
        require(self, "beta1", "beta2", below=1)

    def init(self, params: Tree) -> Tree:
        if not tree.leaves(params):
            return {}
        return {
            "mean": zeros_like(params),
            "mean_weight": start_weight(self.beta1, params),
            "square": zeros_like(params),
            "square_weight": start_weight(self.beta2, params),
        }

    def update(self, params: Tree, grads: Tree, state: Tree) -> tuple[Tree, Tree]:
        return self._step(params, decay_weights(grads, params, self.weight_decay), state)

    def _step(self, params: Tree, grads: Tree, state: Tree) -> tuple[Tree, Tree]:
        if not state:
            return params, state
        mean = accumulate(state["mean"], grads, self.beta1)
        square = accumulate_squares(state["square"], grads, self.beta2)
        a = self.beta1 * state["mean_weight"] + 1
        b = self.beta2 * state["square_weight"] + 1
        root_b = namespace(b).sqrt(b)
        # (m/a) / (√(v/b) + ε) = √b/a · m / (√v + ε √b), which takes two passes over the arrays less.
        params = descend_by_root(params, mean, square, self.epsilon * root_b, self.learning_rate * root_b / a)
        return params, {"mean": mean, "mean_weight": a, "square": square, "square_weight": b}


@dataclass(frozen=True)
class AdamW(Adam):
    """AdamW: `Adam` with decoupled weight decay.

    w ← (1 - η λ) w  (weights only, never biases), then Adam's step with λ = 0

    This is PyTorch's form. Arguments and errors: see `Adam`.

    (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019, algorithm 2, where ηλ is called λ.)
    """

    weight_decay: Number = 0.01

    def update(self, params: Tree, grads: Tree, state: Tree) -> tuple[Tree, Tree]:
        return self._step(shrink_weights(params, self.learning_rate, self.weight_decay), grads, state)


@dataclass(frozen=True)
class NAdam(Optimizer):
    """NAdam: `Adam` with Nesterov momentum.

    g ← g + λ w  (weights only, never biases)
    μ = β₁ (1 - ½ 0.96^(ψt)),  μ' = β₁ (1 - ½ 0.96^(ψ(t + 1))),  P ← P μ
    m ← β₁ m + (1 - β₁) g
    v ← β₂ v + (1 - β₂) g²
    w ← w - η ((1 - μ) g / (1 - P) + μ' m / (1 - P μ')) / (√(v / (1 - β₂ᵗ)) + ε)

    The momentum μ rises from β₁/2 to β₁. P is the product of all μ so far; it starts at 1. This is PyTorch's
    form: weight decay enters the gradient, as an L2 penalty does. In place of v and 1 - β₂ᵗ the state holds
    v / (1 - β₂) and (1 - β₂ᵗ) / (1 - β₂), which are the sums v and b of `Adam`.

    Arguments:
        learning_rate: η ≥ 0.
        beta1, beta2: β₁ and β₂, at least 0 and below 1.
        epsilon: ε ≥ 0.
        weight_decay: λ ≥ 0.
        momentum_decay: ψ ≥ 0.

    Raises ConfigError for a value out of its range.

    (Dozat, "Incorporating Nesterov momentum into Adam", 2016, algorithm 2.)
    """

    learning_rate: Number = 0.002
    beta1: Number = 0.9
    beta2: Number = 0.999
    epsilon: Number = 1e-8
    weight_decay: Number = 0.0
    momentum_decay: Number = 0.004

    def __post_init__(self) -> None:
        require(self, "learning_rate", "epsilon", "weight_decay", "momentum_decay")
        require(self, "beta1", "beta2", below=1)

    def init(self, params: Tree) -> Tree:
        if not tree.leaves(params):
            return {}
        start = start_weight(self.beta1, params) + start_weight(self.momentum_decay, params)
        return {
            "mean": zeros_like(params),
            "square": zeros_like(params),
            "square_weight": start_weight(self.beta2, params),
            "momentum_product": start + 1,
            "step": start_weight(0.0, params),
        }

    def update(self, params: Tree, grads: Tree, state: Tree) -> tuple[Tree, Tree]:
        if not state:
            return params, state
        grads = decay_weights(grads, params, self.weight_decay)
        mean = average(state["mean"], grads, self.beta1)
        square = accumulate_squares(state["square"], grads, self.beta2)
        b, step = self.beta2 * state["square_weight"] + 1, state["step"] + 1
        momentum, next_momentum = self._momentum(step), self._momentum(step + 1)
        product = state["momentum_product"] * momentum
        grads_factor = (1 - momentum) / (1 - product)
        mean_factor = next_momentum / (1 - product * next_momentum)
        direction = weighted_sum(grads_factor, grads, mean_factor, mean)
        root_b = namespace(b).sqrt(b)  # multiply by √b as in Adam, which saves two passes over the arrays
        rate, epsilon = self.learning_rate * root_b, self.epsilon * root_b
        params = descend_by_root(params, direction, square, epsilon, rate)
        weights = {"square_weight": b, "momentum_product": product, "step": step}
        return params, {"mean": mean, "square": square, **weights}

    def _momentum(self, step: Array) -> Array:
        """μ = β₁ (1 - ½ 0.96^(ψt))."""
        return self.beta1 * (1 - namespace(step).exp(math.log(0.96) * self.momentum_decay * step) / 2)


@dataclass(frozen=True)
class Lion(Optimizer):
    """Lion: a step of size η for each parameter, against the sign of an average gradient.

    w ← (1 - η λ) w  (weights only, never biases)
    w ← w - η sign(β₁ m + (1 - β₁) g)
    m ← β₂ m + (1 - β₂) g

    Arguments:
        learning_rate: η ≥ 0; choose a tenth to a third of Adam's.
        beta1, beta2: β₁ and β₂, at least 0 and below 1.
        weight_decay: λ ≥ 0.

    Raises ConfigError for a value out of its range.

    (Chen et al., "Symbolic discovery of optimization algorithms", 2023, algorithm 2.)
    """

    learning_rate: Number = 0.0001
    beta1: Number = 0.9
    beta2: Number = 0.99
    weight_decay: Number = 0.0

    def __post_init__(self) -> None:
        require(self, "learning_rate", "weight_decay")
        require(self, "beta1", "beta2", below=1)

    def init(self, params: Tree) -> Tree:
        return {"mean": zeros_like(params)}

    def update(self, params: Tree, grads: Tree, state: Tree) -> tuple[Tree, Tree]:
        params = shrink_weights(params, self.learning_rate, self.weight_decay)
        direction = sign(interpolate(state["mean"], grads, self.beta1))
        mean = average(state["mean"], grads, self.beta2)
        return descend(params, direction, self.learning_rate), {"mean": mean}
