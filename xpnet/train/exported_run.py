"""A trained network in an ONNX file, read to predict without the folder of its run."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xpnet import data
from xpnet._util.checks import has_type
from xpnet.data.batches import slices
from xpnet.errors import CheckpointError
from xpnet.onnx import runtime
from xpnet.onnx.trained import FUNCTIONS
from xpnet.train.trained_run import DAMAGED, ReadsInputs, Recorded, Scores
from xpnet.tree import ArrayLike

BATCH_SIZE = 250


@dataclass(frozen=True, repr=False)
class ExportedRun(ReadsInputs):
    """A network in an ONNX file, and how its inputs are made, as far as the file says it.

    Attributes:
        path: the file.
        class_names: the name of each class, its number where the file has no names.
        normalization: that of the run, where the graph does not normalize; else None.
    """

    path: Path
    class_names: tuple[str, ...]
    normalization: data.Normalization | None
    _recorded: Recorded
    _opened: runtime.Opened

    def scores(self, x: ArrayLike) -> Scores:
        """The class of each example, and the numbers that the loss has for each class."""
        inputs = self.inputs(x).astype(self._opened.dtype)
        y = np.concatenate([self._opened.run(inputs[part]) for part in slices(len(inputs), BATCH_SIZE)])
        function, outputs = _meaning(self._opened)
        y = FUNCTIONS[function](y) if function else y
        if self._opened.n_out == 1:  # of the second class
            y = np.concatenate([1 - y, y], axis=1)
        what = "p" if outputs == "probabilities" else "output"
        return Scores(y.argmax(axis=-1), None if outputs == "scores" else y, what)

    def predict(self, x: ArrayLike) -> np.ndarray:
        """The class of each example (n,), a position in `class_names`."""
        return self.scores(x).labels


def load_exported(path: Path) -> ExportedRun:
    """The network in an ONNX file.

    Raises BackendError without the package onnx, CheckpointError where the file is missing, damaged, or has
    other than one input (n, ...) and one output (n, d).
    """
    opened = runtime.read(path)
    told, classes = opened.metadata, max(2, opened.n_out)
    try:
        function, outputs = _meaning(opened)
        if function and function not in FUNCTIONS:
            raise ValueError(f"probabilities by {function}")
        if opened.n_out == 1 and outputs != "probabilities":
            raise ValueError("one output that is no probability")
        names = tuple(json.loads(told.get("class_names", "[]"))) or tuple(map(str, range(classes)))
        if not has_type(names, tuple[str, ...]) or len(names) != classes:
            raise ValueError(f"class names {names} for {classes} classes")
        recorded = Recorded(path.name, opened.shape, names, None, None, np.inf)
        if "data" in told:
            recorded = Recorded.from_json(json.loads(told["data"]))
        if recorded.shape != opened.shape:
            raise ValueError(f"inputs of shape {recorded.shape} for a graph that takes {opened.shape}")
    except DAMAGED as error:
        raise CheckpointError(f"{path}: expected the metadata of an exported run: {error}") from error
    normalization = None if "normalization" in told else recorded.normalization
    return ExportedRun(path, names, normalization, recorded, opened)


def _meaning(opened: runtime.Opened) -> tuple[str, str]:
    """The function that makes probabilities of the outputs, or "", and what the outputs then are."""
    function, outputs = (opened.metadata.get(key, "") for key in ("probabilities", "outputs"))
    return function, "probabilities" if function else outputs
