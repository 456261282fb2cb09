"""Random arrays: equal on every library, and random."""

import numpy as np
import pytest

import xpnet
from conftest import MakeBackend
from xpnet import random
from xpnet.backend import Backend


def key(backend: Backend, seed: int = 0, step: int = 0) -> random.Key:
    counter = backend.xp.asarray([step], dtype=backend.xp.int32, device=backend.device)
    return random.Key(counter, random.stream(seed, "test"))


@pytest.fixture
def numpy_key() -> random.Key:
    return key(xpnet.backend.get("numpy"))


def test_the_same_bits_on_every_library(make_backend: MakeBackend, numpy_key: random.Key) -> None:
    backend = make_backend("float32")
    here = key(backend)
    for shape in ((1,), (7, 3, 5), (0, 4)):
        bits = backend.to_numpy(random.bits(here, shape))
        np.testing.assert_array_equal(bits, random.bits(numpy_key, shape), strict=True)
    u = random.uniform(here, (50, 3), backend.dtype)
    np.testing.assert_array_equal(
        backend.to_numpy(u), random.uniform(numpy_key, (50, 3), np.float32), strict=True
    )
    z = random.normal(here, (50, 3), backend.dtype)
    assert z.dtype == backend.dtype
    np.testing.assert_allclose(backend.to_numpy(z), random.normal(numpy_key, (50, 3), np.float32), 1e-5, 1e-6)


def test_known_bits(numpy_key: random.Key) -> None:
    """The hash in Python's integers, without overflow: the reference for int32 that wraps around."""

    def lowbias32(x: int) -> int:
        x = (x ^ x >> 16) * 0x7FEB352D % 2**32
        x = (x ^ x >> 15) * 0x846CA68B % 2**32
        return x ^ x >> 16

    here = numpy_key._replace(step=np.asarray([5], dtype=np.int32))
    start = lowbias32((5 + here.stream) % 2**32)
    expected = [lowbias32((i + start) % 2**32) for i in range(6)]
    assert [int(b) % 2**32 for b in random.bits(here, (2, 3)).ravel()] == expected


def test_every_bit_is_fair_and_independent_of_the_others(numpy_key: random.Key) -> None:
    bits = random.bits(numpy_key, (1 << 16,))
    columns = np.stack([(bits >> i) & 1 for i in range(32)]).astype(float)
    sigma = 1 / 2**8  # of the mean of 2¹⁶ values of ±1
    assert np.abs(2 * columns.mean(axis=1) - 1).max() < 5 * sigma
    correlation = np.corrcoef(columns) - np.eye(32)
    assert np.abs(correlation).max() < 5 * sigma
    after = [np.corrcoef(row[:-1], row[1:])[0, 1] for row in columns]
    assert np.abs(after).max() < 5 * sigma


def test_moments(numpy_key: random.Key) -> None:
    n = 1 << 16
    u = random.uniform(numpy_key, (n,), np.float64)
    assert u.min() >= 0
    assert u.max() < 1
    assert abs(u.mean() - 0.5) < 5 * (1 / 12 / n) ** 0.5
    z = random.normal(numpy_key, (n,), np.float64)
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((z**power).mean() - moment) < 5 * (variance / n) ** 0.5


def test_seeds_steps_and_children_draw_different_numbers() -> None:
    numpy = xpnet.backend.get("numpy")
    keys = [key(numpy, seed, step) for seed in (0, 1) for step in (0, 1)]
    keys += [keys[0].child(i) for i in range(3)] + [keys[0].child(0).child(1), keys[0].child(1).child(0)]
    draws = [random.uniform(k, (4096,), np.float64) for k in keys]
    correlation = np.corrcoef(draws) - np.eye(len(keys))
    assert np.abs(correlation).max() < 5 / 4096**0.5


def test_a_part_draws_what_the_whole_draws_there(make_backend: MakeBackend) -> None:
    backend = make_backend("float64")
    here = key(backend)
    for draw in (random.uniform, random.normal):
        whole = backend.to_numpy(draw(here, (7, 3, 2), backend.dtype))
        part = backend.to_numpy(draw(here.part(2), (4, 3, 2), backend.dtype))
        np.testing.assert_allclose(part, whole[2:6], rtol=1e-14)
