"""An ensemble has what `Model` has, for all networks; what it does not have it answers with the way out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpnet
from test_ensemble import CE, CNN, MLP, SEEDS, assert_equal, drawn, host
from xpnet import convert, gradcheck, nn, onnx, optim, plots, schedules, tree
from xpnet.ensemble._networks import OF_ONE
from xpnet.errors import CheckpointError, ConfigError, ShapeError

X, Y = drawn()
RATES = np.array([0.1, 0.2, 0.3])


def made(net: Any = MLP, optimizer: Any = None, seeds: Any = SEEDS, **options: Any) -> xpnet.Ensemble:
    return xpnet.Ensemble(
        net, CE, optimizer or optim.SGD(RATES), seeds=seeds, **{"dtype": "float64"} | options
    )


def of_one(net: Any = MLP, rate: float = 0.1, **options: Any) -> xpnet.Model:
    return xpnet.Model(net, CE, optim.SGD(rate), **{"dtype": "float64"} | options)


def test_each_attribute_of_a_model_is_there_or_answered() -> None:
    found, model = made(), of_one()
    public = [name for name in dir(model) if not name.startswith("_")]
    assert {name for name in public if not hasattr(found, name)} == OF_ONE.keys()
    for name in OF_ONE:
        with pytest.raises(AttributeError, match=rf"^Ensemble has no {name}: .*write ensemble\[k\].{name}$"):
            getattr(found, name)
    with pytest.raises(AttributeError, match="'Ensemble' object has no attribute 'fitt'"):
        found.fitt  # noqa: B018
    with pytest.raises(IndexError, match="expected a network from 0 to 2, got 3"):
        found[3]


# Files of parameters.


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_files_of_parameters(backend: str, tmp_path: Path) -> None:
    """With statistics, and for one network the average of its weights; any library reads them, as NumPy does."""
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    path, (x, y) = tmp_path / "three.npz", drawn((4, 4, 1), 8)
    optimizers = [optim.SGD(0.1), optim.AverageWeights(optim.SGD(0.1), 0.5), optim.Adam()]
    found = made(CNN, optimizers)
    found.fit(x, y, epochs=2, batch_size=4)
    found.save(path)
    loaded = made(CNN, seeds=(7, 8, 9), backend=backend)
    loaded.load(path)
    np.testing.assert_allclose(
        loaded.predict_proba(x, combine="each"), found.predict_proba(x, combine="each"), atol=1e-12
    )
    arrays = dict(np.load(path))
    assert arrays["5.weight"].shape == (3, 8, 3)
    for k, model in enumerate(found):
        for name, array in tree.items(model.snapshot()):
            np.testing.assert_array_equal(arrays[name][k], array)


def test_files_of_other_networks_are_refused(tmp_path: Path) -> None:
    found, two, model = made(), made(optimizer=optim.SGD(0.1), seeds=(0, 1)), of_one()
    files = {
        "three": found,
        "two": two,
        "one": model,
        "other": made(nn.Linear(6, 3)),
        "alone": of_one(nn.Linear(6, 3)),
    }
    for name, each in files.items():
        each.save(tmp_path / f"{name}.npz")
        each.save_checkpoint(tmp_path / f"{name}.safetensors")
    before = host(found[2]), host(model)
    for target, name, message in (
        (found, "two.npz", "expected the parameters of 3 networks, got those of 2"),
        (found, "one.npz", r"3 networks, got those of one; write ensemble\[k\].load\(path\) for each"),
        (found, "other.npz", r"expected 0.bias of shape \(3, 5\), got None"),
        (found, "alone.npz", r"expected 0.bias of shape \(3, 5\), got None"),
        (found, "three.safetensors", "; load_checkpoint reads a checkpoint"),
        (
            model,
            "three.npz",
            r"expected the parameters of one network, got those of 3 in an Ensemble; for netw",
        ),
        (model, "other.npz", r"expected 0.bias of shape \(5,\), got None"),
    ):
        with pytest.raises(CheckpointError, match=message):
            target.load(tmp_path / name)
    for target, name, message in (
        (
            model,
            "three.safetensors",
            r"got that of an Ensemble of 3; load it into one, and take ensemble\[k\]$",
        ),
        (found, "one.safetensors", r"got that of a Model; write ensemble\[k\].load_checkpoint\(path\)$"),
        (model, "one.npz", "; load reads the parameters that save wrote"),
    ):
        with pytest.raises(CheckpointError, match=message):
            target.load_checkpoint(tmp_path / name)
    for now, then in zip((host(found[2]), host(model)), before, strict=True):
        assert all(np.array_equal(now[name], then[name]) for name in then)
    # The way out that the error names.
    model.restore({name: array[2] for name, array in np.load(tmp_path / "three.npz").items()})
    np.testing.assert_array_equal(model.predict_proba(X), found[2].predict_proba(X))
    found[0].load(tmp_path / "one.npz")
    model.load(tmp_path / "one.npz")
    np.testing.assert_array_equal(model.predict_proba(X), found[0].predict_proba(X))


def test_a_snapshot_of_other_networks_changes_nothing() -> None:
    found = made()
    own = found.snapshot()
    before = found.predict_proba(X, combine="each")
    with pytest.raises(ShapeError, match=r"network 2: restore: expected 0.bias of shape \(5,\), got none"):
        found.restore((made(seeds=(7, 8, 9))[0].snapshot(), own[1], made(nn.Linear(6, 3))[2].snapshot()))
    np.testing.assert_array_equal(found.predict_proba(X, combine="each"), before)


# What users assign.


def test_what_is_assigned_to_all_networks() -> None:
    found, models = made(), [of_one(rate=rate, seed=seed) for rate, seed in zip(RATES, SEEDS, strict=True)]
    params = made(seeds=(7, 8, 9)).params
    found.fit(X, Y, epochs=1)
    found.params = params
    found.optimizer = optim.SGD(RATES / 2, momentum=0.9)
    found.l2 = [0.0, 0.1, 0.2]
    found.fit(X, Y, epochs=2, batch_size=4)
    for k, model in enumerate(models):
        model.fit(X, Y, epochs=1)
        model.params = tree.map(lambda array, k=k: array[k], params)
        model.optimizer = optim.SGD(RATES[k] / 2, momentum=0.9)
        model.l2 = 0.1 * k
        model.fit(X, Y, epochs=2, batch_size=4)
        assert_equal(found[k], model)
    np.testing.assert_array_equal(found.l2, [0.0, 0.1, 0.2])
    np.testing.assert_array_equal(found.learning_rate, RATES / 2)
    assert found.optimizer[1] == optim.SGD(0.1, momentum=0.9)
    found.optimizer = [optim.Adam(), optim.SGD(0.1), optim.SGD(0.2)]
    assert found[0].optimizer == optim.Adam()
    normed = made(CNN)
    normed.statistics = tree.map(lambda array: array + RATES[:, None], normed.statistics)
    plain = dict(tree.items(made(CNN)[2].statistics))
    for name, array in tree.items(normed[2].statistics):
        np.testing.assert_allclose(array, plain[name] + 0.3)


WRONG = [
    (lambda e: setattr(e, "params", e[0].params), r"Ensemble: expected params.0.bias of shape \(3, 5\), got \(5,\)"),
    (lambda e: setattr(e, "optimizer", [optim.Adam()] * 2), "expected optimizer to be one, or a list of 3, one for"),
    (lambda e: setattr(e, "optimizer", optim.SGD(RATES[:2])), "to be a number, or an array of 3, one for each"),
    (lambda e: setattr(e, "optimizer", [optim.Adam(), optim.Adam(), 0.1]), "an xpnet Optimizer, got 0.1; write opt"),
    (lambda e: setattr(e, "l2", [0.1, 0.2]), r"expected l2 to be a number, or 3 of them, got \[0.1, 0.2\]"),
    (lambda e: gradcheck.check(e, X, Y), r"3 × 53 parameters .*; pass one network: ensemble\[k\] or ensemble.best\(\)"),
    (lambda e: onnx.export(e, "a.onnx"), r"^export: expected a Model, got Ensemble; pass one network: ensemble\[k\]"),
    (lambda e: convert.to_sklearn(e), r"^convert: expected a Model, got Ensemble; pass one network: ensemble\[k\]"),
    (lambda e: plots.confusion(e, X, Y), "^confusion: expected a Model, got Ensemble; pass one network"),
    (lambda e: plots.first_layer(e), "^first_layer: expected a Model, got Ensemble; pass one network"),
    (lambda e: plots.filters(e), "^filters: expected a Model, got Ensemble; pass one network"),
    (lambda e: plots.decision_boundary(e, X, Y), "^decision_boundary: expected a Model, got Ensemble; pass one"),
]  # fmt: skip


def test_errors_say_what_is_wrong_in_one_line() -> None:
    found = made()
    before = host(found[2])
    for call, message in WRONG:
        with pytest.raises((ConfigError, ShapeError), match=message) as error:
            call(found)
        assert "\n" not in str(error.value)
    assert all(np.array_equal(array, before[name]) for name, array in host(found[2]).items())
    assert [each.learning_rate for each in found.optimizer] == RATES.tolist()


def test_an_epoch_that_is_assigned_lets_a_schedule_begin_anew() -> None:
    found, schedule = made(), schedules.Cosine(2)
    found.fit(X, Y, epochs=2, schedule=schedule)
    with pytest.warns(
        UserWarning, match="over at epoch 2, where the ensemble is.*or set ensemble.epoch = 0"
    ) as caught:
        found.fit(X, Y, epochs=1, schedule=schedule)
    assert [each.filename for each in caught] == [__file__]
    found.epoch = 0
    found.fit(X, Y, epochs=1, schedule=schedule)
    assert found.learning_rate.max() > 0
    assert [found.epoch, *[model.epoch for model in found]] == [1] * 4


def test_pixels_that_are_not_scaled_are_told() -> None:
    x = np.random.default_rng(0).integers(256, size=(40, 784))
    found = made(nn.Linear(784, 3))
    with pytest.warns(
        UserWarning, match="the loss of epoch 1 is .*, and inputs reach 255: scale them"
    ) as caught:
        found.fit(x, np.arange(40) % 3, epochs=2, batch_size=8)
    assert [each.filename for each in caught] == [__file__]


# Tables.


def test_tables() -> None:
    net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    found = made(net, optim.Adam(RATES))
    model = xpnet.Model(net, CE, optim.Adam(), dtype="float64")
    assert found.parameter_count() == 3 * model.parameter_count() == 159
    table, last = found.summary().rsplit("\n\n", 1)
    assert (table, last) == (model.summary(), "3 networks like this: 159 parameters")
    one, all_three = model.step_memory((6,), 16), found.step_memory((6,), 16)
    assert all_three == tuple(3 * each for each in one)
    convolutional = made(CNN).step_memory((4, 4, 1), 4)
    assert convolutional == tuple(3 * each for each in of_one(CNN).step_memory((4, 4, 1), 4))
    assert convolutional.workspace > 0
    found.fit(X, Y, epochs=1)
    assert found.input_shape == (6,)
    lines = found.summary(batch_size=16).splitlines()
    assert "\n".join(lines[:-3]) == model.summary((6,), 16).rsplit("\n\n", 1)[0]
    assert lines[-1] == f"A step of 16 examples for each in float64 takes {all_three}"
    assert repr(found) == (
        "<Ensemble of 3 of Sequential(Linear(6, 5), ReLU(), Linear(5, 3)), CrossEntropy(), "
        "Adam(learning_rate=0.1) … Adam(learning_rate=0.3): 3 × 53 parameters in float64 on numpy, epoch 1>"
    )
    html = found._repr_html_()
    assert "3 networks like this: CrossEntropy(), Adam(learning_rate=0.1) …" in html
    assert "(n, 5)" in html
    others = made(
        [nn.Dropout(rate) for rate in (0.1, 0.2, 0.3)], [optim.Adam(), optim.SGD(0.1), optim.SGD(0.2)]
    )
    assert others.summary().endswith("3 networks, of which this is the first: 0 parameters")
    mixed = made(net, [optim.SGD(0.1), optim.Adam(), optim.SGD(0.2, 0.9)])
    kept = mixed.step_memory((6,)).optimizer_state // 8
    assert kept == sum(np.size(each) for model in mixed for each in tree.leaves(model.state.optimizer))
    found.diverged[1] = "as an example"
    assert repr(found).endswith("epoch 1, 1 diverged>")


def test_the_history_of_a_notebook_and_its_picture() -> None:
    found = made()
    history = found.fit(X, Y, epochs=2, validation=(X, Y))
    table = history._repr_html_()
    assert table is not None
    assert "means over 3 networks" in table
    assert f"{history[1].validation_loss.mean():#.4g}" in table
    losses_drawn = plots.curves(found.history).axes[0].lines[0].get_ydata()
    np.testing.assert_allclose(losses_drawn, [each.train_loss.mean() for each in history])
