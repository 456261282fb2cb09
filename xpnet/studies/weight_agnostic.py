"""Networks that classify with one weight for all connections.

How much of the knowledge of a network is in its topology, and how much in its weights? Here all connections
share one weight w: a network is a set of connections, and a function for each unit. It is evaluated by its
mean accuracy over several w, so it cannot depend on one choice of w. (Gaier and Ha, "Weight agnostic neural
networks", 2019.)

The data are two half-moons, with a constant input of 1 instead of biases. Random topologies are compared with
a grown one: growth changes a random connection or function, and keeps the change unless the mean accuracy on
the training examples falls.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from xpnet import data, tree
from xpnet.backend import Backend
from xpnet.plots.drawing import Figure
from xpnet.random import generator
from xpnet.studies import _processes, sweep
from xpnet.studies._shared_weight import (
    DENSITY,
    SHARED,
    SIZES,
    Topology,
    accuracies,
    grow,
    half_moons,
    random_topology,
    trained,
)
from xpnet.studies.options import Options
from xpnet.studies.report import Report

SWEPT = np.linspace(-3, 3, 61)
DRAWS = 100  # of random weights for all connections
COLORS = ("#1f77b4", "#d95f02")
MARKERS = ("o", "^")


def run(options: Options, report: Report) -> None:
    """Draw and grow topologies, sweep their shared weight, and compare with separate weights."""
    backend = options.make_backend()
    train, test = (
        half_moons(n, generator(options.seed, name)) for n, name in ((400, "train"), (1000, "test"))
    )
    draws, starts, changes = options.choose((1000, 20, 3000), quick=(100, 6, 1000))
    report.config(
        {
            "units of each layer": "-".join(map(str, SIZES)), "density of random topologies": DENSITY,
            "random topologies": draws, "growths": starts, "changes tried in each": changes,
            "evaluated with w": ", ".join(f"{w:g}" for w in SHARED),
            "training and test examples": f"{len(train.y)}, {len(test.y)}",
        }
    )  # fmt: skip

    def judge(topology: Topology) -> float:
        return float(accuracies(topology, topology.shared(SHARED), train, backend).mean())

    drawn = [random_topology(generator(options.seed, "topology", i)) for i in range(draws)]
    processes = options.process_count()
    grown = _processes.in_order(
        lambda i: grow(drawn[i], changes, generator(options.seed, "growth", i), judge), starts, processes
    )
    topologies = {
        "random": drawn[0],
        f"best of {draws} random": max(drawn, key=judge),
        "grown": max(grown, key=judge),
    }
    swept = {name: accuracies(t, t.shared(SWEPT), test, backend) for name, t in topologies.items()}
    all_random = np.array(
        _processes.in_order(
            lambda i: accuracies(drawn[i], drawn[i].shared(SWEPT), test, backend), draws, processes
        )
    )
    sweep_the_weight(report, swept, np.array(all_random))
    regions(report, topologies["grown"], test, backend)
    separate_weights(report, options, topologies, train, test)


def sweep_the_weight(report: Report, swept: dict[str, np.ndarray], all_random: np.ndarray) -> None:
    """Add the accuracy against the shared weight, and the expectations about it."""
    report.section("One weight, swept")
    figure, axes = sweep.axes_of("shared weight w", "test accuracy")
    low, high = np.quantile(all_random, (0.05, 0.95), axis=0)
    axes.fill_between(SWEPT, low, high, color="#cccccc", alpha=0.6, linewidth=0, label="90% of random ones")
    for (name, values), style in zip(swept.items(), sweep.styles(len(swept)), strict=True):
        axes.plot(SWEPT, values, markersize=3, label=name, **style)
    sweep.legend(figure)
    report.figure(
        figure, "Each topology with one weight for all connections. Guessing has an accuracy of 0.5."
    )
    report.numbers(
        "swept", ["w", *swept],
        [[float(w), *(float(v[i]) for v in swept.values())] for i, w in enumerate(SWEPT)],
        "The same numbers:",
    )  # fmt: skip
    grown = swept["grown"]
    nonzero = np.abs(SWEPT) > 0.25
    least, most = float(grown[nonzero].min()), float(grown.max())
    means = {name: float(values[nonzero].mean()) for name, values in swept.items()}
    report.text(
        f"Over all |w| ≥ 0.3, the mean test accuracy is {means['random']:.1%} for the random topology and "
        f"{means['grown']:.1%} for the grown one, which has at least {least:.1%}, and at most {most:.1%} "
        f"with w = {SWEPT[grown.argmax()]:.1f}. With w = 0 all outputs are equal, and its accuracy is "
        f"{grown[len(SWEPT) // 2]:.1%}. Of the {len(all_random)} random topologies, "
        f"{(all_random[:, nonzero].mean(axis=1) > 0.6).mean():.1%} have a mean accuracy above 60%."
    )
    average = float(all_random[:, nonzero].mean())
    report.expect(
        "Random topologies with one weight are no better than guessing on average: accuracy 45% to 55%.",
        f"{average:.1%} over all topologies; {means['random']:.1%} for the first.",
        0.45 <= average <= 0.55,
    )
    report.expect(
        "The grown topology has a higher mean accuracy over w than the best random one.",
        "; ".join(f"{value:.1%} for {name}" for name, value in means.items()) + ".",
        means["grown"] == max(means.values()),
    )
    report.expect(
        "The grown topology beats guessing with every |w| ≥ 0.3, also with weights that its growth did not "
        "use.",
        f"The lowest accuracy is {least:.1%}.",
        least > 0.5,
    )


def regions(report: Report, topology: Topology, test: data.Examples, backend: Backend) -> None:
    """Add the classes that the grown network predicts in the plane, with four weights."""
    shown = (-2.0, -0.5, 0.5, 2.0)
    u, v = np.meshgrid(np.linspace(-2.2, 2.2, 120), np.linspace(-1.6, 1.6, 90))
    grid = np.stack([u.ravel(), v.ravel(), np.ones(u.size)], axis=-1)
    params = tree.map(backend.asarray, topology.shared(shown))
    outputs, _ = topology.network().forward(params, backend.asarray(grid))
    logits = backend.to_numpy(outputs)
    figure = Figure(figsize=(5.2, 4), layout="constrained")
    for axes, w, each in zip(figure.subplots(2, 2).flat, shown, logits, strict=True):
        answer = each.argmax(axis=-1).reshape(u.shape)
        axes.contourf(u, v, answer, levels=[-0.5, 0.5, 1.5], colors=["#cfe2f3", "#fce5cd"])
        for label, (color, marker) in enumerate(zip(COLORS, MARKERS, strict=True)):
            of_class = test.x[test.y == label][:100]
            axes.scatter(of_class[:, 0], of_class[:, 1], s=4, color=color, marker=marker)
        axes.set(title=f"w = {w:g}", xticks=[], yticks=[])
    report.figure(figure, "The predictions of the grown topology with four weights, and some test examples.")
    report.text(
        f"The grown topology has {topology.connections} connections; its hidden units are, layer by layer: "
        + "; ".join(", ".join(kinds) for kinds in topology.kinds)
        + "."
    )


def separate_weights(
    report: Report,
    options: Options,
    topologies: dict[str, Topology],
    train: data.Examples,
    test: data.Examples,
) -> None:
    """Compare the topologies with a separate weight for each connection, random or trained."""
    backend = options.make_backend()
    rows: list[list[Any]] = []
    for name, topology in topologies.items():
        accuracy_of: Callable[..., np.ndarray] = partial(accuracies, topology, backend=backend)
        best = float(SWEPT[accuracy_of(topology.shared(SWEPT), train).argmax()])
        rng = generator(options.seed, "weights")
        random = topology.weights(partial(_uniform, rng))
        learned = tree.map(lambda array: array[np.newaxis], trained(topology, best, options, train))
        rows.append(
            [
                name, topology.connections, float(accuracy_of(topology.shared(SHARED), test).mean()),
                float(accuracy_of(random, test).mean()), best,
                float(accuracy_of(topology.shared([best]), test)[0]), float(accuracy_of(learned, test)[0]),
            ]
        )  # fmt: skip
    report.section("A weight for each connection")
    columns = ["topology", "connections", "one w, mean", "random w", "best w", "with it", "trained"]
    report.table(
        "topologies", columns, rows,
        f"Test accuracy: the mean over the {len(SHARED)} shared weights of the evaluation; the mean of "
        f"{DRAWS} draws of U(-2, 2) for each connection; with the shared weight that is best on the training "
        "examples; and with separate weights that Adam trains from it.",
        {**dict.fromkeys([*columns[2:4], *columns[5:]], ".3f"), "best w": ".1f"},
    )  # fmt: skip
    *_, grown = rows
    _, _, shared, random_mean, best, with_best, learned_accuracy = grown
    report.text(
        f"The grown topology reaches {with_best:.1%} with the shared weight {best:.1f}, and "
        f"{learned_accuracy:.1%} with trained separate weights; the first random topology reaches "
        f"{rows[0][-1]:.1%} with trained weights. With random separate weights, the grown topology reaches "
        f"{random_mean:.1%} on average, {'less' if random_mean < shared else 'no less'} than with a shared "
        f"weight, {shared:.1%}: its growth used shared weights only."
    )
    report.expect(
        "The grown topology is better with trained separate weights than with a shared weight.",
        f"{learned_accuracy:.3f} against {with_best:.3f}.",
        learned_accuracy > with_best,
    )
    report.expect(
        "The grown topology depends on equal weights: it is worse with random separate weights.",
        f"{random_mean:.3f} against {shared:.3f} on average.",
        random_mean < shared,
    )


def _uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.uniform(-2, 2, (DRAWS, *shape))
