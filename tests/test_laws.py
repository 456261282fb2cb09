"""Every layer and every loss in the tables of cases obeys the laws of `xpnet.testing`, on every array library."""

from collections.abc import Callable

import pytest

from cases import LAYERS, LOSSES, LayerCase, LossCase
from conftest import MakeBackend
from xpnet.errors import ShapeError
from xpnet.testing import examples, layers, losses, subject

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
