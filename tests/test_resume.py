"""`train.py --resume` as a user runs it: killed and interrupted runs, and full disks."""

import csv
import errno
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import yaml

import xpnet
from xpnet import train, tree
from xpnet._training import checkpoint
from xpnet._util import files
from xpnet.callbacks import Callback
from xpnet.errors import CheckpointError, ConfigError
from xpnet.train import folder as run_folder
from xpnet.train import recorded_data
from xpnet.train.command_line import parse
from xpnet.train.reporting import Interrupts

ROOT = Path(__file__).parents[1]
RUN = [
    "--hidden", "16", "--batch-norm", "--dropout", "0.2", "--input-noise", "0.1", "--random-crop", "2",
    "--average-weights", "0.9", "--schedule", "plateau", "--schedule-every", "1", "--schedule-factor", "0.5",
    "--early-stopping", "14", "--epochs", "16", "--batch-size", "100", "--train-fraction", "0.2",
    "--checkpoint-every", "0.0001", "--train-metrics", "end", "--train-metrics-examples", "300", "--test-each-epoch",
    "--output-dir", "run",
]  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def one_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One cache folder for all runs: Matplotlib keeps its fonts there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-u", "-W", "error", str(ROOT / "scripts" / "train.py"), *arguments]


def start_command(folder: Path, arguments: list[str]) -> subprocess.Popen:
    before = signal.signal(
        signal.SIGHUP, signal.SIG_DFL
    )  # a child inherits that it is ignored, as under nohup
    try:
        return subprocess.Popen(
            arguments, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    finally:
        signal.signal(signal.SIGHUP, before)


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    return start_command(folder, command(*arguments))


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    return finish(start(folder, *arguments))


def started(process: subprocess.Popen) -> None:
    """Wait until the process has printed the table of layers: the first epoch is about to begin."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(("total", "run goes on")):
            return
    pytest.fail(finish(process)[2])


def handles_signals(folder: Path) -> None:
    """Wait until a new run in a folder has entered `fit`, where it handles signals."""
    deadline = time.monotonic() + 60
    while not (folder / "metrics.csv").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def history(folder: Path) -> list[dict]:
    """The rows of `metrics.csv` without times."""
    with open(folder / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert all(row.pop("seconds") and row.pop("images_per_second") for row in rows)
    return rows


def last_state(folder: Path) -> dict[str, np.ndarray]:
    """All arrays of the newest checkpoint, including the best epoch's."""
    paths = (folder / "checkpoints").glob("epoch-*.safetensors")
    newest = max(paths, key=lambda path: [int(number) for number in re.findall(r"\d+", path.name)])
    return {name: leaf for name, leaf in tree.items(checkpoint.read(newest)) if isinstance(leaf, np.ndarray)}


def assert_same_run(folder: Path, other: Path) -> None:
    assert history(folder) == history(other)
    assert (folder / "best.npz").read_bytes() == (other / "best.npz").read_bytes()
    state, expected = last_state(folder), last_state(other)
    assert state.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(state[name], array, err_msg=name)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    status, _, err = run(folder, *RUN, "--quiet")
    assert (status, err) == (0, "")
    assert len(history(folder / "run")) == 16
    return folder / "run"


def check_kills(folder: Path, unbroken: Path, seed: int, kills: int) -> None:
    """Kill a run at a number of random moments: the resumed run ends like the uninterrupted one."""
    draw = random.Random(seed)
    arguments = RUN
    for _ in range(kills):
        process = start(folder, *arguments)
        started(process)
        time.sleep(draw.uniform(0, 0.15))
        process.kill()
        process.communicate()
        arguments = ["--resume", "run"]
    status, out, err = run(folder, *arguments)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1].startswith("test accuracy ")
    assert_same_run(folder / "run", unbroken)
    assert not list((folder / "run").glob(".*"))


def test_killed_ten_times_it_is_bit_for_bit_the_unbroken_run(tmp_path: Path, unbroken: Path) -> None:
    check_kills(tmp_path, unbroken, seed=0, kills=10)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 21))
def test_killed_two_hundred_times(seed: int, tmp_path: Path, unbroken: Path) -> None:
    check_kills(tmp_path, unbroken, seed, kills=10)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_saves_and_leaves_with_128_and_its_number(
    number: signal.Signals, tmp_path: Path, unbroken: Path
) -> None:
    process = start(tmp_path, *RUN)
    handles_signals(tmp_path / "run")
    process.send_signal(number)
    status, out, err = finish(process)
    assert (status, err) == (128 + number, "")
    assert out.splitlines()[-1] == "interrupted; resume with --resume run"
    status, out, err = run(tmp_path, "--resume", "run", "--quiet")
    assert (status, err, len(out.splitlines())) == (0, "", 1)
    assert_same_run(tmp_path / "run", unbroken)


def test_a_second_hangup_does_not_break_off_the_checkpoint() -> None:
    """Kernel and shell both send SIGHUP; a batch system sends SIGTERM after SIGUSR1."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    try:
        with Interrupts() as interrupts:
            for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM):
                signal.raise_signal(number)
            assert interrupts.received == signal.SIGHUP
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
        with Interrupts() as interrupts:
            signal.raise_signal(signal.SIGHUP)
            assert interrupts.received is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_signal_leaves_at_once(tmp_path: Path, unbroken: Path) -> None:
    process = start(tmp_path, *RUN)
    handles_signals(tmp_path / "run")
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    assert finish(process)[0] in (-signal.SIGINT, -signal.SIGTERM)
    assert run(tmp_path, "--resume", "run")[0] == 0
    assert_same_run(tmp_path / "run", unbroken)


def test_what_another_process_works_on_is_refused(tmp_path: Path) -> None:
    process = start(tmp_path, *RUN, "--epochs", "10000")
    started(process)
    status, out, err = run(tmp_path, "--resume", "run")
    assert (status, out) == (2, "")
    assert err == "train.py: run: expected a run that no process uses, got one in use\n"
    process.kill()
    process.communicate()
    files.lock(tmp_path / "run" / "checkpoints" / "lock").close()  # a kill has released it


def all_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_full_disk_is_one_line_and_checkpoints_are_as_they_were(tmp_path: Path) -> None:
    """A limit on the size of files imitates a full disk."""
    limited = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000)); os.execv(sys.executable, sys.argv[1:])"
    assert run(tmp_path, *RUN, "--epochs", "1", "--quiet")[0] == 0
    before = all_files(tmp_path / "run")
    arguments = command("--resume", "run", "--epochs", "3", "--quiet")
    status, out, err = finish(start_command(tmp_path, [sys.executable, "-c", limited, *arguments]))
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith("train.py: run/")
    assert err.endswith(": cannot be written (File too large)\n")
    after = all_files(tmp_path / "run")
    assert after.keys() == before.keys()
    assert {name for name in before if before[name] != after[name]} <= {"config.yaml", "metrics.csv"}
    assert run(tmp_path, "--resume", "run", "--quiet")[0] == 0
    assert len(history(tmp_path / "run")) == 3


def test_without_its_checkpoints_a_run_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    config = train.Config(**SMALL, output_dir=str(folder))
    train.run(config)
    shutil.rmtree(folder / "checkpoints")
    before = all_files(folder)
    with pytest.raises(ConfigError, match=r"--resume: expected a checkpoint in .*/run/checkpoints, got none"):
        train.run(config, folder)
    assert all_files(folder) == before
    assert not (folder / "checkpoints").exists()


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(model: xpnet.Model) -> None:
        raise KeyboardInterrupt

    folder, config = (
        tmp_path / "run",
        train.Config(**{**SMALL, "checkpoint_every": 10.0}, output_dir=str(tmp_path / "run")),
    )
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        train_with(patch, At(0, 2, kill), config)
    for path in (folder / "checkpoints").glob("*.safetensors"):  # a kill would have left none
        path.unlink()
    assert train.run(config, folder)["epochs"] == 3


def write_csv(path: Path, x: np.ndarray, y: np.ndarray) -> None:
    path.write_text("".join(f"{label},{','.join(map(str, row))}\n" for label, row in zip(y, x, strict=True)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x, y: (x[:-1], y[:-1]), "39 training examples instead of 40"),
        (lambda x, y: (x[:, :-1], y), r"training inputs of shape \[5\] instead of \[6\]"),
        (lambda x, y: (np.where(x == 255, 254, x), y), "other training inputs"),
        (lambda x, y: (x[::-1], y[::-1]), "other training inputs, or the same in another order"),
        (lambda x, y: (x, np.roll(y, 1)), "other training labels"),
    ],
    ids=["rows", "columns", "content", "order", "labels"],
)
def test_other_data_are_refused_by_name(change: Callable, words: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (40, 6)), np.arange(40) % 3
    x[3, 2] = 255
    for name in ("train.csv", "test.csv"):
        write_csv(tmp_path / name, x, y)
    dataset = f"csv:{tmp_path / 'train.csv'},{tmp_path / 'test.csv'}"
    config = train.Config(**{**SMALL, "epochs": 1}, dataset=dataset, output_dir=str(tmp_path / "run"))
    train.run(config)
    more = replace(config, epochs=2)
    new_x, new_y = change(x, y)
    write_csv(tmp_path / "train.csv", new_x, new_y)
    if new_x.shape[1] != x.shape[1]:
        write_csv(tmp_path / "test.csv", new_x, new_y)
    before = all_files(tmp_path)
    with pytest.raises(ConfigError, match=f"--resume: expected the data that .*run began with, got {words}"):
        train.run(more, tmp_path / "run")
    assert all_files(tmp_path) == before
    for name in ("train.csv", "test.csv"):
        write_csv(tmp_path / name, x, y)
    assert train.run(more, tmp_path / "run")["epochs"] == 2


def test_the_record_of_the_data_can_be_damaged_or_missing(tmp_path: Path) -> None:
    config = train.Config(**{**SMALL, "epochs": 1}, output_dir=str(tmp_path / "run"))
    train.run(config)
    record = tmp_path / "run" / recorded_data.FILE
    written = record.read_bytes()
    for damage in (b"{", b"[]", b"\xff", b'{"train": 3}'):
        record.write_bytes(damage)
        with pytest.raises(CheckpointError, match=r"data.json: expected the description of a data set: "):
            train.run(config, tmp_path / "run")
    record.unlink()  # of a run by an earlier version
    train.run(config, tmp_path / "run")
    assert record.read_bytes() == written


class Lazy:
    """An array in a file: it can be sliced, and counts the bytes that it gave."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype, self.read = array, array.shape, array.dtype, 0

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: slice) -> np.ndarray:
        self.read += self.array[rows].nbytes
        return self.array[rows]


def test_a_digest_reads_a_bounded_part_of_large_data(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).random((1000, 3, 5), dtype=np.float32)
    assert (
        recorded_data.digest(Lazy(x)) == recorded_data.digest(x) == recorded_data.digest(np.asfortranarray(x))
    )
    assert recorded_data.digest(x[::-1]) != recorded_data.digest(x)
    assert recorded_data.digest(x[:0]) != recorded_data.digest(x[:, :0])
    monkeypatch.setattr(recorded_data, "WHOLE", 100 * x[0].nbytes)
    monkeypatch.setattr(recorded_data, "BLOCKS", 10)
    lazy = Lazy(x)
    assert recorded_data.digest(lazy) == recorded_data.digest(x)
    assert lazy.read == recorded_data.WHOLE
    for i in (0, 999):  # the first and the last row are among them
        changed = x.copy()
        changed[i, 0, 0] = 2
        assert recorded_data.digest(changed) != recorded_data.digest(x)


SMALL = {"hidden": (16,), "epochs": 3, "batch_size": 200, "quiet": True, "checkpoint_every": 1e-9}


class At(Callback):
    """Calls a function after a step of an epoch."""

    def __init__(self, epoch: int, step: int, action: Callable[[xpnet.Model], None]) -> None:
        self.at, self.action = (epoch, step), action

    def on_step(self, model: xpnet.Model, step: int, n_steps: int) -> None:
        if (model.epoch, step) == self.at:
            self.action(model)


FIT = xpnet.Model.fit


def train_with(
    patch: pytest.MonkeyPatch, callback: Callback, config: train.Config, resume: Path | None = None
) -> dict:
    """Run with another callback, placed before the checkpoints and the table of metrics."""

    def fit_with(model: xpnet.Model, *data, callbacks, **options):
        *others, checkpoints, table = callbacks
        return FIT(model, *data, callbacks=[*others, callback, checkpoints, table], **options)

    patch.setattr(xpnet.Model, "fit", fit_with)
    return train.run(config, resume)


def test_a_folder_that_vanishes_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    with pytest.raises(CheckpointError, match=r"run/.*: cannot be written \(No such file or directory\)$"):
        train_with(
            monkeypatch,
            At(1, 3, lambda model: shutil.rmtree(folder)),
            train.Config(**SMALL, output_dir=str(folder)),
        )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = train.Config(**SMALL, output_dir=str(tmp_path / "run"))
    train.run(config)
    before = all_files(tmp_path)

    def read_only(*args, **kwargs) -> None:  # permissions do not stop root
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "lock", read_only)
        with pytest.raises(ConfigError, match=r"run: cannot be written \(Read-only file system\)$"):
            train.run(config, tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.mkstemp", read_only)
        with pytest.raises(
            CheckpointError, match=r"run/config.yaml: cannot be written \(Read-only file system\)$"
        ):
            train.run(config, tmp_path / "run")
    assert all_files(tmp_path) == before


def test_a_run_goes_on_for_more_epochs_and_on_another_library(tmp_path: Path) -> None:
    """In float64, so that the libraries agree to 10 digits."""
    options = {**SMALL, "dtype": "float64", "dropout": 0.2, "device": "cpu"}
    train.run(train.Config(**{**options, "epochs": 3}, output_dir=str(tmp_path / "whole")))
    train.run(train.Config(**{**options, "epochs": 2}, output_dir=str(tmp_path / "run")))
    other = [
        "--epochs",
        "3",
        "--backend",
        "array-api-strict",
        "--hidden",
        "16",
    ]  # the last epoch is unchanged
    config, folder = parse(["--resume", str(tmp_path / "run"), *other], "train.py")
    assert config == train.Config(**{**options, "epochs": 3, "backend": "array-api-strict", "device": None})
    summary = train.run(config, folder)
    assert (summary["epochs"], summary["backend"]) == (3, "array-api-strict")
    for row, expected in zip(history(tmp_path / "run"), history(tmp_path / "whole"), strict=True):
        numbers = [key for key, value in expected.items() if value and key != "train_metrics"]
        assert row.keys() == expected.keys()
        assert [float(row[key]) for key in numbers] == pytest.approx(
            [float(expected[key]) for key in numbers], rel=1e-10
        )
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (written["epochs"], written["backend"]) == (3, "array-api-strict")


def test_what_best_npz_holds_is_what_the_checkpoint_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is killed after its best epoch but before the checkpoint, and then stopped within that epoch."""

    class Killed(Exception):
        pass

    def kill(model: xpnet.Model) -> None:
        raise Killed

    class KillAfterEpoch(Callback):
        def on_epoch(self, model: xpnet.Model, metrics) -> None:
            if metrics.epoch == 2:
                kill(model)

    folder = tmp_path / "run"
    config = train.Config(**SMALL, output_dir=str(folder))
    with pytest.raises(Killed):
        train_with(monkeypatch, KillAfterEpoch(), config)
    assert len(history(folder)) == 1  # the table says no more than the checkpoints
    of_epoch_2 = (folder / "best.npz").read_bytes()
    with pytest.raises(Killed):
        train_with(monkeypatch, At(1, 12, kill), config, folder)
    assert len(history(folder)) == 1
    train.run(train.Config(**{**SMALL, "epochs": 1}, output_dir=str(tmp_path / "one")))
    of_epoch_1 = (tmp_path / "one" / "best.npz").read_bytes()
    assert (folder / "best.npz").read_bytes() == of_epoch_1 != of_epoch_2


def test_a_damaged_checkpoint_is_told_of_and_the_one_before_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    train.run(train.Config(**SMALL, output_dir=str(tmp_path / "whole")))
    config = train.Config(**SMALL, output_dir=str(tmp_path / "run"))
    train.run(config)
    newest = tmp_path / "run" / "checkpoints" / "epoch-3-step-0.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"epoch-3.*; --weights best takes those of the best epoch$"):
        xpnet.load_run(tmp_path / "run", weights="last")
    train.run(config, tmp_path / "run")
    err = capsys.readouterr().err
    assert err.startswith(f"{newest}: expected ")
    assert err.endswith("; using the checkpoint before it\n")
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_two_runs_of_the_same_second_have_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None) -> datetime:
            return datetime(2026, 11, 21, 8, 15, 30)

    monkeypatch.setattr(run_folder, "datetime", Clock)
    monkeypatch.chdir(tmp_path)
    for _ in range(3):
        train.run(train.Config(**{**SMALL, "epochs": 1}))
    names = [f"20261121-081530-mlp{end}" for end in ("", "-2", "-3")]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--learning-rate", "0.3"], "--learning-rate: expected the run's own 0.1 with --resume, got 0.3"),
        (["--hidden", "8"], "--hidden: expected the run's own (16,) with --resume, got (8,)"),
        (["--no-shuffle"], "--shuffle: expected the run's own True with --resume, got False"),
        (["--config", "other.yaml"], "--seed: expected the run's own 0 with --resume, got 5"),
        (["--output-dir", "other"], "--output-dir: expected the run's own None with --resume, got other"),
        (["--epochs", "2"], "--epochs: expected at least 3, which run has begun, got 2"),
        (["--epochs", "0"], "--epochs: expected at least 1, got 0"),
        (["--checkpoint-every", "0"], "--checkpoint-every: expected above 0, got 0"),
        (
            ["--resume", "nowhere"],
            "--resume: expected the folder of a run, got nowhere, without a config.yaml",
        ),
        (["--resume", "damaged"], "epochs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_conflict_are_refused_by_name(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train.run(train.Config(**SMALL, output_dir="run"))
    (tmp_path / "other.yaml").write_text("hidden: [16]\nseed: 5\n")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "config.yaml").write_text("epochs: many\n")
    before = all_files(tmp_path)
    with pytest.raises(ConfigError) as error:
        train.run(*parse(["--resume", "run", *arguments], "train.py"))
    assert message in str(error.value)
    assert all_files(tmp_path) == before
