"""Which number `train_loss` is: the mean during the epoch, or that of the trained network at its end."""

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import xpnet
from conftest import Place
from laws import assert_same, fetch
from xpnet import data, losses, nn, optim, train
from xpnet._training import checkpoint
from xpnet.callbacks import Callback, EarlyStopping, Predictions
from xpnet.data import augment
from xpnet.errors import ConfigError, DivergedError, ShapeError
from xpnet.metrics import EpochMetrics, Evaluation
from xpnet.train import command_line, experiment

ROOT = Path(__file__).parents[1]

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(105, 6)), RNG.integers(3, size=105)
HELD_OUT = RNG.normal(size=(30, 6)), RNG.integers(3, size=30)
FIXED = EpochMetrics._fields[:6] + EpochMetrics._fields[8:]  # those that do not depend on the clock


def make_model(loss: losses.Loss | None = None, **options: Any) -> xpnet.Model:
    """A network whose training mode differs from its evaluation mode."""
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm(8), nn.ReLU(), nn.Dropout(0.4), nn.Linear(8, 3))
    options = {"l2": 1e-2, "dtype": "float64", **options}
    return xpnet.Model(net, loss or losses.CrossEntropy(), optim.SGD(0.1, momentum=0.9), **options)


class Evaluated(Callback):
    """What `evaluate` gives after each epoch."""

    def __init__(self, *examples: Any, **options: Any) -> None:
        self.examples, self.options, self.found = examples, options, list[Evaluation]()

    def on_epoch(self, model: xpnet.Model, metrics: EpochMetrics) -> None:
        self.found.append(model.evaluate(*self.examples, **self.options))


def fixed(history: list[EpochMetrics]) -> list[list[Any]]:
    return [[getattr(metrics, name) for name in FIXED] for metrics in history]


def test_at_the_end_is_what_evaluate_gives(place: Place) -> None:
    net = nn.Sequential(nn.Dropout(0.4), nn.Linear(6, 3))
    model = xpnet.Model(net, losses.CrossEntropy(), optim.SGD(0.1), place[0], device=place[1], l2=1e-2)
    after = Evaluated(X, Y)
    history = model.fit(X, Y, epochs=2, batch_size=35, train_metrics="end", callbacks=after)
    assert [(m.train_loss, m.train_accuracy) for m in history] == [each[:2] for each in after.found]
    assert [m.train_metrics for m in history] == ["end"] * 2


def test_the_training_is_the_same() -> None:
    model, other = make_model(), make_model()
    history, running = (
        each.fit(X, Y, epochs=2, train_metrics=word) for each, word in ((model, "end"), (other, "running"))
    )
    assert_same(model.backend, other.state, fetch(model.backend, model.state))
    assert [m.train_metrics for m in running] == ["running"] * 2
    assert all(a.train_loss != b.train_loss for a, b in zip(running, history, strict=True))
    assert fixed(running) == fixed(make_model().fit(X, Y, epochs=2))  # the default


def test_the_first_examples_only() -> None:
    model, after = make_model(), Evaluated(X[:40], Y[:40])
    history = model.fit(
        X, Y, epochs=2, train_metrics="end", train_metrics_examples=np.int64(40), callbacks=after
    )
    assert [(m.train_loss, m.train_accuracy) for m in history] == [each[:2] for each in after.found]
    everything = make_model().fit(X, Y, epochs=2, train_metrics="end", train_metrics_examples=1000)
    assert fixed(everything) == fixed(make_model().fit(X, Y, epochs=2, train_metrics="end"))


def test_weights_of_examples_weigh_at_the_end_too(rng: np.random.Generator) -> None:
    weights = rng.uniform(size=len(X))
    after = Evaluated(X[:50], Y[:50], sample_weight=weights[:50])
    (metrics,) = make_model().fit(
        X, Y, epochs=1, sample_weight=weights, train_metrics="end", train_metrics_examples=50, callbacks=after
    )
    assert (metrics.train_loss, metrics.train_accuracy) == after.found[0][:2]


def test_weights_of_classes_and_labels_that_do_not_count() -> None:
    y = np.where(Y == 2, -100, Y)
    model = make_model(loss=losses.CrossEntropy(class_weights="balanced", ignore_label=-100))
    (metrics,) = model.fit(X, y, epochs=1, train_metrics="end")
    assert metrics[1:3] == model.evaluate(X, y)[:2]
    labelled = model.predict(X)[y >= 0] == y[y >= 0]
    assert metrics.train_accuracy == pytest.approx(labelled.mean())


def test_targets_that_are_no_classes() -> None:
    model = make_model(loss=losses.MeanSquaredError())
    (metrics,) = model.fit(X, X[:, :3], epochs=1, train_metrics="end")
    assert metrics[1:3] == (model.evaluate(X, X[:, :3]).loss, None)


def test_the_pictures_are_not_augmented(rng: np.random.Generator) -> None:
    images = rng.normal(size=(20, 6, 6, 1))
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    model = xpnet.Model(net, losses.CrossEntropy(), optim.SGD(0.1), augment=augment.RandomCrop(3))
    (metrics,) = model.fit(images, Y[:20], epochs=1, train_metrics="end")
    assert metrics[1:3] == model.evaluate(images, Y[:20])[:2]


def test_an_average_of_the_weights_is_measured() -> None:
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm(8), nn.ReLU(), nn.Linear(8, 3))
    model = xpnet.Model(net, losses.CrossEntropy(), optim.AverageWeights(optim.SGD(0.5), 0.9))
    (metrics,) = model.fit(X, Y, epochs=1, train_metrics="end")
    assert metrics[1:3] == model.evaluate(X, Y)[:2]


@pytest.mark.parametrize("split", [None, 0.3])
def test_data_that_stay_on_the_host(split: float | None) -> None:
    options = {"epochs": 2, "train_metrics": "end", "validation_split": split}
    on_host = make_model().fit(X, Y, data_on_device=False, **options)
    assert fixed(on_host) == fixed(make_model().fit(X, Y, **options))
    if split is not None:  # what is held out is not trained on
        after = Evaluated(X[:74], Y[:74])
        (first, _) = make_model().fit(X, Y, callbacks=after, **options)
        assert first[1:3] == after.found[0][:2]


def test_test_data_are_measured_and_choose_nothing() -> None:
    after = Evaluated(*HELD_OUT)
    model = make_model()
    history = model.fit(X, Y, epochs=2, test=HELD_OUT, validation=(X, Y), callbacks=after)
    assert [(m.test_loss, m.test_accuracy) for m in history] == [each[:2] for each in after.found]
    without = make_model()
    for mine, other in zip(history, without.fit(X, Y, epochs=2, validation=(X, Y)), strict=True):
        assert other[8:10] == (None, None)
        assert mine[:6] == other[:6]
    assert_same(model.backend, model.state, fetch(without.backend, without.state))
    with pytest.raises(ConfigError, match=r"expected monitor .*, got 'test_loss'"):
        EarlyStopping(1, monitor="test_loss")


class Stop(Callback):
    """Stops after a number of steps."""

    def __init__(self, at: int) -> None:
        self.at = at

    def on_step(self, model: xpnet.Model, step: int, n_steps: int) -> None:
        if (model.epoch, step) == divmod(self.at, n_steps):
            model.stop()


@pytest.mark.parametrize("at", [4, 11])
def test_a_resumed_training_has_the_same_metrics(tmp_path: Any, at: int) -> None:
    def fit(model: xpnet.Model, epochs: int, *callbacks: Callback) -> Predictions:
        labels = Predictions(X)
        model.fit(
            X,
            Y,
            epochs=epochs,
            batch_size=20,
            train_metrics="end",
            test=HELD_OUT,
            callbacks=[*callbacks, labels],
        )
        return labels

    whole, stopped, resumed = make_model(), make_model(), make_model()
    expected = fit(whole, 3)
    fit(stopped, 3, Stop(at))
    assert stopped.epoch_step == at % 6
    stopped.save_checkpoint(tmp_path / "c")
    resumed.load_checkpoint(tmp_path / "c")
    found = fit(resumed, 3 - resumed.epoch)
    assert fixed(resumed.history) == fixed(whole.history)
    assert_same(resumed.backend, resumed.state, fetch(whole.backend, whole.state))
    np.testing.assert_array_equal(found.labels, expected.labels)


def test_an_interrupted_measurement_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from xpnet._training import evaluation

    model, options = make_model(), {"batch_size": 20, "train_metrics": "end"}
    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "evaluate", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            model.fit(X, Y, epochs=2, **options)
    model.fit(X, Y, epochs=2, **options)
    assert fixed(model.history) == fixed(make_model().fit(X, Y, epochs=2, **options))


def test_a_loss_that_diverges_with_the_last_step() -> None:
    model = xpnet.Model(nn.Linear(6, 3), losses.CrossEntropy(), optim.SGD(1e38))
    start = fetch(model.backend, model.params)
    with pytest.raises(
        DivergedError,
        match=r"epoch 1, after its last step, learning rate 1e\+38: expected a finite loss, got (inf|nan) for "
        "finite data; its parameters are finite, so a layer .* overflows float32",
    ):
        model.fit(X, Y, epochs=1, batch_size=200, train_metrics="end")
    assert (model.epoch, model.epoch_step, model.history) == (0, 0, [])
    assert_same(model.backend, model.params, start)


def test_early_stopping_by_the_training() -> None:
    model = make_model()
    history = model.fit(
        X, Y, epochs=40, train_metrics="end", callbacks=EarlyStopping(1, monitor="train_loss", restore=False)
    )
    values = [m.train_loss for m in history]
    assert len(values) < 40
    assert values[-1] >= values[-2]
    assert np.all(np.diff(values[:-1]) < 0)
    with pytest.raises(
        ConfigError, match="expected training data with a train_accuracy, got none; monitor='train_loss'"
    ):
        make_model(loss=losses.MeanSquaredError()).fit(
            X, X[:, :3], callbacks=EarlyStopping(1, monitor="train_accuracy")
        )


def test_predictions_of_each_epoch() -> None:
    class Each(Callback):
        def on_epoch(self, model: xpnet.Model, metrics: EpochMetrics) -> None:
            expected.append(model.predict(HELD_OUT[0]))

    model, labels, expected = make_model(), Predictions(HELD_OUT[0]), list[np.ndarray]()
    history = model.fit(X, Y, epochs=3, test=HELD_OUT, callbacks=[labels, Each()])
    np.testing.assert_array_equal(labels.labels, expected)
    assert [np.mean(each == HELD_OUT[1]) for each in labels.labels] == pytest.approx(
        [m.test_accuracy for m in history]
    )
    model.fit(X, Y, epochs=1, callbacks=labels)
    assert len(labels.labels) == 1  # those of the last fit


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_metrics": "last"}, 'fit: expected train_metrics to be "running" or "end", got \'last\''),
        ({"train_metrics": True}, 'fit: expected train_metrics to be "running" or "end", got True'),
        (
            {"train_metrics": "end", "train_metrics_examples": 0},
            "fit: expected train_metrics_examples to be an integer of at least 1, got 0",
        ),
        (
            {"train_metrics_examples": 10},
            'fit: expected train_metrics="end" with train_metrics_examples=10, got "running"',
        ),
        ({"test": X}, r"fit: expected test to be a pair \(x, y\), got an array of shape"),
        ({"test": (X,)}, r"fit: expected test to be a pair \(x, y\), got 1 items; write test=\(x, y\)"),
        ({"test": (X, None)}, r"fit: expected test to be a pair \(x, y\), got None for one of them"),
    ],
)
def test_arguments_that_cannot_be_used(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_model().fit(X, Y, epochs=1, **options)


def test_test_data_that_do_not_fit_are_named() -> None:
    with pytest.raises(ShapeError, match=r"test: layer 0, Linear\(6, 8\): expected x of shape \(n, 6\)"):
        make_model().fit(X, Y, epochs=1, test=(X[:, :5], Y))


# Runs.

SMALL = {"hidden": (8,), "batch_norm": True, "dropout": 0.2, "quiet": True}


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "draw", lambda *given: None)


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metrics.csv") as file:
        return list(csv.DictReader(file))


@pytest.mark.usefixtures("no_pictures")
def test_a_run_at_the_end_of_each_epoch(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = tmp_path / "run"
    options = {**SMALL, "quiet": False, "epochs": 1, "train_metrics": "end", "train_metrics_examples": 500}
    summary = train.run(train.Config(**options, test_each_epoch=True, output_dir=str(folder)))
    (row,) = rows(folder)
    assert list(row)[-1] == "train_metrics"
    run = xpnet.load_run(folder)
    digits = data.load("mnist-sample")
    found = run.evaluate(digits.train.x[:500], digits.train.y[:500])
    assert (float(row["train_loss"]), float(row["train_accuracy"])) == found[:2]
    assert row["train_metrics"] == "end"
    assert (float(row["test_loss"]), float(row["test_accuracy"])) == (
        summary["test_loss"],
        summary["test_accuracy"],
    )
    text = f"train loss {found.loss:.4f} accuracy {found.accuracy:.4f} (end)"
    told = f"test loss {summary['test_loss']:.4f} accuracy {summary['test_accuracy']:.4f}"
    (line,) = [each for each in capsys.readouterr().out.splitlines() if each.startswith("epoch")]
    assert text in line
    assert told in line


@pytest.mark.usefixtures("no_pictures")
def test_a_run_of_an_earlier_version_is_read_and_resumed(tmp_path: Path) -> None:
    """It has no options and no columns for what it could not measure: its losses are running means."""
    folder = tmp_path / "run"
    train.run(train.Config(**SMALL, epochs=1, output_dir=str(folder)))
    expected = rows(folder)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    for name in ("train_metrics", "train_metrics_examples", "test_each_epoch"):
        del config[name]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    for path in (folder / "checkpoints").glob("epoch-*.safetensors"):
        saved = checkpoint.read(path)
        saved["history"] = tuple(row[:8] for row in saved["history"])
        best = saved["companions"]["Best"]
        best["metrics"] = best["metrics"][:8]
        checkpoint.write(path, saved)
    assert xpnet.load_run(folder, "last").config.train_metrics == "running"
    config, _ = command_line.parse(["--resume", str(folder), "--epochs", "2"], "train.py")
    train.run(config, folder)
    first, second = rows(folder)
    assert [first] == expected
    assert first["train_metrics"] == second["train_metrics"] == "running"


@pytest.mark.parametrize("name", ["softmax", "two_layer"])
def test_the_configs_of_a_course_measure_at_the_end(name: str) -> None:
    config, _ = command_line.parse(["--config", f"{ROOT}/scripts/configs/{name}.yaml"], "train.py")
    assert (config.train_metrics, config.train_metrics_examples) == ("end", None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--train-metrics", "ende"],
            "--train-metrics: expected running, end, got 'ende'; did you mean end?",
        ),
        (
            ["--train-metrics-examples", "5"],
            "--train-metrics-examples: expected --train-metrics end with it, got running",
        ),
        (
            ["--train-metrics", "end", "--train-metrics-examples", "0"],
            "--train-metrics-examples: expected at least 1, got 0",
        ),
    ],
)
def test_options_that_cannot_be_used(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        command_line.parse(arguments, "train.py")
