"""Every layer and every loss in the tables of cases obeys the laws of `xpnet.testing`, on every array library."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from cases import LAYERS, LOSSES, LayerCase, LossCase, draw
from conftest import MakeBackend
from laws import assert_close
from xpnet import nn, tree
from xpnet.errors import ShapeError
from xpnet.nn import _stacked
from xpnet.random import Keys, Streams
from xpnet.testing import examples, layers, losses, subject
from xpnet.testing.trial import LayerTrial

every_layer = pytest.mark.parametrize("case", LAYERS, ids=str)
every_loss = pytest.mark.parametrize("case", LOSSES, ids=str)
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


@every_layer
def test_layer_gradient(case: LayerCase, make_backend: MakeBackend) -> None:
    layers.gradient_is_right(case.trial, make_backend("float64"))


@every_loss
def test_loss_gradient(case: LossCase, make_backend: MakeBackend) -> None:
    losses.gradient_is_right(case.trial, make_backend("float64"))


@both_dtypes
@every_layer
def test_layer_agrees_with_numpy(case: LayerCase, dtype: str, make_backend: MakeBackend) -> None:
    layers.agrees_with_numpy(case.trial, make_backend(dtype))


@both_dtypes
@every_loss
def test_loss_agrees_with_numpy(case: LossCase, dtype: str, make_backend: MakeBackend) -> None:
    losses.agrees_with_numpy(case.trial, make_backend(dtype))


@both_dtypes
@every_layer
def test_layer_keeps_library_dtype_and_device(case: LayerCase, dtype: str, make_backend: MakeBackend) -> None:
    layers.keeps_library_dtype_and_device(case.trial, make_backend(dtype))


@both_dtypes
@every_loss
def test_loss_keeps_library_dtype_and_device(case: LossCase, dtype: str, make_backend: MakeBackend) -> None:
    losses.keeps_library_dtype_and_device(case.trial, make_backend(dtype))


@every_layer
def test_layer_leaves_its_arguments_alone(case: LayerCase, make_backend: MakeBackend) -> None:
    layers.does_not_modify_arguments(case.trial, make_backend("float32"))


@every_loss
def test_loss_leaves_its_arguments_alone(case: LossCase, make_backend: MakeBackend) -> None:
    losses.does_not_modify_arguments(case.trial, make_backend("float32"))


@every_layer
def test_layer_repeats_itself_bit_for_bit_and_keeps_nothing(
    case: LayerCase, make_backend: MakeBackend
) -> None:
    layers.repeats_itself(case.trial, make_backend("float32"))
    layers.keeps_nothing(case.trial, make_backend("float32"))


@every_loss
def test_loss_repeats_itself_bit_for_bit(case: LossCase, make_backend: MakeBackend) -> None:
    losses.repeats_itself(case.trial, make_backend("float32"))


@every_layer
def test_parameter_gradients_match_backward(case: LayerCase, make_backend: MakeBackend) -> None:
    layers.parameter_gradients_match_backward(case.trial, make_backend("float64"), tolerance=0.0)


@pytest.mark.parametrize(
    "law",
    [
        layers.is_a_frozen_dataclass,
        layers.repr_shows_every_field,
        layers.init_gives_float64,
        layers.fits_together,
        layers.output_shape_matches_forward,
        examples.examples_are_as_declared,
    ],
    ids=lambda law: law.__name__,
)
def test_layer_on_the_host(law: Callable) -> None:
    """Laws without array libraries, for all layers in one test: each takes a millisecond."""
    for case in LAYERS:
        try:
            law(case.trial, subject.numpy("float64"))
        except AssertionError as error:
            raise AssertionError(f"{case}: {error}") from error


@pytest.mark.parametrize(
    "law",
    [
        losses.is_a_frozen_dataclass,
        losses.repr_shows_every_field,
        losses.fits_together,
        losses.is_the_mean_over_the_batch,
    ],
    ids=lambda law: law.__name__,
)
def test_loss_on_the_host(law: Callable) -> None:
    for case in LOSSES:
        try:
            law(case.trial, subject.numpy("float64"))
        except AssertionError as error:
            raise AssertionError(f"{case}: {error}") from error


@pytest.mark.parametrize("case", [case for case in LAYERS if case.refused is not None], ids=str)
def test_layer_refuses_a_wrong_shape(case: LayerCase) -> None:
    assert case.refused is not None
    with pytest.raises(ShapeError) as error:
        case.layer.output_shape(case.refused)
    assert str(error.value).startswith(case.message)


@pytest.mark.parametrize("case", [case for case in LAYERS if case.stacks], ids=str)
def test_stacked_networks_match_single_ones(case: LayerCase, make_backend: MakeBackend) -> None:
    examples.stacked_networks_match_single_ones(case.trial, make_backend("float64"))


@every_loss
def test_stacked_losses_match_single_ones(case: LossCase, make_backend: MakeBackend) -> None:
    losses.stacked_losses_match_single_ones(case.trial, make_backend("float64"))


_SQUARE = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 5, bias=False))
NETWORKS = [
    *[([case.layer] * 3, case.draw_x(), case.training) for case in LAYERS],
    ([nn.LeakyReLU(slope) for slope in (0.1, 0.3, 0.1)], draw((4, 5)), False),
    ([nn.BatchNorm(5, momentum) for momentum in (0.1, 0.2, 0.1)], draw((4, 5)), True),
    ([nn.Dropout(0.3), nn.Identity(), nn.Dropout(0.6)], draw((4, 5)), True),
    ([nn.Dropout(rate) for rate in (0.3, 0.0, 0.6)], draw((4, 2, 5)), True),
    ([nn.Sequential(nn.Linear(5, 3), each, nn.Linear(3, 2)) for each in (nn.Tanh(), nn.ReLU())], draw((4, 5)), False),
    ([nn.Tied(_SQUARE, {"2.weight": other}) for other in ("0.weight", "0.weight.T")], draw((4, 5)), False),
]  # fmt: skip


def networks_at_once_match_single_ones(nets: Sequence[nn.Layer], x: np.ndarray, training: bool) -> None:
    """The form in which an ensemble trains K networks gives what each of them gives alone."""
    keys = Keys(np.asarray([3], dtype=np.int32), Streams(tuple(range(5, 5 + len(nets)))))  # type: ignore[arg-type]
    form, alone = _stacked.stacked(nets), list(nets)
    if training:
        form, alone = (
            form.training_mode(keys),
            [net.training_mode(keys.network(k)) for k, net in enumerate(nets)],
        )
    trials = [LayerTrial(net, x, training) for net in nets]
    params, statistics = [t.variables(seed=k) for k, t in enumerate(trials)], [t.statistics() for t in trials]
    xs = [np.roll(x, k, axis=0) for k in range(len(nets))]
    y, residuals = form.forward(_stacked.stack(params), np.stack(xs))
    dy = draw(y.shape, seed=1)
    assert tuple(form.output_shape((len(nets), *x.shape))) == y.shape

    def results(
        layer: nn.Layer,
        params: tree.Tree,
        statistics: tree.Tree,
        y: np.ndarray,
        residuals: tree.Tree,
        dy: np.ndarray,
    ) -> tree.Tree:
        dx, grads = layer.backward(params, residuals, dy)
        only = layer.parameter_gradients(params, residuals, dy)
        new = layer.new_statistics(statistics, residuals) if training else {}
        return {"y": y, "dx": dx, "grads": grads, "parameter_gradients": only, "statistics": new}

    found = results(form, _stacked.stack(params), _stacked.stack(statistics), y, residuals, dy)
    for k, net in enumerate(alone):
        expected = results(net, params[k], statistics[k], *net.forward(params[k], xs[k]), dy[k])
        assert_close(subject.numpy("float64"), _stacked.network(found, k), expected, 1e-12)


def test_networks_at_once_match_single_ones() -> None:
    for nets, x, training in NETWORKS:
        try:
            networks_at_once_match_single_ones(nets, x, training)
        except AssertionError as error:
            raise AssertionError(f"{nets} {x.shape}: {error}") from error
