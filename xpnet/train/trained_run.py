"""A trained run, read from its folder to predict."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xpnet import data, onnx
from xpnet._util.checks import has_type
from xpnet.callbacks import Checkpoints
from xpnet.data.dataset import Preparation
from xpnet.data.inputs import Inputs, Reader
from xpnet.errors import BackendError, CheckpointError, ConfigError, DataError
from xpnet.metrics import Evaluation
from xpnet.model import Model
from xpnet.train import command_line, recorded_data
from xpnet.train import folder as folders
from xpnet.train.config import CONFIG_FILE, Config
from xpnet.train.experiment import make_model
from xpnet.tree import ArrayLike

WEIGHTS = ("best", "last")
DAMAGED = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)


class ReadsInputs:
    """Base class of what predicts: inputs as the training files and `data.load` have them."""

    normalization: data.Normalization | None
    _recorded: "Recorded"

    def inputs(self, x: ArrayLike) -> np.ndarray:
        """What the model takes: x in the shape of the network, scaled and normalized as in training.

        Raises DataError for another number of values, or for floats scaled in another way.
        """
        numbers = np.asarray(x)
        reader = self._recorded.reader(prepared=numbers.dtype.kind == "f")
        prepared = reader.prepare(numbers, "x: ")
        return prepared if self.normalization is None else data.normalize(prepared, self.normalization)

    def read(
        self, *paths: str | Path, prepared: bool = False, resize: bool = False, invert: bool = False
    ) -> Inputs:
        """The inputs in files, `(x, names)`, with x as `data.load` gives it.

        Arguments:
            paths: CSV files without or with labels, PNG or JPEG pictures, folders of them, idx files, `.npy`
                or `.npz` files.
            prepared: the numbers in files are inputs already, as `data.load` gives them.
            resize: bring pictures of any size to that of the network.
            invert: swap black and white in pictures, for digits in black on white and a run of MNIST.

        Raises DataError where a file is unreadable, damaged or does not fit the network.
        """
        reader = self._recorded.reader(prepared)._replace(resize=resize, invert=invert)
        return reader.read([folders.user_path("INPUT", path) for path in paths])


@dataclass(frozen=True, repr=False)
class TrainedRun(ReadsInputs):
    """A trained run: its model, and how the inputs of the model are made. `xpnet.load_run` reads it.

    Methods take x as `data.load` gives it, floats (n, ...), or as the files of the data set have it, whole
    numbers (n, ...) such as pixels from 0 to 255. They normalize it if the run did.

    Attributes:
        folder: the folder of the run.
        config: its options.
        model: the model, in evaluation mode; it takes inputs that `inputs` returns.
        class_names: the name of each class.
        normalization: the statistics of the training images, or None without `--normalize`.
    """

    folder: Path
    config: Config
    model: Model
    class_names: tuple[str, ...]
    normalization: data.Normalization | None
    _recorded: "Recorded"

    def __repr__(self) -> str:
        return f"<TrainedRun {self.folder}, trained on {self.config.dataset}: {self.model!r}>"

    def predict(self, x: ArrayLike, batch_size: int = 250) -> np.ndarray:
        """The class of each example (n,), a position in `class_names`: that of the largest output."""
        found = self.model.predict(self.inputs(x), batch_size)
        return found.argmax(axis=-1) if found.ndim > 1 else found

    def predict_proba(self, x: ArrayLike, batch_size: int = 250) -> np.ndarray:
        """The probability of each class (n, classes). ConfigError if the loss of the run defines none."""
        return self.model.predict_proba(self.inputs(x), batch_size)

    def evaluate(self, x: ArrayLike, y: ArrayLike, batch_size: int = 250) -> Evaluation:
        """Loss and accuracy on examples with labels."""
        return self.model.evaluate(self.inputs(x), y, batch_size)

    def scores(self, x: ArrayLike) -> "Scores":
        """The class of each example, and the numbers that the loss has for each class."""
        prepared = self.inputs(x)
        found = self.model.predict(prepared)
        numbers, what = (found, "output") if found.ndim > 1 else (None, "")
        if hasattr(self.model.loss_function, "probabilities"):
            numbers, what = self.model.predict_proba(prepared), "p"
        return Scores(found.argmax(axis=-1) if found.ndim > 1 else found, numbers, what)

    def export(
        self, path: str | Path, *, probabilities: bool = False, normalization: bool = True
    ) -> onnx.Exported:
        """Write the network as an ONNX file: `xpnet.onnx.export`, with the run's data in the metadata.

        Arguments:
            path: the file.
            probabilities: end with the softmax of the cross-entropy.
            normalization: the graph takes x as `data.load` gives it, and normalizes it if the run did. False:
                it takes normalized x.
        """
        told = {"data": json.dumps(self._recorded.to_json(), ensure_ascii=False)}
        return onnx.export(
            self.model,
            path,
            self._recorded.shape,
            probabilities=probabilities,
            normalization=self.normalization if normalization else None,
            class_names=self.class_names,
            metadata=told,
        )


class Scores(NamedTuple):
    """What is predicted for each example.

    Fields:
        labels: the class (n,), a position in the names of the classes.
        numbers: a number for each class (n, classes), or None where the loss has none.
        what: what the numbers are: "p" for probabilities, or "output".
    """

    labels: np.ndarray
    numbers: np.ndarray | None
    what: str


class Recorded(NamedTuple):
    """What `data.json` says of the data set.

    Fields:
        shape: of an input.
        largest: the largest absolute value of the training inputs.
    """

    name: str
    shape: tuple[int, ...]
    class_names: tuple[str, ...]
    preparation: Preparation | None
    normalization: data.Normalization | None
    largest: float

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "Recorded":
        """What the content of `data.json` says. Raises one of `DAMAGED` where it is of another form."""
        shape, names = tuple(found["train"]["shape"]), tuple(found["class_names"])
        normalization, preparation = found["normalization"], found["preparation"]
        low, high = found["input_range"]
        typed = has_type(shape, tuple[int, ...]) and has_type(names, tuple[str, ...])
        if not (typed and shape and min(shape) > 0):
            raise ValueError(f"shape {shape} and class names {names}")
        recorded = cls(
            str(found["name"]),
            shape,
            names,
            preparation and Preparation.from_json(preparation),
            normalization and data.Normalization(*map(tuple, (normalization["mean"], normalization["std"]))),
            max(abs(float(low)), abs(float(high))),
        )
        if recorded.preparation is not None:  # try it
            recorded.preparation.apply(np.zeros((1, *shape), np.float32))
        if recorded.normalization is not None:
            data.normalize(np.zeros((1, *shape), np.float32), recorded.normalization)
        return recorded

    def to_json(self) -> dict[str, Any]:
        """The part of `data.json` that `from_json` reads."""
        return {
            "name": self.name,
            "train": {"shape": self.shape},
            "class_names": self.class_names,
            "normalization": self.normalization and self.normalization._asdict(),
            "preparation": self.preparation and self.preparation.to_json(),
            "input_range": [-self.largest, self.largest],
        }

    def reader(self, prepared: bool = False) -> Reader:
        """Makes inputs of files. DataError where nobody can know how, unless they are inputs already."""
        if self.preparation is None and not prepared:
            raise DataError(
                f"{self.name}: expected inputs as its loader gives them (--prepared): nobody else knows how "
                "numbers of a file become inputs"
            )
        return Reader(self.preparation or Preparation(self.shape), self.largest, prepared)


def load_run(
    folder: str | Path, weights: str = "best", backend: str | None = None, device: str | None = None
) -> TrainedRun:
    """The trained run in a folder.

    Arguments:
        folder: the folder of the run.
        weights: "best", the parameters of the best epoch, or "last", those of the last checkpoint.
        backend: the array library; None: that of the run.
        device: its device; None: that of the run, or with another backend its default.

    Raises ConfigError where the folder is not that of a run, CheckpointError where a file of it is missing or
    damaged, and BackendError where the backend cannot be used.
    """
    folder = folders.user_path("RUN_DIR", folder)
    if weights not in WEIGHTS:
        raise ConfigError(f"--weights: expected {' or '.join(WEIGHTS)}, got {weights!r}")
    if not (folder / CONFIG_FILE).is_file():
        kind = "a file" if folder.exists() else "which is missing"
        what = f"without a {CONFIG_FILE}" if folder.is_dir() else kind
        raise ConfigError(f"expected the folder of a run, got {folder}, {what}")
    config = command_line.read(folder / CONFIG_FILE)
    recorded = _recorded(folder / recorded_data.FILE)
    if backend is not None and backend != config.backend:
        config = replace(config, backend=backend, device=None)
    config = replace(config, device=device or config.device)
    try:
        model = make_model(config, recorded.shape, len(recorded.class_names))
    except BackendError as error:
        hint = "" if backend else "; --backend numpy predicts without it"
        raise BackendError(f"{error}{hint}") from error
    _load_weights(model, folder, weights)
    model.eval()
    return TrainedRun(folder, config, model, recorded.class_names, recorded.normalization, recorded)


def _load_weights(model: Model, folder: Path, weights: str) -> None:
    if weights == "best":
        path = folder / folders.BEST
        if not path.exists():
            raise CheckpointError(f"{path}: missing: no epoch is complete, or the file was removed")
        model.load(path)
        return
    checkpoints = folder / folders.CHECKPOINTS
    newest = Checkpoints(checkpoints).newest()
    if newest is None:
        raise CheckpointError(f"{checkpoints}: expected a checkpoint (--weights last), got none")
    try:
        model.load_checkpoint(newest)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; --weights best takes those of the best epoch") from error


def _recorded(path: Path) -> Recorded:
    """What the file says. CheckpointError where it is missing or damaged."""
    try:
        return Recorded.from_json(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: missing: expected the description of the run's data") from error
    except DAMAGED as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CheckpointError(f"{path}: expected the description of a data set: {reason}") from error
