"""Operations that the array API standard lacks, or that a library has faster: `ops(x).positive_part(x)`.

`Ops` is the reference: the docstring of an operation is its maths, the code under it the standard's form.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import array_api_compat

from xpnet._util.windows import Lengths, channel_groups, output_lengths, taps
from xpnet.backend._formula import as_written, kinds
from xpnet.tree import Array

if TYPE_CHECKING:
    from xpnet.backend.fused import Fused

Padding = Sequence[tuple[int, int]]  # zeros before and after each axis between the examples and the channels


class Ops:
    """The reference operations, written in the standard. A library's file derives a class with faster ones.

    Where a docstring says "May overwrite x", use the result and no longer x.

    A derived class registers itself for the library's module: `class MyOps(Ops, library="mine")`.

    Arguments:
        xp: the array API namespace of the library.
    """

    fuses_rows: bool = False  # whether fused functions of rows take one pass
    has_fast_positions: bool = False  # whether single elements, by positions, are faster than one-hot rows
    gathers_windows: bool = False  # whether `rows_of_windows` is one pass
    is_captured: bool = False  # whether a fused function saves kernels also where it computes one number

    def __init__(self, xp: Any) -> None:
        self.xp = xp
        self._programs: dict[tuple[Any, ...], Callable[..., Any]] = {}

    def __init_subclass__(cls, library: str | None = None) -> None:
        if library is not None:
            _classes[library] = cls

    # Properties of arrays, and constants.

    def device(self, x: Array) -> Any:
        """The device of x; None if the array does not have the attribute, as JAX's tracers do not."""
        return getattr(x, "device", None)

    def advice(self, x: Array) -> str:
        """For errors: what to pass instead of an array whose values cannot be read."""
        return "pass a NumPy array of its values"

    def constant(self, values: tuple[float, ...], like: Array) -> Array:
        """An array (n,) of `values`, in the library, on the device and in the dtype of `like`."""
        return self.xp.asarray(values, dtype=like.dtype, device=self.device(like))

    def transposed(self, x: Array) -> Array:
        """xᵀ: x with its last two axes exchanged."""
        return x.mT

    # Parts of arrays.

    def take(self, x: Array, index: Array) -> Array:
        """x[i] along the first axis for each i in `index` (n,), with no negative i."""
        return self.xp.take(x, index, axis=0)

    def take_in_each(self, x: Array, index: Array) -> Array:
        """x[n, i] for each n and each i in index[n]; x is (n, m, ...), `index` (n, k) from 0 to m - 1."""
        xp, (n, m, *rest) = self.xp, x.shape
        rows = index + m * xp.arange(n, dtype=index.dtype, device=self.device(index))[:, None]
        taken = self.take(xp.reshape(x, (n * m, *rest)), xp.reshape(rows, (-1,)))
        return xp.reshape(taken, (n, index.shape[1], *rest))

    def set_at(self, x: Array, index: Any, value: Array) -> Array:
        """x with x[index] = value. May overwrite x."""
        x[index] = value
        return x

    def add_at(self, x: Array, index: Any, value: Any) -> Array:
        """x with x[index] += value. May overwrite x."""
        x[index] += value
        return x

    def pad(self, x: Array, padding: Padding) -> Array:
        """x padded with zeros before and after each axis between the first and the last."""
        if not any(map(any, padding)):
            return x
        middle = [slice(low, low + n) for n, (low, _) in zip(x.shape[1:-1], padding, strict=True)]
        lengths = [low + n + high for n, (low, high) in zip(x.shape[1:-1], padding, strict=True)]
        shape = (x.shape[0], *lengths, x.shape[-1])
        padded = self.xp.zeros(shape, dtype=x.dtype, device=self.device(x))
        return self.set_at(padded, (slice(None), *middle, slice(None)), x)

    def window_view(self, x: Array, kernel: Lengths, stride: Lengths) -> Array:
        """All windows over the middle axes of x, (n, *outputs, *kernel, c); a view if x has strides."""
        outputs, axes = output_lengths(x.shape[1:-1], kernel, stride), len(kernel)
        stacked = self.xp.stack([x[tap] for tap in taps(tuple(x.shape[1:-1]), kernel, stride)])
        # Stack the taps first and move their axes afterwards: XLA then copies once, into any order of axes.
        stacked = self.xp.reshape(stacked, (*kernel, x.shape[0], *outputs, x.shape[-1]))
        return self.xp.permute_dims(stacked, (*range(axes, 2 * axes + 1), *range(axes), 2 * axes + 1))

    def rows_of_windows(self, x: Array, kernel: Lengths, stride: Lengths, padding: Padding) -> Array:
        """All windows of the padded x as rows, (n·Π outputs, Π kernel · c)."""
        padded = self.pad(x, padding)
        columns = math.prod(kernel) * x.shape[-1]
        return self.xp.reshape(self.window_view(padded, kernel, stride), (-1, columns))

    # Element by element.

    def positive_part(self, x: Array) -> Array:
        """max(x, 0)."""
        return self.xp.maximum(x, self.xp.zeros_like(x))

    def where_positive(self, x: Array, y: Array) -> Array:
        """x where y > 0, else 0."""
        return self.xp.where(y > 0, x, self.xp.zeros_like(x))

    def where_nonzero(self, x: Array, y: Array) -> Array:
        """x where y ≠ 0, else 0, also where x is infinite."""
        return self.xp.where(y != 0, x, self.xp.zeros_like(x))

    def exp_or_infinity(self, x: Array) -> Array:
        """eˣ, without a warning on overflow."""
        return self.xp.exp(x)

    def sign(self, x: Array) -> Array:
        """-1, 0 or 1: the sign of x."""
        return self.xp.sign(x)

    def fused(self, function: "Fused", arguments: tuple[Any, ...]) -> Any:
        """`function(*arguments)`; see `xpnet.backend.fused`. May overwrite its leading arguments."""
        # The shapes tell the kinds, in a third of the time: a small step has many small arrays.
        by_shapes = (
            function,
            *[
                each.shape if hasattr(each, "shape") else each if each in (0, 1) else None
                for each in arguments
            ],
        )
        program = self._programs.get(by_shapes)
        if program is None:
            by_kinds = function, kinds(arguments)
            program = self._programs.get(by_kinds) or self.compile_fused(*by_kinds)
            self._programs |= {by_kinds: program, by_shapes: program}
        return program(*arguments)

    def compile_fused(self, function: "Fused", kinds: tuple[str, ...]) -> Callable[..., Any]:
        """A function of the arguments of `function`, for arguments of these kinds."""
        return as_written(function.formula(kinds), FUNCTIONS)

    # Rows.

    def row_maxima(self, x: Array) -> Array:
        """maxᵢ xₙᵢ, (..., n, 1)."""
        return self.xp.max(x, axis=-1, keepdims=True)

    def row_sums(self, x: Array) -> Array:
        """Σᵢ xₙᵢ, (..., n, 1)."""
        return self.xp.sum(x, axis=-1, keepdims=True)

    def inner_product(self, x: Array, y: Array) -> Array:
        """Σₙ Σᵢ xₙᵢ yₙᵢ, (...)."""
        return self.xp.sum(x * y, axis=(-2, -1))

    def weighted_sum(self, weights: Array, x: Array) -> Array:
        """Σₙ Σᵢ weightsₙᵢ xₙᵢ, (...). An element of weight 0 adds 0, also where x is infinite."""
        return self.inner_product(weights, self.where_nonzero(x, weights))

    def sum_of_rows(self, rows: Array) -> Array:
        """Σₙ rowsₙ, (..., columns)."""
        return self.xp.sum(rows, axis=-2)

    def sum_of_products(self, x: Array, y: Array) -> Array:
        """Σₙ xₙ yₙ of rows (..., n, columns), (..., columns)."""
        return self.sum_of_rows(x * y)

    def each_row(self, operation: Callable[[Array, Array], Array], rows: Array, row: Array) -> Array:
        """operation(rows, row) for rows (..., d) and a single row (d,), element by element.

        May overwrite rows, if the operation does.
        """
        return operation(rows, row)

    def add_to_rows(self, rows: Array, row: Array) -> Array:
        """rows + row. May overwrite rows."""
        rows += row
        return rows

    # Matrix products.

    def add_product(self, total: Array, left: Array, right: Array, scale: Any, decay: Any) -> Array:
        """decay · total + scale · left @ right. May overwrite total.

        For matrices, or for K of each with numbers or arrays (K, 1, 1) as scale and decay. `left` may be one
        matrix for all K, (1, m, n).
        """
        total *= decay
        total += scale * (left @ right)
        return total

    def rows_product(self, rows: Array, matrix: Array) -> Array:
        """rows @ matrix, for many short rows."""
        return rows @ matrix

    def rows_gradient(self, rows: Array, dy: Array) -> Array:
        """rowsᵀ @ dy, for many short rows."""
        return self.transposed(rows) @ dy

    def transform(self, matrix: Array, planes: Array) -> Array:
        """A X Aᵀ for n matrices X, the columns of planes (s², n). A is matrix (m, s); result (m², n)."""
        xp, (m, s), n = self.xp, matrix.shape, planes.shape[1]
        half = matrix @ xp.reshape(planes, (s, s, n))  # X Aᵀ; then the same along the first axis
        return xp.reshape(matrix @ xp.reshape(half, (s, m * n)), (m * m, n))

    # Convolution and pooling: x (n, *lengths, c), weight (*kernel, c, o), y and dy (n, *outputs, o or c).
    # Convolutions in g groups: x has g c channels; each c of them make o / g channels of y.

    def convolve(
        self, x: Array, weight: Array, bias: Array | None, stride: Lengths, padding: Padding
    ) -> Array:
        """y[n, i, o] = Σ x̄[n, s i + a, c] W[a, c, o] + b[o], summed over a and c; x̄ is x zero-padded."""
        *kernel, c, channels = weight.shape
        if x.shape[-1] > c:
            groups = channel_groups(c, x, weight, bias)
            return self.xp.concat([self.convolve(x, w, b, stride, padding) for x, w, b in groups], axis=-1)
        windows = self.window_view(self.pad(x, padding), tuple(kernel), stride)
        rows = self.xp.reshape(windows, (-1, math.prod(weight.shape[:-1])))
        y = rows @ self.xp.reshape(weight, (-1, channels))
        y = self.xp.reshape(y, (*windows.shape[: len(kernel) + 1], channels))
        return y if bias is None else y + bias

    def convolve_gradients(
        self, x: Array, weight: Array, dy: Array, stride: Lengths, padding: Padding, of_input: bool
    ) -> tuple[Any, Array, Array]:
        """(dx, dW, db); dx is None unless `of_input`.

        dW[a, c, o] = Σ x̄[n, s i + a, c] dy[n, i, o],  db[o] = Σ dy[n, i, o]
        dx̄[n, j, c] = Σ dy[n, i, o] W[a, c, o], summed over o and all (i, a) with s i + a = j
        """
        xp, (*kernel, c, channels) = self.xp, weight.shape
        if x.shape[-1] > c:
            groups = channel_groups(c, x, weight, dy)
            found = [self.convolve_gradients(x, w, dy, stride, padding, of_input) for x, w, dy in groups]
            of_x, *others = [list(each) for each in zip(*found, strict=True)]
            dweight, dbias = [xp.concat(each, axis=-1) for each in others]
            return xp.concat(of_x, axis=-1) if of_input else None, dweight, dbias
        padded, dy_rows = self.pad(x, padding), xp.reshape(dy, (-1, channels))
        rows = xp.reshape(self.window_view(padded, tuple(kernel), stride), (-1, math.prod(weight.shape[:-1])))
        dweight = xp.reshape(self.transposed(rows) @ dy_rows, weight.shape)
        dbias = self.sum_of_rows(dy_rows)
        if not of_input:
            return None, dweight, dbias
        dx = xp.zeros(padded.shape, dtype=dy.dtype, device=self.device(dy))
        of_taps = xp.reshape(weight, (-1, c, channels))
        for i, tap in enumerate(taps(tuple(padded.shape[1:-1]), tuple(kernel), stride)):
            part = dy_rows @ self.transposed(of_taps[i, ...])
            dx = self.add_at(dx, tap, xp.reshape(part, (*dy.shape[:-1], c)))
        inner = [slice(low, low + n) for n, (low, _) in zip(x.shape[1:-1], padding, strict=True)]
        return dx[(slice(None), *inner, slice(None))], dweight, dbias

    def max_pool(self, x: Array, kernel: Lengths, stride: Lengths) -> tuple[Array, Array]:
        """The maximum of each window, and its position for `max_pool_gradient` (the first of equals)."""
        windows = self.window_view(x, kernel, stride)
        shape = (*windows.shape[: len(kernel) + 1], math.prod(kernel), x.shape[-1])
        windows = self.xp.reshape(windows, shape)
        return self.xp.max(windows, axis=-2), self.xp.argmax(windows, axis=-2)

    def max_pool_gradient(
        self, dy: Array, x: Array, positions: Array, kernel: Lengths, stride: Lengths
    ) -> Array:
        """dx: each dy added at the position of its window's maximum, 0 elsewhere."""
        dx = self.xp.zeros_like(x)
        for i, tap in enumerate(taps(tuple(x.shape[1:-1]), kernel, stride)):
            dx = self.add_at(dx, tap, dy * self.xp.astype(positions == i, dy.dtype))
        return dx


class CapturedOps(Ops):
    """Operations for CUDA graphs, with cached constants: a capture cannot copy them from the host."""

    def __init__(self, xp: Any) -> None:
        super().__init__(xp)
        self._constants: dict[Any, Array] = {}

    def constant(self, values: tuple[float, ...], like: Array) -> Array:
        key = values, str(like.dtype), str(self.device(like))
        if key not in self._constants:
            self._constants[key] = self._new_constant(values, like)
        return self._constants[key]

    def _new_constant(self, values: tuple[float, ...], like: Array) -> Array:
        """A constant that is not in the cache yet."""
        return super().constant(values, like)


@dataclass(frozen=True, eq=False)
class Product:
    """left @ right for two matrices, or for K pairs of them, not yet multiplied.

    A gradient that is only added to another array, such as the parameter itself, need not be computed as an
    array. This saves almost the whole cost of the update: a sixth of a step of 784-128-10, batch 64.
    """

    left: Array
    right: Array

    def evaluate(self) -> Array:
        """left @ right, as a fresh array."""
        return self.left @ self.right

    def add_to(self, total: Array, scale: Any, decay: Any) -> Array:
        """decay · total + scale · left @ right. May overwrite total."""
        return ops(total).add_product(total, self.left, self.right, scale, decay)


_classes: dict[str, type[Ops]] = {}
_tables: dict[type, Ops] = {}


def ops(x: Array) -> Ops:
    """The `Ops` of an array's library, found by the type of the array."""
    try:
        return _tables[type(x)]
    except KeyError:
        return _find(x)


def _find(x: Array) -> Ops:
    """The `Ops` for a type of array that is seen for the first time."""
    xp = array_api_compat.array_namespace(x)
    library = getattr(xp, "__name__", "").removeprefix("array_api_compat.").partition(".")[0]
    made = _classes.get(library, Ops)(xp)
    same = (table for table in _tables.values() if type(table) is type(made) and table.xp is made.xp)
    table = _tables[type(x)] = next(same, made)
    return table


def namespace(x: Array) -> Any:
    """The array API namespace of an array's library."""
    return ops(x).xp


def device(x: Array) -> Any:
    """The device of an array; None if it does not have the attribute, as JAX's tracers do not."""
    return ops(x).device(x)


# The functions of fused formulas, of arrays and of numbers, by the names of their operations.


def _array_function(name: str, of_numbers: Callable[..., Any]) -> Callable[..., Any]:
    def function(*operands: Any) -> Any:
        like = next((each for each in operands if hasattr(each, "ndim")), None)
        if like is None:
            return of_numbers(*operands)
        xp = namespace(like)
        arrays = [
            each if hasattr(each, "ndim") else xp.asarray(each, dtype=like.dtype, device=device(like))
            for each in operands
        ]
        return getattr(xp, name)(*arrays)

    return function


def _of_one(name: str, of_number: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: getattr(namespace(x), name)(x) if hasattr(x, "ndim") else of_number(x)


def _one_hot(labels: Array, like: Array) -> Array:
    classes = namespace(like).arange(like.shape[-1], dtype=labels.dtype, device=device(labels))
    return namespace(like).astype(labels == classes, like.dtype)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sqrt": _of_one("sqrt", math.sqrt),
    "exp": _of_one("exp", math.exp),
    "log": _of_one("log", math.log),
    "maximum": _array_function("maximum", max),
    "minimum": _array_function("minimum", min),
    "sign": lambda x: ops(x).sign(x),
    "filled": lambda x, value: namespace(x).full_like(x, value),
    "copy": lambda x: namespace(x).asarray(x, copy=True),
    "row_sum": lambda x: ops(x).row_sums(x),
    "row_max": lambda x: ops(x).row_maxima(x),
    "row_argmax": lambda x: namespace(x).astype(namespace(x).argmax(x, axis=-1, keepdims=True), x.dtype),
    "one_hot": _one_hot,
    "sum_of_rows": lambda x: ops(x).sum_of_rows(x),
    "sum_of_products": lambda x, y: ops(x).sum_of_products(x, y),
    "where": lambda condition, x, y: namespace(condition).where(condition, x, y),
}
