"""Compare an ONNX model with the trained network that it was made of."""

from typing import Any, NamedTuple

import numpy as np

from xpnet.data.batches import slices
from xpnet.errors import ConfigError
from xpnet.nn import Sequential
from xpnet.onnx.build import build
from xpnet.onnx.runtime import runner
from xpnet.onnx.trained import Trained

BATCH_SIZE = 250


class Comparison(NamedTuple):
    """How far outputs are from those of the model.

    Fields:
        difference: the largest absolute difference.
        largest: the largest absolute output of the trained network.
        engine: what ran the ONNX model, with its version.
    """

    difference: float
    largest: float
    engine: str

    @property
    def relative(self) -> float:
        """The difference, relative to the largest output or 1."""
        return self.difference / max(1.0, self.largest)


def compare(model: Any, trained: Trained, x: np.ndarray) -> Comparison:
    """The outputs of an ONNX model and those of the network, for the first example and batches of the others.

    Raises ConfigError where the model does not run, or its outputs have another shape or dtype.
    """
    engine, run = runner(model)
    difference = largest = 0.0
    for batch in (x[:1], *(x[1:][part] for part in slices(len(x) - 1, BATCH_SIZE))):
        expected, found = trained.outputs(batch), run(batch)
        if expected.shape != found.shape or expected.dtype != found.dtype:
            raise ConfigError(
                f"expected outputs {expected.dtype} of shape {expected.shape}, as the model's, "
                f"got {found.dtype} of shape {found.shape}"
            )
        difference = max(difference, _difference(expected, found))
        finite = np.where(np.isfinite(expected), np.abs(expected), 0)
        largest = max(largest, float(np.max(finite, initial=0)))
    return Comparison(difference, largest, engine)


def _difference(expected: np.ndarray, found: np.ndarray) -> float:
    """The largest absolute difference: 0 between equal infinities or two NaN, ∞ between NaN and a number."""
    same = (expected == found) | (np.isnan(expected) & np.isnan(found))
    with np.errstate(all="ignore"):
        apart = np.where(same, 0, np.abs(expected - found))
    return float(np.max(np.where(np.isnan(apart), np.inf, apart), initial=0))


def first_that_differs(trained: Trained, x: np.ndarray, limit: float) -> str:
    """In words, the first layer of a `Sequential` whose output differs by more than the limit; or ""."""
    net = trained.net
    for i, layer in enumerate(net.layers if type(net) is Sequential else (), 1):
        first, variables = Sequential(*net.layers[:i]), trained.variables[:i]  # type: ignore[attr-defined]
        part = trained._replace(net=first, variables=variables, last="")
        if not compare(build(part), part, x).relative <= limit:
            return f" from layer {i - 1}, {layer}, on"
    return ""
