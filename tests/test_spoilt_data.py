"""The changes that studies make to data and networks: random labels, random pixels, equal sizes."""

from dataclasses import replace

import numpy as np
import pytest

from xpnet import data
from xpnet.studies import cnn_vs_mlp, random_labels, sweep
from xpnet.studies.options import Options


@pytest.fixture(scope="module")
def examples() -> sweep.Data:
    sample = data.load("mnist-sample")
    train, validation, test = (
        data.Examples(sample.train.x[part], sample.train.y[part])
        for part in (slice(0, 300), slice(300, 400), slice(400, 500))
    )
    return sweep.Data(train, validation, test, 10)


def rows(part: data.Examples) -> np.ndarray:
    return part.x.reshape(len(part.x), -1)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_the_training_labels_is_random(examples: sweep.Data, share: float) -> None:
    before = examples.train.y.copy()
    spoilt = random_labels.random_labels(examples, share, np.random.default_rng(0))
    np.testing.assert_array_equal(examples.train.y, before)
    changed = (spoilt.train.y != before).mean()
    assert changed == pytest.approx(0.9 * share, abs=0.05)  # a tenth of the random labels are right
    assert changed <= share
    assert spoilt.train.x is examples.train.x
    assert spoilt.validation is examples.validation
    assert spoilt.test is examples.test


def test_random_labels_are_of_all_classes_alike_and_independent_of_the_true_ones(
    examples: sweep.Data,
) -> None:
    y = np.arange(10).repeat(2000)
    many = examples._replace(train=data.Examples(np.zeros((len(y), 1), np.float32), y))
    spoilt = random_labels.random_labels(many, 1.0, np.random.default_rng(0)).train.y
    counts = np.array([np.bincount(spoilt[y == label], minlength=10) for label in range(10)])
    np.testing.assert_allclose(counts, 200, atol=70)  # five standard deviations
    assert spoilt.dtype == y.dtype


def test_shuffled_pixels_are_one_permutation_of_all_images(examples: sweep.Data) -> None:
    shuffled = random_labels.random_pixels(examples, np.random.default_rng(0))[random_labels.SHUFFLED]
    before = np.concatenate([rows(part) for part in examples[:3]])
    after = np.concatenate([rows(part) for part in shuffled[:3]])
    assert (after != before).any()
    np.testing.assert_array_equal(
        before[:, np.lexsort(before)], after[:, np.lexsort(after)]
    )  # the same columns, in an order of their own


def test_random_pixels_are_a_permutation_of_each_image(examples: sweep.Data) -> None:
    spoilt = random_labels.random_pixels(examples, np.random.default_rng(0))[random_labels.RANDOM]
    for before, after in zip(examples[:3], spoilt[:3], strict=True):
        assert after.x.shape == before.x.shape
        assert after.y is before.y
        np.testing.assert_array_equal(np.sort(rows(before), axis=1), np.sort(rows(after), axis=1))
        columns = rows(before), rows(after)
        first, second = (x[:, np.lexsort(x)] for x in columns)
        assert (first != second).any()


def test_gaussian_pixels_have_mean_and_deviation_of_the_training_images(examples: sweep.Data) -> None:
    spoilt = random_labels.random_pixels(examples, np.random.default_rng(0))[random_labels.GAUSSIAN]
    for part in spoilt[:3]:
        assert part.x.mean() == pytest.approx(examples.train.x.mean(), abs=0.01)
        assert part.x.std() == pytest.approx(examples.train.x.std(), abs=0.01)
        assert part.x.dtype == np.float32


@pytest.mark.parametrize("size", [2000, 23_456, 105_194])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_mlp_of_a_size_is_the_nearest_of_all(examples: sweep.Data, layers: int, size: int) -> None:
    base = sweep.base_config(Options(), channels=(8, 16), epochs=7)
    found = cnn_vs_mlp.mlp_of_size(base, layers, size, examples)
    (width,) = set(found.hidden)
    assert found == replace(base, channels=(), hidden=(width,) * layers)

    def count(width: int) -> int:
        return 785 * width + (layers - 1) * (width + 1) * width + (width + 1) * 10

    assert cnn_vs_mlp.parameter_count(found, examples) == count(width)
    assert width == min(range(1, 200), key=lambda width: abs(count(width) - size))
