"""The laws of backends."""

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xpnet import losses, nn, optim, tree
from xpnet.backend import DTYPES, Backend, Ops, device, namespace, ops
from xpnet.backend.fused import fused, sqrt, where
from xpnet.testing import subject
from xpnet.testing.compare import assert_close, assert_kept, assert_same, difference, fetch
from xpnet.testing.report import Law, LawError, Report, try_laws
from xpnet.testing.subject import BackendLike, draw
from xpnet.tree import Tree


def values_survive_a_round_trip(_: Any, backend: Backend) -> None:
    """`asarray` returns arrays of the library, device and dtype; `to_numpy` returns the same values."""
    for host, dtype in (
        (np.arange(6.0).reshape(2, 3), backend.dtype),
        (np.float32(3.5), backend.dtype),
        ([[1, 2], [3, 4]], backend.index_dtype),
        (np.arange(3, dtype=np.uint8), backend.index_dtype),
        (_read_only(np.arange(3, dtype=np.float32)), backend.dtype),
    ):
        array = backend.asarray(host)
        if namespace(array) is not backend.xp or not backend.owns(array):
            raise LawError(
                f"asarray returns {type(array).__name__}, expected an array of {backend.xp.__name__}"
            )
        if device(array) != backend.device:
            raise LawError(f"asarray puts arrays on {device(array)}, expected {backend.device}")
        if array.dtype != dtype:
            raise LawError(f"asarray returns {array.dtype} for {np.asarray(host).dtype}, expected {dtype}")
        back = backend.to_numpy(array)
        if not isinstance(back, np.ndarray):
            raise LawError(f"to_numpy returns {type(back).__name__}, expected a NumPy array")
        fault = difference(back, host)
        if fault:
            raise LawError(f"to_numpy(asarray(x)){fault}")
        if backend.asarray(array) is not array:
            raise LawError("asarray copies an array that is already in place; return it unchanged")
    if backend.asarray([1, 2], real=True).dtype != backend.dtype:
        raise LawError(f"asarray(…, real=True) keeps integers, expected {backend.dtype}")


def copies_have_their_own_memory(_: Any, backend: Backend) -> None:
    """`copy` returns fresh memory."""
    for shape in ((3,), (4, 3), (4, 20), (2, 4, 3)):
        host = np.arange(math.prod(shape), dtype=backend.dtype_name).reshape(shape)
        first = backend.copy(backend.asarray(host))
        second = backend.copy(first)
        first += 1
        second += 2
        for what, array, more in (("a copy", first, 1), ("the copy of a copy", second, 2)):
            fault = difference(backend.to_numpy(array), host + more)
            if fault:
                raise LawError(f"{what} of shape {shape} shares memory with its original: it{fault}")


def compiled_steps_give_the_same(_: Any, backend: Backend) -> None:
    """Steps from `compile` and loops from `compile_loop` return the same as the plain steps."""

    def step(state: Any, batch: Any) -> Any:
        factor, row = batch
        return {"sum": state["sum"] + factor * row, "count": state["count"] + 1}, row * 2

    def start() -> Tree:
        return {"sum": backend.asarray(np.zeros(2)), "count": backend.asarray(0)}

    rows, factor = backend.asarray(np.arange(10.0).reshape(5, 2)), backend.asarray(0.5)
    expected = start()
    for i in range(1, 4):
        expected, metrics = step(expected, (factor, rows[i, ...]))
    compiled, state = backend.compile(step), start()
    for i in range(1, 4):
        state, found = compiled(state, (factor, rows[i, ...]))
    backend.synchronize()
    looped = backend.compile_loop(step)(start(), (factor,), (rows,), 1, 4)
    for what, result, wanted in (
        ("compile", state, expected),
        ("compile's metrics", {"row": found}, {"row": metrics}),
        ("compile_loop", looped, expected),
    ):
        assert_kept(backend, result)
        try:
            assert_same(backend, result, fetch(backend, wanted))
        except LawError as error:
            raise LawError(f"{what}: {error}, as without compiling") from None


_X, _Y, _Z = draw((4, 3), 1), draw((4, 3), 2), np.abs(draw((4, 3), 3))
_EACH = np.array([[0, 2], [1, 1], [2, 0], [0, 1]])
_ROW, _TOTAL = draw((3,), 4), draw((3, 3), 5)
FORMULAS: list[tuple[str, tuple[Any, ...], np.ndarray]] = [
    ("take", (_X, np.array([2, 0, 2])), _X[[2, 0, 2]]),
    ("take_in_each", (_X, _EACH), np.take_along_axis(_X, _EACH, axis=1)),
    ("positive_part", (_X,), np.maximum(_X, 0)),
    ("where_positive", (_X, _Y), np.where(_Y > 0, _X, 0)),
    ("where_nonzero", (_X, np.sign(_Y - 9)), _X),
    ("exp_or_infinity", (_X,), np.exp(_X)),
    ("set_at", (_X, (1, ...), _ROW), np.concatenate([_X[:1], _ROW[None], _X[2:]])),
    ("add_at", (_X, (1, ...), _ROW), _X + np.eye(4)[:, 1:2] * _ROW),
    ("row_maxima", (_X,), _X.max(axis=1, keepdims=True)),
    ("row_sums", (_X,), _X.sum(axis=1, keepdims=True)),
    ("inner_product", (_X, _Y), (_X * _Y).sum()),
    ("weighted_sum", (_X, _Y), (_X * _Y).sum()),
    ("sum_of_rows", (_X,), _X.sum(axis=0)),
    ("sum_of_products", (_X, _Y), (_X * _Y).sum(axis=0)),
    ("add_to_rows", (_X, _ROW), _X + _ROW),
    ("each_row", (operator.mul, _X, _ROW), _X * _ROW),
    ("rows_product", (_X, _TOTAL), _X @ _TOTAL),
    ("rows_gradient", (_X, _Y), _X.T @ _Y),
    ("transform", (_Y, draw((9, 2), 6)), np.kron(_Y, _Y) @ draw((9, 2), 6)),
]  # fmt: skip


@fused(overwrites=1)
def _step(x: Any, y: Any, rate: Any) -> Any:
    """A formula like that of an optimizer."""
    y = y - rate * x
    return x - rate * (y / (sqrt(y * y) + 1)) + where(x > 0, y, 0)


_IMAGES, _KERNELS, _D = draw((2, 5, 6, 3), 7), draw((3, 2, 3, 4), 8), draw((2, 3, 2, 4), 9)
_CONVOLUTION = (2, 3), ((1, 2), (0, 1))  # stride and padding
AGAINST_REFERENCE: list[tuple[str, Callable[..., Tree], tuple[np.ndarray, ...]]] = [
    ("constant", lambda o, x: o.constant((0.5, 2.0), x), (_X,)),
    ("transposed", lambda o, x: o.transposed(x), (_X,)),
    ("sign", lambda o, x: o.sign(x), (_X,)),
    ("fused", lambda o, x, y: o.fused(_step, (x, y, 0.5)), (_X, _Y)),
    ("pad", lambda o, x: o.pad(x, ((1, 2), (0, 1))), (_IMAGES,)),
    ("window_view", lambda o, x: o.window_view(x, (3, 2), (2, 1)), (_IMAGES,)),
    ("rows_of_windows", lambda o, x: o.rows_of_windows(x, (3, 2), *_CONVOLUTION), (_IMAGES,)),
    (
        "add_product",
        lambda o, x, y, total: o.add_product(total, o.transposed(x), y, 0.5, 0.9),
        (_X, _Y, _TOTAL),
    ),
    ("convolve", lambda o, x, w: o.convolve(x, w, None, *_CONVOLUTION), (_IMAGES, _KERNELS)),
    (
        "convolve_gradients",
        lambda o, x, w, dy: o.convolve_gradients(x, w, dy, *_CONVOLUTION, True),
        (_IMAGES, _KERNELS, _D),
    ),
    ("max_pool", lambda o, x: o.max_pool(x, (2, 3), (2, 3))[0], (_IMAGES,)),
    (
        "max_pool_gradient",
        lambda o, x, dy: o.max_pool_gradient(dy, x, o.max_pool(x, (2, 3), (2, 3))[1], (2, 3), (2, 3)),
        (_IMAGES, draw((2, 2, 2, 3), 10)),
    ),
]


def operations_match_their_formulas(_: Any, backend: Backend) -> None:
    """Each operation of the library's `Ops` returns what its formula or the reference form returns."""
    tolerance = 1e-5 if backend.dtype_name == "float32" else 1e-12
    for name, arguments, expected in FORMULAS:
        here = [backend.copy(a.copy()) if isinstance(a, np.ndarray) else a for a in arguments]
        found = {name: getattr(ops(next(a for a in here if backend.owns(a))), name)(*here)}
        assert_kept(backend, found)
        assert_close(backend, found, {name: expected}, tolerance)
    reference = Ops(subject.numpy("float64").xp)
    for name, function, arrays in AGAINST_REFERENCE:
        here = [backend.copy(array.copy()) for array in arrays]
        found = {name: function(ops(here[0]), *here)}
        assert_kept(backend, found)
        assert_close(backend, found, {name: function(reference, *[a.copy() for a in arrays])}, tolerance)


NETWORKS = {
    "MLP with momentum": (
        nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)),
        optim.SGD(0.1, momentum=0.9),
        (12, 6),
    ),
    "layer normalisation with Adam": (
        nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3)),
        optim.Adam(0.01),
        (12, 6),
    ),
    "CNN": (
        nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)),
        optim.SGD(0.1),
        (12, 6, 6, 2),
    ),
}


def training_agrees_with_numpy(_: Any, backend: Backend) -> None:
    """20 steps of small networks in one compiled loop give the same parameters as NumPy, to 1e-10."""
    for name, (net, optimizer, shape) in NETWORKS.items():
        found = fetch(backend, _train(net, optimizer, shape, backend))
        wanted = _train(net, optimizer, shape, subject.numpy(backend.dtype_name))
        try:
            assert_close(backend, found, wanted, 1e-10)
        except LawError as error:
            raise LawError(f"{name}, after 20 steps: {error}, as on NumPy") from None


def _train(net: nn.Layer, optimizer: optim.Optimizer, shape: tuple[int, ...], backend: Backend) -> Tree:
    """The parameters after 20 steps on batches of 4 examples."""
    rng = np.random.default_rng(0)
    x, target = backend.asarray(draw(shape)), backend.asarray(np.arange(shape[0]) % 3)
    index = backend.asarray(np.stack([rng.permutation(shape[0])[:4] for _ in range(20)]))
    loss = losses.CrossEntropy()

    def step(state: Any, batch: Any) -> Any:
        (params, inner), (x, target, index) = state, batch
        inputs, labels = ops(x).take(x, index), ops(target).take(target, index)
        prediction, residuals = net.forward(params, inputs)
        value, of_loss = loss.forward(prediction, labels)
        grads = net.parameter_gradients(params, residuals, loss.backward(of_loss))
        return optimizer.update(params, grads, inner), value

    params = tree.map(backend.copy, net.init(np.random.default_rng(1)))
    state = params, optimizer.init(params)
    return backend.compile_loop(step)(state, (x, target), (index,), 0, 20)[0]


def _read_only(x: np.ndarray) -> np.ndarray:
    x.flags.writeable = False
    return x


LAWS = (
    Law("values survive a round trip", values_survive_a_round_trip, needed=True),
    Law("copies have their own memory", copies_have_their_own_memory),
    Law("compiled steps give the same", compiled_steps_give_the_same),
    Law("operations match their formulas", operations_match_their_formulas),
    Law("training agrees with NumPy", training_agrees_with_numpy, ("float64",)),
)


def check_backend(
    backend: BackendLike, *, dtypes: Sequence[str] = DTYPES, raise_on_failure: bool = True
) -> Report:
    """Check that a backend obeys the laws of backends: placing, copies, compiled steps, operations, training.

    Arguments:
        backend: the name of a backend of xpnet, your own class derived from `xpnet.backend.Backend`, or an
            instance of it, whose device is used.
        dtypes, raise_on_failure: as for `check_layer`.

    Returns the report. Raises LawError if a law does not hold and `raise_on_failure` is true.
    """
    places = subject.places([backend])
    report = Report(f"check_backend: {places[0][0]}", tuple(try_laws(LAWS, None, places, dtypes)))
    return report.require() if raise_on_failure else report
