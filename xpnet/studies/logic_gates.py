"""Logic gates with threshold and sigmoid units.

A neuron with a threshold cuts the plane of its two inputs along a line. That is enough for AND and OR, but
not for XOR and XNOR (Minsky and Papert, "Perceptrons", 1969): they need a hidden layer, of two units.
"""

from typing import NamedTuple

import numpy as np
from scipy import optimize

import xpnet
from xpnet import losses, nn, optim
from xpnet.studies.options import Options

INPUTS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float)
GATES = {  # what comes out for each row of INPUTS; for NOT, which has one input, for 0 and 1
    "NOT": np.array([1, 0]),
    "AND": np.array([0, 0, 0, 1]),
    "OR": np.array([0, 1, 1, 1]),
    "NAND": np.array([1, 1, 1, 0]),
    "NOR": np.array([1, 0, 0, 0]),
    "XOR": np.array([0, 1, 1, 0]),
    "XNOR": np.array([1, 0, 0, 1]),
}
# Weights and bias of one sigmoid unit. The numbers are large so that σ is close to 0 or 1.
UNITS = {
    "NOT": (-20, 10),
    "AND": (20, 20, -30),
    "OR": (20, 20, -10),
    "NAND": (-20, -20, 30),
    "NOR": (-20, -20, 10),
}
CIRCUITS = {"XOR": ("OR", "NAND", "AND"), "XNOR": ("AND", "NOR", "OR")}  # two hidden units, then the output
GRID = np.arange(-32, 33) / 16  # of w₁, w₂ and b: sixteenths, whose sums are exact
OPTIMIZER = optim.SGD(learning_rate=1.0, momentum=0.9)
EPOCHS = 500


class Search(NamedTuple):
    """What the threshold neurons of a grid can do: so many `perfect` ones, `best` of 4 rows right."""

    units: int
    perfect: int
    best: int


class Separation(NamedTuple):
    """What linear programming says of one threshold neuron.

    Either there are weights (w₁, w₂, b) that satisfy all inequalities A (w₁, w₂, b) ≥ 1, or a certificate
    y ≥ 0 that no weights do: yᵀA = 0 although yᵀ1 > 0.
    """

    inequalities: np.ndarray
    weights: np.ndarray | None
    certificate: np.ndarray | None


class Trained(NamedTuple):
    """A network after training, and how many of the inputs it gets wrong."""

    seed: int
    model: xpnet.Model
    errors: int
    loss: float


def inputs(gate: str) -> np.ndarray:
    """Shapes: (4, 2), or (2, 1) for NOT."""
    return INPUTS if gate != "NOT" else np.array([[0.0], [1.0]])


def search(options: Options, gate: str) -> Search:
    """Try all threshold neurons whose w₁, w₂ and b are on the grid: a `Linear` with as many outputs."""
    backend = options.make_backend("float64")
    w1, w2, b = (axis.ravel() for axis in np.meshgrid(GRID, GRID, GRID))
    params = {"weight": backend.asarray(np.stack([w1, w2])), "bias": backend.asarray(b)}
    z, _ = nn.Linear(2, len(b)).forward(params, backend.asarray(INPUTS))
    fires = backend.to_numpy(losses.BinaryCrossEntropy().predict(z))  # 1 where z > 0
    right = (fires == GATES[gate][:, None]).sum(axis=0)
    return Search(len(b), int((right == len(INPUTS)).sum()), int(right.max()))


def separate(gate: str) -> Separation:
    """Weights for one threshold neuron, or a certificate (Farkas' lemma) that there are none.

    The neuron is right about input x if s (w·x + b) > 0, with s = 1 where the gate gives 1 and s = -1
    where it gives 0. Weights for this can be scaled up until s (w·x + b) ≥ 1: an inequality for each input.
    """
    signs = 2 * GATES[gate][:, None] - 1
    inequalities = signs * np.column_stack([INPUTS, np.ones(len(INPUTS))]) + 0.0  # no -0
    one = np.ones(len(INPUTS))
    found = optimize.linprog(np.zeros(3), A_ub=-inequalities, b_ub=-one, bounds=(None, None))
    if found.success:
        return Separation(inequalities, found.x, None)
    refuted = optimize.linprog(-one, A_eq=inequalities.T, b_eq=np.zeros(3), bounds=(0, 1))
    return Separation(inequalities, None, refuted.x)


def threshold_neuron(options: Options, weights: np.ndarray) -> np.ndarray:
    """What the neuron with weights (w₁, w₂, b) gives for the four inputs: 1 where w·x + b > 0."""
    backend = options.make_backend("float64")
    params = {"weight": backend.asarray(weights[:2, None]), "bias": backend.asarray(weights[2:])}
    z, _ = nn.Linear(2, 1).forward(params, backend.asarray(INPUTS))
    return backend.to_numpy(losses.BinaryCrossEntropy().predict(z))


def network(options: Options, gate: str, seed: int = 0) -> xpnet.Model:
    """The smallest sigmoid network for the gate: one unit, or two hidden units and one."""
    n_in = inputs(gate).shape[1]
    hidden = (nn.Linear(n_in, 2), nn.Sigmoid()) if gate in CIRCUITS else ()
    net = nn.Sequential(*hidden, nn.Linear(2 if hidden else n_in, 1))
    return xpnet.Model(
        net,
        losses.BinaryCrossEntropy(),  # it takes logits: the sigmoid of the output is in it
        OPTIMIZER,
        options.backend,
        seed=seed,
        dtype="float64",
        device=options.device,
    )


def hand_set(options: Options, gate: str) -> xpnet.Model:
    """The network with weights that one can think of: a hidden unit is a gate, too."""
    model = network(options, gate)
    if gate in CIRCUITS:
        *hidden, output = (np.array(UNITS[name], float) for name in CIRCUITS[gate])
        units = np.column_stack(hidden)
        first = {"weight": units[:-1], "bias": units[-1]}
        model.params = (first, {}, {"weight": output[:-1, None], "bias": output[-1:]})
    else:
        unit = np.array(UNITS[gate], float)
        model.params = ({"weight": unit[:-1, None], "bias": unit[-1:]},)
    return model


def train(options: Options, gate: str, seed: int) -> Trained:
    """The network after gradient descent with momentum from random weights."""
    model = network(options, gate, seed)
    model.fit(inputs(gate), GATES[gate], epochs=EPOCHS, batch_size=len(GATES[gate]))
    result = model.evaluate(inputs(gate), GATES[gate])
    assert result.errors is not None
    return Trained(seed, model, result.errors, result.loss)
