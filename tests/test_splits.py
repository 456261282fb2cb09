"""Splits into training and validation examples: which ones, and what is told of missing classes."""

import re
import warnings

import numpy as np
import pytest

from data_files import fails
from xpnet import train
from xpnet.data import Dataset, Examples, split
from xpnet.data.splits import cut_off
from xpnet.errors import ConfigError, Error


def examples(y):
    y = np.asarray(y)
    return Examples(np.arange(len(y) * 2, dtype=np.float32).reshape(-1, 2), y)


@pytest.mark.parametrize(
    ("n", "fraction", "first"), [(10, 0.8, 8), (5, 0.5, 2), (3, 0.99, 2), (2, 0.5, 1), (4, 1, 4)]
)
def test_split_is_two_views(n, fraction, first):
    whole = examples(np.zeros(n, np.int64))
    train, validation = split(whole, fraction)
    assert isinstance(train, Examples)
    assert isinstance(validation, Examples)
    for part, start, length in ((train, 0, first), (validation, first, n - first)):
        np.testing.assert_array_equal(part.x, whole.x[start : start + length])
        assert len(part.x) == len(part.y) == length
        for array, all_of_it in zip(part, whole, strict=True):
            assert not length or np.shares_memory(array, all_of_it)


@pytest.mark.parametrize(
    ("n", "fraction"),
    [(10, 0), (10, 0.05), (1, 0.5), (10, -0.5), (10, 1.5), (10, np.nan), (10, np.inf), (0, 1), (10, "0.5")],
)
@pytest.mark.parametrize("how", ["first", "stratified"])
def test_split_with_nothing_on_one_side(n, fraction, how):
    with fails(f"leaves one of {n} examples or more on each side, got {fraction}", ConfigError):
        split(examples(np.zeros(n, np.int64)), fraction, how)


def test_split_of_a_pair():
    """Any x and y, also the targets of a regression, of which no class can be missing."""
    x, y = np.arange(10.0)[:, None], np.arange(10) / 3
    first, rest = split((x, y), 0.8)
    assert (len(first.x), len(rest.y)) == (8, 2)
    assert sum(len(part.y) for part in split([x.tolist(), [0, 1] * 5], 0.5, "stratified")) == 10


@pytest.mark.parametrize(
    ("given", "how", "message"),
    [
        (np.zeros(3), "first", "split: expected examples (x, y), got a ndarray; write split((x, y), 0.8)"),
        (Dataset("two", examples([0, 1]), examples([0, 1]), 2), "first", "split: expected examples (x, y), got a Dataset; write split(dataset.train, 0.8)"),
        ((np.zeros(3), np.zeros(2, int)), "first", "split: expected a label for each example, got x of shape (3,), y of (2,)"),
        ((np.zeros(2), np.zeros(2)), "stratified", "split: expected integer labels with how='stratified', got y of float64"),
    ],
)  # fmt: skip
def test_split_of_what_is_no_pair(given, how, message):
    with fails(re.escape(message), Error):
        split(given, 0.5, how)


def test_split_of_another_kind():
    with fails("split: expected first, random, stratified, got 'last'", ConfigError):
        split(examples([0, 1]), 0.5, "last")


@pytest.mark.parametrize("how", ["random", "stratified"])
def test_drawn_splits(how):
    """Each example is in one part, in the order of the file; the seed decides."""
    y = np.repeat(np.arange(3), [60, 30, 12])
    whole = examples(y)
    first, rest = split(whole, 0.7, how, seed=3)
    assert (len(first.y), len(rest.y)) == (71, 31)
    for part in (first, rest):
        assert (np.diff(part.x[:, 0]) > 0).all()
        np.testing.assert_array_equal(part.y, y[(part.x[:, 0] / 2).astype(int)])
    assert sorted([*first.x[:, 0], *rest.x[:, 0]]) == whole.x[:, 0].tolist()
    np.testing.assert_array_equal(split(whole, 0.7, how, seed=3)[0].x, first.x)
    assert (split(whole, 0.7, how, seed=4)[0].x != first.x).any()
    if how == "stratified":
        assert np.abs(np.bincount(first.y) - 0.7 * np.array([60, 30, 12])).max() <= 1


def test_stratified_shares_are_as_equal_as_they_can_be():
    for seed in range(20):
        y = np.random.default_rng(seed).integers(0, 7, 100)
        counts = np.bincount(split(examples(y), 0.8, "stratified", seed=seed)[0].y, minlength=7)
        assert np.abs(counts - 0.8 * np.bincount(y, minlength=7)).max() <= 1


def test_classes_that_training_lacks_are_named():
    y = np.repeat(np.arange(3), 10)
    with pytest.warns(
        UserWarning, match="no training example is of class 2, but .*--split stratified"
    ) as caught:
        split(examples(y), 0.6)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="class rose, tulip, but"):
        split(examples(y), 0.3, names=("ash", "rose", "tulip"))
    with pytest.warns(UserWarning, match="class 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 and 4 more, but"):
        split(examples(np.arange(20)), 0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split(examples(y), 0.6, "stratified")
        split(examples(np.repeat([0, 1], [99, 1])), 0.6, "stratified")
        split(examples(y), 1)
        split(examples(y[::-1] * 0), 0.6)


def test_classes_that_validation_lacks_are_named():
    """As in iris, sorted: its last fifth is of one class, of which training has examples too."""
    with pytest.warns(UserWarning, match="no validation example is of class 0, 1, but training has"):
        split(examples(np.repeat(np.arange(3), 50)), 0.8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split(examples(np.repeat(np.arange(3), 16)), 0.8)  # too few to tell from chance


def test_a_class_with_one_example_is_for_training():
    y = np.repeat(np.arange(3), [50, 1, 1])
    for seed in range(10):
        assert set(split(examples(y), 0.5, "stratified", seed=seed)[0].y.tolist()) == {0, 1, 2}
    assert set(y[cut_off(y, 0.5)[0]].tolist()) == {0, 1, 2}


def write_sorted(folder):
    for name in ("train", "test"):
        rows = [f"{x},{label}" for label in "abc" for x in np.linspace(0, 1, 20)]
        (folder / f"{name}.csv").write_text("\n".join(rows))
    return f"csv:{folder / 'train.csv'},{folder / 'test.csv'}"


OPTIONS = {"hidden": (4,), "epochs": 2, "batch_size": 10}


def test_a_run_of_a_sorted_file_warns_or_draws(tmp_path):
    dataset = write_sorted(tmp_path)
    with pytest.warns(UserWarning, match="no training example is of class c"):
        train.run(
            train.Config(dataset=dataset, train_fraction=0.6, output_dir=str(tmp_path / "a"), **OPTIONS)
        )
    for how in ("stratified", "random"):
        options = OPTIONS | {"dataset": dataset, "split": how, "output_dir": str(tmp_path / how)}
        assert train.run(train.Config(**options))["best_validation_accuracy"] >= 0


def test_a_run_without_validation(tmp_path, capsys):
    """All examples are for training, and the parameters of the last epoch are tested."""
    options = OPTIONS | {"dataset": write_sorted(tmp_path), "train_fraction": 1.0}
    summary = train.run(train.Config(output_dir=str(tmp_path / "run"), **options))
    out = capsys.readouterr().out
    assert (
        "60 training, no validation and 60 test examples; label: the last column; 3 classes: a, b, c;" in out
    )
    assert "(epoch 2, the last)" in out
    assert (summary["best_epoch"], summary["best_validation_accuracy"]) == (2, None)
    assert (tmp_path / "run" / "metrics.csv").read_text().splitlines()[1].split(",")[3:5] == ["", ""]
    again = train.Config(output_dir=None, **options | {"epochs": 3})
    assert train.run(again, resume=tmp_path / "run")["best_epoch"] == 3


@pytest.mark.parametrize("options", [{"early_stopping": 2}, {"schedule": "plateau"}])
def test_options_that_need_validation(options):
    with fails("expected validation images with .*, got --train-fraction 1", ConfigError):
        train.Config(train_fraction=1.0, **options)
