"""Whole trainings on the bundled sample of MNIST: the same on every array library, and all on the device."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import xpnet
from conftest import Place
from xpnet import data, losses, nn, optim, train
from xpnet.backend import namespace
from xpnet.callbacks import Callback
from xpnet.errors import BackendError, ConfigError, DataError, DivergedError
from xpnet.metrics import EpochMetrics
from xpnet.train import experiment
from xpnet.train.reporting import Best

SMALL = {"hidden": (16,), "epochs": 2, "batch_size": 100, "quiet": True}


def curve(backend: str, device: str | None = None) -> np.ndarray:
    """Losses and accuracies of three epochs in float64, one row per epoch."""
    sample = data.load("mnist-sample")
    training, validation = data.split(sample.train, 0.8)
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.Sigmoid(), nn.Linear(32, 10))
    optimizer = optim.SGD(0.1, momentum=0.9, nesterov=True)
    model = xpnet.Model(net, losses.CrossEntropy(), optimizer, backend, 0, "float64", device=device, l2=0.001)
    history = model.fit(*training, epochs=3, batch_size=70, validation=validation)
    return np.array([metrics[1:5] for metrics in history])


@pytest.fixture(scope="module")
def numpy_curve() -> np.ndarray:
    return curve("numpy")


def test_curves_agree_on_every_library(place: Place, numpy_curve: np.ndarray) -> None:
    here = curve(*place)
    np.testing.assert_allclose(here, numpy_curve, rtol=1e-10)
    assert here[-1, 3] > 0.85


def test_nothing_is_fetched_within_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device refuses to give out values from the first step of an epoch to the last."""
    import array_api_strict

    within = False

    class Watch(Callback):
        def on_step(self, model: xpnet.Model, step: int, n_steps: int) -> None:
            nonlocal within
            within = step < n_steps

    cls = type(array_api_strict.asarray(0.0))
    for conversion in ("__float__", "__int__", "__bool__", "__index__", "__complex__", "to_device"):
        original = getattr(cls, conversion)

        def guarded(self, *args, original=original, conversion=conversion, **kwargs):
            assert not within, f"{conversion} within an epoch"
            return original(self, *args, **kwargs)

        monkeypatch.setattr(cls, conversion, guarded)

    sample = data.load("mnist-sample").train
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    model = xpnet.Model(
        net, losses.CrossEntropy(), optim.SGD(0.1, 0.9), "array-api-strict", device="device1", l2=0.1
    )
    assert len(model.fit(*sample, epochs=2, batch_size=500, validation=sample, callbacks=[Watch()])) == 2


def test_batches_are_gathered_on_the_device(place: Place) -> None:
    backend = xpnet.backend.get(*place)
    x, y = np.arange(10.0)[:, None], np.arange(10)
    seen = []
    for x_batch, y_batch in data.batches(backend.asarray(x), backend.asarray(y), 4, seed=1, epoch=2):
        assert namespace(x_batch) is backend.xp
        np.testing.assert_array_equal(backend.to_numpy(x_batch)[:, 0], backend.to_numpy(y_batch))
        seen.append(backend.to_numpy(y_batch).tolist())
    assert [len(batch) for batch in seen] == [4, 4, 2]
    assert sorted(i for batch in seen for i in batch) == list(range(10))
    assert seen == [batch.tolist() for _, batch in data.batches(x, y, 4, seed=1, epoch=2)]


def test_batches_are_shuffled_anew_each_epoch_from_the_seed() -> None:
    def order(**options) -> list[int]:
        return [int(i) for _, y in data.batches(np.zeros(99), np.arange(99), 10, **options) for i in y]

    assert order(seed=1, epoch=2) == order(seed=1, epoch=2)
    assert len({tuple(order(seed=s, epoch=e)) for s in (0, 1) for e in (0, 1)}) == 4
    assert order(shuffle=False) == list(range(99))


def check_folder(folder: Path, epochs: int, **expected) -> dict:
    """The run folder holds the files of a run of `epochs` epochs, and nothing else."""
    files = {
        "config.yaml",
        "data.json",
        "metrics.csv",
        "best.npz",
        "curves.png",
        "confusion.png",
        "summary.json",
        "checkpoints",
    }
    assert {path.name for path in folder.iterdir()} == files
    with open(folder / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(1, epochs + 1))
    assert tuple(rows[0]) == EpochMetrics._fields
    accuracies = [float(row["validation_accuracy"]) for row in rows]
    for picture in ("curves.png", "confusion.png"):
        with Image.open(folder / picture) as image:
            assert min(image.size) > 300
            assert len(image.convert("RGB").getcolors(1 << 20)) > 50
    summary = json.loads((folder / "summary.json").read_text())
    for key in (
        "backend",
        "dataset",
        "parameters",
        "test_accuracy",
        "test_loss",
        "seconds",
        "seed",
        "versions",
    ):
        assert summary[key] is not None
    assert summary["epochs"] == epochs
    assert summary["best_validation_accuracy"] == max(accuracies)
    assert summary["best_epoch"] == accuracies.index(max(accuracies)) + 1
    assert summary["images_per_second"] > 0
    assert {key: summary[key] for key in expected} == expected
    return summary


def test_a_run_leaves_its_files(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = tmp_path / "run"
    returned = train.run(train.Config(**SMALL, output_dir=str(folder), seed=3))
    summary = check_folder(folder, 2, backend="numpy", dataset="mnist-sample", seed=3, interrupted=None)
    assert returned == summary
    assert summary["parameters"] == 784 * 16 + 16 + 16 * 10 + 10
    assert capsys.readouterr().out.startswith(f"test accuracy {summary['test_accuracy']:.4f} (epoch ")


def test_a_run_with_every_option(tmp_path: Path) -> None:
    """A convolutional network with every option of training, on generated images."""
    config = train.Config(
        dataset="shapes", normalize=True, random_crop=2, horizontal_flip=True, cutout=6,
        channels=(4, 6), kernel_size=3, pool=(4, 2), residual_blocks=(0, 1), global_pool=True, hidden=(12,),
        activation="gelu", batch_norm=True, dropout=0.1, input_noise=0.05, weight_init="orthogonal",
        label_smoothing=0.1, optimizer="adamw", learning_rate=0.01, weight_decay=0.01, clip_norm=1.0,
        average_weights=0.9, schedule="cosine", warmup=0.5, early_stopping=1, epochs=2, batch_size=100,
        micro_batch=50, quiet=True, output_dir=str(tmp_path / "run"),
    )  # fmt: skip
    train.run(config)
    summary = check_folder(tmp_path / "run", 2, dataset="shapes")
    assert summary["test_accuracy"] > 0.15  # of ten classes
    assert len(summary["normalization"]["mean"]) == 3
    with np.load(tmp_path / "run" / "best.npz") as file:
        assert any(name.endswith("running_mean") for name in file)


def test_early_stopping_ends_the_run(tmp_path: Path) -> None:
    config = train.Config(
        **{**SMALL, "epochs": 30, "learning_rate": 0.0}, early_stopping=2, output_dir=str(tmp_path / "run")
    )
    assert train.run(config)["epochs"] == 3


def test_plateau_lowers_the_rate(tmp_path: Path) -> None:
    options = {
        **SMALL,
        "epochs": 4,
        "learning_rate": 1e-30,
        "schedule": "plateau",
        "schedule_every": 1,
        "l2": 0.0,
    }
    train.run(train.Config(**options, output_dir=str(tmp_path / "run")))
    with open(tmp_path / "run" / "metrics.csv") as file:
        rates = [float(row["learning_rate"]) for row in csv.DictReader(file)]
    assert rates == pytest.approx([1e-30, 1e-30, 1e-30, 1e-31], abs=0)


def test_a_run_on_a_device_that_is_not_the_host(tmp_path: Path) -> None:
    """A whole run with its files, on array-api-strict's imitation of a GPU: nothing converts implicitly."""
    options = {
        **SMALL,
        "backend": "array-api-strict",
        "device": "device1",
        "output_dir": str(tmp_path / "run"),
    }
    train.run(train.Config(**options))
    check_folder(tmp_path / "run", 2, backend="array-api-strict")


def test_the_best_epoch_is_the_one_tested(tmp_path: Path) -> None:
    """A good epoch, then two with learning rates that ruin it: the good one is saved and tested."""
    schedule = {"schedule": "step", "schedule_every": 1, "schedule_factor": 30.0}
    config = train.Config(**{**SMALL, "epochs": 3}, **schedule, output_dir=str(tmp_path / "run"))
    summary = train.run(config)
    assert summary["best_epoch"] == 1
    assert summary["best_validation_accuracy"] > 0.7
    dataset = data.load("mnist-sample")
    model = experiment.make_model(config, (28, 28, 1), 10)
    model.load(tmp_path / "run" / "best.npz")
    _, validation = data.split(dataset.train, 0.8)
    assert model.evaluate(*validation).accuracy == summary["best_validation_accuracy"]
    assert model.evaluate(*dataset.test).accuracy == summary["test_accuracy"]


def test_of_equally_good_epochs_the_first_is_the_best(tmp_path: Path) -> None:
    model = experiment.make_model(train.Config(hidden=(2,)), (3,), 2)
    best = Best(tmp_path / "best.npz")
    for epoch, accuracy in enumerate([0.5, 0.8, 0.7, 0.8], start=1):
        best.on_epoch(model, EpochMetrics(epoch, 1.0, 0.9, 1.0, accuracy, 0.1, 1.0, 1.0))
    assert best.metrics is not None
    assert best.metrics.epoch == 2


def test_the_config_of_a_run_replays_it(tmp_path: Path) -> None:
    first = train.run(train.Config(**SMALL, activation="tanh", output_dir=str(tmp_path / "first")))
    options = yaml.safe_load((tmp_path / "first" / "config.yaml").read_text())
    assert options["output_dir"] is None
    second = train.run(train.Config(**{**options, "output_dir": str(tmp_path / "second")}))
    assert second["test_loss"] == first["test_loss"]
    same = [(tmp_path / name / "best.npz").read_bytes() for name in ("first", "second")]
    assert same[0] == same[1]


def test_an_interrupt_ends_after_the_step_and_keeps_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupting(experiment.MetricsFile):
        def on_step(self, model: xpnet.Model, step: int, n_steps: int) -> None:
            if model.epoch == 2 and step == 3:
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(experiment, "MetricsFile", Interrupting)
    before = signal.getsignal(signal.SIGINT)
    train.run(train.Config(**{**SMALL, "epochs": 50}, output_dir=str(tmp_path / "run")))
    check_folder(tmp_path / "run", 2, interrupted="SIGINT")
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_in_the_first_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupting(experiment.MetricsFile):
        def on_step(self, model: xpnet.Model, step: int, n_steps: int) -> None:
            if step == 3:
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(experiment, "MetricsFile", Interrupting)
    summary = train.run(train.Config(**SMALL, output_dir=str(tmp_path / "run")))
    assert (summary["epochs"], summary["best_epoch"], summary["best_validation_accuracy"]) == (0, 0, None)
    assert {"best.npz", "metrics.csv", "summary.json"} <= {path.name for path in (tmp_path / "run").iterdir()}


def test_runs_in_a_thread(tmp_path: Path) -> None:
    thread = threading.Thread(
        target=train.run, args=[train.Config(**SMALL, output_dir=str(tmp_path / "run"))]
    )
    thread.start()
    thread.join()
    check_folder(tmp_path / "run", 2)


def test_a_run_that_diverges_says_what_is_left(tmp_path: Path) -> None:
    """With learning rates 0.1 and then 1e29, the files hold the results of the first epoch."""
    schedule = {"schedule": "step", "schedule_every": 1, "schedule_factor": 1e30}
    with pytest.raises(DivergedError) as error:
        train.run(train.Config(**SMALL, **schedule, output_dir=str(tmp_path / "run")))
    message = str(error.value)
    assert message.startswith("epoch 2, step 2 of 24, learning rate 1e+29: expected a finite loss, got nan; ")
    checkpoint = tmp_path / "run" / "checkpoints" / "epoch-1-step-0.safetensors"
    assert message.endswith(f"the last good checkpoint is {checkpoint}")
    assert checkpoint.exists()
    assert (tmp_path / "run" / "metrics.csv").read_text().count("\n") == 2
    model = experiment.make_model(train.Config(**SMALL), (28, 28, 1), 10)
    model.load(tmp_path / "run" / "best.npz")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dataset": "nonsense"}, DataError, "no data set is called 'nonsense'"),
        (
            {"backend": "numpy", "device": "cuda"},
            BackendError,
            "backend 'numpy': expected device 'cpu', got 'cuda'",
        ),
        ({"train_fraction": 0.0001}, ConfigError, "split: "),
    ],
)
def test_what_cannot_run_leaves_no_folder(options: dict, error: type, message: str, tmp_path: Path) -> None:
    with pytest.raises(error) as caught:
        train.run(train.Config(**{**SMALL, **options, "output_dir": str(tmp_path / "run")}))
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_run_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="--output-dir: expected a folder that does not exist, got "):
        train.run(train.Config(**SMALL, output_dir=str(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_checkout_that_is_not_installed_runs_too(tmp_path: Path) -> None:
    """All packages are installed, but not xpnet's own metadata."""
    root = Path(__file__).parents[1]
    code = (
        "import sys, runpy; from importlib import metadata; of = metadata.version\n"
        "def version(name):\n"
        "    if name == 'xpnet': raise metadata.PackageNotFoundError(name)\n"
        "    return of(name)\n"
        "metadata.version = version\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    script = root / "scripts" / "train.py"
    options = ["--hidden", "4", "--epochs", "1", "--quiet", "--output-dir", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-c", code, str(script), *options],
        cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    versions = json.loads((tmp_path / "run" / "summary.json").read_text())["versions"]
    assert versions["xpnet"] == "0+unknown"
