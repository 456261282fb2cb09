"""The laws of layers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet import gradcheck, tree
from xpnet.backend import DTYPES, Backend
from xpnet.nn import Layer
from xpnet.testing import subject
from xpnet.testing.compare import (
    assert_close,
    assert_kept,
    assert_like,
    assert_same,
    assert_unchanged,
    fetch,
    put,
)
from xpnet.testing.examples import (
    difference_in_parts,
    examples_are_as_declared,
    stacked_networks_match_single_ones,
)
from xpnet.testing.report import Law, LawError, Report, try_laws
from xpnet.testing.subject import BackendLike, draw
from xpnet.testing.trial import LayerTrial, copied, run_layer


def is_a_frozen_dataclass(trial: LayerTrial, backend: Backend) -> None:
    """The hyper-parameters are the fields of a frozen dataclass; nothing else is kept on self."""
    subject.is_a_frozen_dataclass(trial.layer)


def repr_shows_every_field(trial: LayerTrial, backend: Backend) -> None:
    """repr is the constructor call: summaries, errors and run folders show it."""
    subject.repr_shows_every_field(trial.layer)


def init_gives_float64(trial: LayerTrial, backend: Backend) -> None:
    """`init` and `init_statistics` give dicts of float64 NumPy arrays, the same for the same seed."""
    init = trial.layer.init
    for method, made in (
        ("init", init(np.random.default_rng(0))),
        ("init_statistics", trial.layer.init_statistics()),
    ):
        if not isinstance(made, dict | tuple):
            raise LawError(
                f"{method} gives a {type(made).__name__}, expected a dict of float64 NumPy arrays; "
                'write return {"weight": …, "bias": …}'
            )
        for name, array in tree.items(made):
            got = type(array).__name__
            if isinstance(array, np.ndarray):
                if array.dtype == np.float64:
                    continue
                got = f"an array of {array.dtype}"
            raise LawError(
                f"{method} gives {name} as {got}, expected a float64 NumPy array for every training dtype; "
                "write rng.standard_normal(shape), np.zeros(shape) or an initialiser of xpnet.init"
            )
    first, second = init(np.random.default_rng(0)), init(np.random.default_rng(0))
    try:
        assert_same(backend, first, second)
    except LawError as error:
        raise LawError(
            f"init draws other parameters for the same seed: {error}; draw them from init's argument rng"
        ) from None


def fits_together(trial: LayerTrial, backend: Backend) -> None:
    """`forward` gives (y, residuals), `backward` (dx, grads); dx is like x, 0 for integers."""
    layer = trial.on(backend)
    params, x = put(backend, trial.variables()), backend.copy(trial.x)
    y, residuals = _pair("forward", "(y, residuals)", layer.forward(params, x))
    if not hasattr(y, "shape"):
        raise LawError(f"forward gives y as {type(y).__name__}, expected an array")
    dx, grads = _pair(
        "backward", "(dx, grads)", layer.backward(params, residuals, backend.asarray(draw(y.shape, 1)))
    )
    if not hasattr(dx, "shape") or tuple(dx.shape) != trial.x.shape:
        got = f"of shape {tuple(dx.shape)}" if hasattr(dx, "shape") else f"as {type(dx).__name__}"
        raise LawError(f"backward gives dx {got}, expected the shape of x, {trial.x.shape}")
    if layer.integers is not None and backend.to_numpy(dx).any():
        raise LawError("backward gives a dx other than 0 for an x of integers; give zeros in the shape of x")
    assert_like("backward's grads", grads, trial.layer.init(np.random.default_rng(0)), "params")


def output_shape_matches_forward(trial: LayerTrial, backend: Backend) -> None:
    """`output_shape` of the shape of x is the shape of y, also for the symbolic batch size in ("n", …)."""
    said, real = trial.layer.output_shape(trial.x.shape), tuple(run_layer(trial, backend).y.shape)
    if tuple(said) != real:
        raise LawError(
            f"output_shape({trial.x.shape}) says {said}, forward gives y of shape {real}; "
            "correct output_shape"
        )
    said = trial.layer.output_shape(("n", *trial.x.shape[1:]))
    if tuple(said)[1:] != real[1:]:
        raise LawError(f"output_shape for a batch of n examples says {said}, forward gives y of shape {real}")


def keeps_library_dtype_and_device(trial: LayerTrial, backend: Backend) -> None:
    """All results have the library, device and dtype of the input."""
    assert_kept(backend, run_layer(trial, backend)._asdict())


def does_not_modify_arguments(trial: LayerTrial, backend: Backend) -> None:
    """`forward` and `backward` modify neither their arguments nor each other's results."""
    layer = trial.on(backend)
    params, x = put(backend, trial.variables()), backend.copy(trial.x)
    before = fetch(backend, {"params": params, "x": x})
    y, residuals = layer.forward(params, x)
    assert_unchanged("forward", backend, {"params": params, "x": x}, before)
    dy = backend.asarray(draw(y.shape, seed=1))
    given = {"params": params, "residuals": residuals, "dy": dy, "x": x, "y": y}
    before = fetch(backend, given)
    for method in ("backward", "parameter_gradients"):
        getattr(layer, method)(params, residuals, dy)
        assert_unchanged(method, backend, given, before)


def repeats_itself(trial: LayerTrial, backend: Backend) -> None:
    """The same call gives the same bits."""
    first = fetch(backend, run_layer(trial, backend)._asdict())
    try:
        assert_same(backend, run_layer(trial, backend)._asdict(), first)
    except LawError as error:
        raise LawError(
            f"the same call gives something else the second time: {error}; "
            "draw random numbers only in training_mode(key), by xpnet.random, and keep nothing on self"
        ) from None


def keeps_nothing(trial: LayerTrial, backend: Backend) -> None:
    """A layer can be used twice: a forward pass in between does not change what `backward` gives."""
    layer = trial.on(backend)
    before = repr(vars(layer))
    first = run_layer(trial, backend)
    _, residuals = layer.forward(copied(backend, first.params), backend.copy(first.x))
    other_x = trial.x[::-1] if trial.x.dtype.kind != "f" else -0.5 * trial.x
    layer.forward(put(backend, trial.variables(seed=1)), backend.copy(np.ascontiguousarray(other_x)))
    dx, grads = layer.backward(first.params, residuals, backend.copy(first.dy))
    way_out = "keep nothing on self; return what backward needs in the residuals"
    try:
        assert_same(
            backend, {"dx": dx, "grads": grads}, fetch(backend, {"dx": first.dx, "grads": first.grads})
        )
    except LawError as error:
        raise LawError(f"another forward pass in between changes backward: {error}; {way_out}") from None
    if repr(vars(layer)) != before:
        raise LawError(f"forward or backward changes an attribute of the layer; {way_out}")


def parameter_gradients_match_backward(trial: LayerTrial, backend: Backend, tolerance: float = 1e-11) -> None:
    """`parameter_gradients` returns the second result of `backward`."""
    run, layer = run_layer(trial, backend), trial.on(backend)
    _, residuals = layer.forward(copied(backend, run.params), backend.copy(run.x))
    alone = layer.parameter_gradients(run.params, residuals, backend.copy(run.dy))
    assert_like("parameter_gradients' result", alone, run.grads, "backward's grads")
    try:
        assert_close(backend, {"grads": alone}, fetch(backend, {"grads": run.grads}), tolerance)
    except LawError as error:
        raise LawError(
            f"parameter_gradients differs from backward: {error}, as backward gives; "
            "leave parameter_gradients out, or have backward call it"
        ) from None


def gradient_is_right(trial: LayerTrial, backend: Backend) -> None:
    """`backward` is the derivative of `forward`, by finite differences along random directions."""
    statistics = None if trial.training else put(backend, trial.statistics())
    params, x = put(backend, trial.params()), backend.copy(trial.x)
    gradcheck.check(trial.on(backend), x, params=params, statistics=statistics)


def agrees_with_numpy(trial: LayerTrial, backend: Backend) -> None:
    """Every library gives the same numbers as NumPy."""
    found, wanted = run_layer(trial, backend), run_layer(trial, subject.numpy(backend.dtype_name))
    tolerance = trial.tolerances[DTYPES.index(backend.dtype_name)]
    parts = ("y", "dx", "grads")
    expected = {part: getattr(wanted, part) for part in parts}
    try:
        assert_close(backend, {part: getattr(found, part) for part in parts}, expected, tolerance)
    except LawError as error:
        raise LawError(f"differs from NumPy: {error}, as on NumPy") from None


def _pair(method: str, expected: str, result: Any) -> tuple[Any, Any]:
    if not isinstance(result, tuple) or len(result) != 2:
        got = f"{len(result)} things" if isinstance(result, tuple) else f"one {type(result).__name__}"
        raise LawError(f"{method} gives {got}, expected a pair {expected}")
    return result


LAWS = (
    Law("is a frozen dataclass", is_a_frozen_dataclass, on_host=True),
    Law("repr shows every field", repr_shows_every_field, on_host=True),
    Law("init gives float64 NumPy arrays", init_gives_float64, on_host=True, needed=True),
    Law("forward and backward fit together", fits_together, needed=True),
    Law("output_shape is the shape of y", output_shape_matches_forward, ("float64",), on_host=True),
    Law("results keep library, device, dtype", keeps_library_dtype_and_device),
    Law("arguments are not modified", does_not_modify_arguments, ("float32",)),
    Law("the same call gives the same bits", repeats_itself, ("float32",)),
    Law("nothing is kept on self", keeps_nothing, ("float32",)),
    Law("parameter_gradients match backward", parameter_gradients_match_backward, ("float64",)),
    Law("gradient is right", gradient_is_right, ("float64",)),
    Law("numbers agree with NumPy", agrees_with_numpy),
    Law("examples is as declared", examples_are_as_declared, ("float64",), on_host=True),
)
STACKS = Law("K networks in one pass", stacked_networks_match_single_ones, ("float64",))


def check_layer(
    layer: Layer,
    x: Any,
    *,
    backends: Sequence[BackendLike] | None = None,
    dtypes: Sequence[str] = DTYPES,
    stacks: bool = False,
    raise_on_failure: bool = True,
) -> Report:
    """Check that a layer obeys the laws of layers: shapes, dtypes, gradients, no side effects.

    A layer that behaves differently in training, such as dropout, is checked in both modes.

    Arguments:
        layer: a layer of `xpnet.nn` or your own.
        x: an input, or the shape of an input to draw, such as (4, 3). Use at least 4 examples and short axes.
            A layer that says so gets `integers`; pass an array if it needs, say, positive numbers.
        backends: names of backends; None: all that work on this machine.
        dtypes: "float32", "float64" or both.
        stacks: whether the layer also accepts params and inputs with a leading axis of K networks.
        raise_on_failure: whether to raise LawError, with one line per fault, if a law does not hold.

    Returns the report: `print` it, or use its `passed`, `total`, `ok` and `faults`.
    """
    subject.require_instance("check_layer", layer, Layer)
    shown = subject.show(layer)
    host = subject.as_host("check_layer", "x", x, layer.integers)
    places = subject.places(backends)
    trial = LayerTrial(layer, host)
    laws = [*LAWS, STACKS] if stacks else list(LAWS)
    results = try_laws(laws, trial, places, dtypes, host=subject.numpy)
    notes = []
    if all(result.outcome == "ok" for result in results):
        in_training = LayerTrial(layer, host, training=True)
        if in_training.on(subject.numpy("float64")) is not layer:
            laws = [law for law in laws if law.check not in CLASS_LAWS]
            results += try_laws(laws, in_training, places, dtypes, " in training", subject.numpy)
        elif layer.examples == "mixed" and not difference_in_parts(trial, together=False):
            notes.append(
                "each row of y depends on its row of x alone: write examples "
                '= "independent" in the class body, '
                "and training can run parts of a batch in parallel"
            )
    report = Report(f"check_layer: {shown}, x {host.shape}", tuple(results), tuple(notes))
    return report.require() if raise_on_failure else report


CLASS_LAWS = (is_a_frozen_dataclass, repr_shows_every_field, init_gives_float64)
