"""Sweeps: trainings with several options and seeds, and their comparison."""

import csv
import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from xpnet import data
from xpnet.errors import ConfigError, DataError
from xpnet.metrics import EpochMetrics, Evaluation
from xpnet.studies import _regression_by_hand, regularization_strength, sweep
from xpnet.studies.options import Options
from xpnet.studies.report import Report


@pytest.fixture
def report(tmp_path: Path) -> Report:
    return Report("a-study", options=Options(output_dir=str(tmp_path / "run")))


@pytest.fixture
def examples(report: Report) -> sweep.Data:
    return sweep.load(report.options, report, sweep.base_config(report.options), examples=400)


def variants(report: Report, examples: sweep.Data) -> list[sweep.Variant]:
    """Variants for three learning rates with two seeds each; the last rate diverges."""
    base = sweep.base_config(
        report.options, hidden=(8,), epochs=3, batch_size=50, momentum=0.0, nesterov=False
    )
    changes = {f"{rate:g}": {"learning_rate": rate} for rate in (0.01, 0.1, 1e20)}
    return sweep.sweep(base, changes, [3, 4], examples)


def test_the_data_are_split_and_told_of(report: Report, examples: sweep.Data) -> None:
    whole = data.load("mnist-sample")
    assert [len(part.x) for part in examples[:3]] == [320, 80, 1000]
    np.testing.assert_array_equal(examples.validation.x, whole.train.x[320:400])
    assert report.dataset is not None
    assert report.dataset.name == "mnist-sample"
    with pytest.raises(DataError, match="imagenet"):
        sweep.load(Options(dataset="imagenet"), report, sweep.base_config(Options()))


def test_a_network_for_images_needs_images(report: Report, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("0,0,0\n1,1,1\n")
    options = Options(dataset=f"csv:{tmp_path}/rows.csv,{tmp_path}/rows.csv")
    with pytest.raises(ConfigError, match=r"--dataset csv:.*: --channels: expected a data set of images"):
        sweep.load(options, report, sweep.base_config(options, channels=(4,)))


def test_the_options_of_the_study_are_those_of_the_training(tmp_path: Path) -> None:
    options = Options("array-api-strict", "device1", "shapes", str(tmp_path), False, seed=5)
    config = sweep.base_config(options, epochs=2)
    assert (config.backend, config.device, config.dataset) == ("array-api-strict", "device1", "shapes")
    assert (config.data_dir, config.download, config.seed, config.epochs) == (str(tmp_path), False, 5, 2)
    with pytest.raises(ConfigError, match="--backend"):
        sweep.base_config(Options("abacus"))


def test_a_training_is_repeated_by_its_seed_and_goes_by_its_config(
    report: Report, examples: sweep.Data
) -> None:
    slow, fast, diverged = variants(report, examples)
    assert [run.seed for run in slow.runs] == [3, 4]
    assert slow.parameters == 785 * 8 + 9 * 10
    again = variants(report, examples)[1]
    np.testing.assert_array_equal(fast.curve("train_loss"), again.curve("train_loss"))
    assert (fast.curve("train_loss")[0] != fast.curve("train_loss")[1]).all()
    assert fast.curve("train_loss").shape == (2, 3)
    model, run = sweep.train(replace(fast.config, seed=4), examples)
    assert run.history[-1].train_loss == fast.curve("train_loss")[1, -1]
    assert run.test == model.evaluate(*examples.test)
    assert fast.final("test_accuracy")[1] == run.test.accuracy
    assert fast.mean("train_accuracy") == fast.final("train_accuracy").mean()
    squares = sum(float(np.sum(np.square(layer["weight"]))) for layer in model.params if layer)
    assert math.isclose(run.weight_norm, math.sqrt(squares), rel_tol=1e-5)
    assert sweep.best([diverged, slow, fast]) is fast
    assert sweep.best([diverged, slow, fast], "train_loss") is fast


def test_early_stopping_goes_back_to_the_best_epoch(report: Report, examples: sweep.Data) -> None:
    base = sweep.base_config(report.options, hidden=(32,), epochs=30, batch_size=20)
    changes = {"plain": {}, "stopped": {"early_stopping": 1}}
    plain, stopped = sweep.sweep(base, changes, [0], examples)
    (run,), (whole,) = stopped.runs, plain.runs
    n = len(run.history)
    accuracy = [metrics.validation_accuracy for metrics in whole.history]
    assert n == next(i for i in range(1, 30) if accuracy[i] <= max(accuracy[:i])) + 1 < 30
    assert run.validation.accuracy == max(accuracy[:n]) > accuracy[n - 1]
    assert (stopped.mean("epochs"), plain.mean("epochs")) == (n, 30)
    curve = stopped.curve("validation_accuracy")[0]
    np.testing.assert_array_equal(curve[:n], accuracy[:n])
    assert np.isnan(curve[n:]).all()


def test_errors_and_the_gap_are_made_of_accuracies(report: Report, examples: sweep.Data) -> None:
    variant = variants(report, examples)[1]
    np.testing.assert_array_equal(variant.curve("validation_error"), 1 - variant.curve("validation_accuracy"))
    run = variant.runs[0]
    assert variant.final("test_error")[0] == 1 - run.test.accuracy
    assert variant.final("gap")[0] == run.train.accuracy - run.test.accuracy


def test_a_divergence_is_told_and_has_no_numbers(report: Report, examples: sweep.Data) -> None:
    diverged = variants(report, examples)[2]
    assert diverged.diverged == 2
    assert "epoch 1" in diverged.runs[0].diverged
    assert np.isnan(diverged.curve("train_loss")).all()
    for quantity in ("train_loss", "test_accuracy", "weight_norm", "seconds"):
        assert np.isnan(diverged.final(quantity)).all(), quantity
    assert sweep.listed([diverged], "test_accuracy") == "diverged with 1e+20"


def test_the_table_has_means_and_ranges_and_a_file_all_epochs(report: Report, examples: sweep.Data) -> None:
    found = variants(report, examples)
    sweep.table(report, "rates", found, "rate", "A caption.", ["weight_norm"])
    with (report.folder / "rates.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, variant in zip(rows, found, strict=True):
        tests = variant.final("test_accuracy")
        assert row["rate"] == variant.label
        for column, value in (
            ("test accuracy", tests.mean()), ("test, least", tests.min()), ("test, greatest", tests.max()),
            ("train loss", variant.mean("train_loss")), ("weight norm", variant.mean("weight_norm")),
        ):  # fmt: skip
            assert row[column] == repr(float(value)), column
    assert [row["diverged"] for row in rows] == ["no", "no", "2 of 2"]
    with (report.folder / "rates-epochs.csv").open(newline="") as file:
        epochs = list(csv.DictReader(file))
    assert [(row["rate"], row["seed"], row["epoch"]) for row in epochs] == [
        (rate, seed, epoch) for rate in ("0.01", "0.1") for seed in ("3", "4") for epoch in ("1", "2", "3")
    ]
    assert float(epochs[-1]["train_loss"]) == found[1].curve("train_loss")[1, -1]


def test_a_figure_has_the_mean_in_a_band_of_the_range(report: Report, examples: sweep.Data) -> None:
    found = variants(report, examples)
    axes = sweep.curves(found, "train_loss", "rate", log=True).axes[0]
    values = found[1].curve("train_loss")
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), values.mean(axis=0))
    band = axes.collections[1].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (values.min(), values.max())
    assert [line.get_label() for line in axes.lines] == ["0.01", "0.1", "1e+20"]
    assert axes.get_yscale() == "log"
    axes = sweep.against(found, [0.0, 0.1, 1e20], "rate", ["test_accuracy"]).axes[0]
    assert axes.get_xscale() == "symlog"
    assert axes.get_ylabel() == "test accuracy"
    np.testing.assert_array_equal(axes.lines[0].get_ydata()[:2], [v.mean("test_accuracy") for v in found[:2]])
    axes = sweep.against(found, [0.0, 0.1, 1e20], "rate", ["test_accuracy"], log=False).axes[0]
    assert axes.get_xscale() == "linear"


def with_accuracies(*validation: float) -> list[sweep.Variant]:
    """A variant for each validation accuracy, with a test accuracy that is half of it; its label is a letter."""
    found = []
    for label, accuracy in zip("abcdef", validation, strict=False):
        whole, half = (Evaluation(1.0, part, 0) for part in (accuracy, accuracy / 2))
        run = sweep.Run(
            0, [EpochMetrics(1, 1.0, 0.5, 1.0, accuracy, 0.1, 1.0, 1.0)], whole, whole, half, 1.0, ""
        )
        found.append(sweep.Variant(label, sweep.base_config(Options(), epochs=1), 1, [run]))
    return found


@pytest.mark.parametrize(
    ("accuracies", "words"),
    [
        ((0.5, 0.9, 0.8), "b is best"),
        ((0.9, 0.5, 0.90004), "a and c are equally best"),
        ((0.9, 0.9, 0.9, 0.1), "a, b and c are equally best"),
        ((math.nan, 0.9, math.nan), "b is best"),
        ((0.9, 0.9001), "b is best"),
    ],
)
def test_ties_are_named(accuracies: tuple[float, ...], words: str) -> None:
    assert sweep.winners(with_accuracies(*accuracies)) == words


@pytest.mark.parametrize(
    ("accuracies", "words"),
    [
        ((0.8, 0.9, 0.7), "λ = b is best; its test accuracy is 45.00%, 5.00 points more than without"),
        ((0.8, 0.9, 0.9), "λ = b is best, and as good is λ = c; its test accuracy is"),
        ((0.9, 0.9, 0.1), "training without a penalty is best, and as good is λ = b."),
        ((0.9, 0.8, 0.1), "training without a penalty is best."),
    ],
)
def test_ties_of_penalties_are_named(accuracies: tuple[float, ...], words: str) -> None:
    found = with_accuracies(*accuracies)
    assert words in regularization_strength.verdict(found[0], sweep.best(found), sweep.ties(found))


def test_losses_that_look_equal_are_named() -> None:
    assert (
        _regression_by_hand._least({"a": 2.0, "b": 1.00001, "c": 1.0})
        == "b and c have the least loss, 1.0000"
    )
    assert _regression_by_hand._least({"a": 2.0, "b": 1.0}) == "b has the least loss, 1.0000"


@pytest.mark.parametrize("count", [1, 6, 7, 9, 28])
def test_lines_differ_in_colour_and_without_it(count: int) -> None:
    styles = sweep.styles(count)
    assert len({tuple(style.values()) for style in styles}) == count
    assert len({style["color"] for style in styles}) == min(count, 7)
    for one, other in itertools.pairwise(styles):  # in print
        assert one["linestyle"] != other["linestyle"]
        assert one["marker"] != other["marker"]


def test_curves_of_one_epoch_have_whole_ticks_and_no_axis_of_huge_numbers() -> None:
    figure = sweep.curves(with_accuracies(0.5, 0.6), "train_loss")
    figure.draw_without_rendering()
    axes = figure.axes[0]
    low, high = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1]
    assert axes.get_ylabel() == "train loss"
    (huge,) = with_accuracies(0.5)
    huge.runs[0].history[0] = huge.runs[0].history[0]._replace(train_loss=1e27)
    assert sweep.curves([huge], "train_loss", log=True).axes[0].get_ylim()[1] <= sweep.HUGE
