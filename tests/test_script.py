"""`scripts/train.py` as a user runs it: output, exit status and files."""

import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from xpnet import backend, train
from xpnet.errors import BackendError

ROOT = Path(__file__).parents[1]
FILES = {
    "config.yaml",
    "data.json",
    "metrics.csv",
    "best.npz",
    "curves.png",
    "confusion.png",
    "summary.json",
    "checkpoints",
}
QUICK = ["--hidden", "16", "--epochs", "2", "--batch-size", "100"]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", str(ROOT / "scripts" / "train.py"), *arguments]


@pytest.fixture(autouse=True, scope="module")
def no_data_sets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache folder without data sets, shared by all tests: Matplotlib keeps its fonts there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("XPNET_DATA", raising=False)
        yield


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run the script in a folder."""
    return subprocess.run(command(*arguments), cwd=folder, capture_output=True, text=True)


def test_the_default_folder_is_new_each_time(tmp_path: Path) -> None:
    result = run(tmp_path, *QUICK)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "Linear(784, 16)" in result.stdout
    assert "epoch 2/2  train loss" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("test accuracy 0.")
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.endswith("-mlp")
    assert {path.name for path in folder.iterdir()} == FILES


@pytest.mark.parametrize("name", ["softmax", "two_layer", "mlp"])
def test_a_config_and_options_that_override_it(name: str, tmp_path: Path) -> None:
    path = ROOT / "scripts" / "configs" / f"{name}.yaml"
    result = run(
        tmp_path, "--config", str(path), "--epochs", "1", "--seed", "7", "--quiet", "--output-dir", "run"
    )
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 1
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    shipped = yaml.safe_load(path.read_text())
    assert {key: written[key] for key in shipped} == {**shipped, "epochs": 1}
    assert written["seed"] == 7


def test_the_default_config_is_mlp_yaml() -> None:
    options = yaml.safe_load((ROOT / "scripts" / "configs" / "mlp.yaml").read_text())
    assert train.Config(**{**options, "hidden": tuple(options["hidden"])}) == train.Config()


def test_no_hidden_layer_and_a_csv_data_set(tmp_path: Path) -> None:
    for name, rows in (("train.csv", 20), ("test.csv", 6)):
        lines = [f"{i % 2},{255 * (i % 2)},{10 * (i % 3)},0" for i in range(rows)]
        (tmp_path / name).write_text("\n".join(lines))
    result = run(
        tmp_path, "--dataset", "csv:train.csv,test.csv", "--hidden", "--no-bias", "--quiet", "--epochs", "30"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("test accuracy 1.0000")


def write_damaged(folder: Path) -> None:
    """Write the files that the error messages below name."""
    (folder / "odd.yaml").write_text("no_such_option: 3\n")
    (folder / "typo.yaml").write_text("learning_rat: 0.1\n")
    (folder / "broken.yaml").write_text("epochs: [\n")
    (folder / "word.yaml").write_text("epochs: many\n")
    (folder / "words.csv").write_text("1,2,3\n0,x,3\n")
    (folder / "rows.csv").write_text("1,2,3\n0,4,3\n" * 5)
    (folder / "mnist").mkdir()
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (folder / "mnist" / f"{name}-ubyte").write_bytes(b"\0\0\x08\x03\0\0")
    (folder / "taken").mkdir()
    (folder / "taken" / "file").write_text("mine")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--epochs", "0"], ["--epochs: expected at least 1, got 0"]),
        (["--batch-size", "-3"], ["--batch-size: expected at least 1, got -3"]),
        (
            ["--learning-rate", ".nan"],
            ["expected learning_rate to be a finite number and at least 0, got nan"],
        ),
        (["--momentum", "1.5"], ["momentum", "below 1", "1.5"]),
        (["--l2", "-1"], ["--l2: expected a finite number and at least 0, got -1"]),
        (["--hidden", "16", "0"], ["--hidden: expected numbers of at least 1"]),
        (["--channels", "4", "-1"], ["--channels: expected numbers of at least 1, got (4, -1)"]),
        (
            ["--channels", "4", "--pool", "2", "2"],
            ["--pool: expected 1 number, or 1 as --channels has, got (2, 2)"],
        ),
        (
            ["--channels", "4", "--pool", "64"],
            ["--pool: expected windows that fit", "MaxPool2d(64)", "(1, 28, 28, 4)"],
        ),
        (
            ["--channels", "4", "--dataset", "csv:rows.csv,rows.csv"],
            ["--channels: expected a data set of images"],
        ),
        (
            ["--normalize", "--dataset", "csv:rows.csv,rows.csv"],
            ["--normalize: expected a data set of images"],
        ),
        (
            ["--random-crop", "2", "--dataset", "csv:rows.csv,rows.csv"],
            ["--random-crop: expected a data set of images"],
        ),
        (["--dropout", "1"], ["--dropout: expected at least 0 and below 1, got 1"]),
        (["--label-smoothing", "1"], ["label_smoothing", "below 1"]),
        (
            ["--label-smoothing", "0.1", "--loss", "hinge"],
            ["--label-smoothing: expected --loss cross-entropy"],
        ),
        (["--schedule", "cosine", "--warmup", "20"], ["Cosine: expected epochs", "above 20"]),
        (["--optimizer", "adam", "--momentum", "1"], ["Adam: expected beta1 to be a number below 1"]),
        (["--average-weights", "1"], ["AverageWeights: expected decay to be a number below 1"]),
        (
            ["--dataset", "cifar10", "--no-download", "--data-dir", "."],
            ["data_batch_1.bin is missing", "--data-dir"],
        ),
        (["--activation", "swish"], ["activation", "swish", "sigmoid"]),
        (["--no-such-option", "3"], ["--no-such-option"]),
        (["--epoch", "3"], ["--epoch"]),
        (["argument"], ["argument"]),
        (["--config", "missing.yaml"], ["missing.yaml"]),
        (["--config", "odd.yaml"], ["odd.yaml: ", "no_such_option", "see --help"]),
        (["--config", "typo.yaml"], ["typo.yaml: ", "'learning_rat'", "did you mean learning_rate?"]),
        (["--no-nesterof"], ["--no-nesterof", "did you mean --no-nesterov?"]),
        (["--epochs", "many"], ["--epochs: expected int, got many"]),
        (["--config", "word.yaml"], ["word.yaml: line 1: --epochs: expected int, got many"]),
        (["--config", "broken.yaml"], ["broken.yaml: ", "line 2, column 1"]),
        (["--backend", "abacus"], ["backend", "abacus", "numpy"]),
        (["--device", "cuda"], ["backend 'numpy': expected device 'cpu', got 'cuda'"]),
        (["--dataset", "imagenet"], ["imagenet", "mnist-sample"]),
        (["--dataset", "mnist", "--no-download"], ["mnist", "train-images-idx3-ubyte", "--data-dir"]),
        (["--dataset", "mnist", "--data-dir", "."], ["train-images-idx3-ubyte", "byte"]),
        (["--dataset", "csv:words.csv,words.csv"], ["words.csv", "line 2", "column 2", "x"]),
        (["--dataset", "csv:missing.csv,words.csv"], ["missing.csv"]),
        (["--output-dir", "taken"], ["--output-dir: expected a folder that does not exist, got taken"]),
        (["--output-dir", "words.csv/run"], ["--output-dir: cannot make words.csv/run"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_mistake_is_one_line_and_status_2(
    arguments: list[str],
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    """Runs in this process, which is faster; `test_cupy_without_gpu_is_one_line` starts a process."""
    write_damaged(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    with pytest.raises(SystemExit) as exit_:
        runpy.run_path(str(ROOT / "scripts" / "train.py"), run_name="__main__")
    out, err = capsys.readouterr()
    assert exit_.value.code == 2, err
    assert out == ""
    assert err.startswith("train.py: ")
    assert len(err.splitlines()) == 1, err
    for word in words:
        assert word in err
    assert sorted(tmp_path.rglob("*")) == before


def test_cupy_without_gpu_is_one_line(tmp_path: Path) -> None:
    try:
        backend.get("cupy")
    except BackendError:
        pass
    else:
        pytest.skip("there is a GPU")
    result = run(tmp_path, *QUICK, "--backend", "cupy")
    assert result.returncode == 2
    assert result.stderr.startswith("train.py: backend 'cupy': ")
    assert "cuda13" in result.stderr or "NVIDIA GPU" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_divergence_is_status_3(tmp_path: Path) -> None:
    result = run(tmp_path, *QUICK, "--learning-rate", "1e30", "--quiet", "--output-dir", "run")
    assert result.returncode == 3
    (line,) = result.stderr.splitlines()
    assert line.startswith(
        "train.py: epoch 1, step 2 of 24, learning rate 1e+30: expected a finite loss, got nan;"
    )
    assert "layer 3, Linear(16, 10)" in line
    assert line.endswith("a lower learning rate may help; no checkpoint was written")


def test_ctrl_c_leaves_the_files_and_status_130(tmp_path: Path) -> None:
    process = subprocess.Popen(
        command(*QUICK, "--epochs", "10000", "--output-dir", "run"),
        cwd=tmp_path,
        stdout=-1,
        stderr=-1,
        text=True,
    )
    metrics = tmp_path / "run" / "metrics.csv"
    deadline = time.monotonic() + 60
    while not (metrics.exists() and metrics.read_text().count("\n") > 2):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err == ""
    assert "interrupted" in out.splitlines()[-1]
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES


def test_help_names_every_option(tmp_path: Path) -> None:
    result = run(tmp_path, "--help")
    assert result.returncode == 0
    for name in train.Config.__dataclass_fields__:
        assert f"--{name.replace('_', '-')}" in result.stdout
