"""Mistakes in the arguments of `Model`, `fit`, callbacks and schedules: each is told in one line, with what to write."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpnet
from xpnet import data, losses, nn, optim, schedules
from xpnet.callbacks import Callback
from xpnet.data import augment
from xpnet.errors import ConfigError, Error, ShapeError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 4))
Y = RNG.integers(0, 3, 20)
LAYER, LOSS, OPTIMIZER = nn.Linear(4, 3), losses.CrossEntropy(), optim.SGD(0.1)


def model(**options: Any) -> xpnet.Model:
    arguments = {"net": LAYER, "loss": LOSS, "optimizer": OPTIMIZER, **options}
    return xpnet.Model(**arguments)


def told(use: Callable[[], object], kind: type[Error] = ConfigError) -> str:
    with pytest.raises(kind) as error:
        use()
    assert "\n" not in str(error.value)
    return str(error.value)


class Functional:
    """A network of Keras."""

    def get_weights(self) -> list[np.ndarray]:
        return []


class Wrong:
    """An object of somebody's own library."""


class Halving(schedules.Schedule):
    def __call__(self, epoch: float) -> float:
        return 0.5**epoch


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": losses.CrossEntropy}, "loss to be an xpnet Loss, got the class CrossEntropy; write losses.CrossEntropy()"),
        ({"optimizer": optim.Adam}, "optimizer to be an xpnet Optimizer, got the class Adam; write optim.Adam()"),
        ({"optimizer": optim.SGD}, "optimizer to be an xpnet Optimizer, got the class SGD; write optim.SGD(…)"),
        ({"net": nn.Linear}, "net to be an xpnet Layer, got the class Linear; write nn.Linear(…)"),
        ({"net": [LAYER, nn.ReLU()]}, "net to be an xpnet Layer, got [Linear(4, 3), ReLU()]; write nn.Sequential(Linear(4, 3), ReLU())"),
        ({"net": (LAYER,) * 4}, "; write nn.Sequential(Linear(4, 3), Linear(4, 3), Linear(4, 3), …)"),
        ({"loss": "crossentropy"}, "got 'crossentropy'; write losses.CrossEntropy()"),
        ({"loss": "cross_entropy_loss"}, "; write losses.CrossEntropy()"),
        ({"loss": "sparse_categorical_crossentropy"}, "; write losses.CrossEntropy()"),
        ({"loss": "mse"}, "; write losses.MeanSquaredError()"),
        ({"loss": "mean_absolute_error"}, "; write losses.MeanAbsoluteError()"),
        ({"loss": "binary crossentropy"}, "; write losses.BinaryCrossEntropy()"),
        ({"loss": "regret"}, "; write losses.CrossEntropy() or losses.MeanSquaredError()"),
        ({"optimizer": "adamw"}, "; write optim.AdamW()"),
        ({"optimizer": 0.01}, "got 0.01; write optim.SGD(0.01)"),
        ({"optimizer": None}, "got None; write optim.SGD(0.1) or optim.Adam()"),
        ({"loss": OPTIMIZER, "optimizer": LOSS}, "; pass it as the argument optimizer of Model(net, loss, optimizer)"),
        ({"net": LOSS, "loss": LAYER}, "got CrossEntropy(); pass it as the argument loss of Model(net, loss, optimizer)"),
        ({"loss": optim.Adam}, "got the class Adam; pass it as the argument optimizer of"),
        ({"net": Wrong()}, "; write nn.Sequential("),
        ({"net": X}, "got an array of shape (20, 4); write nn.Sequential("),
        ({"net": nn.Sequential}, "got the class Sequential; write nn.Sequential(…)"),
        ({"net": Functional()}, "; write the equal network in xpnet's layers; xpnet.convert moves the weights"),
        ({"backend": np}, "got the module numpy; write backend=\"numpy\""),
        ({"backend": xpnet.backend.get("numpy")}, "got an object of class NumPy; write backend=\"numpy\""),
        ({"backend": None}, 'backend to be "numpy" or "cupy" or "torch"'),
        ({"dtype": np.float32}, 'dtype to be "float32" or "float64", got the class numpy.float32; write dtype="float32"'),
        ({"dtype": np.dtype("float64")}, 'write dtype="float64"'),
        ({"dtype": float}, 'dtype to be "float32" or "float64", got the class float'),
        ({"seed": None}, "seed to be an integer of at least 0, got None"),
        ({"seed": 1.0}, "seed to be an integer of at least 0, got 1.0"),
        ({"l2": "0.1"}, "l2 to be a finite number and at least 0, got '0.1'"),
        ({"micro_batch": "8"}, "micro_batch to be an integer of at least 1, got '8'"),
        ({"augment": augment.HorizontalFlip}, "got the class HorizontalFlip; write data.augment.HorizontalFlip()"),
        ({"augment": [augment.HorizontalFlip()]}, "or data.augment.Compose(…)"),
        ({"tf32": "yes"}, "tf32 to be True or False, got 'yes'"),
    ],
)  # fmt: skip
def test_of_model(arguments: dict[str, Any], message: str) -> None:
    line = told(lambda: model(**arguments))
    assert line.startswith("Model: expected ")
    assert message in line


def test_objects_of_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    weights = [torch.zeros(1)]
    for arguments, way_out in (
        ({"net": torch.nn.Linear(4, 3)}, "got an object of class torch.Linear; write nn.Linear(…)"),
        ({"loss": torch.nn.CrossEntropyLoss()}, "write losses.CrossEntropy()"),
        (
            {"loss": torch.nn.functional.cross_entropy},
            "the function cross_entropy; write losses.CrossEntropy()",
        ),
        ({"optimizer": torch.optim.Adam(weights)}, "write optim.Adam()"),
        ({"dtype": torch.float32}, 'write dtype="float32"'),
        ({"backend": torch}, 'write backend="torch"'),
    ):
        assert told(lambda arguments=arguments: model(**arguments)).endswith(way_out)
    schedule = torch.optim.lr_scheduler.StepLR(torch.optim.SGD(weights, lr=1.0), 3)
    assert told(lambda: model().fit(X, Y, schedule=schedule)).endswith(
        "torch.StepLR; write schedules.Step(…)"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"schedule": 0.5}, "schedule to be an xpnet Schedule, got 0.5; a constant rate is the optimizer's own; write a schedule such as schedules.Cosine(epochs=10)"),
        ({"schedule": lambda epoch: 1.0}, "derive a class from schedules.Schedule, whose __call__(self, epoch) returns the factor"),
        ({"schedule": schedules.Constant}, "got the class Constant; write schedules.Constant()"),
        ({"schedule": Halving}, "Halving; write Halving()"),
        ({"schedule": "cosine"}, "write schedules.Cosine(…)"),
        ({"schedule": xpnet.EarlyStopping(3)}, "got EarlyStopping(patience=3); pass it as the argument callbacks of fit"),
        ({"callbacks": [print]}, "callbacks to be an xpnet Callback, got the function print; write xpnet.EarlyStopping(3) or"),
        ({"callbacks": [xpnet.EarlyStopping]}, "got the class EarlyStopping; write xpnet.EarlyStopping(…)"),
        ({"callbacks": xpnet.EarlyStopping}, "got the class EarlyStopping; write xpnet.EarlyStopping(…)"),
        ({"callbacks": "EarlyStopping"}, "got 'EarlyStopping'; write xpnet.EarlyStopping(…)"),
        ({"callbacks": [schedules.Cosine(3)]}, "; pass it as the argument schedule of fit"),
        ({"callbacks": "ReduceLROnPlateau"}, "; pass it as the argument schedule of fit: schedules.ReduceOnPlateau()"),
        ({"callbacks": "TensorBoard"}, "; write xpnet.callbacks.TensorBoard(…)"),
        ({"callbacks": {"stop": 3}}, "got {'stop': 3}; write xpnet.EarlyStopping(3)"),
        ({"validation": 0.2}, "validation to be a pair (x, y), got 0.2; write validation_split=0.2"),
        ({"validation": X}, "validation to be a pair (x, y), got an array of shape (20, 4); write validation=(x, y)"),
        ({"validation": X[:2]}, "got an array of shape (2, 4)"),
        ({"validation": (X, Y, Y)}, "validation to be a pair (x, y), got 3 items"),
        ({"validation": (X, None)}, "got None for one of them"),
        ({"validation": (X, Y), "validation_split": 0.2}, "validation or validation_split, got both"),
        ({"validation_split": 1}, "validation_split to be a number between 0 and 1, got 1"),
        ({"validation_split": True}, "validation_split to be a number between 0 and 1, got True"),
        ({"validation_split": (X, Y)}, "; write validation=(x, y)"),
        ({"validation_split": 0.99}, "to leave an example to train on, got 0.99 of 1 examples"),
        ({"epochs": 1.0}, "epochs to be an integer of at least 0, got 1.0"),
        ({"batch_size": "64"}, "batch_size to be an integer of at least 1, got '64'"),
        ({"shuffle": "no"}, "shuffle to be True or False, got 'no'"),
        ({"data_on_device": "cpu"}, "data_on_device to be True or False, got 'cpu'"),
        ({"progress": "bar"}, "progress to be True or False, got 'bar'"),
    ],
)  # fmt: skip
def test_of_fit(arguments: dict[str, Any], message: str) -> None:
    n = 1 if arguments.get("validation_split") == 0.99 else 20
    line = told(lambda: model().fit(X[:n], Y[:n], **arguments))
    assert line.startswith("fit: expected ")
    assert message in line


def test_of_the_data() -> None:
    assert told(lambda: model().fit(Y, X), ShapeError).endswith(
        "expected x of shape (n, 4), got (20,); x and y may be swapped: write fit(x, y)"
    )
    assert "swapped" not in told(lambda: model().fit(X[:, :2], Y), ShapeError)
    assert (
        told(lambda: model().fit(X, None))
        == "fit: expected y to be the targets of x, got None; write fit(x, y)"
    )
    examples = data.Examples(X, Y)
    assert told(lambda: model().fit(examples, None)).endswith("got a pair; write fit(*examples)")
    assert told(lambda: model().fit(examples, examples)).endswith("write fit(*examples, validation=examples)")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: xpnet.EarlyStopping("3"), "EarlyStopping: expected patience to be an integer of at least 1, got '3'"),
        (lambda: xpnet.EarlyStopping(True), "EarlyStopping: expected patience to be an integer of at least 1, got True"),
        (lambda: xpnet.EarlyStopping(np.nan), "EarlyStopping: expected patience to be an integer of at least 1, got nan"),
        (lambda: xpnet.EarlyStopping(3, monitor="val_loss"), "; write monitor='validation_loss'"),
        (lambda: xpnet.EarlyStopping(3, monitor="val_acc"), "; write monitor='validation_accuracy'"),
        (lambda: xpnet.EarlyStopping(3, monitor=None), "expected monitor validation_loss, validation_accuracy, train_loss or train_accuracy, got None"),
        (lambda: xpnet.EarlyStopping(3, min_delta=-1), "EarlyStopping: expected min_delta to be a finite number and at least 0, got -1"),
        (lambda: xpnet.EarlyStopping(3, min_delta=np.nan), "expected min_delta to be a finite number and at least 0, got nan"),
        (lambda: xpnet.EarlyStopping(3, restore="yes"), "EarlyStopping: expected restore to be True or False, got 'yes'"),
        (lambda: xpnet.Checkpoints(3), "Checkpoints: expected folder to be a path, got 3"),
        (lambda: xpnet.Checkpoints("a", minutes="3"), "Checkpoints: expected minutes to be above 0, got '3'"),
        (lambda: xpnet.Checkpoints("a", minutes=np.nan), "expected minutes to be above 0, got nan"),
        (lambda: xpnet.Checkpoints("a", minutes=True), "expected minutes to be above 0, got True"),
        (lambda: xpnet.EarlyStopping(3, monitor="train_acc"), "; write monitor='train_accuracy'"),
        (lambda: xpnet.Checkpoints("a", monitor="accuracy"), "; write monitor='validation_accuracy'"),
    ],
)  # fmt: skip
def test_of_callbacks(make: Callable[[], object], message: str) -> None:
    assert message in told(make)


def test_an_optimizer_that_is_assigned() -> None:
    fitted = model()
    with pytest.raises(ConfigError, match=r"got the class Adam; write optim\.Adam\(\)"):
        fitted.optimizer = optim.Adam  # type: ignore[assignment]


def test_what_is_meant_well_is_taken(tmp_path: Path) -> None:
    """One callback that is not in a list, no callbacks, and integers of NumPy."""
    early = xpnet.EarlyStopping(np.int64(3))  # type: ignore[arg-type]
    assert len(model().fit(X, Y, epochs=2, validation=(X, Y), callbacks=early)) == 2
    assert early.best_epoch == 2
    assert len(model().fit(X, Y, epochs=1, callbacks=None)) == 1
    assert len(model().fit(X, Y, epochs=1, callbacks=iter([Callback()]))) == 1  # type: ignore[arg-type]
    fitted = model()
    fitted.fit(X, Y, epochs=np.int64(1), batch_size=np.int32(8), shuffle=np.True_)  # type: ignore[arg-type]
    fitted.save_checkpoint(tmp_path / "checkpoint")
    model().load_checkpoint(tmp_path / "checkpoint")


def test_a_model_as_text() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    text = repr(model(net=net, dtype="float64"))
    assert text == (
        "<Model of Sequential(Linear(4, 8), ReLU(), Linear(8, 3)), CrossEntropy(), SGD(0.1): "
        "67 parameters in float64 on numpy, epoch 0>"
    )
    long = model(net=nn.Sequential(*[nn.Linear(4, 4)] * 99))
    long.epoch = 3
    assert len(repr(long)) < 200
    assert repr(long).endswith("1,980 parameters in float32 on numpy, epoch 3>")


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: xpnet.Model(LAYER), "Model.__init__() missing 2 required"),  # type: ignore[call-arg]
        (lambda: model().forward(), "Model.forward() missing 1 required"),  # type: ignore[call-arg]
    ],
)
def test_errors_of_python_name_the_model(use: Callable[[], object], message: str) -> None:
    with pytest.raises(TypeError, match=re.escape(message)):
        use()
