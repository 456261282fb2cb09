"""Initialisers: their distributions, and the same weights everywhere for one seed."""

import numpy as np
import pytest

import xpnet
from cases import INITIALIZERS, InitializerCase
from conftest import Place
from xpnet import init, losses, nn, optim, tree

SHAPE = (400, 300)


@pytest.mark.parametrize("case", INITIALIZERS, ids=str)
def test_mean_deviation_and_bound(case: InitializerCase) -> None:
    drawn = case.initializer(np.random.default_rng(0), SHAPE)
    assert type(drawn) is np.ndarray
    assert drawn.shape == SHAPE
    assert drawn.dtype == np.float64
    assert abs(drawn.mean() - case.mean) <= 5 * case.deviation / np.sqrt(drawn.size)
    assert drawn.std() == pytest.approx(case.deviation, rel=0.01)
    if case.bound is not None:
        assert np.abs(drawn).max() <= case.bound
        assert np.abs(drawn).max() >= 0.999 * case.bound


@pytest.mark.parametrize("case", INITIALIZERS, ids=str)
def test_draws_from_the_generator_it_is_given(case: InitializerCase) -> None:
    """The same seed gives the same weights; another seed or another call gives others, for every shape."""
    for shape in (
        ((5,), (4, 3), (3, 2, 4, 5))
        if case.name in ("zeros", "ones", "normal", "uniform")
        else ((4, 3), (3, 2, 4, 5))
    ):
        rng = np.random.default_rng(0)
        first, second = case.initializer(rng, shape), case.initializer(rng, shape)
        assert first.shape == shape
        np.testing.assert_array_equal(case.initializer(np.random.default_rng(0), shape), first)
        if case.deviation:
            assert not np.array_equal(first, second)
            assert not np.array_equal(case.initializer(np.random.default_rng(1), shape), first)


def test_fans_of_a_convolution_count_its_window() -> None:
    drawn = init.he_normal(np.random.default_rng(0), (3, 3, 64, 128))
    assert drawn.std() == pytest.approx(np.sqrt(2 / (9 * 64)), rel=0.01)
    drawn = init.glorot_uniform(np.random.default_rng(0), (3, 3, 64, 128))
    assert drawn.std() == pytest.approx(np.sqrt(2 / (9 * 64 + 9 * 128)), rel=0.01)


def test_one_seed_gives_the_same_weights_everywhere(place: Place) -> None:
    def weights(backend: str, device: str | None, seed: int) -> dict:
        net = nn.Sequential(nn.Linear(6, 5, weight_init=init.he_normal), nn.ReLU(), nn.Linear(5, 3))
        model = xpnet.Model(net, losses.CrossEntropy(), optim.SGD(0.1), backend, seed, device=device)
        return {name: model.backend.to_numpy(array) for name, array in tree.items(model.params)}

    here, numpy, other = weights(*place, seed=3), weights("numpy", None, seed=3), weights(*place, seed=4)
    for name, array in numpy.items():
        np.testing.assert_array_equal(here[name], array)
    assert not np.array_equal(here["0.weight"], other["0.weight"])


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5), (3, 3, 2, 7), (3, 3, 4, 50)])
def test_orthogonal_columns_or_rows(shape: tuple[int, ...]) -> None:
    matrix = init.orthogonal(np.random.default_rng(0), shape).reshape(-1, shape[-1])
    few = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    np.testing.assert_allclose(few.T @ few, np.eye(few.shape[1]), atol=1e-14)


def test_orthogonal_favours_no_sign() -> None:
    rng = np.random.default_rng(0)
    assert abs(np.mean([init.orthogonal(rng, (3, 3))[0, 0] for _ in range(2000)])) < 5 * (1 / 3 / 2000) ** 0.5


def test_fans_of_a_convolution_are_those_of_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    kernel = torch.empty(5, 7, 3, 2)  # 5 out, 7 in
    for ours, theirs in (
        (init.he_normal, lambda w: torch.nn.init.kaiming_normal_(w)),
        (init.glorot_normal, lambda w: torch.nn.init.xavier_normal_(w)),
    ):
        expected = np.mean([theirs(kernel).numpy().std() for _ in range(200)])
        rng = np.random.default_rng(0)
        found = np.mean([ours(rng, (3, 2, 7, 5)).std() for _ in range(200)])
        assert found == pytest.approx(expected, rel=0.02)
