"""The studies of finite differences and shared weights, at their quick size: results known beforehand."""

import csv
from pathlib import Path

import numpy as np
import pytest

from quick_studies import QuickStudies
from xpnet import data, gradcheck, losses, nn, optim
from xpnet.model import Model
from xpnet.random import generator
from xpnet.studies import _differences, _shared_weight, finite_differences
from xpnet.studies._differences import SIZES as STEPS
from xpnet.studies._shared_weight import FUNCTIONS, SIZES, Units
from xpnet.studies.options import Options
from xpnet.studies.report import Report

NAMES = ("finite-differences", "weight-agnostic")


@pytest.fixture(scope="session")
def folders(quick: QuickStudies) -> QuickStudies:
    """The reports of the studies by name."""
    return quick


def table(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", NAMES)
def test_expectations_are_compared_with_results(folders: QuickStudies, name: str) -> None:
    rows = table(folders[name], "expectations")
    assert len(rows) >= 4
    assert all(row["expected"].endswith(".") and row["result"].endswith(".") for row in rows)
    page = (folders[name] / "report.html").read_text()
    assert "nan" not in page.partition("<main>")[2].partition("base64")[0]


def test_all_agree_with_finite_differences(folders: QuickStudies) -> None:
    rows = table(folders["finite-differences"], "expectations")
    assert [row["expected"] for row in rows if row["agrees"] != "true"] == []


def test_the_errors_fall_with_the_step_and_rise_again(folders: QuickStudies) -> None:
    for name in ("differences", "differences-largest", "differences-relu", "differences-relu-largest"):
        rows = table(folders["finite-differences"], name)
        assert [int(row["N"]) for row in rows] == list(STEPS)
        assert [int(row["N"]) for row in rows][:12] == [k * 10**i for i in range(6) for k in (1, 5)]
    rows = table(folders["finite-differences"], "differences-largest")
    central = [float(row["central, float64"]) for row in rows]
    for i in range(2, 6):  # two steps are a factor of 10: the error falls by 100
        assert central[i] / central[i + 2] == pytest.approx(100, rel=0.05)
    one_sided = [float(row["one-sided, float64"]) for row in rows]
    for i in (7, 8):  # before, the next term of Taylor's theorem still counts
        assert one_sided[i] / one_sided[i + 2] == pytest.approx(10, rel=0.05)
    single = [float(row["central, float32"]) for row in rows]
    assert single[11] > 100 * min(single)
    assert min(single) > 1e4 * min(central)


def test_the_regimes_of_a_curve_that_is_known() -> None:
    sizes = np.array(STEPS, float)
    errors = np.minimum(3e-3 / sizes**2 + 1e-12 * sizes, 0.1)
    errors[-1] = 0.5  # off by as much as the gradient
    found = _differences.regimes(errors, 0.5)
    assert found.before is not None
    assert found.after is not None
    assert found.before.slope == pytest.approx(-2, abs=0.1)
    assert found.after.slope == pytest.approx(1, abs=0.1)
    assert found.crossing == pytest.approx((3e-3 / 1e-12) ** (1 / 3), rel=0.5)
    assert found.best == 1000
    assert _differences.rounding(errors, 1e-12) == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize("errors", [np.zeros(len(STEPS)), np.ones(len(STEPS)), 1.0 / np.array(STEPS)])
def test_a_curve_without_two_regimes_has_no_crossing(errors: np.ndarray) -> None:
    """The errors of a dead unit, of a gradient too small to see, and of an exact loss."""
    found = _differences.regimes(errors, 0.5)
    assert found.after is None
    assert found.crossing is None


def test_the_network_has_the_size_of_the_course() -> None:
    for inputs, classes in ((784, 10), (784, 47), (3072, 10)):
        units = _differences.width(inputs, classes)
        parameters = (inputs + 1 + units + 1 + classes) * units + classes
        assert 500_000 <= parameters <= 1_000_000


def test_the_first_weights_and_those_of_largest_gradient(folders: QuickStudies) -> None:
    """Both sets are there, and all gradients agree with each other and with differences."""
    for name in ("gradients", "gradients-relu"):
        rows = table(folders["finite-differences"], name)
        assert [row["weights"] for row in rows] == ["first"] * 10 + ["largest"] * 10
        assert [(row["from unit"], row["to unit"]) for row in rows[:10]] == [
            ("1", str(i)) for i in range(1, 11)
        ]
        exact = np.array([float(row["by hand, float64"]) for row in rows])
        assert np.all(np.diff(np.abs(exact[10:])) <= 0)
        assert np.abs(exact[10:]).min() >= np.abs(exact[:10]).max()
        for column, tolerance in (("by hand, float32", 1e-5), ("difference", 1e-6)):
            found = np.array([float(row[column]) for row in rows])
            np.testing.assert_allclose(found, exact, rtol=0, atol=tolerance * np.abs(exact).max())


def trained(activation: nn.Layer, h: list[float]) -> _differences.Trained:
    """A network with two inputs and known first outputs h = activation(x W), for two weights of the next layer."""
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(2, 2), activation, nn.Linear(2, 2), activation, nn.Linear(2, 2)
    )
    models = {
        dtype: Model(net, losses.CrossEntropy(), optim.SGD(0.1), dtype=dtype) for dtype in _differences.TYPES
    }
    weight = np.array([[0.5, -0.25], [0.125, 0.75]])
    for model in models.values():
        model.params = (
            {},
            {"weight": np.diag(h), "bias": np.zeros(2)},
            {},
            {"weight": weight, "bias": np.array([1.0, 1.0])},
            {},
            {"weight": np.array([[1.0, -1.0], [-0.5, 0.5]]), "bias": np.zeros(2)},
        )
    sample = data.Examples(np.ones((1, 2)), np.array([0]))
    return _differences.Trained(models, _differences.NAMES[type(activation)], 2, sample, 1, 1.0, 1)


def test_a_dead_unit_has_gradients_and_differences_of_exactly_zero(tmp_path: Path) -> None:
    dead = trained(nn.ReLU(), [-1.0, 1.0])
    found = finite_differences.differences(dead, 2)
    assert not found.exact["first", "float64"].any()
    assert not any(found.errors["first", kind, dtype].any() for _, kind, dtype in found.errors)
    assert found.errors["largest", "central", "float64"].any()
    report = Report("finite-differences", options=Options(output_dir=str(tmp_path / "report")))
    finite_differences.report_gradients(report, dead, found, "gradients")
    assert "the first hidden unit is dead" in report.sections[-1].items[-1].text
    assert report.expectations[0].holds


def test_a_wrong_gradient_is_not_confirmed() -> None:
    right = trained(nn.Tanh(), [0.5, 1.0])
    found = finite_differences.differences(right, 2)
    assert max(found.smallest.values()) < 1e-8
    wrong = {key: 1.01 * values for key, values in found.exact.items()}
    loss = _differences.loss_of_weights(right.models["float64"], right.sample)
    errors = _differences.errors_by_size(loss, found.places["largest"], wrong["largest", "float64"])
    assert errors["central"].min() > 0.005 * np.abs(wrong["largest", "float64"]).max()


def test_the_kinks_that_a_step_crosses() -> None:
    """h = (2, 1); the next layer's inputs are 2.125 and 1.25: a step ε at a weight out of h₁ moves one by 2 ε."""
    network = trained(nn.ReLU(), [2.0, 1.0])
    assert _differences.kink(network, np.array([0, 1])) == pytest.approx(2 / 1.25)
    assert _differences.kink(network, np.array([2])) == pytest.approx(1 / 2.125)


def test_a_weight_of_zero_is_guessing_and_growing_helps(folders: QuickStudies) -> None:
    rows = table(folders["weight-agnostic"], "swept")
    middle = rows[len(rows) // 2]
    assert float(middle["w"]) == pytest.approx(0, abs=1e-12)
    assert float(middle["random"]) == float(middle["grown"]) == 0.5
    by_topology = {row["topology"]: row for row in table(folders["weight-agnostic"], "topologies")}
    random, best, grown = by_topology.values()
    assert float(random["one w, mean"]) <= float(best["one w, mean"]) < float(grown["one w, mean"])
    assert float(grown["one w, mean"]) > 0.75
    assert float(grown["trained"]) > 0.9


def test_the_gradients_of_units_with_functions_of_their_own() -> None:
    kinds = tuple(FUNCTIONS)
    report = gradcheck.check(Units(kinds), generator(0, "x").normal(size=(7, len(kinds))))
    assert max(report.directions, report.entries) < 1e-7


def test_shared_weights_are_those_of_networks_one_by_one() -> None:
    topology = _shared_weight.random_topology(generator(1, "topology"))
    assert [mask.shape for mask in topology.masks] == [(3, 8), (8, 8), (8, 2)]
    x = generator(0, "x").normal(size=(5, SIZES[0]))
    together, _ = topology.network().forward(topology.shared([-1.5, 0.5]), x)
    for w, outputs in zip((-1.5, 0.5), together, strict=True):
        alone, _ = topology.network().forward(topology.weights(lambda shape, w=w: w), x)
        np.testing.assert_allclose(outputs, alone, rtol=1e-12)


def test_training_makes_no_connection_that_is_not_there() -> None:
    topology = _shared_weight.random_topology(generator(1, "topology"))
    train = _shared_weight.half_moons(40, generator(0, "train"))
    params = _shared_weight.trained(topology, 0.5, Options(quick=True), train)
    for mask, layer in zip(topology.masks, params[::2], strict=True):
        assert np.all(layer["weight"][mask == 0] == 0)
    assert any(
        np.any(layer["weight"][mask == 1] != 0.5)
        for mask, layer in zip(topology.masks, params[::2], strict=True)
    )


def test_growing_never_gets_worse_and_changes_one_thing_at_a_time() -> None:
    rng = generator(0, "growth")
    topology = _shared_weight.random_topology(rng)
    for _ in range(30):
        other = _shared_weight.changed(topology, rng)
        pairs = zip(topology.masks, other.masks, strict=True)
        connections = sum(int((a != b).sum()) for a, b in pairs)
        functions = sum(
            a != b for one, two in zip(topology.kinds, other.kinds, strict=True)
            for a, b in zip(one, two, strict=True)
        )  # fmt: skip
        assert connections + functions <= 1
        topology = other
    grown = _shared_weight.grow(topology, 50, rng, judge=lambda each: -each.connections)
    assert grown.connections < topology.connections
