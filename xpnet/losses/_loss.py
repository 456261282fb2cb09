"""The base class of all losses, and what they share."""

from typing import Any, NoReturn

from xpnet._util.examples import Examples
from xpnet._util.text import constructor_call
from xpnet.backend import device, namespace
from xpnet.errors import ConfigError, ShapeError
from xpnet.tree import Array


class Loss:
    """Base class of losses.

    To write a loss, derive a frozen dataclass of hyper-parameters (`@dataclass(frozen=True, repr=False)`) and
    define `forward` and `backward`. They never write into their arguments. `xpnet.testing.check_loss` checks
    them.

    Override `labels`, `errors`, `predict`, `classes` and `check` if targets or outputs mean something else
    than the defaults assume.
    """

    def forward(self, prediction: Array, target: Array) -> tuple[Array, Any]:
        """The loss, the mean over the n examples, and the residuals: what `backward` needs from this pass.

        Shapes: prediction (..., n, d), target as the loss says, value (...).
        """
        raise NotImplementedError(f"{type(self).__name__}: expected a method forward, got none")

    def backward(self, residuals: Any) -> Array:
        """The gradient of the loss with respect to the prediction, (..., n, d)."""
        raise NotImplementedError(f"{type(self).__name__}: expected a method backward, got none")

    @property
    def examples(self) -> Examples:
        """How the value depends on the examples of a batch; compare `xpnet.nn.Layer.examples`.

        - "independent": the value is the mean of one number for each example.
        - "mixed", the default: in another way, or unknown.

        Set it in the class body: `examples = "independent"`. A subclass that overrides `forward` or
        `backward` does not inherit it.
        """
        return "mixed"

    def errors(self, prediction: Array, target: Array) -> Array | None:
        """The number of wrong predictions in the batch, an integer array (...).

        None if the targets are not classes. Of equal outputs, the first is the prediction.
        """
        labels = self.labels(prediction, target)
        if labels is None:
            return None
        xp = namespace(prediction)
        wrong = xp.argmax(prediction, axis=-1) != labels
        return xp.sum(xp.astype(wrong, xp.int32), axis=-1)

    def labels(self, prediction: Array, target: Array) -> Array | None:
        """The true class of each example, integers (..., n); None if the targets are not classes."""
        has_classes = self.classes(prediction.shape[-1]) > 1
        return target if has_labels(prediction, target) and has_classes else None

    def count(self, prediction_shape: tuple[int, ...], target: Array) -> Array | None:
        """The number of examples that the value is the mean of, integers (...); None for all n.

        A loss that ignores examples says here how many it does not ignore: the mean over an epoch and over
        parts of a batch depends on it. `forward` gives 0 for a batch in which no example counts, and `errors`
        counts no ignored example.
        """
        return None

    def predict(self, prediction: Array) -> Array:
        """The prediction in the user's terms: the output itself, or the class of each example (..., n)."""
        return prediction

    def classes(self, n_out: int) -> int:
        """The number of classes that integer labels may name, for predictions with n_out columns."""
        return n_out

    def check_outputs(self, n_out: int) -> None:
        """ConfigError or ShapeError unless the loss can judge predictions with n_out columns.

        `Model` calls it as soon as it knows the columns of the network's output.
        """

    def check(self, prediction_shape: tuple[int, ...], target: Array) -> None:
        """ShapeError unless the target fits a prediction of this shape.

        For integer labels this reads their values, which waits for the device.
        """
        *batch, n_out = prediction_shape
        self.check_outputs(n_out)
        xp = namespace(target)
        if tuple(target.shape) == tuple(batch) and self.classes(n_out) == 1:  # no labels: there is one class
            expected = f"targets of shape {tuple(prediction_shape)} for one output"
            self._refuse(expected, f"{target.dtype} of shape {tuple(target.shape)}; pass y[:, None]")
        if xp.isdtype(target.dtype, "integral") and target.ndim == len(batch):
            if tuple(target.shape) != tuple(batch):
                self._refuse(f"{batch[-1]} labels, one for each example", f"{target.shape[-1]}")
            if min(batch) > 0:
                self._check_range(target, self.classes(n_out) - 1)
        elif tuple(target.shape) != tuple(prediction_shape) or not xp.isdtype(target.dtype, "real floating"):
            shape, way_out = tuple(target.shape), ""
            if self.classes(n_out) > 1 and shape == tuple(batch):
                way_out = "; labels are integers: pass y.astype(int)"
            elif self.classes(n_out) > 1 and shape == (*batch, 1):
                way_out = "; labels have no axis of their own: pass y[:, 0]"
            self._refuse(
                f"integer labels of shape {tuple(batch)} or real targets of shape {tuple(prediction_shape)}",
                f"{target.dtype} of shape {shape}{way_out}",
            )

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = vars(cls)
        if {"forward", "backward"} & own.keys() and "examples" not in own:
            setattr(cls, "examples", Loss.examples)  # noqa: B010  # to mypy a property is a method

    def _check_range(self, labels: Array, last: int) -> None:
        xp = namespace(labels)
        low, high = int(xp.min(labels)), int(xp.max(labels))
        if low < 0 or high > last:
            wrong = xp.astype((labels < 0) | (labels > last), xp.int32)
            first = int(xp.argmax(wrong)) if labels.ndim == 1 else None
            self._refuse(f"labels from 0 to {last}", f"labels from {low} to {high}", first)

    def _refuse(self, expected: str, got: str, first: int | None = None) -> NoReturn:
        """Raise a ShapeError; `first` is the first example that is wrong, if it is known."""
        error = ShapeError(f"{self}: expected {expected}, got {got}")
        error.first = first
        raise error

    def _require(self, ok: bool, name: str, expected: str) -> None:
        """ConfigError that names the hyper-parameter, unless it is ok."""
        if not ok:
            raise ConfigError(
                f"{type(self).__name__}: expected {name} to be {expected}, got {getattr(self, name)!r}"
            )

    def __repr__(self) -> str:
        """The constructor call, without arguments that have their default value."""
        return constructor_call(self)


def has_labels(prediction: Array, target: Array) -> bool:
    """Whether the target holds integer labels instead of an array of the prediction's shape."""
    return target.ndim == prediction.ndim - 1


def one_hot(labels: Array, like: Array) -> Array:
    """Labels (..., n) as one-hot rows (..., n, d), with d columns and the dtype of `like` (..., n, d)."""
    xp = namespace(like)
    classes = xp.arange(like.shape[-1], dtype=labels.dtype, device=device(labels))
    return xp.astype(labels[..., None] == classes, like.dtype)
