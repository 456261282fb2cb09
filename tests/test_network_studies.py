"""The studies of finite differences and shared weights, at their quick size: results known beforehand."""

import csv
from pathlib import Path

import numpy as np
import pytest

from xpnet import gradcheck
from xpnet.random import generator
from xpnet.studies import _shared_weight, finite_differences, runner
from xpnet.studies._shared_weight import FUNCTIONS, SIZES, Units
from xpnet.studies.finite_differences import SIZES as STEPS
from xpnet.studies.options import Options

NAMES = ("finite-differences", "weight-agnostic")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("studies")
    for name in NAMES:
        runner.run(name, Options(quick=True, output_dir=str(folder / name)))
    return {name: folder / name for name in NAMES}


def table(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", NAMES)
def test_expectations_are_compared_with_results(folders: dict[str, Path], name: str) -> None:
    rows = table(folders[name], "expectations")
    assert len(rows) >= 4
    assert all(row["expected"].endswith(".") and row["result"].endswith(".") for row in rows)
    page = (folders[name] / "report.html").read_text()
    assert "nan" not in page.partition("<main>")[2].partition("base64")[0]


def test_the_errors_fall_with_the_step_and_rise_again(folders: dict[str, Path]) -> None:
    rows = table(folders["finite-differences"], "differences")
    assert [int(row["N"]) for row in rows] == list(STEPS)
    assert [int(row["N"]) for row in rows][:12] == [k * 10**i for i in range(6) for k in (1, 5)]
    central = [float(row["central, float64"]) for row in rows]
    for i in range(2, 7):  # two steps are a factor of 10: the error falls by 100
        assert central[i] / central[i + 2] == pytest.approx(100, rel=0.05)
    one_sided = [float(row["one-sided, float64"]) for row in rows]
    for i in range(4, 10):
        assert one_sided[i] / one_sided[i + 2] == pytest.approx(10, rel=0.01)
    single = [float(row["central, float32"]) for row in rows]
    assert single[11] > 100 * min(single)
    assert min(single) > 1e4 * min(central)


def test_the_regimes_are_those_of_truncation_and_rounding(folders: dict[str, Path]) -> None:
    rows = {row["difference"]: row for row in table(folders["finite-differences"], "regimes")}
    for name, row in rows.items():
        before = -2 if name.startswith("central") else -1
        assert float(row["slope before"]) == pytest.approx(before, abs=0.3), name
        assert float(row["slope after"]) == pytest.approx(1, abs=0.3), name
    best = {name: int(row["N of the least"]) for name, row in rows.items()}
    assert best["central, float32"] < best["central, float64"]
    assert best["central, float64"] < best["one-sided, float64"]


def test_the_regimes_of_a_curve_that_is_known() -> None:
    sizes = np.array(STEPS, float)
    errors = np.minimum(3e-3 / sizes**2 + 1e-12 * sizes, 0.1)
    errors[-1] = 0.5  # off by as much as the gradient
    found = finite_differences.regimes(errors, 0.5)
    assert found.before.slope == pytest.approx(-2, abs=0.1)
    assert found.after.slope == pytest.approx(1, abs=0.1)
    assert found.crossing == pytest.approx((3e-3 / 1e-12) ** (1 / 3), rel=0.5)
    assert found.best == 1000


def test_gradients_of_float32_and_float64_agree(folders: dict[str, Path]) -> None:
    rows = table(folders["finite-differences"], "gradients")
    assert len(rows) == 10
    for row in rows:
        assert float(row["by hand, float32"]) == pytest.approx(float(row["by hand, float64"]), rel=1e-3)


def test_a_weight_of_zero_is_guessing_and_growing_helps(folders: dict[str, Path]) -> None:
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
