"""Adaptive optimizers: a step size for each parameter."""

import math
from dataclasses import dataclass
from typing import Any

from xpnet import tree
from xpnet.backend import namespace
from xpnet.backend.fused import Fused, fused, sign, sqrt
from xpnet.optim._optimizer import Optimizer, require
from xpnet.optim.steps import Number, each_leaf, start_weight, zeros_like
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
        numbers = {"learning_rate": self.learning_rate, "beta": self.beta, "epsilon": self.epsilon}
        params, square = each_leaf(
            rmsprop_step, params, state["square"], grads, **numbers, weight_decay=self.weight_decay
        )
        return params, {"square": square}


@fused(overwrites=2)
def rmsprop_step(
    w: Any, v: Any, g: Any, learning_rate: Any, beta: Any, epsilon: Any, weight_decay: Any
) -> Any:
    """(w, v) after `RMSprop`'s step."""
    g = g + weight_decay * w
    v = beta * v + (1 - beta) * (g * g)
    return w - learning_rate * (g / (sqrt(v) + epsilon)), v


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
        numbers = {"learning_rate": self.learning_rate, "epsilon": self.epsilon}
        params, square = each_leaf(
            adagrad_step, params, state["square"], grads, **numbers, weight_decay=self.weight_decay
        )
        return params, {"square": square}


@fused(overwrites=2)
def adagrad_step(w: Any, s: Any, g: Any, learning_rate: Any, epsilon: Any, weight_decay: Any) -> Any:
    """(w, s) after `Adagrad`'s step."""
    g = g + weight_decay * w
    s = s + g * g
    return w - learning_rate * (g / (sqrt(s) + epsilon)), s


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
        return self._step(adam_step, params, grads, state)

    def _step(self, step: Fused, params: Tree, grads: Tree, state: Tree) -> tuple[Tree, Tree]:
        if not state:
            return params, state
        a = next_weight(state["mean_weight"], self.beta1)
        b = next_weight(state["square_weight"], self.beta2)
        numbers = {name: getattr(self, name) for name in ("learning_rate", "beta1", "beta2", "epsilon")}
        params, mean, square = each_leaf(
            step, params, state["mean"], state["square"], grads,
            a=a, b=b, **numbers, weight_decay=self.weight_decay,
        )  # fmt: skip
        return params, {"mean": mean, "mean_weight": a, "square": square, "square_weight": b}


@fused(overwrites=1)
def next_weight(weight: Any, beta: Any) -> Any:
    """β a + 1: the sum of the weights of all gradients, after one more."""
    return beta * weight + 1


@fused(overwrites=3)
def adam_step(
    w: Any, m: Any, v: Any, g: Any,
    a: Any, b: Any, learning_rate: Any, beta1: Any, beta2: Any, epsilon: Any, weight_decay: Any,
) -> Any:  # fmt: skip
    """(w, m, v) after `Adam`'s step, with a and b after it."""
    g = g + weight_decay * w
    m = beta1 * m + g
    v = beta2 * v + g * g
    # (m/a) / (√(v/b) + ε) = √b/a · m / (√v + ε √b), which has two divisions of arrays less.
    root = sqrt(b)
    return w - learning_rate * root / a * (m / (sqrt(v) + epsilon * root)), m, v


@dataclass(frozen=True)
class AdamW(Adam):
    """AdamW: `Adam` with decoupled weight decay.

    w ← (1 - η λ) w  (weights only, never biases), then Adam's step with λ = 0

    This is PyTorch's form. Arguments and errors: see `Adam`.

    (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019, algorithm 2, where ηλ is called λ.)
    """

    weight_decay: Number = 0.01

    def update(self, params: Tree, grads: Tree, state: Tree) -> tuple[Tree, Tree]:
        return self._step(adamw_step, params, grads, state)


@fused(overwrites=3)
def adamw_step(
    w: Any, m: Any, v: Any, g: Any,
    a: Any, b: Any, learning_rate: Any, beta1: Any, beta2: Any, epsilon: Any, weight_decay: Any,
) -> Any:  # fmt: skip
    """(w, m, v) after `AdamW`'s step, with a and b after it."""
    w = (1 - learning_rate * weight_decay) * w
    return adam_step.function(w, m, v, g, a, b, learning_rate, beta1, beta2, epsilon, 0)


@dataclass(frozen=True)
class NAdam(Optimizer):
    """NAdam: `Adam` with Nesterov momentum.

    g ← g + λ w  (weights only, never biases)
    μ = β₁ (1 - ½ 0.96^(ψt)),  μ' = β₁ (1 - ½ 0.96^(ψ(t + 1))),  P ← P μ
    m ← β₁ m + (1 - β₁) g
    v ← β₂ v + (1 - β₂) g²
    w ← w - η ((1 - μ) g / (1 - P) + μ' m / (1 - P μ')) / (√(v / (1 - β₂ᵗ)) + ε)

    t counts the steps, from 1: the momentum μ rises from β₁/2 to β₁. P is the product of all μ so far; it
    starts at 1. This is PyTorch's form: weight decay enters the gradient, as an L2 penalty does. The paper
    has μ in place of β₁ in m, and β₂ v in place of v in the last line. The state holds v / (1 - β₂) and
    (1 - β₂ᵗ) / (1 - β₂): the sums v and b of `Adam`.

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
        b, step = next_weight(state["square_weight"], self.beta2), state["step"] + 1
        momentum, next_momentum = self._momentum(step), self._momentum(step + 1)
        product = state["momentum_product"] * momentum
        params, mean, square = each_leaf(
            nadam_step, params, state["mean"], state["square"], grads,
            b=b,
            grads_factor=(1 - momentum) / (1 - product),
            mean_factor=next_momentum / (1 - product * next_momentum),
            learning_rate=self.learning_rate,
            beta1=self.beta1,
            beta2=self.beta2,
            epsilon=self.epsilon,
            weight_decay=self.weight_decay,
        )  # fmt: skip
        weights = {"square_weight": b, "momentum_product": product, "step": step}
        return params, {"mean": mean, "square": square, **weights}

    def _momentum(self, step: Array) -> Array:
        """μ = β₁ (1 - ½ 0.96^(ψt))."""
        return self.beta1 * (1 - namespace(step).exp(math.log(0.96) * self.momentum_decay * step) / 2)


@fused(overwrites=3)
def nadam_step(
    w: Any, m: Any, v: Any, g: Any,
    b: Any, grads_factor: Any, mean_factor: Any,
    learning_rate: Any, beta1: Any, beta2: Any, epsilon: Any, weight_decay: Any,
) -> Any:  # fmt: skip
    """(w, m, v) after `NAdam`'s step, with b after it and the factors of g and m."""
    g = g + weight_decay * w
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + g * g
    direction = grads_factor * g + mean_factor * m
    root = sqrt(b)  # multiply by √b as in Adam
    return w - learning_rate * root * (direction / (sqrt(v) + epsilon * root)), m, v


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
        numbers = {"learning_rate": self.learning_rate, "beta1": self.beta1, "beta2": self.beta2}
        params, mean = each_leaf(
            lion_step, params, state["mean"], grads, **numbers, weight_decay=self.weight_decay
        )
        return params, {"mean": mean}


@fused(overwrites=2)
def lion_step(w: Any, m: Any, g: Any, learning_rate: Any, beta1: Any, beta2: Any, weight_decay: Any) -> Any:
    """(w, m) after `Lion`'s step."""
    direction = sign(beta1 * m + (1 - beta1) * g)
    w = (1 - learning_rate * weight_decay) * w
    return w - learning_rate * direction, beta2 * m + (1 - beta2) * g
