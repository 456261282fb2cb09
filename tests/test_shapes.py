"""The data set of shapes: reproducible, intact, and not learnable by a linear model."""

import hashlib

import numpy as np

from data_files import check_arrays
from xpnet.data import load, shapes


def test_data_set():
    dataset = load("shapes", download=False)
    assert (dataset.name, dataset.classes) == ("shapes", 10)
    assert dataset.class_names == shapes.CLASS_NAMES
    check_arrays(dataset.train, (2000, 32, 32, 3), 10)
    check_arrays(dataset.test, (500, 32, 32, 3), 10)
    for examples in (dataset.train, dataset.test):
        assert set(np.bincount(examples.y)) == {len(examples.y) // 10}
        np.testing.assert_allclose(examples.x * 255, np.round(examples.x * 255), atol=1e-4)


def test_always_the_same_pictures():
    digests = [
        hashlib.md5(np.round(examples.x * 255).astype(np.uint8).tobytes()).hexdigest()
        for examples in load("shapes")[1:3]
    ]
    assert digests == ["82bb6290ea833c5a0595b6dc85f8f447", "941259d7a3e0ba9767b6f959ab789069"]


def test_another_seed_draws_other_pictures():
    (x, y), (other_x, other_y) = shapes.draw(20, 5), shapes.draw(20, 6)
    assert (x != other_x).mean() > 0.9
    assert y.tolist() != other_y.tolist()


def test_classes_are_what_they_are_called():
    """Counts of colour changes along rows and columns identify the classes of patterns."""
    x, y = shapes.draw(1000, 0)
    step = (
        np.abs(np.diff(x, axis=2)).max(axis=-1) > 0.2
    )  # colours differ by 64/255, the noise is at most 40/255
    across = step.sum(axis=2).mean(axis=1)
    down = (np.abs(np.diff(x, axis=1)).max(axis=-1) > 0.2).sum(axis=1).mean(axis=1)
    changes = {
        name: (across[y == i].mean(), down[y == i].mean()) for i, name in enumerate(shapes.CLASS_NAMES)
    }
    assert changes["rows"][0] == changes["columns"][1] == 0
    assert changes["rows"][1] > 4 < changes["columns"][0]
    assert min(changes["diagonals"] + changes["checkerboard"] + changes["dots"]) > 3
    for name in ("circle", "ring", "square", "triangle", "plus"):
        assert 0.5 < min(changes[name]) <= max(changes[name]) < 2.5


def test_no_linear_model_can_tell_them_apart():
    _, train, test, classes, *_ = load("shapes")
    mean = train.x.mean()
    x, test_x = (examples.x.reshape(len(examples.y), -1) - mean for examples in (train, test))
    for ridge in (10, 100, 1000):  # least squares; of these, 100 is best
        weights = x.T @ np.linalg.solve(x @ x.T + ridge * np.eye(len(x)), np.eye(classes)[train.y])
        assert ((test_x @ weights).argmax(axis=1) == test.y).mean() < 0.35
