"""The studies that train networks, at their quick size: results known beforehand."""

import math
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from quick_studies import QuickStudies
from xpnet.studies import cnn_vs_mlp, sweep
from xpnet.train.config import Config
from xpnet.train.experiment import make_model

CONFIGS = Path(__file__).parents[1] / "scripts" / "configs"

NAMES = (
    "initialization", "learning-rate", "regularization-strength", "batch-size", "depth-and-width", "activation",
    "five-networks", "cnn-vs-mlp", "random-labels",
)  # fmt: skip


class Results:
    """Reads the report and the tables of each study."""

    def __init__(self, quick: QuickStudies) -> None:
        self.folders = quick
        self.table = quick.table

    def column(self, study: str, name: str, column: str) -> list[float]:
        return [float(row[column]) for row in self.table(study, name)]


@pytest.fixture(scope="session")
def results(quick: QuickStudies) -> Results:
    return Results(quick)


@pytest.mark.parametrize("name", NAMES)
def test_expectations_are_compared_with_results(results: Results, name: str) -> None:
    """Each study compares its expectations with its results. Tests of single results follow below."""
    rows = results.table(name, "expectations")
    assert len(rows) >= 3
    assert all(row["expected"].endswith(".") and row["result"].endswith(".") for row in rows)
    page = (results.folders[name] / "report.html").read_text()
    for agrees, mark in (("true", "✓ agrees:"), ("false", "✗ differs:")):
        assert page.count(mark) == [row["agrees"] for row in rows].count(agrees)
    assert "nan" not in page.partition("<main>")[2].partition("base64")[0]


def test_zero_weights_keep_hidden_units_equal(results: Results) -> None:
    rows = results.table("initialization", "units")
    for start in ("zeros", "all 0.1"):
        first, *later = [row for row in rows if row["initial weights"] == start]
        assert len(later) == 2
        for row in later:
            assert float(row["difference of weights in"]) == float(row["difference of weights out"]) == 0
            assert row["largest weight"] != first["largest weight"]
    (*_, last) = [row for row in rows if row["initial weights"] == "Glorot"]
    assert min(float(last["difference of weights in"]), float(last["difference of weights out"])) > 0.1


def test_zero_weights_of_a_network_of_relus_stay_zero(results: Results) -> None:
    rows = results.table("initialization", "before-the-first-step")
    assert [row["initial weights"] for row in rows] == ["zeros"] * 3 + ["N(0, 1)"] * 3 + ["Glorot"] * 3
    outputs = [float(row["standard deviation of outputs"]) for row in rows]
    gradients = [float(row["root mean square of weight gradient"]) for row in rows]
    assert outputs[:3] == gradients[:3] == [0, 0, 0]
    # With N(0, 1) weights a sum over n inputs has the variance Σx²: √(n/2) times larger after each ReLU.
    for before, after in pairwise(outputs[3:6]):
        assert after / before == pytest.approx(math.sqrt(512 / 2), rel=0.25)


def test_the_loss_at_the_start_is_that_of_chance(results: Results) -> None:
    first, second, *_ = results.table("initialization", "expectations")
    assert first["result"].startswith("2.302585, ")
    assert "more than 100 times" in second["expected"]
    zeros, _, _ = results.table("initialization", "training")
    assert float(zeros["train loss"]) == pytest.approx(math.log(10), abs=0.01)


def test_the_learning_rate_has_a_best_value_in_between(results: Results) -> None:
    losses = results.column("learning-rate", "learning-rate", "train loss")
    least = min(range(len(losses)), key=losses.__getitem__)
    assert 0 < least < len(losses) - 1
    assert losses[: least + 1] == sorted(losses[: least + 1], reverse=True)
    assert losses[-1] > losses[least]


def test_the_penalty_shrinks_the_weights(results: Results) -> None:
    norms = results.column("regularization-strength", "regularization-strength", "weight norm")
    assert norms == sorted(norms, reverse=True)
    assert norms[-1] < norms[0] / 2


def test_smaller_batches_train_further_in_an_epoch(results: Results) -> None:
    losses = results.column("batch-size", "batch-size", "train loss")
    assert losses == sorted(losses)
    scaled = results.column("batch-size", "scaled-learning-rate", "train loss")
    assert max(scaled[:4]) / min(scaled[:4]) < max(losses[:4]) / min(losses[:4])


def test_wider_networks_fit_better(results: Results) -> None:
    rows = results.table("depth-and-width", "depth-and-width")
    assert rows[0]["hidden layers"] == "none"
    assert int(rows[0]["parameters"]) == 7850
    for depth in ("1", "3"):
        losses = [float(row["train loss"]) for row in rows if row["hidden layers"].startswith(f"{depth} x")]
        assert len(losses) == 3
        assert losses == sorted(losses, reverse=True)


def test_gradients_vanish_through_sigmoids(results: Results) -> None:
    rows = {row["activation"]: row for row in results.table("activation", "gradients")}
    factors = {name: float(row["layer 6"]) / float(row["layer 2"]) for name, row in rows.items()}
    assert factors["sigmoid"] > 4**4  # the derivative is at most 1/4, four times
    assert factors["relu"] < 4
    assert factors["tanh"] < 4


def test_five_networks_differ_in_one_option_and_have_four_decimals(results: Results) -> None:
    rows = results.table("five-networks", "five-networks")
    assert [list(row.values())[:5] for row in rows] == [
        ["a", "256", "sigmoid", "0.01", "50"],
        ["b", "256", "sigmoid", "0.001", "50"],
        ["c", "256", "relu", "0.01", "50"],
        ["d", "256", "relu", "0.01", "200"],
        ["e", "384-256", "relu", "0.01", "50"],
    ]
    page = (results.folders["five-networks"] / "report.html").read_text()
    epochs = results.table("five-networks", "seeds-epochs")
    for row in rows:
        (last,) = (
            each
            for each in epochs
            if (each["network"], each["seed"], each["epoch"]) == (row["network"], "0", "5")
        )
        for column, examples in (("train accuracy", 3000), ("test accuracy", 1000)):
            accuracy = float(row[column])
            assert accuracy * examples == pytest.approx(round(accuracy * examples))  # a fraction of these
            assert f">{accuracy:.4f}</td>" in page
            assert float(last[column.replace(" ", "_")]) == accuracy
    assert {row["train_metrics"] for row in epochs} == {"end"}


def test_the_networks_that_are_compared_are_of_one_size(results: Results) -> None:
    rows = results.table("cnn-vs-mlp", "networks")
    cnn, *mlps = [int(row["parameters"]) for row in rows]
    assert cnn == (9 + 1) * 4 + (4 * 9 + 1) * 8 + (7 * 7 * 8 + 1) * 100 + (100 + 1) * 10
    assert [abs(mlp / cnn - 1) < 0.01 for mlp in mlps] == [True, True]
    epochs = results.table("cnn-vs-mlp", "networks-epochs")
    assert [(row["network"], row["seed"], row["epoch"]) for row in epochs] == [
        (row["network"], seed, str(epoch)) for row in rows for seed in ("0", "1") for epoch in range(1, 7)
    ]


def test_the_default_cnn_is_that_of_its_config_and_has_a_parameter_count_of_the_course() -> None:
    config = Config(**dict(zip(("channels", "kernel_size", "hidden"), cnn_vs_mlp.NETWORK, strict=True)))
    of_file = Config(**yaml.safe_load((CONFIGS / "cnn.yaml").read_text()))
    assert (config.channels, config.kernel_size, config.hidden) == (
        of_file.channels,
        of_file.kernel_size,
        of_file.hidden,
    )
    assert 500_000 <= make_model(config, (28, 28, 1), 10).parameter_count() <= 1_000_000


def test_the_bases_of_the_studies_are_the_configs_of_their_names() -> None:
    for name, base in sweep.BASES.items():
        of_file = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
        del of_file["name"]
        of_file.pop("train_metrics", None)  # the studies always measure at the end of an epoch
        assert Config(**of_file) == Config(**base), name


def test_convolutions_are_better_than_as_many_parameters_without(results: Results) -> None:
    cnn, *mlps = results.column("cnn-vs-mlp", "networks", "test accuracy")
    assert cnn > max(mlps) + 0.02


def test_regularisation_hinders_fitting(results: Results) -> None:
    rows = {row["technique"]: row for row in results.table("cnn-vs-mlp", "regularisation")}
    plain = rows.pop("none")
    assert list(rows) == ["dropout", "weight decay", "early stopping", "input noise", "augmentation"]
    del rows["weight decay"]  # 0.003 does next to nothing in 96 steps
    for technique, row in rows.items():
        assert float(row["train loss"]) > float(plain["train loss"]), technique
    assert float(rows["augmentation"]["gap"]) < float(plain["gap"])
    epochs = [row["technique"] for row in results.table("cnn-vs-mlp", "regularisation-epochs")]
    assert epochs.count("early stopping") < epochs.count("none") == epochs.count("dropout") == 16


def test_anything_is_learned_by_heart(results: Results) -> None:
    rows = results.table("random-labels", "random-labels")
    names = [row["data"] for row in rows]
    assert names == [
        "true data", "50% random labels", "random labels", "shuffled pixels", "random pixels", "Gaussian pixels"
    ]  # fmt: skip
    assert min(float(row["train accuracy"]) for row in rows) >= 0.99
    epochs = results.column("random-labels", "epochs-to-fit", "epochs to fit")
    assert epochs[names.index("random labels")] > 1.5 * epochs[names.index("true data")]


def test_what_is_learned_of_random_data_is_nothing(results: Results) -> None:
    rows = results.table("random-labels", "random-labels")
    test = {row["data"]: float(row["test accuracy"]) for row in rows}
    for kind in ("random labels", "Gaussian pixels"):
        assert test[kind] == pytest.approx(0.1, abs=0.06), kind
    assert test["true data"] > 0.7
    assert 0.3 < test["50% random labels"] < test["true data"] - 0.2
    assert test["shuffled pixels"] == pytest.approx(test["true data"], abs=0.03)
    assert test["random pixels"] < 0.3
    for row in rows:
        assert float(row["gap"]) == pytest.approx(float(row["train accuracy"]) - test[row["data"]])
