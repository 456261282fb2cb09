"""Checkpoints: a resumed training is bit-equal to one that was never interrupted."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import xpnet
from conftest import Place
from xpnet import data, losses, nn, optim, schedules, tree
from xpnet._training import checkpoint
from xpnet.backend import NumPy
from xpnet.callbacks import Callback, EarlyStopping
from xpnet.errors import CheckpointError, ConfigError

EPOCHS, STEPS = 4, 5  # of 60 images in batches of 13
EXACT = ("epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "learning_rate")


def make_model(place: Place = ("numpy", None), **options) -> xpnet.Model:
    """A model with everything that has a state or is random."""
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm(3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(48, 3)
    )
    options = {
        "seed": 3,
        "l2": 0.001,
        "augment": data.augment.RandomCrop(1),
        "optimizer": optim.AverageWeights(optim.SGD(0.05, momentum=0.9, nesterov=True), 0.9),
        **options,
    }
    return xpnet.Model(net, losses.CrossEntropy(), backend=place[0], device=place[1], **options)


def make_data(seed: int, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(seed).standard_normal((n, 6, 6, 1))
    return x, x[:, :3, 0, 0].argmax(axis=1)


class SaveAt(Callback):
    """Saves a checkpoint after a step of an epoch, or after the epoch if `step` is 0."""

    def __init__(self, path: Path, epoch: int, step: int) -> None:
        self.path, self.at = path, (epoch, step)

    def on_step(self, model: xpnet.Model, step: int, n_steps: int) -> None:
        assert n_steps == STEPS
        if (model.epoch, step) == self.at:
            model.save_checkpoint(self.path)

    def on_epoch(self, model: xpnet.Model, metrics) -> None:
        if (model.epoch, 0) == self.at:
            model.save_checkpoint(self.path)


def fit(model: xpnet.Model, epochs: int, *callbacks: Callback, **options) -> list:
    options = {"batch_size": 13, "validation": make_data(1), **options}
    return model.fit(
        *make_data(0),
        epochs=epochs,
        schedule=schedules.ReduceOnPlateau(0.5, patience=0),
        callbacks=[EarlyStopping(3, restore=False), *callbacks],
        **options,
    )


def rows(model: xpnet.Model) -> list[tuple]:
    return [tuple(getattr(metrics, name) for name in EXACT) for metrics in model.history]


def arrays(model: xpnet.Model) -> dict[str, np.ndarray]:
    """All arrays of the state."""
    kept = {key: getattr(model.state, key) for key in ("params", "statistics", "optimizer", "step")}
    return {name: model.backend.to_numpy(leaf).copy() for name, leaf in tree.items(kept)}


def assert_same(model: xpnet.Model, other: xpnet.Model) -> None:
    assert rows(model) == rows(other)
    for name, array in arrays(other).items():
        np.testing.assert_array_equal(arrays(model)[name], array, err_msg=name)


def test_goes_on_bit_for_bit(place: Place, tmp_path: Path) -> None:
    """Checkpoints in the middle of an epoch, after its last step, and after the epoch."""
    places = [(0, 1), (1, 3), (1, STEPS), (2, 0)]
    paths = {at: tmp_path / f"{at}" for at in places}
    whole = make_model(place)
    fit(whole, EPOCHS, *[SaveAt(path, *at) for at, path in paths.items()])
    assert len({row[-1] for row in rows(whole)}) > 1  # the schedule has lowered the rate
    for at, path in paths.items():
        resumed = make_model(place)
        resumed.load_checkpoint(path)
        assert (resumed.epoch, resumed.epoch_step) == at
        history = fit(resumed, EPOCHS - resumed.epoch)
        assert [metrics.epoch for metrics in history] == list(range(at[0] + 1, EPOCHS + 1))
        assert_same(resumed, whole)
    assert set(tmp_path.iterdir()) == set(paths.values())


def test_goes_on_in_the_middle_of_steps_that_run_in_one_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NumPy, "steps_at_once", 4)
    whole, resumed = make_model(), make_model()
    fit(whole, EPOCHS, SaveAt(tmp_path / "file", 1, 3))
    resumed.load_checkpoint(tmp_path / "file")
    fit(resumed, EPOCHS - 1)
    assert_same(resumed, whole)


class StopAt(Callback):
    """Stops after step 3 of the second epoch."""

    def on_step(self, model: xpnet.Model, step: int, n_steps: int) -> None:
        if (model.epoch, step) == (1, 3):
            model.stop()


def test_goes_on_in_the_same_process_after_stop() -> None:
    def plain(model: xpnet.Model, epochs: int, *callbacks: Callback) -> None:
        model.fit(*make_data(0), epochs=epochs, batch_size=13, callbacks=callbacks)

    whole, stopped = make_model(), make_model()
    plain(whole, 3)
    plain(stopped, 3, StopAt())
    assert (stopped.epoch, stopped.epoch_step, len(stopped.history)) == (1, 3, 1)
    with pytest.raises(
        ConfigError, match=r"fit: expected Batches\(examples=60, batch_size=13, .* interrupted epoch 2"
    ):
        stopped.fit(*make_data(0), batch_size=12)
    plain(stopped, 2)
    assert_same(stopped, whole)


def test_parameters_from_elsewhere_start_the_epoch_afresh(tmp_path: Path) -> None:
    model = make_model()
    fit(model, 1, SaveAt(tmp_path / "file", 0, 3))
    model.load_checkpoint(tmp_path / "file")
    assert model.epoch_step == 3
    model.params = model.params
    assert model.epoch_step == 0


@pytest.mark.parametrize("direction", ["from NumPy", "to NumPy"])
def test_moves_between_libraries(direction: str, place: Place, tmp_path: Path) -> None:
    """In float64 the rest of the training agrees to 10 digits."""
    here, numpy = make_model(place, dtype="float64"), make_model(dtype="float64")
    first, second = (numpy, here) if direction == "from NumPy" else (here, numpy)
    path = tmp_path / "checkpoint"
    fit(first, EPOCHS, SaveAt(path, 1, 3))
    second.load_checkpoint(path)
    fit(second, EPOCHS - 1)
    np.testing.assert_allclose(rows(second), rows(first), rtol=1e-10)
    for name, array in arrays(first).items():
        np.testing.assert_allclose(arrays(second)[name], array, rtol=1e-9, atol=1e-12, err_msg=name)


def test_targets_that_name_no_class(tmp_path: Path) -> None:
    """Without classes there are no errors to save."""

    def make() -> xpnet.Model:
        return xpnet.Model(nn.Linear(4, 2), losses.MeanSquaredError(), optim.SGD(0.1))

    x = np.random.default_rng(0).normal(size=(60, 4))
    whole, resumed = make(), make()
    whole.fit(x, x[:, :2], epochs=2, batch_size=13, callbacks=[SaveAt(tmp_path / "file", 1, 2)])
    resumed.load_checkpoint(tmp_path / "file")
    resumed.fit(x, x[:, :2], epochs=1, batch_size=13)
    assert_same(resumed, whole)


def test_early_stopping_goes_on_with_its_patience_and_its_snapshot(tmp_path: Path) -> None:
    def train(model: xpnet.Model, *callbacks: Callback, patience: int) -> list:
        early = EarlyStopping(patience)
        return model.fit(
            *make_data(0),
            epochs=9,
            batch_size=13,
            validation=make_data(1, 200),
            callbacks=[early, *callbacks],
        )

    options = {"optimizer": optim.SGD(0.3)}  # so that the loss soon rises
    whole = make_model(**options)
    n = len(train(whole, *[SaveAt(tmp_path / f"{epoch}", epoch, 0) for epoch in range(1, 10)], patience=2))
    assert 3 <= n < 9
    for epoch in range(1, n + 1):
        resumed = make_model(**options)
        resumed.load_checkpoint(tmp_path / f"{epoch}")
        assert len(train(resumed, patience=2)) == n - epoch
        assert_same(resumed, whole)


def test_the_state_of_callbacks_of_the_same_class_is_their_own(tmp_path: Path) -> None:
    class Counter(Callback):
        def __init__(self, count: int) -> None:
            self.count = {"number": (count, np.array([count]))}

        def state(self) -> dict:
            return self.count

        def load_state(self, state: dict) -> None:
            self.count = state

    first, second = Counter(1), Counter(2)
    model = make_model()
    model.fit(*make_data(0), epochs=1, callbacks=[first, second])
    model.save_checkpoint(tmp_path / "a")
    model.load_checkpoint(tmp_path / "a")
    model.save_checkpoint(tmp_path / "b")  # with states that no fit has restored yet
    model = make_model()
    model.load_checkpoint(tmp_path / "b")
    first, second = Counter(0), Counter(0)
    model.fit(*make_data(0), epochs=1, callbacks=[first, second])
    assert (first.count, second.count) == ({"number": (1, np.array([1]))}, {"number": (2, np.array([2]))})


def test_any_tool_can_read_the_file(tmp_path: Path) -> None:
    model = make_model()
    fit(model, 1)
    model.save_checkpoint(tmp_path / "file.safetensors")
    found = safetensors.numpy.load_file(tmp_path / "file.safetensors")
    np.testing.assert_array_equal(found["params.5.weight"], model.params[5]["weight"])
    assert found["step"] == [STEPS]
    with safetensors.safe_open(tmp_path / "file.safetensors", "numpy") as file:
        assert json.loads(file.metadata()["state"])["epoch"] == 1


def small(**options) -> xpnet.Model:
    return xpnet.Model(nn.Linear(3, 2), losses.CrossEntropy(), optim.SGD(0.1, 0.9), **options)


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    """A checkpoint of a small model after an epoch."""
    model = small()
    model.fit(np.eye(3), [0, 1, 0], epochs=1)
    model.save_checkpoint(tmp_path / "good")
    return (tmp_path / "good").read_bytes()


def refuses(path: Path, model: xpnet.Model) -> str:
    """Check that the model refuses the file and does not change; return the error line."""
    before = arrays(model)
    with pytest.raises(CheckpointError) as error:
        model.load_checkpoint(path)
    assert str(error.value).startswith(f"{path}: expected ")
    assert "\n" not in str(error.value)
    for name, array in before.items():
        np.testing.assert_array_equal(arrays(model)[name], array)
    return str(error.value)


def test_a_damaged_file_is_refused(content: bytes, tmp_path: Path) -> None:
    """Truncated after any byte, or with any byte changed."""
    model, path = small(), tmp_path / "bad"
    for n in range(len(content)):
        path.write_bytes(content[:n])
        refuses(path, model)
    harmless = 0
    for n in range(len(content)):
        path.write_bytes(content[:n] + bytes([content[n] ^ (1 << n % 8)]) + content[n + 1 :])
        try:
            loaded = checkpoint.read(path)
        except CheckpointError:
            refuses(path, model)
        else:  # padding between the header and the arrays
            harmless += 1
            assert repr(loaded) == repr(checkpoint.read(tmp_path / "good"))
    assert harmless < 8


def header(fields: dict, length: int | None = None) -> bytes:
    text = json.dumps(fields).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text


DEEP = {"format": checkpoint.FORMAT, "state": "[" * 100_000, "sha256": checkpoint._digest("[" * 100_000, {})}
ODD = {"format": checkpoint.FORMAT, "state": "[1]", "sha256": checkpoint._digest("[1]", {})}
NO_ARRAY = {
    "format": checkpoint.FORMAT,
    "state": (text := '{"$array": "x"}'),
    "sha256": checkpoint._digest(text, {}),
}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (None, "No such file or directory"),
        (b"", "deserializing header"),
        (header({}, length=1 << 62), "deserializing header"),
        (header({"x": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}), ""),
        (header({"x": {"dtype": "F32", "shape": [1 << 40, 0, 1 << 40], "data_offsets": [0, 0]}}), ""),
        (header({}), "the format is None"),
        (header({"__metadata__": {"format": "xpnet checkpoint 2"}}), "the format is 'xpnet checkpoint 2'"),
        (header({"__metadata__": {"format": checkpoint.FORMAT}}), "sha256"),
        (header({"__metadata__": {**ODD, "sha256": "0"}}), "the checksum is wrong"),
        (header({"__metadata__": DEEP}), "maximum recursion depth exceeded"),
        (header({"__metadata__": ODD}), "expected the state of a Model"),
        (header({"__metadata__": NO_ARRAY}), "'x'"),
    ],
)
def test_what_is_no_checkpoint_is_refused(bad: bytes | None, message: str, tmp_path: Path) -> None:
    if bad is not None:
        (tmp_path / "bad").write_bytes(bad)
    assert message in refuses(tmp_path / "bad", small())


def test_the_checksum_is_of_names_dtypes_and_shapes_too() -> None:
    """States with the same bytes that differ in one of these."""
    array = np.arange(6, dtype=np.float32)
    others = [
        {"b": array},
        {"a": array.view(np.int32)},
        {"a": array.reshape(2, 3)},
        {"a": array.reshape(3, 2)},
        {"a": array + 1},
        {"a": array, "b": array[:0]},
        {},
    ]
    digests = [checkpoint._digest("text", arrays) for arrays in [{"a": array}, *others]]
    assert len({*digests, checkpoint._digest("texts", {"a": array})}) == len(others) + 2
    assert checkpoint._digest("text", {"a": array, "b": array}) == checkpoint._digest(
        "text", {"b": array, "a": array}
    )


@pytest.mark.parametrize("name", ["a name", "a dtype", "a shape"])
def test_a_header_that_says_something_else_of_an_array_is_refused(
    name: str, content: bytes, tmp_path: Path
) -> None:
    """The length of the file, its text and the bytes of its arrays are unchanged."""
    old, new = {
        "a name": (b'"params.weight":', b'"params.weighs":'),
        "a dtype": (b'"F32","shape":[3,2]', b'"I32","shape":[3,2]'),
        "a shape": (b'"F32","shape":[3,2]', b'"F32","shape":[2,3]'),
    }[name]
    assert content.count(old) >= 1
    (tmp_path / "bad").write_bytes(content.replace(old, new, 1))
    assert "the checksum is wrong" in refuses(tmp_path / "bad", small())


@pytest.mark.parametrize("field", ["epoch", "epoch_step"])
def test_a_negative_position_is_refused(field: str, content: bytes, tmp_path: Path) -> None:
    saved = checkpoint.read(tmp_path / "good")
    for value in (0, 3):
        checkpoint.write(tmp_path / "other", {**saved, field: value})
        small().load_checkpoint(tmp_path / "other")
    checkpoint.write(tmp_path / "bad", {**saved, field: -1})
    assert "expected the state of a Model (ValueError('step " in refuses(tmp_path / "bad", small())


def test_the_time_of_an_epoch_is_that_of_both_its_parts(tmp_path: Path) -> None:
    """An hour before the checkpoint counts; the next epoch starts at zero."""
    model = make_model()
    fit(model, 1, SaveAt(tmp_path / "file", 0, 3))
    saved = checkpoint.read(tmp_path / "file")
    assert 0 < saved["epoch_seconds"] < model.history[0].seconds
    checkpoint.write(tmp_path / "file", {**saved, "epoch_seconds": 3600.0})
    model.load_checkpoint(tmp_path / "file")
    whole, after = fit(model, 2)
    assert 3600 < whole.seconds < 3660
    assert whole.images_per_second == pytest.approx(60 / whole.seconds)
    assert after.seconds < 60


def test_parameters_from_a_file_lie_in_memory_as_the_model_s_own(tmp_path: Path) -> None:
    """Here by columns: products may round differently with the layout."""
    model = small()
    model.save_checkpoint(tmp_path / "file")
    model.params = tree.map(np.asfortranarray, model.params)
    for _ in range(2):
        assert model.params["weight"].strides == (4, 12)
        model.load_checkpoint(tmp_path / "file")
    assert model.params["weight"].strides == (4, 12)
    model = small()
    model.load_checkpoint(tmp_path / "file")
    assert model.params["weight"].strides == (8, 4)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: small(seed=1), "expected seed 1, the model's, got 0"),
        (
            lambda: small(dtype="float64"),
            "expected params.bias to be float64 of shape (2,), got float32 of shape (2,)",
        ),
        (
            lambda: xpnet.Model(nn.Linear(4, 2), losses.CrossEntropy(), optim.SGD(0.1, 0.9)),
            "expected params.weight to be float32 of shape (4, 2), got float32 of shape (3, 2)",
        ),
        (
            lambda: xpnet.Model(nn.Linear(3, 2), losses.CrossEntropy(), optim.SGD(0.1)),
            "expected optimizer.velocity.bias to be nothing, got float32 of shape (2,)",
        ),
        (
            lambda: xpnet.Model(nn.Linear(3, 2), losses.CrossEntropy(), optim.RMSprop(0.1)),
            "expected optimizer.square.bias to be float32 of shape (2,), got nothing",
        ),
    ],
)
def test_what_is_of_another_model_is_refused(other, message: str, content: bytes, tmp_path: Path) -> None:
    assert message in refuses(tmp_path / "good", other())


def test_the_state_of_another_class_is_refused(tmp_path: Path) -> None:
    class EarlyStopping(Callback):  # with our name
        def state(self) -> dict:
            return {"other": 1}

    model = small()
    model.fit(np.eye(3), [0, 1, 0], epochs=1, callbacks=[EarlyStopping()])
    model.save_checkpoint(tmp_path / "file")
    model.load_checkpoint(tmp_path / "file")
    with pytest.raises(CheckpointError, match="fit: expected a checkpoint with the state of EarlyStopping"):
        model.fit(np.eye(3), [0, 1, 0], callbacks=[xpnet.EarlyStopping(1)])


def test_a_state_that_no_file_can_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="file: expected arrays, numbers and text in the state"):
        checkpoint.write(tmp_path / "file", {"function": len})
    assert list(tmp_path.iterdir()) == []


class FullDisk:
    """A file that raises after a number of bytes, like a full disk."""

    def __init__(self, file, room: int) -> None:
        self.file, self.room = file, room

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        self.file.close()

    def write(self, content: bytes) -> None:
        self.file.write(content[: self.room])
        self.room -= len(content)
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def __getattr__(self, name: str):
        return getattr(self.file, name)


def no_space(*args, **kwargs) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


FAULTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "at fsync": lambda patch: patch.setattr(os, "fsync", no_space),
    "at rename": lambda patch: patch.setattr(os, "replace", no_space),
    "at the temporary file": lambda patch: patch.setattr("tempfile.mkstemp", no_space),
    **{
        f"after {n} bytes": lambda patch, n=n: patch.setattr(
            os, "fdopen", lambda handle, mode, fdopen=os.fdopen: FullDisk(fdopen(handle, mode), n)
        )
        for n in (0, 1, 100, 1000)
    },
}


@pytest.mark.parametrize("fault", FAULTS)
def test_after_a_fault_in_writing_the_previous_checkpoint_loads(
    fault: str, content: bytes, tmp_path: Path
) -> None:
    good = tmp_path / "good"
    model = small()
    model.load_checkpoint(good)
    saved = arrays(model)
    model.fit(np.eye(3), [0, 1, 0], epochs=1)
    with pytest.MonkeyPatch.context() as patch:
        FAULTS[fault](patch)
        with pytest.raises(CheckpointError, match=r"good: cannot be written \(No space left on device\)$"):
            model.save_checkpoint(good)
    assert [path.name for path in tmp_path.iterdir()] == ["good"]
    model.load_checkpoint(good)
    for name, array in saved.items():
        np.testing.assert_array_equal(arrays(model)[name], array)


def test_a_folder_of_checkpoints_keeps_two_and_the_best(tmp_path: Path) -> None:
    """Here the best epoch is not one of the last two, and a checkpoint is due at every step."""
    model = make_model(optimizer=optim.SGD(0.3))
    fit(model, 6, xpnet.Checkpoints(tmp_path, minutes=1e-9))
    accuracies = [metrics.validation_accuracy for metrics in model.history]
    best = accuracies.index(max(accuracies)) + 1
    n = len(accuracies)
    assert best < n - 1
    assert {path.name for path in tmp_path.iterdir()} == {
        f"epoch-{best}-step-0.safetensors",
        f"epoch-{n - 1}-step-4.safetensors",
        f"epoch-{n}-step-0.safetensors",
    }


def test_where_fit_is_stopped_a_checkpoint_is_written_before_anything_is_restored(tmp_path: Path) -> None:
    def train(model: xpnet.Model, epochs: int, *callbacks: Callback) -> None:
        callbacks = (EarlyStopping(9), *callbacks)
        model.fit(*make_data(0), epochs=epochs, batch_size=13, validation=make_data(1), callbacks=callbacks)

    whole, stopped, resumed = make_model(), make_model(), make_model()
    train(whole, 3)
    train(stopped, 3, StopAt(), xpnet.Checkpoints(tmp_path))
    assert stopped.epoch_step == 0  # with the parameters of the best epoch again
    checkpoints = xpnet.Checkpoints(tmp_path)
    checkpoints.resume(resumed)
    assert (resumed.epoch, resumed.epoch_step) == (1, 3)
    train(resumed, 2, checkpoints)
    assert_same(resumed, whole)


def test_the_newest_checkpoint_that_is_whole_is_the_one_to_go_on_from(tmp_path: Path) -> None:
    whole, resumed = make_model(), make_model()
    fit(whole, 3)
    fit(resumed, 2, xpnet.Checkpoints(tmp_path))
    newest = tmp_path / "epoch-2-step-0.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    fresh = make_model()
    with pytest.raises(
        ConfigError,
        match=r"expected a folder without later checkpoints, .* step 0 after epoch 2; call resume",
    ):
        fit(fresh, 1, xpnet.Checkpoints(tmp_path))
    checkpoints = xpnet.Checkpoints(tmp_path)
    (error,) = checkpoints.resume(fresh)
    assert str(error).startswith(f"{newest}: expected ")
    assert fresh.epoch == 1
    fit(fresh, 2, checkpoints)
    assert_same(fresh, whole)
    assert xpnet.Checkpoints(tmp_path / "new").resume(fresh) == []
    with pytest.raises(CheckpointError, match=r"epoch-3-step-0.safetensors: expected seed 4"):
        checkpoints.resume(make_model(seed=4))


def test_checkpoints_refuse_what_makes_no_sense() -> None:
    with pytest.raises(ConfigError, match="Checkpoints: expected minutes to be above 0, got 0"):
        xpnet.Checkpoints("folder", minutes=0)
    with pytest.raises(ConfigError, match=r"Checkpoints: expected monitor validation_loss, .*, got 'x'"):
        xpnet.Checkpoints("folder", monitor="x")
