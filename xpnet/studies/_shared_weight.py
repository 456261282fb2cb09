"""Topologies whose connections share one weight, and their growth: a part of `weight-agnostic`."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from xpnet import data, losses, nn, optim, tree
from xpnet.backend import Backend, namespace
from xpnet.model import Model
from xpnet.random import Generator
from xpnet.studies.options import Options
from xpnet.tree import Array, Tree

SIZES = (3, 8, 8, 2)  # units of each layer
DENSITY = 0.5  # share of all possible connections in a random topology
SHARED = (-2.0, -1.0, -0.5, 0.5, 1.0, 2.0)  # the weights of the paper, to evaluate topologies with
Function = Callable[[Any, Array], Array]  # of an array namespace and x

FUNCTIONS: dict[str, tuple[Function, Function]] = {  # with their derivatives
    "identity": (lambda xp, x: x, lambda xp, x: xp.ones_like(x)),
    "tanh": (lambda xp, x: xp.tanh(x), lambda xp, x: 1 - xp.tanh(x) ** 2),
    "ReLU": (lambda xp, x: (x + xp.abs(x)) / 2, lambda xp, x: (xp.sign(x) + 1) / 2),
    "absolute": (lambda xp, x: xp.abs(x), lambda xp, x: xp.sign(x)),
    "sine": (lambda xp, x: xp.sin(x), lambda xp, x: xp.cos(x)),
    "Gaussian": (lambda xp, x: xp.exp(-x * x), lambda xp, x: -2 * x * xp.exp(-x * x)),
}


class UnitsResiduals(NamedTuple):
    x: Array


@dataclass(frozen=True, repr=False)
class Units(nn.Layer):
    """yⱼ = fⱼ(xⱼ), with a separate function for each unit.

    dxⱼ = fⱼ'(xⱼ) dyⱼ

    Shapes: x and y (..., n, d).

    Arguments:
        kinds: the names of the d functions.
    """

    kinds: tuple[str, ...]

    def forward(self, params: Tree, x: Array) -> tuple[Array, UnitsResiduals]:
        xp = namespace(x)
        y = [FUNCTIONS[kind][0](xp, x[..., j]) for j, kind in enumerate(self.kinds)]
        return xp.stack(y, axis=-1), UnitsResiduals(x)

    def backward(self, params: Tree, residuals: UnitsResiduals, dy: Array) -> tuple[Array, Tree]:
        x, xp = residuals.x, namespace(residuals.x)
        slopes = [FUNCTIONS[kind][1](xp, x[..., j]) for j, kind in enumerate(self.kinds)]
        return dy * xp.stack(slopes, axis=-1), {}


class Topology(NamedTuple):
    """The connections of each layer, a mask of 0 and 1 (n_in, n_out), and the hidden units' functions."""

    masks: tuple[np.ndarray, ...]
    kinds: tuple[tuple[str, ...], ...]

    @property
    def connections(self) -> int:
        return int(sum(mask.sum() for mask in self.masks))

    def network(self) -> nn.Sequential:
        """The network; `weights` makes its parameters."""
        layers: list[nn.Layer] = []
        for i, mask in enumerate(self.masks):
            n_in, n_out = mask.shape
            layers.append(nn.Linear(n_in, n_out, bias=False))
            if i < len(self.kinds):
                layers.append(Units(self.kinds[i]))
        return nn.Sequential(*layers)

    def weights(self, value: Callable[[tuple[int, ...]], Any]) -> Tree:
        """The parameters: `value(shape)` for each layer, 0 where there is no connection."""
        params: list[Tree] = []
        for i, mask in enumerate(self.masks):
            params.append({"weight": mask * value(mask.shape)})
            if i < len(self.kinds):
                params.append({})
        return tuple(params)

    def shared(self, values: Any) -> Tree:
        """Parameters of K networks on a leading axis: all connections of the k-th have the k-th value."""
        column = np.asarray(values, float)[:, np.newaxis, np.newaxis]
        return self.weights(lambda shape: column)


def random_topology(rng: Generator) -> Topology:
    """A topology with each connection present with probability `DENSITY`, and uniformly random functions."""
    masks = tuple((rng.random(shape) < DENSITY).astype(float) for shape in pairwise(SIZES))
    names = tuple(FUNCTIONS)
    kinds = tuple(tuple(names[i] for i in rng.integers(len(names), size=n)) for n in SIZES[1:-1])
    return Topology(masks, kinds)


def changed(topology: Topology, rng: Generator) -> Topology:
    """The topology with one connection added or removed, or another function in one unit."""
    masks, kinds = [mask.copy() for mask in topology.masks], [list(names) for names in topology.kinds]
    if rng.random() < 0.7:
        mask = masks[rng.integers(len(masks))]
        at = tuple(int(rng.integers(n)) for n in mask.shape)
        mask[at] = 1 - mask[at]
    else:
        names = kinds[rng.integers(len(kinds))]
        names[rng.integers(len(names))] = tuple(FUNCTIONS)[rng.integers(len(FUNCTIONS))]
    return Topology(tuple(masks), tuple(map(tuple, kinds)))


def grow(topology: Topology, changes: int, rng: Generator, judge: Callable[[Topology], float]) -> Topology:
    """Try random changes, and keep each one unless `judge` rates the topology lower."""
    value = judge(topology)
    for _ in range(changes):
        other = changed(topology, rng)
        if (new_value := judge(other)) >= value:
            topology, value = other, new_value
    return topology


def accuracies(topology: Topology, params: Tree, examples: data.Examples, backend: Backend) -> np.ndarray:
    """The accuracies (K,) of K networks, in one pass; the parameters have a leading axis of K."""
    x = backend.asarray(examples.x)
    outputs, _ = topology.network().forward(tree.map(backend.asarray, params), x)
    return (backend.to_numpy(outputs).argmax(axis=-1) == examples.y).mean(axis=-1)


def half_moons(n: int, rng: Generator) -> data.Examples:
    """Two interleaved half circles with noise: x (n, 3), whose last column is 1, and labels y (n,)."""
    y = np.arange(n) % 2
    angle = np.pi * rng.random(n)
    x = np.stack([np.cos(angle), np.sin(angle), np.ones(n)], axis=-1)
    x[y == 1, :2] = (1, 0.5) - x[y == 1, :2]
    x[:, :2] += rng.normal(0, 0.15, (n, 2)) - (0.5, 0.25)
    return data.Examples(x.astype(np.float32), y)


def trained(topology: Topology, start: float, options: Options, train: data.Examples) -> Tree:
    """Train a separate weight for each connection, from a shared start; masks keep the others at 0."""
    model = Model(
        topology.network(),
        losses.CrossEntropy(),
        optim.Adam(0.02),
        backend=options.backend,
        device=options.device,
    )
    model.params = topology.weights(lambda shape: start)
    masks = tree.map(model.backend.copy, topology.weights(lambda shape: 1))
    for _ in range(options.choose(1000, quick=300)):
        model.forward(train.x)
        model.zero_grads()
        model.backward(train.y)
        model.grads = tree.map(lambda gradient, mask: gradient * mask, model.grads, masks)
        model.step()
    return tree.map(model.backend.to_numpy, model.params)
