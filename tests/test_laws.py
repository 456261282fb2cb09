"""The laws that every layer and every loss in the table of cases obeys, on every array library."""

import numpy as np
import pytest

import xpnet
from cases import LAYERS, LOSSES, LayerCase, LossCase, draw
from conftest import MakeBackend
from laws import assert_close, assert_kept, assert_same, fetch, put
from xpnet import gradcheck, tree
from xpnet.backend import Backend
from xpnet.errors import ShapeError

TOLERANCE = {"float32": 2e-6, "float64": 1e-13}

every_layer = pytest.mark.parametrize("case", LAYERS, ids=str)
every_loss = pytest.mark.parametrize("case", LOSSES, ids=str)
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


def run_layer(case: LayerCase, backend: Backend) -> dict:
    """One forward and one backward pass of a layer: all that goes in, and all that comes out."""
    layer = case.layer_on(backend)
    params = put(backend, case.draw_variables())
    x = backend.asarray(case.draw_x())
    y, residuals = layer.forward(params, x)
    dy = backend.asarray(draw(tuple(y.shape), seed=1))
    dx, grads = layer.backward(params, residuals, dy)
    inputs = {"params": params, "x": x, "dy": dy}
    return {"inputs": inputs, "y": y, "residuals": residuals, "dx": dx, "grads": grads}


def run_loss(case: LossCase, backend: Backend) -> dict:
    prediction = backend.asarray(draw(case.shape))
    target = backend.asarray(case.target)
    value, residuals = case.loss.forward(prediction, target)
    dprediction = case.loss.backward(residuals)
    inputs = {"prediction": prediction, "target": target}
    return {"inputs": inputs, "value": value, "residuals": residuals, "dprediction": dprediction}


@every_layer
def test_layer_gradient(case: LayerCase, make_backend: MakeBackend) -> None:
    backend = make_backend("float64")
    gradcheck.check(case.layer_on(backend), backend.asarray(case.draw_x()))


@every_loss
def test_loss_gradient(case: LossCase, make_backend: MakeBackend) -> None:
    backend = make_backend("float64")
    gradcheck.check(case.loss, backend.asarray(draw(case.shape)), backend.asarray(case.target))


@both_dtypes
@every_layer
def test_layer_agrees_with_numpy(case: LayerCase, dtype: str, make_backend: MakeBackend) -> None:
    actual, expected = (
        run_layer(case, make_backend(dtype)),
        run_layer(case, xpnet.backend.get("numpy", dtype=dtype)),
    )
    for part in ("y", "dx", "grads"):
        assert_close(make_backend(dtype), actual[part], expected[part], TOLERANCE[dtype])


@both_dtypes
@every_loss
def test_loss_agrees_with_numpy(case: LossCase, dtype: str, make_backend: MakeBackend) -> None:
    actual, expected = (
        run_loss(case, make_backend(dtype)),
        run_loss(case, xpnet.backend.get("numpy", dtype=dtype)),
    )
    for part in ("value", "dprediction"):
        assert_close(make_backend(dtype), actual[part], expected[part], TOLERANCE[dtype])


@both_dtypes
@every_layer
def test_layer_keeps_library_dtype_and_device(case: LayerCase, dtype: str, make_backend: MakeBackend) -> None:
    assert_kept(make_backend(dtype), run_layer(case, make_backend(dtype)))


@both_dtypes
@every_loss
def test_loss_keeps_library_dtype_and_device(case: LossCase, dtype: str, make_backend: MakeBackend) -> None:
    assert_kept(make_backend(dtype), run_loss(case, make_backend(dtype)))


@every_layer
def test_layer_leaves_its_inputs_alone(case: LayerCase, make_backend: MakeBackend) -> None:
    backend = make_backend("float32")
    layer = case.layer_on(backend)
    params = put(backend, case.draw_variables())
    x = backend.asarray(case.draw_x())
    before = fetch(backend, {"params": params, "x": x})
    y, residuals = layer.forward(params, x)
    dy = backend.asarray(draw(tuple(y.shape), seed=1))
    between = fetch(backend, {"y": y, "residuals": residuals, "dy": dy})
    layer.backward(params, residuals, dy)
    layer.parameter_gradients(params, residuals, dy)
    assert_same(backend, {"params": params, "x": x}, before)
    assert_same(backend, {"y": y, "residuals": residuals, "dy": dy}, between)


@every_loss
def test_loss_leaves_its_inputs_alone(case: LossCase, make_backend: MakeBackend) -> None:
    backend = make_backend("float32")
    prediction, target = backend.asarray(draw(case.shape)), backend.asarray(case.target)
    before = fetch(backend, (prediction, target))
    _, residuals = case.loss.forward(prediction, target)
    between = fetch(backend, residuals)
    case.loss.backward(residuals)
    case.loss.errors(prediction, target)
    case.loss.predict(prediction)
    assert_same(backend, (prediction, target), before)
    assert_same(backend, residuals, between)


@every_layer
def test_layer_repeats_itself_bit_for_bit(case: LayerCase, make_backend: MakeBackend) -> None:
    backend = make_backend("float32")
    assert_same(backend, run_layer(case, backend), fetch(backend, run_layer(case, backend)))


@every_layer
def test_parameter_gradients_are_those_of_backward(case: LayerCase, make_backend: MakeBackend) -> None:
    backend = make_backend("float64")
    result = run_layer(case, backend)
    inputs = result["inputs"]
    alone = case.layer_on(backend).parameter_gradients(inputs["params"], result["residuals"], inputs["dy"])
    assert_same(backend, alone, fetch(backend, result["grads"]))


@every_layer
def test_gradients_have_the_names_and_shapes_of_the_parameters(case: LayerCase) -> None:
    grads = run_layer(case, xpnet.backend.get("numpy"))["grads"]
    params = case.layer.init(np.random.default_rng(0))
    assert {n: g.shape for n, g in tree.items(grads)} == {n: p.shape for n, p in tree.items(params)}
    assert tree.map(lambda p: 0, params) == tree.map(lambda g: 0, grads)


@every_layer
def test_output_shape_is_that_of_forward(case: LayerCase) -> None:
    assert case.layer.output_shape(case.shape) == run_layer(case, xpnet.backend.get("numpy"))["y"].shape


@pytest.mark.parametrize("case", [case for case in LAYERS if case.refused is not None], ids=str)
def test_layer_refuses_a_wrong_shape(case: LayerCase) -> None:
    assert case.refused is not None
    with pytest.raises(ShapeError) as error:
        case.layer.output_shape(case.refused)
    assert str(error.value).startswith(case.message)


@pytest.mark.parametrize("case", [case for case in LAYERS if case.stacks], ids=str)
def test_stacked_networks_are_the_single_ones(case: LayerCase, make_backend: MakeBackend) -> None:
    """A leading axis of K networks gives, in one pass, what the K networks give one by one."""
    backend = make_backend("float64")
    layer = case.layer_on(backend)
    hosts = [case.draw_variables(seed=k) for k in range(3)]
    stacked = put(backend, tree.map(lambda *arrays: np.stack(arrays), *hosts))
    x = draw((3, *case.shape))
    y, residuals = layer.forward(stacked, backend.asarray(x))
    dy = draw(tuple(y.shape), seed=1)
    dx, grads = layer.backward(stacked, residuals, backend.asarray(dy))
    for k in range(3):
        params = put(backend, hosts[k])
        y_k, residuals_k = layer.forward(params, backend.asarray(x[k]))
        single = (y_k, *layer.backward(params, residuals_k, backend.asarray(dy[k])))
        of_stack = tree.map(lambda array, k=k: array[k, ...], (y, dx, grads))
        assert_close(backend, of_stack, fetch(backend, single), 1e-12)


@every_loss
def test_stacked_losses_are_the_single_ones(case: LossCase, make_backend: MakeBackend) -> None:
    backend = make_backend("float64")
    predictions = draw((3, *case.shape))
    targets = np.stack([case.target] * 3)
    values, residuals = case.loss.forward(backend.asarray(predictions), backend.asarray(targets))
    gradients = case.loss.backward(residuals)
    for k in range(3):
        value, residuals = case.loss.forward(backend.asarray(predictions[k]), backend.asarray(case.target))
        single = (value, case.loss.backward(residuals))
        assert_close(backend, (values[k, ...], gradients[k, ...]), fetch(backend, single), 1e-13)
