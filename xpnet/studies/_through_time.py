"""Gradients through many steps of a recurrent network: a part of `backprop_by_hand`."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from xpnet import nn
from xpnet.backend import Backend
from xpnet.random import generator
from xpnet.studies.options import Options
from xpnet.studies.report import Report
from xpnet.studies.sweep import axes_of, legend, styles
from xpnet.train.drawing import Figure
from xpnet.tree import Array

UNITS = 8
STEPS = 30
FORGET_BIAS = 3.0  # σ(3) = 0.95: the cell keeps most of its state


class Recurrent(NamedTuple):
    """Norms of the gradient with respect to the state k steps before the end, k = 0 to STEPS.

    Fields:
        state: the last state, (UNITS,).
        norms: (STEPS + 1,).
        start: the gradient with respect to the first state, (UNITS,).
        largest: the largest σ' of the whole pass, for the plain network.
        weight: the spectral norm of the recurrent weights.
    """

    state: np.ndarray
    norms: np.ndarray
    start: np.ndarray
    largest: float
    weight: float


Pass = Callable[[Backend, np.ndarray, np.ndarray, np.ndarray], Recurrent]


def sequence(seed: int) -> np.ndarray:
    """The inputs, (STEPS, UNITS)."""
    return generator(seed, "sequence").normal(size=(STEPS, UNITS))


def plain(backend: Backend, x: np.ndarray, weight: np.ndarray, h: np.ndarray) -> Recurrent:
    """h ← σ(h W + x), and the gradients of the mean of the last state.

    Shapes: x (steps, UNITS), weight (UNITS, UNITS), h (UNITS,).
    """
    linear, sigmoid, kept, slopes = nn.Linear(UNITS, UNITS), nn.Sigmoid(), [], []
    state = backend.asarray(h[None])
    for inputs in x:
        params = {"weight": backend.asarray(weight), "bias": backend.asarray(inputs)}
        a, linear_residuals = linear.forward(params, state)
        state, sigmoid_residuals = sigmoid.forward({}, a)
        kept.append((params, linear_residuals, sigmoid_residuals))
        slopes.append(backend.to_numpy(state * (1 - state)).max())
    gradient = backend.asarray(np.full((1, UNITS), 1 / UNITS))
    gradients = [gradient]
    for params, linear_residuals, sigmoid_residuals in kept[::-1]:
        da, _ = sigmoid.backward({}, sigmoid_residuals, gradient)
        gradient, _ = linear.backward(params, linear_residuals, da)
        gradients.append(gradient)
    return _recurrent(backend, state, gradients, weight, float(np.max(slopes)))


def gated(backend: Backend, x: np.ndarray, weight: np.ndarray, c: np.ndarray) -> Recurrent:
    """The same for the state c of an LSTM with sigmoids everywhere.

    (f, i, o, g) = σ(h W + (x, x, x, x) + b),  c ← f ∗ c + i ∗ g,  h = o ∗ σ(c)

    Shapes: x (steps, UNITS), weight (UNITS, 4·UNITS), c (UNITS,).
    """
    linear, sigmoid, kept = nn.Linear(UNITS, 4 * UNITS), nn.Sigmoid(), []
    shift = np.repeat([FORGET_BIAS, 0.0, 0.0, 0.0], UNITS)
    state, hidden = backend.asarray(c[None]), backend.asarray(np.zeros((1, UNITS)))
    for inputs in x:
        params = {"weight": backend.asarray(weight), "bias": backend.asarray(np.tile(inputs, 4) + shift)}
        a, linear_residuals = linear.forward(params, hidden)
        gates, gate_residuals = sigmoid.forward({}, a)
        f, i, o, g = (gates[:, k * UNITS : (k + 1) * UNITS] for k in range(4))
        before, state = state, f * state + i * g
        squashed, state_residuals = sigmoid.forward({}, state)
        hidden = o * squashed
        parts = (before, f, i, o, g, squashed)
        kept.append((params, linear_residuals, gate_residuals, state_residuals, parts))
    gradient = backend.asarray(np.full((1, UNITS), 1 / UNITS))
    dhidden, gradients = backend.asarray(np.zeros((1, UNITS))), [gradient]
    for params, linear_residuals, gate_residuals, state_residuals, parts in kept[::-1]:
        before, f, i, o, g, squashed = parts
        gradient = gradient + sigmoid.backward({}, state_residuals, dhidden * o)[0]
        of_gates = (gradient * before, gradient * g, dhidden * squashed, gradient * i)
        da, _ = sigmoid.backward({}, gate_residuals, backend.xp.concat(of_gates, axis=1))
        dhidden, _ = linear.backward(params, linear_residuals, da)
        gradient = gradient * f
        gradients.append(gradient)
    return _recurrent(backend, state, gradients, weight, 0.0)


def _recurrent(
    backend: Backend, state: Array, gradients: list[Array], weight: np.ndarray, largest: float
) -> Recurrent:
    hosts = [backend.to_numpy(gradient)[0] for gradient in gradients]
    norms = np.linalg.norm(hosts, axis=1)
    return Recurrent(backend.to_numpy(state)[0], norms, hosts[-1], largest, float(np.linalg.norm(weight, 2)))


def differences(
    pass_: Pass, backend: Backend, x: np.ndarray, weight: np.ndarray, state: np.ndarray
) -> np.ndarray:
    """The gradient of the mean of the last state with respect to the first, by central differences."""
    epsilon = 1e-3
    ends = [
        [pass_(backend, x, weight, state + sign * each).state.mean() for sign in (1, -1)]
        for each in epsilon * np.eye(UNITS)
    ]
    return np.array([(ahead - behind) / (2 * epsilon) for ahead, behind in ends])


def run(options: Options, report: Report) -> None:
    """Compare the gradients of both networks."""
    report.section("Through many steps: the vanishing gradient")
    rng, x = generator(options.seed, "weights"), sequence(options.seed)
    weights = [rng.normal(size=(UNITS, n * UNITS)) / np.sqrt(UNITS) for n in (1, 4)]
    first = np.full(UNITS, 0.5)
    backend = options.make_backend("float64")
    simple, lstm = plain(backend, x, weights[0], first), gated(backend, x, weights[1], first)
    factor = simple.largest * simple.weight
    report.text(
        f"A recurrent network h ← σ(h W + x) of {UNITS} units is followed for {STEPS} steps, and the "
        "gradient of the mean of its last state goes back step by step. Each step multiplies it by W and by "
        "σ'. That is at most 1/4, at an input of 0, and close to 0 for large inputs, for example "
        f"{_slope(5):.4f} at 5 and {_slope(10):.1e} at 10; here it is at most {simple.largest:.4f}. With a "
        f"spectral norm of W of {simple.weight:.3f}, each step back multiplies the gradient by at most "
        f"{factor:.3g}. Where it vanishes, early inputs do not affect the updates of the weights."
    )
    report.text(
        "A remedy is an LSTM, here with sigmoids everywhere too. It carries a state c ← f ∗ c + i ∗ g with "
        "gates f and i. On its way back along c the gradient is multiplied by the forget gate f, which "
        f"starts near σ({FORGET_BIAS:g}) = {1 / (1 + np.exp(-FORGET_BIAS)):.3f}, and by no σ'."
    )
    figure = _figure(simple, lstm, factor)
    report.figure(figure, "The norm of the gradient against the number of steps back, on a logarithmic axis.")
    report.table(
        "through-time",
        ["steps back", "plain network", "bound", "LSTM"],
        [
            [k, float(simple.norms[k]), float(simple.norms[0] * factor**k), float(lstm.norms[k])]
            for k in range(0, STEPS + 1, 5)
        ],
        "The norm of the gradient with respect to the state that many steps before the end; the bound is "
        "(largest σ' · spectral norm of W) to the power of the steps.",
        dict.fromkeys(("plain network", "bound", "LSTM"), ".3e"),
    )
    shares = [float(each.norms[-1] / each.norms[0]) for each in (simple, lstm)]
    report.expect(
        f"Over {STEPS} steps the gradient of the plain network vanishes, below 10⁻⁶ of its size; the "
        "gradient of the LSTM stays above 10⁻³.",
        f"{shares[0]:.1e} of it is left in the plain network, {shares[1]:.2g} in the LSTM.",
        shares[0] < 1e-6 and shares[1] > 1e-3,
    )
    passes: tuple[Pass, ...] = (plain, gated)
    wrong = []
    for each, weight in zip(passes, weights, strict=True):
        exact = each(backend, x[-5:], weight, first).start
        wrong.append(float(np.abs(differences(each, backend, x[-5:], weight, first) - exact).max()))
    report.expect(
        "Both gradients are right: over 5 steps they agree with finite differences to 6 decimals.",
        f"The differences are at most {wrong[0]:.1e} and {wrong[1]:.1e}.",
        max(wrong) < 5e-7,
    )


def _slope(a: float) -> float:
    """σ'(a) = σ(a) σ(-a)."""
    return float(1 / (1 + np.exp(-a)) / (1 + np.exp(a)))


def _figure(simple: Recurrent, lstm: Recurrent, factor: float) -> Figure:
    figure, axes = axes_of("steps back", "norm of the gradient")
    steps = np.arange(STEPS + 1)
    curves = {"plain network": simple.norms, "bound": simple.norms[0] * factor**steps, "LSTM": lstm.norms}
    for (name, values), style in zip(curves.items(), styles(len(curves)), strict=True):
        axes.plot(steps, values, label=name, **style | {"markersize": 3})
    axes.set_yscale("log")
    legend(figure)
    return figure
