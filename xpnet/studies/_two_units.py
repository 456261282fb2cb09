"""Two hidden units that start equal, step by step: a part of `backprop_by_hand`."""

from typing import NamedTuple

import numpy as np

from xpnet import losses, nn, optim
from xpnet.model import Model
from xpnet.studies.options import Options
from xpnet.studies.report import Report

X, TARGET = np.array([[1.0, 2.0, -1.0]]), np.array([[1.0]])
LEARNING_RATE = 1.0
STEPS = 10


class State(NamedTuple):
    """The weights into the units (3, 2) and out of them (2,) after some steps, and dℓ/dy there."""

    w: np.ndarray
    v: np.ndarray
    slope: float


def train(options: Options, steps: int = STEPS) -> list[State]:
    """y = v₁ σ(x·w₁) + v₂ σ(x·w₂) from w = 0 and v = 0, and gradient descent on -log σ(y)."""
    model = Model(
        nn.Sequential(nn.Linear(3, 2, bias=False), nn.Sigmoid(), nn.Linear(2, 1, bias=False)),
        losses.BinaryCrossEntropy(),  # of the logit y, whose derivative σ(y) - 1 is never 0
        optim.SGD(LEARNING_RATE),
        options.backend,
        dtype="float64",
        device=options.device,
    )
    model.params = ({"weight": np.zeros((3, 2))}, {}, {"weight": np.zeros((2, 1))})
    states = []
    for _ in range(steps + 1):
        w, v = (model.backend.to_numpy(model.params[i]["weight"]).copy() for i in (0, 2))
        y = float(model.backend.to_numpy(model.forward(X))[0, 0])
        states.append(State(w, v[:, 0], 1 / (1 + np.exp(-y)) - float(TARGET[0, 0])))
        model.zero_grads()
        model.backward(TARGET)
        model.step()
    return states


def run(options: Options, report: Report) -> None:
    """Show that the units stay equal, and what the first step does."""
    report.section("Two equal hidden units")
    states = train(options)
    report.text(
        f"The network y = v₁ σ(x·w₁) + v₂ σ(x·w₂) starts with all weights at 0, for x = "
        f"({', '.join(f'{x:g}' for x in X[0])}), the loss ℓ = -log σ(y) and a learning rate of "
        f"{LEARNING_RATE:g}. The gradients are dℓ/dvᵢ = σ(x·wᵢ) dℓ/dy and dℓ/dwᵢ = vᵢ σ'(x·wᵢ) x dℓ/dy. In "
        "the first step vᵢ = 0, so w stays 0, and σ(0) = 1/2, so vᵢ becomes -½ dℓ/dy."
    )
    names = [f"w{unit}[{i + 1}]" for unit in "₁₂" for i in range(3)]
    report.table(
        "two-units",
        ["steps", *names, "v₁", "v₂", "dℓ/dy"],
        [
            [i, *map(float, each.w.T.ravel()), *map(float, each.v), each.slope]
            for i, each in enumerate(states)
        ],
        "The weights after each step, and the dℓ/dy of the next one.",
        dict.fromkeys((*names, "v₁", "v₂", "dℓ/dy"), ".4f"),
    )
    start, first, last = states[0], states[1], states[-1]
    report.expect(
        "After one step w₁ = w₂ = (0, 0, 0) and v₁ = v₂ = -½ dℓ/dy.",
        f"The largest |w| is {np.abs(first.w).max():g}; v₂ is {first.v[1]:.6g}, where dℓ/dy was "
        f"{start.slope:.6g}.",
        not first.w.any() and np.allclose(first.v, -start.slope / 2, rtol=1e-12, atol=0),
    )
    apart = max(float(np.abs(last.w[:, 0] - last.w[:, 1]).max()), float(abs(last.v[0] - last.v[1])))
    report.expect(
        f"After {STEPS} steps w₁ = w₂, which are not 0, and v₁ = v₂.",
        f"The largest |w| is {np.abs(last.w).max():.4f}; the units differ by at most {apart:g}.",
        apart == 0 and bool(np.abs(last.w).min() > 0),
    )
    report.text(
        f"So this start is not effective: after {STEPS} steps the two units differ by {apart:g}, and compute "
        f"together what one unit with the weight v₁ + v₂ = {last.v.sum():.4f} does. The study "
        "`initialization` shows the same in training."
    )
