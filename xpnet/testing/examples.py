"""The laws of layers for parts of a batch, and for stacks of networks."""

from typing import Any

import numpy as np

from xpnet import tree
from xpnet.backend import BACKENDS, Backend
from xpnet.testing.compare import assert_close, fetch, put
from xpnet.testing.report import LawError
from xpnet.testing.subject import draw
from xpnet.testing.trial import LayerTrial


def examples_are_as_declared(trial: LayerTrial, backend: Backend) -> None:
    """With `examples` "independent" or "summed", the parts of a batch give the same as the whole batch."""
    says = trial.on(backend).examples
    if says not in ("independent", "summed", "mixed"):
        raise LawError(f'examples is {says!r}, expected "independent", "summed" or "mixed"')
    if says != "mixed":
        fault = difference_in_parts(trial, together=says == "summed")
        if fault:
            other = '"summed" or "mixed"' if says == "independent" else '"mixed"'
            uses = (
                "the other examples matter"
                if says == "independent"
                else "sum_over_parts is not all that they share"
            )
            raise LawError(
                f'examples says "{says}", but {uses}: {fault}, as the whole batch gives; say {other}'
            )


TWO_CORES = type("TwoCores", (BACKENDS["numpy"],), {"workers": 2})  # for two parts that wait for each other


def difference_in_parts(trial: LayerTrial, together: bool) -> str:
    """How the results of two parts differ from the whole batch, in float64 on NumPy; empty if they agree.

    Arguments:
        trial: the layer and its input.
        together: whether both parts run at the same time and may call `sum_over_parts`.
    """
    backend = TWO_CORES(dtype="float64")
    trial = _two_examples(trial)
    params, x = put(backend, trial.variables()), backend.copy(trial.x)
    n = x.shape[0]
    layer = trial.on(backend)
    y, residuals = layer.forward(params, backend.copy(x))
    dy = backend.asarray(draw(y.shape, seed=1))
    start = trial.statistics()
    dx, grads = layer.backward(params, residuals, backend.copy(dy))
    whole = {"y": y, "dx": dx, "grads": grads, "statistics": layer.new_statistics(start, residuals)}

    def run(part: slice, _: Any) -> dict[str, Any]:
        layer = trial.on(backend, part.start)
        y, residuals = layer.forward(params, backend.copy(x[part, ...]))
        share = (part.stop - part.start) / n
        dx, grads = layer.backward(params, residuals, backend.copy(dy[part, ...]))
        statistics = tree.map(lambda s: share * s, layer.new_statistics(start, residuals))
        return {"rows": [(y, dx)], "grads": grads, "statistics": statistics}

    def add(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
        sums = {name: tree.map(lambda p, q: p + q, a[name], b[name]) for name in ("grads", "statistics")}
        return {"rows": a["rows"] + b["rows"], **sums}

    cut = max(1, n // 2 - (n > 3))  # unequal parts, if there are enough examples
    halves = [slice(0, cut), slice(cut, n)]
    try:
        parts = backend.map_reduce(run, add, halves, together=together)
    except Exception as error:
        return f"a part of the batch fails with {type(error).__name__}: {' '.join(str(error).split())}"
    ys, dxs = zip(*parts.pop("rows"), strict=True)
    found = {"y": np.concatenate(ys), "dx": np.concatenate(dxs), **parts}
    try:
        assert_close(backend, found, whole, 1e-11)
    except LawError as error:
        return str(error)
    return ""


def _two_examples(trial: LayerTrial) -> LayerTrial:
    """The trial with at least two examples."""
    x = trial.x
    if x.shape[0] >= 2:
        return trial
    more = 0.3 - x if x.dtype.kind == "f" else x
    return LayerTrial(trial.layer, np.concatenate([x, more]), trial.training)


def stacked_networks_match_single_ones(trial: LayerTrial, backend: Backend) -> None:
    """One pass with a leading axis of K networks gives the same as K single passes."""
    layer = trial.on(backend)
    hosts = [trial.variables(seed=k) for k in range(3)]
    stacked = put(backend, tree.map(lambda *arrays: np.stack(arrays), *hosts))
    x = draw((3, *trial.x.shape)) if trial.x.dtype.kind == "f" else np.stack([trial.x] * 3)
    y, residuals = layer.forward(stacked, backend.asarray(x))
    dy = draw(y.shape, seed=1)
    dx, grads = layer.backward(stacked, residuals, backend.asarray(dy))
    for k in range(3):
        params = put(backend, hosts[k])
        y_k, residuals_k = layer.forward(params, backend.asarray(x[k]))
        dx_k, grads_k = layer.backward(params, residuals_k, backend.asarray(dy[k]))
        of_stack = tree.map(lambda array, k=k: array[k, ...], {"y": y, "dx": dx, "grads": grads})
        try:
            assert_close(backend, of_stack, fetch(backend, {"y": y_k, "dx": dx_k, "grads": grads_k}), 1e-12)
        except LawError as error:
            raise LawError(
                f"network {k} of 3 in a stack: {error}, as alone; "
                "count axes from the last, axis=-1, or say stacks=False"
            ) from None
