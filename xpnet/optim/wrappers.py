"""Wrappers: optimizers around an optimizer. They nest: `AverageWeights(ClipNorm(SGD(0.1), 1.0))`."""

from dataclasses import dataclass, replace
from typing import Self

from xpnet.optim._optimizer import Optimizer, require
from xpnet.optim.steps import Number, average, clip_norm, clip_value, copy
from xpnet.tree import Tree


@dataclass(frozen=True)
class _Wrapper(Optimizer):
    """Base class of wrappers: passes everything on to the optimizer inside."""

    optimizer: Optimizer

    @property
    def learning_rate(self) -> Number:
        return self.optimizer.learning_rate

    def with_learning_rate(self, rate: Number) -> Self:
        return replace(self, optimizer=self.optimizer.with_learning_rate(rate))

    def init(self, params: Tree) -> Tree:
        return self.optimizer.init(params)

    def evaluation_params(self, params: Tree, state: Tree) -> Tree:
        return self.optimizer.evaluation_params(params, state)


@dataclass(frozen=True)
class ClipNorm(_Wrapper):
    """Clip the global norm: scale all gradients down so that their common norm is at most c.

    g ← g · c / max(‖g‖, c),  ‖g‖ = √Σg² over all parameters

    PyTorch's clip_grad_norm_ divides by ‖g‖ + 1e-6 instead.

    Arguments:
        optimizer: receives the scaled gradients.
        max_norm: c > 0; an array of length K clips each of K networks separately.

    Raises ConfigError for a max_norm out of its range.

    (Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", 2013,
    algorithm 1.)
    """

    max_norm: Number

    def __post_init__(self) -> None:
        require(self, "max_norm", zero=False)

    def update(self, params: Tree, grads: Tree, state: Tree) -> tuple[Tree, Tree]:
        return self.optimizer.update(params, clip_norm(grads, self.max_norm), state)


@dataclass(frozen=True)
class ClipValue(_Wrapper):
    """Clip each element of the gradients: g ← min(max(g, -c), c).

    This is PyTorch's clip_grad_value_.

    Arguments:
        optimizer: receives the clipped gradients.
        max_value: c > 0.

    Raises ConfigError for a max_value out of its range.
    """

    max_value: Number

    def __post_init__(self) -> None:
        require(self, "max_value", zero=False)

    def update(self, params: Tree, grads: Tree, state: Tree) -> tuple[Tree, Tree]:
        return self.optimizer.update(params, clip_value(grads, self.max_value), state)


@dataclass(frozen=True)
class AverageWeights(_Wrapper):
    """Evaluate with an exponential moving average of the parameters; training does not use it.

    a ← δ a + (1 - δ) w  after each step, from a = w at the start

    `Model.evaluate`, `predict` and `save` use a. If the network has batch normalisation, each training step
    makes one more forward pass, with a, to collect the statistics that belong to a.

    Arguments:
        optimizer: updates w.
        decay: δ, 0 ≤ δ < 1.

    Raises ConfigError for a decay out of its range.

    (Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992; Tarvainen and
    Valpola, "Mean teachers are better role models", 2017, for the exponential form.)
    """

    decay: Number = 0.999

    def __post_init__(self) -> None:
        require(self, "decay", below=1)

    def init(self, params: Tree) -> Tree:
        return {"optimizer": self.optimizer.init(params), "average": copy(params)}

    def update(self, params: Tree, grads: Tree, state: Tree) -> tuple[Tree, Tree]:
        params, inner = self.optimizer.update(params, grads, state["optimizer"])
        mean = average(state["average"], params, self.decay)
        return params, {"optimizer": inner, "average": mean}

    def evaluation_params(self, params: Tree, state: Tree) -> Tree:
        return state["average"]
