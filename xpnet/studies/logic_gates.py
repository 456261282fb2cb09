"""Logic gates with threshold and sigmoid units.

A neuron with a threshold divides the plane of its two inputs by a line. This suffices for AND and OR, but not
for XOR and XNOR (Minsky and Papert, "Perceptrons", 1969): they need a hidden layer of two units.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from xpnet import losses, nn, optim, tree
from xpnet.model import Model
from xpnet.plots.drawing import Figure
from xpnet.studies import _circuits, _threshold_neurons
from xpnet.studies._threshold_neurons import GATES, INPUTS, draw_points, in_words
from xpnet.studies.options import Options
from xpnet.studies.report import Report

LOSS = losses.BinaryCrossEntropy()  # of logits: it contains the sigmoid of the output
# Weights and bias of one sigmoid unit. The numbers are large so that σ is close to 0 or 1.
UNITS = {
    "NOT": (-20, 10),
    "AND": (20, 20, -30),
    "OR": (20, 20, -10),
    "NAND": (-20, -20, 30),
    "NOR": (-20, -20, 10),
}
CIRCUITS = {"XOR": ("OR", "NAND", "AND"), "XNOR": ("AND", "NOR", "OR")}  # two hidden units, then the output
OPTIMIZER = optim.SGD(learning_rate=1.0, momentum=0.9)
EPOCHS = 500


class Trained(NamedTuple):
    """A network after training, and the number of inputs that it gets wrong."""

    seed: int
    model: Model
    errors: int
    loss: float


def inputs(gate: str) -> np.ndarray:
    """The inputs of the gate. Shapes: (4, 2), or (2, 1) for NOT."""
    return INPUTS if gate != "NOT" else np.array([[0.0], [1.0]])


def network(options: Options, gate: str, seed: int = 0) -> Model:
    """The smallest sigmoid network for the gate: one unit, or two hidden units and an output unit."""
    n_in = inputs(gate).shape[1]
    hidden = (nn.Linear(n_in, 2), nn.Sigmoid()) if gate in CIRCUITS else ()
    net = nn.Sequential(*hidden, nn.Linear(2 if hidden else n_in, 1))
    return Model(
        net,
        LOSS,
        OPTIMIZER,
        options.backend,
        seed=seed,
        dtype="float64",
        device=options.device,
    )


def hand_set(options: Options, gate: str) -> Model:
    """The network with weights set by hand: each hidden unit is itself a gate."""
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


def gives(probabilities: np.ndarray) -> np.ndarray:
    """The output of a gate: 1 where the sigmoid is at least 1/2, else 0."""
    return (probabilities >= 0.5).astype(int)


def train(options: Options, gate: str, seeds: Iterable[int]) -> list[Trained]:
    """Train a network from the random weights of each seed, by gradient descent with momentum.

    All networks are trained at once: their parameters are stacked on a leading axis.
    """
    models = [network(options, gate, seed) for seed in seeds]
    backend, net = models[0].backend, models[0].net
    hosts = [tree.map(backend.to_numpy, model.params) for model in models]
    params = tree.map(lambda *arrays: backend.asarray(np.stack(arrays)), *hosts)
    x = backend.asarray(inputs(gate))
    target = backend.asarray(np.tile(GATES[gate][:, None].astype(float), (len(models), 1, 1)))
    state = OPTIMIZER.init(params)
    for _ in range(EPOCHS):
        logits, residuals = net.forward(params, x)
        _, loss_residuals = LOSS.forward(logits, target)
        _, grads = net.backward(params, residuals, LOSS.backward(loss_residuals))
        params, state = OPTIMIZER.update(params, grads, state)
    values = backend.to_numpy(LOSS.forward(net.forward(params, x)[0], target)[0])
    trained = []
    for k, (seed, model) in enumerate(zip(seeds, models, strict=True)):
        model.params = tree.map(lambda stacked, k=k: backend.to_numpy(stacked)[k], params)
        errors = int((gives(_probabilities(gate, model)) != GATES[gate]).sum())
        trained.append(Trained(seed, model, errors, float(values[k])))
    return trained


def run(options: Options, report: Report) -> None:
    """Find one neuron for each gate or prove that none exists, then set and train networks."""
    seeds = options.seeds(options.choose(20, quick=5))
    report.config({"optimizer": OPTIMIZER, "epochs": EPOCHS, "seeds": len(seeds)})
    _threshold_neurons.run(options, report)
    by_hand = {gate: hand_set(options, gate) for gate in GATES}
    trained = {gate: train(options, gate, seeds) for gate in GATES}
    _by_hand(report, by_hand)
    _trained(report, by_hand, trained)


def _by_hand(report: Report, models: Mapping[str, Model]) -> None:
    report.section("The smallest sigmoid networks, set by hand")
    report.text(
        "One sigmoid unit is a threshold neuron with a soft edge: its output counts as 1 where it is at "
        "least 1/2, that is where w₁x₁ + w₂x₂ + b ≥ 0. With weights of 20 the edge is sharp. XOR is (x₁ OR "
        "x₂) AND (x₁ NAND x₂): two hidden units and an output unit. XNOR is (x₁ AND x₂) OR (x₁ NOR x₂). "
        "These are the smallest networks: a single unit is a threshold neuron, and the output of a network "
        "with a single hidden unit is a monotone function of one w₁x₁ + w₂x₂ + b, so it is right for no more "
        "gates than a threshold neuron."
    )
    report.table(
        "weights",
        ["gate", "network", "unit", "works as", "w₁", "w₂", "bias"],
        _circuits.rows(UNITS, CIRCUITS),
        "The weights set by hand. The inputs of the output unit of XOR and XNOR are the two hidden units.",
        dict.fromkeys(("w₁", "w₂", "bias"), "g"),
    )
    report.figure(
        [_circuits.drawing(gate, UNITS, CIRCUITS) for gate in CIRCUITS],
        "The networks for XOR and XNOR: weights on the lines, biases in the units.",
    )
    report.figure(
        _boundaries(models), "The outputs of the networks with hand-set weights, from 0 (white) to 1 (blue)."
    )
    wrong = {gate: np.abs(_probabilities(gate, model) - GATES[gate]).max() for gate, model in models.items()}
    worst = max(wrong, key=lambda gate: wrong[gate])
    report.expect(
        "With hand-set weights, the outputs of all gates are 0 and 1 to 3 digits.",
        f"The largest error is {wrong[worst]:.1e}, for {worst}.",
        wrong[worst] < 5e-4,
    )
    right = [
        gate for gate, model in models.items()
        if np.array_equal(gives(_probabilities(gate, model)), GATES[gate])
    ]  # fmt: skip
    report.expect(
        "With the threshold at 1/2, all gates are right for all inputs.",
        f"Right for all inputs: {in_words(right)}.",
        len(right) == len(GATES),
    )


def _trained(report: Report, by_hand: Mapping[str, Model], trained: Mapping[str, list[Trained]]) -> None:
    report.section("The same networks, trained")
    n = len(trained["XOR"])
    learned = {gate: [each for each in runs if each.errors == 0] for gate, runs in trained.items()}
    best = {gate: min(runs, key=lambda each: each.loss) for gate, runs in trained.items()}
    report.text(
        f"Each network is trained on its whole truth table, from random weights, with {n} seeds. The loss "
        "of a single unit is convex in its weights, so every minimum is the global one. With hidden units "
        "the loss is not convex."
    )
    shown = {gate: each.model for gate, each in best.items()}
    stuck = [each for runs in trained.values() for each in runs if each.errors]
    if stuck:
        gate = next(gate for gate, runs in trained.items() if stuck[0] in runs)
        shown[f"{gate}, seed {stuck[0].seed}"] = stuck[0].model
    report.figure(
        _boundaries(shown),
        "The output of the best trained network for each gate, from 0 (white) to 1 (blue)"
        + ("; the last network did not learn its gate." if stuck else "."),
    )
    report.table(
        "networks",
        ["gate", "network", "parameters", "learned", "seeds", "least loss", "greatest loss"],
        [
            [
                gate, _shape(gate), best[gate].model.parameter_count(), len(learned[gate]), len(runs),
                best[gate].loss, max(each.loss for each in runs),
            ]
            for gate, runs in trained.items()
        ],
        "The number of seeds that learned each gate: all outputs are on the right side of 1/2.",
    )  # fmt: skip
    report.table(
        "truth-tables",
        ["gate", "input", "output", "by hand", "trained"],
        [
            [gate, ", ".join(f"{x:g}" for x in row), int(output), *values]
            for gate in GATES
            for row, output, *values in zip(
                inputs(gate), GATES[gate], _probabilities(gate, by_hand[gate]),
                _probabilities(gate, best[gate].model), strict=True,
            )
        ],
        "The truth tables, and the outputs of the networks.",
        {"by hand": ".5f", "trained": ".4f"},
    )  # fmt: skip
    if stuck:
        losses_of_stuck = [each.loss for each in stuck]
        report.text(
            f"{len(stuck)} trainings did not learn their gate. Their losses range from "
            f"{min(losses_of_stuck):.4f} to {max(losses_of_stuck):.4f}. Two right outputs and two outputs of "
            f"1/2 give log(2)/2 = {np.log(2) / 2:.4f}."
        )
    always = [gate for gate in GATES if len(learned[gate]) == n]
    report.expect(
        "A single unit learns its gate with every seed.",
        f"Learned with all {n} seeds: {in_words(always)}.",
        all(gate in always for gate in UNITS),
    )
    report.expect(
        "Two hidden units learn XOR and XNOR with some seeds, but not with all.",
        " and ".join(f"{gate} with {len(learned[gate])} of {n} seeds" for gate in CIRCUITS) + ".",
        all(learned[gate] for gate in CIRCUITS) and any(len(learned[gate]) < n for gate in CIRCUITS),
    )


def _shape(gate: str) -> str:
    return "2-2-1" if gate in CIRCUITS else f"{inputs(gate).shape[1]}-1"


def _probabilities(gate: str, model: Model) -> np.ndarray:
    return model.predict_proba(inputs(gate))[:, 0]


def _boundaries(models: Mapping[str, Model]) -> Figure:
    figure = Figure(figsize=(5.2, 5.6), layout="constrained")
    all_axes = figure.subplots(3, 3).ravel()
    line = np.linspace(-0.4, 1.4, 61)
    plane = np.stack([axis.ravel() for axis in np.meshgrid(line, line)], axis=1)
    for axes, (name, model) in zip(all_axes, models.items(), strict=False):
        gate = name.partition(",")[0]
        axes.set_title(name, fontsize=10)
        if gate == "NOT":
            axes.plot(line, model.predict_proba(line[:, None])[:, 0], color="#1f77b4")
            axes.plot([0, 1], GATES[gate], "o", color="black", markersize=5)
            axes.set(xlim=(-0.4, 1.4), ylim=(-0.4, 1.4), aspect="equal", xticks=[0, 1], yticks=[0, 1])
            continue
        p = model.predict_proba(plane)[:, 0].reshape(len(line), len(line))
        axes.contourf(line, line, p, levels=np.linspace(0, 1, 11), cmap="Blues", vmin=0, vmax=1.8)
        if p.min() < 0.5 < p.max():
            axes.contour(line, line, p, levels=[0.5], colors=["#d95f02"])
        draw_points(axes, gate)
    for axes in all_axes[len(models) :]:
        axes.axis("off")
    return figure
