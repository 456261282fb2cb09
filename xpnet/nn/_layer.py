"""What a layer is."""

import functools
import math
from dataclasses import MISSING, Field, fields, is_dataclass
from numbers import Integral
from typing import Any, NamedTuple, NoReturn

from xpnet import init, tree
from xpnet._util.examples import Examples
from xpnet.errors import ConfigError, ShapeError
from xpnet.random import Generator, Key, generator
from xpnet.tree import Array, Tree

Shape = tuple[Any, ...]  # axis lengths; the number of examples may be a letter, ("n", 784)


class NoResiduals(NamedTuple):
    """For layers whose backward pass needs nothing of the forward pass."""


class Layer:
    """A pure function of parameters and an input, with its derivative.

    A layer is a frozen dataclass of hyper-parameters and owns no arrays: `init` makes its parameters, the
    caller keeps them. So one layer can stand in two networks or run in two threads. `forward` and `backward`
    never write into their arguments.

    To write a layer, derive a frozen dataclass (`@dataclass(frozen=True, repr=False)`) and define `forward`,
    `backward` and, if it has parameters, `init`. Name a parameter `weight` if L2 and weight decay shall act
    on it. `xpnet.testing.check_layer(layer, x)` tells whether it is right.

    Everything else is optional. Override `output_shape` to refuse a wrong input with a clear message,
    `examples` and `parameter_gradients` for speed. A layer that does something else in training, as dropout
    does, overrides `training_mode`; one that measures something in training, as batch normalisation does,
    `init_statistics` and `new_statistics`. A layer made of layers derives from `Container`.

    Arrays may be of any library: get its functions by `xp = xpnet.backend.namespace(x)`. Dense layers and
    activations take inputs `(..., n, d)`: with a leading axis of length K on every parameter, K networks run
    in one batched product.

    A subclass that overrides `forward` or `backward` does not inherit what depends on them: `examples` and
    `parameter_gradients` are those of `Layer` again, and a `training_mode` of its own is required where the
    class that it derives from has one (ConfigError).
    """

    @property
    def examples(self) -> Examples:
        """How the output for one example depends on the other examples of the batch.

        "independent": not at all. "summed": through sums over the batch, all of them taken by
        `xpnet.backend.sum_over_parts`. "mixed": in any other way, or unknown. Set it in the class body:
        `examples = "independent"`. A network without "mixed" layers may take a batch in parts, side by side.
        """
        return "mixed"

    def init(self, rng: Generator) -> Tree:
        """Initial parameters: a dict of float64 NumPy arrays, empty if the layer has none."""
        return {}

    def forward(self, params: Tree, x: Array) -> tuple[Array, Any]:
        """The output for the input x, and the residuals: what `backward` needs of this pass."""
        raise NotImplementedError

    def backward(self, params: Tree, residuals: Any, dy: Array) -> tuple[Array, Tree]:
        """The gradients of the loss at x and at the parameters, from dy, its gradient at the output."""
        raise NotImplementedError

    def parameter_gradients(self, params: Tree, residuals: Any, dy: Array) -> Tree:
        """The second result of `backward` alone.

        The first layer of a network needs no dx, which costs as much as dW: override this to leave dx out.
        """
        return self.backward(params, residuals, dy)[1]

    def output_shape(self, input_shape: Shape) -> Shape:
        """The shape of the output for an input of that shape; ShapeError where it does not fit.

        The default runs `forward` on one example of zeros, a NumPy array.
        """
        try:
            return (input_shape[0], *_dry_run(self, tuple(input_shape[1:])))
        except TypeError:  # the layer has a hyper-parameter that cannot be hashed
            return (input_shape[0], *_dry_run.__wrapped__(self, tuple(input_shape[1:])))

    def training_mode(self, key: Key) -> "Layer":
        """The function of the same parameters that this layer is in a training step.

        `key` is for the random numbers of that step. The layer itself where training changes nothing.
        """
        return self

    def init_statistics(self) -> Tree:
        """Initial statistics, what the layer measures in training: a dict of NumPy arrays.

        Outside training, `forward` and `backward` find the statistics among the parameters.
        """
        return {}

    def new_statistics(self, statistics: Tree, residuals: Any) -> Tree:
        """The statistics after a `forward` in training mode that returned these residuals."""
        return statistics

    def children(self) -> dict[Any, "Layer"]:
        """The layers that this one is made of, by the key of each one's branch in the parameters."""
        return {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = vars(cls)
        if not {"forward", "backward"} & own.keys():
            return
        for name in ("examples", "parameter_gradients"):
            if name not in own:
                setattr(cls, name, vars(Layer)[name])
        owner = next(base for base in cls.__mro__ if "training_mode" in vars(base))
        if owner not in (cls, Layer) and "forward" in vars(owner):
            raise ConfigError(
                f"{cls.__name__}: expected a training_mode beside forward and backward, since that of "
                f"{owner.__name__} does not call them; got none"
            )

    def refuse(self, expected: str, input_shape: Shape) -> NoReturn:
        raise ShapeError(f"{self}: expected x of shape {expected}, got {show_shape(input_shape)}")

    def __repr__(self) -> str:
        """The call that makes the layer, without the arguments that have their default value."""
        arguments = []
        own: tuple[Field[Any], ...] = fields(self) if is_dataclass(self) else ()
        for field in own:
            value = getattr(self, field.name)
            if field.default is MISSING:
                arguments.append(repr(value))
            elif value != field.default and field.repr:
                arguments.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(arguments)})"


@functools.lru_cache(maxsize=256)
def _dry_run(layer: Layer, example: Shape) -> Shape:
    """The shape of an example's output, from a forward pass of one example of zeros."""
    variables = tree.merge(layer.init(generator(0, "dry run")), layer.init_statistics())
    try:
        y, _ = layer.forward(variables, init.zeros(None, (1, *example)))
    except Exception as error:
        raise ShapeError(
            f"{layer}: forward fails on zeros of shape {show_shape((1, *example))} "
            f"({type(error).__name__}: {error}); define output_shape if other values fit"
        ) from error
    return tuple(y.shape[1:])


def show_shape(shape: Shape) -> str:
    """(64, 784), with the letters of unknown lengths bare: (n, 784)."""
    inner = ", ".join(str(length) for length in shape)
    return f"({inner},)" if len(shape) == 1 else f"({inner})"


def require_positive_integers(layer: Layer, **arguments: Any) -> None:
    """ConfigError unless each argument is an int of at least 1."""
    for name, value in arguments.items():
        if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
            raise ConfigError(f"{layer}: expected {name} to be an integer of at least 1, got {value!r}")


def require_initializers(layer: Layer) -> None:
    """ConfigError unless each argument that ends in `_init` can be called."""
    for field in fields(layer):  # type: ignore[arg-type]  # its subclasses here are dataclasses
        value = getattr(layer, field.name)
        if field.name.endswith("_init") and not callable(value):
            expected = "an initialiser of xpnet.init"
            raise ConfigError(f"{layer}: expected {field.name} to be {expected}, got {value!r}")


def require_number(layer: Layer, name: str, below: float = math.inf) -> None:
    """ConfigError unless that argument is a number, 0 <= number < below."""
    value = getattr(layer, name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < below:
        limit = "a finite number" if below == math.inf else f"a number below {below:g}"
        raise ConfigError(f"{layer}: expected {name} to be {limit} and at least 0, got {value!r}")
