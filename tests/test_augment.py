"""Augmentations: compared with a loop over the images, across libraries, and tested for randomness."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

import xpnet
from cases import AUGMENTATIONS
from conftest import MakeBackend
from data_files import fails
from test_random import key
from xpnet import random
from xpnet.data.augment import Augmentation, Compose, Cutout, HorizontalFlip, RandomCrop
from xpnet.errors import ConfigError, ShapeError

SHAPES = [(6, 8, 8, 3), (5, 7, 4, 1), (4, 3, 10, 2), (1, 5, 5, 3), (3, 1, 1, 1), (0, 4, 4, 3)]


def images(shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
    """Random images with pairwise different, nonzero pixels."""
    size = int(np.prod(shape))
    return (np.random.default_rng(0).permutation(size) - size - 0.5).reshape(shape).astype(dtype)


@pytest.fixture
def numpy_key() -> random.Key:
    return key(xpnet.backend.get("numpy"))


def drawn(key: random.Key, shape: tuple[int, ...]) -> np.ndarray:
    return random.bits(key, shape).astype(np.int64) % 2**31


def naive(augmentation: Augmentation, x: np.ndarray, key: random.Key) -> np.ndarray:
    """The augmentation with the same random bits, image by image, as its paper describes it."""
    n, height, width, _ = x.shape
    y = x.copy()
    match augmentation:
        case Compose(augmentations):
            for i, part in enumerate(augmentations):
                y = naive(part, y, key.child(i))
        case RandomCrop(padding):
            tops, lefts = drawn(key, (n, 2)).T % (2 * padding + 1)
            for i in range(n):
                padded = np.pad(x[i], ((padding, padding), (padding, padding), (0, 0)))
                y[i] = padded[tops[i] : tops[i] + height, lefts[i] : lefts[i] + width]
        case HorizontalFlip(probability):
            for i, bits in enumerate(drawn(key, (n,))):
                if bits % 2**24 / 2**24 < probability:
                    y[i] = x[i, :, ::-1]
        case Cutout(size):
            rows, columns = drawn(key, (n, 2)).T
            for i in range(n):
                top, left = rows[i] % height - size // 2, columns[i] % width - size // 2
                y[i, max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)] = 0
        case _:
            raise AssertionError(augmentation)
    return y


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("augmentation", AUGMENTATIONS, ids=repr)
def test_next_to_a_loop(augmentation: Augmentation, shape: tuple[int, ...], numpy_key: random.Key) -> None:
    x = images(shape)
    before = x.copy()
    y = augmentation(x, numpy_key)
    np.testing.assert_array_equal(y, naive(augmentation, x, numpy_key), strict=True)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("augmentation", AUGMENTATIONS, ids=repr)
def test_the_same_on_every_library(
    make_backend: MakeBackend, numpy_key: random.Key, augmentation: Augmentation
) -> None:
    for dtype, shapes in (("float32", SHAPES[:4]), ("float64", SHAPES[:1])):  # JAX compiles for each
        backend = make_backend(dtype)
        for shape in shapes:
            x = images(shape, dtype)
            here = backend.asarray(x)
            y = augmentation(here, key(backend))
            assert y.dtype == backend.dtype
            assert y.device == here.device
            expected = augmentation(x, numpy_key)
            np.testing.assert_array_equal(backend.to_numpy(y), expected, strict=True)
            np.testing.assert_array_equal(backend.to_numpy(here), x)


@pytest.mark.parametrize("augmentation", AUGMENTATIONS, ids=repr)
def test_bytes_stay_bytes(augmentation: Augmentation, numpy_key: random.Key) -> None:
    x = images(SHAPES[0]).astype(np.int16).astype(np.uint8)
    np.testing.assert_array_equal(augmentation(x, numpy_key), naive(augmentation, x, numpy_key), strict=True)


def test_one_compilation_serves_all_steps() -> None:
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    backend = xpnet.backend.get("jax")
    augmentation = Compose(RandomCrop(2), HorizontalFlip(), Cutout(3))
    traces = []

    @jax.jit
    def step(x: jax.Array, counter: jax.Array) -> jax.Array:
        traces.append(x)
        return augmentation(x, random.Key(counter, random.stream(0, "test")))

    x = images(SHAPES[0])
    numpy = xpnet.backend.get("numpy")
    pictures = []
    for i in range(4):
        counter = key(backend, step=i).step
        pictures.append(backend.to_numpy(step(backend.asarray(x), counter)))
        np.testing.assert_array_equal(pictures[-1], augmentation(x, key(numpy, step=i)), strict=True)
    assert len(traces) == 1
    assert all((a != b).any() for a, b in pairwise(pictures))


def test_composed_parts_draw_different_numbers(numpy_key: random.Key) -> None:
    """Two flips with the same numbers would cancel each other in every image."""
    x = images((100, 2, 3, 1))
    y = Compose(HorizontalFlip(), HorizontalFlip())(x, numpy_key)
    assert 25 < (y != x).any(axis=(1, 2, 3)).sum() < 75


# Randomness


N = 1 << 14
Changed = Callable[[np.ndarray], np.ndarray]


def fair(counts: np.ndarray) -> None:
    """Whether χ² of counts with equal expectations is within 5 standard deviations of its mean."""
    expected = counts.sum() / counts.size
    degrees = counts.size - 1
    assert ((counts - expected) ** 2 / expected).sum() < degrees + 5 * (2 * degrees) ** 0.5


@pytest.mark.parametrize("padding", [1, 4])
def test_shifts_are_all_alike(numpy_key: random.Key, padding: int) -> None:
    size = 2 * padding + 1
    x = np.zeros((N, size, size, 1), np.float32)
    x[:, padding, padding] = 1  # in the middle, so that every shift keeps it in the image
    y = RandomCrop(padding)(x, numpy_key)
    assert (y.sum(axis=(1, 2, 3)) == 1).all()
    fair(y.sum(axis=(0, 3)))


@pytest.mark.parametrize("probability", [0, 0.1, 0.5, 1, 1e-9])
def test_probability_of_a_flip(numpy_key: random.Key, probability: float) -> None:
    x = np.zeros((N, 1, 2, 1), np.float32)
    x[:, 0, 0] = 1
    flipped = HorizontalFlip(probability)(x, numpy_key)[:, 0, 1, 0].mean()
    assert abs(flipped - probability) <= 5 * (probability * (1 - probability) / N) ** 0.5


def test_middles_of_holes_are_all_alike(numpy_key: random.Key) -> None:
    y = Cutout(1)(np.ones((N, 7, 9, 1), np.float32), numpy_key)
    assert ((1 - y).sum(axis=(1, 2, 3)) == 1).all()
    fair((1 - y).sum(axis=(0, 3)))


# Arguments

WRONG = {
    "RandomCrop(padding=0): expected padding to be an integer of at least 1, got 0": lambda: RandomCrop(0),
    "RandomCrop(padding=1.5): expected padding to be an integer of at least 1, got 1.5": lambda: RandomCrop(
        1.5
    ),  # type: ignore[arg-type]
    "Cutout(size=True): expected size to be an integer of at least 1, got True": lambda: Cutout(True),
    "Cutout(size='8'): expected size to be an integer of at least 1, got '8'": lambda: Cutout("8"),  # type: ignore[arg-type]
    "HorizontalFlip(probability=1.1): expected probability to be a number from 0 to 1, got 1.1": lambda: (
        HorizontalFlip(1.1)
    ),
    "HorizontalFlip(probability=nan): expected probability to be a number from 0 to 1, got nan": lambda: (
        HorizontalFlip(np.nan)
    ),
    "HorizontalFlip(probability=None): expected probability to be a number from 0 to 1, got None": lambda: (
        HorizontalFlip(None)
    ),  # type: ignore[arg-type]
    "Compose: expected argument 1 to be an augmentation, got 4": lambda: Compose(RandomCrop(), 4),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_arguments(message: str) -> None:
    with pytest.raises(ConfigError) as info:
        WRONG[message]()
    assert str(info.value) == message


@pytest.mark.parametrize(
    "augmentation", [RandomCrop(), HorizontalFlip(), Cutout(2), Compose(Cutout(2))], ids=repr
)
@pytest.mark.parametrize("shape", [(4, 784), (8, 8, 3), (1, 2, 8, 8, 3)], ids=str)
def test_not_images(augmentation: Augmentation, shape: tuple[int, ...], numpy_key: random.Key) -> None:
    with fails(r"expected x of shape \(n, height, width, channels\), got \(", ShapeError):
        augmentation(np.zeros(shape, np.float32), numpy_key)


def test_repr_is_the_call() -> None:
    composed = Compose(RandomCrop(2), Compose(HorizontalFlip(), Cutout(8)))
    assert eval(repr(composed)) == composed
    assert hash(composed) == hash(eval(repr(composed)))
