"""What a loss is."""

import math
from dataclasses import fields
from typing import Any, NoReturn

from xpnet._util.examples import Examples
from xpnet.backend import device, namespace
from xpnet.errors import ConfigError, ShapeError
from xpnet.tree import Array


class Loss:
    """What all losses share. `forward` and `backward` never write into what they are given.

    A loss is a frozen dataclass of hyper-parameters (`@dataclass(frozen=True, repr=False)`).
    """

    @property
    def examples(self) -> Examples:
        """How the value for one example depends on the others, as in `xpnet.nn.Layer.examples`.

        "independent": the value is the mean of one number for each example. Set it in the class body. A
        subclass that overrides `forward` or `backward` does not inherit it.
        """
        return "mixed"

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = vars(cls)
        if {"forward", "backward"} & own.keys() and "examples" not in own:
            setattr(cls, "examples", Loss.examples)  # noqa: B010  # to mypy a property is a method

    def forward(self, prediction: Array, target: Array) -> tuple[Array, Any]:
        raise NotImplementedError

    def backward(self, residuals: Any) -> Array:
        raise NotImplementedError

    def errors(self, prediction: Array, target: Array) -> Array | None:
        """The number of wrong predictions in the batch, a 0-d array of integers.

        None where the target names no class. Of equal outputs, the first one counts.
        """
        labels = self.labels(prediction, target)
        if labels is None:
            return None
        xp = namespace(prediction)
        wrong = xp.argmax(prediction, axis=-1) != labels
        return xp.sum(xp.astype(wrong, xp.int32), axis=-1)

    def labels(self, prediction: Array, target: Array) -> Array | None:
        """The class that the target names for each example, or None."""
        return target if has_labels(prediction, target) else None

    def predict(self, prediction: Array) -> Array:
        """What the network's output stands for: the class of each example, or the output itself."""
        return prediction

    def classes(self, n_out: int) -> int:
        """How many classes labels may name, for predictions of n_out columns."""
        return n_out

    def check(self, prediction_shape: tuple[int, ...], target: Array) -> None:
        """ShapeError unless the target suits a prediction of that shape.

        For integer labels this looks at their values, which waits for the device.
        """
        *batch, n_out = prediction_shape
        xp = namespace(target)
        if xp.isdtype(target.dtype, "integral") and target.ndim == len(batch):
            if tuple(target.shape) != tuple(batch):
                self._refuse(f"{batch[-1]} labels, one for each example", f"{target.shape[-1]}")
            if min(batch) > 0:
                low, high = int(xp.min(target)), int(xp.max(target))
                last = self.classes(n_out) - 1
                if low < 0 or high > last:
                    self._refuse(f"labels from 0 to {last}", f"labels from {low} to {high}")
        elif tuple(target.shape) != tuple(prediction_shape) or not xp.isdtype(target.dtype, "real floating"):
            self._refuse(
                f"integer labels of shape {tuple(batch)} or real targets of shape {tuple(prediction_shape)}",
                f"{target.dtype} of shape {tuple(target.shape)}",
            )

    def _refuse(self, expected: str, got: str) -> NoReturn:
        raise ShapeError(f"{self}: expected {expected}, got {got}")

    def _require(self, ok: bool, name: str, expected: str) -> None:
        """ConfigError unless the hyper-parameter of that name is ok."""
        if not ok:
            raise ConfigError(
                f"{type(self).__name__}: expected {name} to be {expected}, got {getattr(self, name)!r}"
            )

    def __repr__(self) -> str:
        """The call that makes the loss, without the arguments that have their default value."""
        values = [(f, getattr(self, f.name)) for f in fields(self)]  # type: ignore[arg-type]
        arguments = [f"{f.name}={value!r}" for f, value in values if value != f.default]
        return f"{type(self).__name__}({', '.join(arguments)})"


def is_finite(value: Any) -> bool:
    """Whether a hyper-parameter is a Python number, and neither infinite nor NaN."""
    return isinstance(value, int | float) and math.isfinite(value)


def has_labels(prediction: Array, target: Array) -> bool:
    """Whether the target is integer labels, not an array of the prediction's shape."""
    return target.ndim == prediction.ndim - 1


def one_hot(labels: Array, like: Array) -> Array:
    """(..., n) labels as rows of zeros with a one, in the shape's last axis and dtype of `like`."""
    xp = namespace(like)
    classes = xp.arange(like.shape[-1], dtype=labels.dtype, device=device(labels))
    return xp.astype(labels[..., None] == classes, like.dtype)
