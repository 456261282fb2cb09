"""The callback `TensorBoard`: what its files hold, and that the training does not notice it."""

import io
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import xpnet
from laws import assert_same, fetch
from xpnet import callbacks, distributed, losses, nn, optim
from xpnet.errors import ConfigError

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(12, 4, 3)), RNG.integers(2, size=12)


def model_of(optimizer: optim.Optimizer | None = None, **options: Any) -> xpnet.Model:
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(12, 5), nn.BatchNorm(5), nn.ReLU(), nn.Dropout(0.5), nn.Linear(5, 2)
    )
    optimizer = optimizer or optim.ClipNorm(optim.SGD(0.1, momentum=0.9), 1.0)
    return xpnet.Model(net, losses.CrossEntropy(), optimizer, **options)


def test_without_the_package_an_error_tells_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(
        ConfigError, match=r"TensorBoard: expected the package tensorboardX: pip install tensorboardX"
    ):
        callbacks.TensorBoard("folder")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folder": 3}, "TensorBoard: expected folder to be a path, got 3"),
        ({"examples": X}, r"TensorBoard: expected examples \(x, y\), got ndarray"),
        ({"histograms": 1}, "TensorBoard: expected histograms to be True or False, got 1"),
        (
            {"hparams": {"sizes": [1]}},
            r"TensorBoard: expected hparams to be numbers, texts and flags, got sizes=\[1\]",
        ),
    ],
)
def test_refuses_what_makes_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        callbacks.TensorBoard(**{"folder": "folder", **options})


class TestWithThePackage:
    """Files read back, record by record: length, checksum, event, checksum."""

    @pytest.fixture(autouse=True)
    def _needs_the_package(self) -> None:
        pytest.importorskip("tensorboardX", reason="tensorboardX is not installed: pip install '.[track]'")

    def events(self, folder: Path) -> Iterator[Any]:
        from tensorboardX.proto.event_pb2 import Event

        for path in sorted(folder.iterdir()):
            data, at = path.read_bytes(), 0
            while at < len(data):
                (length,) = struct.unpack_from("<Q", data, at)
                yield Event.FromString(data[at + 12 : at + 12 + length])
                at += 16 + length

    def values(self, folder: Path, kind: str) -> dict[tuple[int, str], Any]:
        """The scalars, histograms or images, by epoch and tag."""
        return {
            (event.step, value.tag): getattr(value, kind)
            for event in self.events(folder)
            for value in event.summary.value
            if value.WhichOneof("value") == kind
        }

    def test_the_files_hold_the_training(self, tmp_path: Path) -> None:
        model = model_of(l2=0.5)
        board = callbacks.TensorBoard(tmp_path, examples=(X, Y), hparams={"batch_size": 4})
        history = model.fit(X, Y, epochs=2, batch_size=4, validation=(X, Y), callbacks=board)
        scalars = self.values(tmp_path, "simple_value")
        for epoch in history:
            assert scalars[epoch.epoch, "loss/train_running"] == pytest.approx(epoch.train_loss)
            assert scalars[epoch.epoch, "accuracy/validation"] == pytest.approx(epoch.validation_accuracy)
            assert scalars[epoch.epoch, "learning_rate"] == pytest.approx(0.1)
        assert {tag for _, tag in scalars} == {
            "loss/train_running", "accuracy/train_running", "loss/validation", "accuracy/validation", "learning_rate",
            "speed/images_per_second",
        }  # fmt: skip
        histograms = self.values(tmp_path, "histo")
        weight = model.params[1]["weight"]
        assert histograms[2, "parameters/1.weight"].sum == pytest.approx(float(weight.sum()), abs=1e-5)
        assert histograms[2, "parameters/1.weight"].num == 60
        model.eval()
        output = model.forward(X)
        model.backward(Y)
        assert histograms[2, "gradients/5.weight"].max == pytest.approx(
            float(model.grads[5]["weight"].max()), rel=1e-5
        )
        assert histograms[2, "activations/5.Linear"].min == pytest.approx(float(output.min()), rel=1e-5)
        picture = self.values(tmp_path, "image")[2, "weights/first_layer"]
        image = np.asarray(Image.open(io.BytesIO(picture.encoded_image_string)))
        assert (picture.height, picture.width) == image.shape[:2] == (4 + 1 + 4, 3 * 3 + 2)
        first = image[:4, :3] if image.ndim == 2 else image[:4, :3, 0]
        np.testing.assert_allclose(
            first / 255, 0.5 + weight[:, 0].reshape(4, 3) / (2 * np.abs(weight).max()), atol=0.01
        )
        (started,) = self.started(tmp_path)
        assert started["batch_size"] == 4
        assert started["optimizer"] == "ClipNorm"
        assert started["optimizer.optimizer.momentum"] == 0.9
        assert started["l2"] == 0.5
        assert started["loss"] == "CrossEntropy()"
        tags = [value.tag for event in self.events(tmp_path) for value in event.summary.value]
        assert "_hparams_/experiment" not in tags  # TensorBoard would show the hparams of one run for all

    def test_each_network_of_an_ensemble_has_all(self, tmp_path: Path) -> None:
        net = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
        ensemble = xpnet.Ensemble(net, losses.CrossEntropy(), optim.SGD(0.1), seeds=range(3))
        ensemble.fit(X, Y, epochs=1, callbacks=callbacks.TensorBoard(tmp_path))
        for k in range(3):
            assert (1, "weights/first_layer") in self.values(tmp_path / f"network-{k}", "image")

    def started(self, folder: Path) -> list[dict[str, Any]]:
        """The hparams of each fit."""
        from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

        found = []
        for event in self.events(folder):
            for value in event.summary.value:
                if value.tag == "_hparams_/session_start_info":
                    info = HParamsPluginData.FromString(value.metadata.plugin_data.content).session_start_info
                    found.append(
                        {name: getattr(each, each.WhichOneof("kind")) for name, each in info.hparams.items()}
                    )
        return found

    def test_one_of_several_processes_writes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(distributed, "process_id", lambda: 1)
        board = callbacks.TensorBoard(tmp_path / "board", examples=(X, Y))
        model_of().fit(X, Y, epochs=1, callbacks=board)
        assert not (tmp_path / "board").exists()

    def test_the_training_stays_the_same(self, tmp_path: Path) -> None:
        """In training mode and with averaged weights too: bit for bit."""
        board = callbacks.TensorBoard(tmp_path, examples=(X[:5], Y[:5]))
        trained = []
        for called in ([], [board]):
            model = model_of(optim.AverageWeights(optim.Adam(0.01), 0.9))
            model.fit(X, Y, epochs=3, batch_size=5, callbacks=called)
            assert model.training
            trained.append(model)
        plain, watched = trained
        assert_same(watched.backend, watched.params, fetch(plain.backend, plain.params))
        assert_same(watched.backend, watched.snapshot(), fetch(plain.backend, plain.snapshot()))

    def test_a_resumed_training_appends(self, tmp_path: Path) -> None:
        """TensorBoard drops events of the steps after a start (`SessionLog.START`), in files before it."""
        model = model_of()
        model.fit(X, Y, epochs=2, callbacks=callbacks.TensorBoard(tmp_path / "board"))
        model.save_checkpoint(tmp_path / "checkpoint")
        model.fit(X, Y, epochs=1, callbacks=callbacks.TensorBoard(tmp_path / "board"))
        model.load_checkpoint(tmp_path / "checkpoint")
        (last,) = model.fit(
            X, Y, epochs=1, callbacks=callbacks.TensorBoard(tmp_path / "board", histograms=False)
        )
        starts = [event.step for event in self.events(tmp_path / "board") if event.HasField("session_log")]
        assert starts[0] == 1
        assert set(starts[1:]) == {3}
        scalars = self.values(tmp_path / "board", "simple_value")
        assert sorted(epoch for epoch, tag in scalars if tag == "loss/train_running") == [1, 2, 3]
        assert scalars[3, "loss/train_running"] == pytest.approx(last.train_loss)

    def test_what_has_no_images_or_layers_goes_without(self, tmp_path: Path) -> None:
        model = xpnet.Model(nn.Linear(2, 1), losses.MeanSquaredError(), optim.SGD(0.1), seed=3)
        x, y = np.ones((3, 2)), np.zeros((3, 1))
        model.fit(
            x, y, epochs=1, callbacks=callbacks.TensorBoard(tmp_path, examples=(x, y)), train_metrics="end"
        )
        assert self.values(tmp_path, "image") == {}
        assert "activations/0.Linear" in {tag for _, tag in self.values(tmp_path, "histo")}
        assert "loss/train_end" in {tag for _, tag in self.values(tmp_path, "simple_value")}

    def test_a_folder_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigError, match=r"TensorBoard: .*file.*: cannot be written \("):
            model_of().fit(X, Y, epochs=1, callbacks=callbacks.TensorBoard(tmp_path / "file"))
