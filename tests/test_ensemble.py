"""K networks at once: each is what a `Model` of its own gives."""

import copy
import math
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cases
import xpnet
from conftest import Place
from xpnet import losses, nn, optim, random, schedules, tree
from xpnet.backend import namespace
from xpnet.callbacks import Predictions
from xpnet.data.augment import Compose, HorizontalFlip, RandomCrop
from xpnet.errors import CheckpointError, ConfigError, DivergedError

CE = losses.CrossEntropy()
MLP = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Dropout(0.3), nn.Linear(5, 3))
CNN = nn.Sequential(
    nn.Conv2d(1, 2, 3, padding="same"), nn.BatchNorm(2), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)
)  # fmt: skip
SEEDS = (3, 1, 4)


def drawn(shape: tuple[int, ...] = (6,), n: int = 11, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, *shape)), rng.integers(classes, size=n)


def host(model: xpnet.Model) -> dict[str, np.ndarray]:
    """The parameters, statistics and optimizer state of a model, by name."""
    state = {"params": model.params, "statistics": model.statistics, "optimizer": model.state.optimizer}
    return {name: np.asarray(model.backend.to_numpy(array)) for name, array in tree.items(state)}


def assert_equal(found: xpnet.Model, expected: xpnet.Model, tolerance: float = 1e-12) -> None:
    mine, other = host(found), host(expected)
    assert mine.keys() == other.keys()
    for name, array in other.items():
        np.testing.assert_allclose(mine[name], array, rtol=0, atol=tolerance, err_msg=name)
    assert (found.epoch, found.epoch_step) == (expected.epoch, expected.epoch_step)
    assert len(found.history) == len(expected.history)
    for one, two in zip(found.history, expected.history, strict=True):
        for field in (
            "train_loss",
            "train_accuracy",
            "validation_loss",
            "validation_accuracy",
            "learning_rate",
        ):
            mine, other = getattr(one, field), getattr(two, field)
            assert mine is other is None or abs(mine - other) <= 1e-12, field


def both(
    x: Any,
    y: Any,
    net: Any = MLP,
    loss: Any = CE,
    optimizer: Any = None,
    seeds: Any = SEEDS,
    first: int = 0,
    **given: Any,
) -> xpnet.Ensemble:
    """An ensemble after `fit`, checked against a `Model` for each of its networks from the first one on."""
    optimizer = optimizer or optim.SGD(0.1, momentum=0.9)
    of_model = {
        key: given.pop(key) for key in ("backend", "device", "l2", "augment", "micro_batch") if key in given
    }
    given = {"epochs": 2, "batch_size": 4, **given}
    found = xpnet.Ensemble(net, loss, optimizer, seeds=seeds, dtype="float64", **of_model)
    found.fit(x, y, **given)
    for k, seed in list(enumerate(seeds))[first:]:
        own = {name: value[k] if isinstance(value, list) else value for name, value in of_model.items()}
        model = xpnet.Model(
            net[k] if isinstance(net, list) else net,
            loss,
            optimizer[k] if isinstance(optimizer, list) else optimizer,
            seed=seed,
            dtype="float64",
            **own,
        )
        model.fit(x, y, **(given | {"shuffle": bool(given.get("shuffle", True))}))
        assert_equal(found[k], model)
    return found


def test_the_last_examples_are_held_out_and_the_others_keep_their_weights() -> None:
    x, y = drawn()
    weights = np.arange(11) + 1.0
    given = {"epochs": 2, "batch_size": 4, "validation_split": 0.3}
    both(x, y, sample_weight=weights, **given)
    own_x, own_y, own_weights = np.stack([x, -x]), np.stack([y, y[::-1]]), np.stack([weights, 1 / weights])
    found = xpnet.Ensemble(MLP, CE, optim.SGD(0.1), seeds=(5, 2), dtype="float64")
    found.fit(own_x, own_y, own_data=True, sample_weight=own_weights, **given)
    for k, seed in enumerate((5, 2)):
        model = xpnet.Model(MLP, CE, optim.SGD(0.1), seed=seed, dtype="float64")
        model.fit(own_x[k], own_y[k], sample_weight=own_weights[k], **given)
        assert_equal(found[k], model)


# Layers.


@pytest.mark.parametrize("case", cases.LAYERS, ids=str)
def test_every_layer(case: cases.LayerCase) -> None:
    """In the middle of a network: behind a layer with parameters, for which its dx counts."""
    _, *example = case.layer.output_shape(("n", *case.shape[1:]))
    net = nn.Sequential(case.layer, nn.Flatten(), nn.Linear(math.prod(example), 3))
    rng, n = np.random.default_rng(0), 7
    shape = n, *case.shape[1:]
    x = rng.integers(case.entries, size=shape) if case.entries else rng.normal(size=shape)
    if type(case.layer) is not nn.Embedding and not case.entries:
        d = case.shape[-1]
        before = nn.Linear(d, d, bias=False) if len(case.shape) == 2 else nn.BatchNorm(d)
        net = nn.Sequential(before, net)
    both(x, rng.integers(3, size=n), net, seeds=(5, 2), optimizer=optim.SGD(0.1), epochs=1, batch_size=5)


@dataclass(frozen=True, repr=False)
class Scale(nn.Layer):
    """A user's layer: y = s x + noise, with code for the first axis, and statistics."""

    features: int

    def init(self, rng: Any) -> Any:
        return {"scale": rng.uniform(1, 2, self.features)}

    def init_statistics(self) -> Any:
        return {"mean": np.zeros(self.features)}

    def forward(self, params: Any, x: Any) -> Any:
        return params["scale"] * x, (x,)

    def backward(self, params: Any, residuals: Any, dy: Any) -> Any:
        return params["scale"] * dy, {"scale": namespace(dy).sum(dy * residuals[0], axis=0)}

    def training_mode(self, key: Any) -> nn.Layer:
        return NoisyScale(self.features, key)

    def output_shape(self, input_shape: Any) -> Any:
        return input_shape


@dataclass(frozen=True, repr=False)
class NoisyScale(Scale):
    key: Any

    def forward(self, params: Any, x: Any) -> Any:
        x = x + random.uniform(self.key, x.shape, x.dtype)
        return params["scale"] * x, (x,)

    def backward(self, params: Any, residuals: Any, dy: Any) -> Any:
        return params["scale"] * dy, {"scale": namespace(dy).sum(dy * residuals[0], axis=0)}

    def new_statistics(self, statistics: Any, residuals: Any) -> Any:
        return {"mean": 0.5 * statistics["mean"] + namespace(residuals[0]).mean(residuals[0], axis=0)}

    def training_mode(self, key: Any) -> nn.Layer:
        return self


class TwoWays(nn.Container):
    """A user's container: it puts the outputs of two layers side by side, along axis 1."""

    def __init__(self, left: nn.Layer, right: nn.Layer) -> None:
        self.left, self.right = left, right

    def children(self) -> Any:
        return {"left": self.left, "right": self.right}

    def with_children(self, children: Any) -> Any:
        return TwoWays(**children)

    def output_shape(self, input_shape: Any) -> Any:
        n, features = self.left.output_shape(input_shape)
        return n, 2 * features

    def forward(self, params: Any, x: Any) -> Any:
        found = {key: child.forward(params[key], x) for key, child in self.children().items()}
        y = namespace(x).concat([found["left"][0], found["right"][0]], axis=1)
        return y, nn.ContainerResiduals({key: residuals for key, (_, residuals) in found.items()})

    def backward(self, params: Any, residuals: Any, dy: Any) -> Any:
        half = dy.shape[1] // 2
        inner = residuals.children
        left, left_grads = self.left.backward(params["left"], inner["left"], dy[:, :half])
        right, right_grads = self.right.backward(params["right"], inner["right"], dy[:, half:])
        return left + right, {"left": left_grads, "right": right_grads}


def test_layers_that_xpnet_does_not_know() -> None:
    ways = TwoWays(nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.3)), nn.Sequential(nn.Linear(6, 4), Scale(4)))
    both(*drawn(), nn.Sequential(Scale(6), ways, nn.Tanh(), nn.Linear(8, 3)), l2=0.1)


def test_networks_that_differ_in_their_layers() -> None:
    """Rates of dropout, initialisers, slopes, and a layer of another class."""
    nets = [
        nn.Sequential(
            *(nn.Linear(6, 6), nn.Dropout(rate), nn.Linear(6, 4, weight_init=init), activation),
            nn.Linear(4, 3),
        )
        for rate, init, activation in (
            (0.0, xpnet.init.he_normal, nn.ReLU()),
            (0.4, xpnet.init.normal, nn.LeakyReLU(0.2)),
            (0.7, xpnet.init.glorot_uniform, nn.Tanh()),
        )
    ]
    both(*drawn(), nets)


# Losses, optimizers, schedules, hyper-parameters.


TAKEN = [case for case in cases.LOSSES if case.name not in ("one class", "counts")]  # by `Model`


@pytest.mark.parametrize("case", TAKEN, ids=str)
def test_every_loss(case: cases.LossCase) -> None:
    x, target = drawn((4,), case.shape[0])[0], case.target
    weights = np.linspace(0, 2, len(x) + 1)[1:]
    both(x, target, nn.Linear(4, case.shape[1]), case.loss, seeds=(0, 1), epochs=1, batch_size=3)
    both(
        x,
        target,
        nn.Linear(4, case.shape[1]),
        case.loss,
        seeds=(0, 1),
        epochs=1,
        batch_size=3,
        sample_weight=weights,
    )


@pytest.mark.parametrize("optimizer", cases.OPTIMIZERS, ids=str)
def test_every_optimizer(optimizer: optim.Optimizer) -> None:
    both(*drawn(), nn.Linear(6, 3), optimizer=optimizer, seeds=(0, 1), schedule=schedules.Cosine(4))


def test_each_network_has_its_own_numbers() -> None:
    x, y = drawn()
    rates, momenta, decays = (0.1, 0.01, 0.3), (0.0, 0.9, 0.5), (0.0, 0.1, 0.01)
    each = [optim.SGD(*numbers) for numbers in zip(rates, momenta, strict=True)]
    whole = optim.SGD(np.array(rates), np.array(momenta))
    one, other = (
        both(x, y, MLP, optimizer=each, l2=list(decays)),
        xpnet.Ensemble(MLP, CE, whole, seeds=SEEDS, l2=np.array(decays), dtype="float64"),
    )
    other.fit(x, y, epochs=2, batch_size=4)
    for k in range(3):
        assert_equal(other[k], one[k])
    adam = optim.ClipNorm(optim.AdamW(np.array(rates), weight_decay=0.2), np.array([0.1, 1.0, 2.0]))
    both(
        x,
        y,
        optimizer=[
            optim.ClipNorm(optim.AdamW(rate, weight_decay=0.2), norm)
            for rate, norm in ((0.1, 0.1), (0.01, 1), (0.3, 2))
        ],
    )
    xpnet.Ensemble(MLP, CE, adam, seeds=SEEDS).fit(x, y, epochs=1)
    both(x, y, optimizer=[optim.SGD(0.1), optim.Adam(), MySGD(0.1)])


class MySGD(optim.SGD):
    """A user's optimizer."""

    def update(self, params: Any, grads: Any, state: Any) -> Any:
        return tree.map(lambda p, g: p - self.learning_rate * g / (1 + abs(g).max()), params, grads), state


def test_a_schedule_for_each_network() -> None:
    """One that follows the validation loss: the networks' rates part."""
    x, y = drawn()
    plateau = schedules.ReduceOnPlateau(0.5, patience=1)
    found = both(x, y, optimizer=optim.SGD(1.0), epochs=6, schedule=plateau, validation=(x, y))
    assert len({model.learning_rate for model in found}) > 1


# Data.


@pytest.mark.parametrize("options", [{}, {"micro_batch": 3}], ids=str)
def test_images(options: dict[str, Any]) -> None:
    """Augmentation, batch normalisation and averaged weights; also from the host, chunk by chunk."""
    x, y = drawn((4, 4, 1), 10)
    augment = Compose(RandomCrop(1), HorizontalFlip())
    optimizer = optim.AverageWeights(optim.SGD(0.1, 0.9), 0.5)
    for given in ({}, {"data_on_device": False, "shuffle": False}):
        both(
            x,
            y,
            CNN,
            optimizer=optimizer,
            augment=augment,
            validation=(x, y),
            train_metrics="end",
            **options,
            **given,
        )


def test_one_order_for_all() -> None:
    """The first network is what `Model` gives; the others see its order."""
    x, y = drawn()
    shared = xpnet.Ensemble(MLP, CE, optim.SGD(0.1), seeds=SEEDS, dtype="float64")
    shared.fit(x, y, epochs=2, batch_size=4, shuffle="shared")
    alone = xpnet.Model(MLP, CE, optim.SGD(0.1), seed=3, dtype="float64")
    alone.fit(x, y, epochs=2, batch_size=4)
    assert_equal(shared[0], alone)
    each = xpnet.Ensemble(MLP, CE, optim.SGD(0.1), seeds=SEEDS, dtype="float64")
    each.fit(x, y, epochs=2, batch_size=4)
    assert_equal(each[0], alone)
    assert not np.allclose(host(shared[1])["params.0.weight"], host(each[1])["params.0.weight"])


@pytest.mark.parametrize("on_device", [True, False])
def test_each_network_has_its_own_data(on_device: bool) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(3, 11, 6)), rng.integers(3, size=(3, 11))
    weights = rng.integers(3, size=(3, 11)).astype(float)
    given = {"epochs": 2, "batch_size": 4, "data_on_device": on_device}
    for own, weight in ((True, None), (True, weights), (False, weights)):
        data = (x, y) if own else (x[0], y[0])
        found = xpnet.Ensemble(MLP, CE, optim.SGD(0.1), seeds=SEEDS, dtype="float64")
        found.fit(
            *data,
            sample_weight=weight,
            validation=(*data, weight) if weight is not None else data,
            own_data=own,
            **given,
        )
        evaluated = found.evaluate(*data, sample_weight=weight, own_data=own)
        for k in range(3):
            one = (x[k], y[k]) if own else data
            model = xpnet.Model(MLP, CE, optim.SGD(0.1), seed=SEEDS[k], dtype="float64")
            w = None if weight is None else weight[k]
            model.fit(*one, sample_weight=w, **given)
            expected = model.evaluate(*one, sample_weight=w)
            last = found[k].history[-1]
            np.testing.assert_allclose([evaluated.loss[k], evaluated.accuracy[k]], expected[:2], rtol=1e-12)
            np.testing.assert_allclose(
                [last.validation_loss, last.validation_accuracy], expected[:2], rtol=1e-12
            )
            np.testing.assert_allclose(
                found.history[-1].train_loss[k], model.history[-1].train_loss, rtol=1e-12
            )
            for name, array in host(model).items():
                np.testing.assert_allclose(host(found[k])[name], array, atol=1e-12)
        if own:
            np.testing.assert_array_equal(found.predict(x, own_data=True)[1], found[1].predict(x[1]))


def test_every_library(place: Place) -> None:
    net = nn.Sequential(
        nn.Conv1d(2, 2, 2, padding="same"), nn.MaxPool1d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(4, 3)
    )
    given = {"backend": place[0], "device": place[1], "batch_size": 8}
    both(*drawn((4, 2), 8), net, seeds=(0, 1), first=1, epochs=1, **given)  # JAX compiles each


# The course of a training.


class StopAt(xpnet.Callback):
    """Interrupt `fit` after a step of an epoch."""

    def __init__(self, epoch: int, step: int, error: type[BaseException] | None = None) -> None:
        self.at, self.error = (epoch, step), error

    def on_step(self, model: Any, step: int, n_steps: int) -> None:
        if (model.epoch, step) == self.at:
            if self.error is not None:
                raise self.error
            model.stop()


class StopsNetwork(StopAt):
    each_network = True

    def on_step(self, model: Any, step: int, n_steps: int) -> None:
        if model.seed == SEEDS[1]:
            super().on_step(model, step, n_steps)


def assert_same_bits(found: xpnet.Ensemble, expected: xpnet.Ensemble) -> None:
    for k in range(len(expected)):
        assert_equal(found[k], expected[k], tolerance=0)
        assert [m.train_loss for m in found[k].history] == [m.train_loss for m in expected[k].history]


def callbacks() -> list[xpnet.Callback]:
    return [xpnet.EarlyStopping(1, "train_loss", min_delta=0.02, restore=False)]


@pytest.mark.parametrize("way", ["stop", "exception", "checkpoint", "pickle"])
def test_resume_is_exact(way: str, tmp_path: Path) -> None:
    """With a network that stops before, and one that does within the epoch that is resumed."""
    x, y = drawn()
    given = {"batch_size": 4, "schedule": schedules.Exponential(0.9)}

    def make() -> xpnet.Ensemble:
        return xpnet.Ensemble(MLP, CE, optim.Adam(0.05), seeds=(3, 1, 4, 7), l2=0.01)

    whole = make()
    whole.fit(x, y, epochs=9, callbacks=callbacks(), **given)
    assert len({model.epoch for model in whole}) > 1
    cut = make()
    own, stop_at = callbacks(), StopAt(3, 2, KeyboardInterrupt if way == "exception" else None)
    if way == "exception":
        with pytest.raises(KeyboardInterrupt):
            cut.fit(x, y, epochs=9, callbacks=[*own, stop_at], **given)
    else:
        cut.fit(x, y, epochs=9, callbacks=[*own, stop_at], **given)
    assert (cut.epoch, cut.epoch_step) == (3, 2)
    left = {model.epoch_step for model in cut}
    assert left == {0, 2}
    if way == "checkpoint":
        cut.save_checkpoint(tmp_path / "file.safetensors")
        cut, own = make(), callbacks()
        cut.load_checkpoint(tmp_path / "file.safetensors")
    elif way == "pickle":
        cut, own = pickle.loads(pickle.dumps(cut)), callbacks()
    cut.fit(x, y, epochs=6, callbacks=own, **given)
    assert_same_bits(cut, whole)


def test_a_history_as_a_pandas_frame() -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    x, y = drawn()
    stopping = xpnet.EarlyStopping(1, min_delta=0.1)
    found = both(x, y, epochs=8, callbacks=[stopping], validation=(x, y))
    frame = found.history.to_frame()
    assert frame["validation_loss"].notna().sum().tolist() == [len(model.history) for model in found]


def test_early_stopping_is_each_networks_own() -> None:
    x, y = drawn()
    stopping = xpnet.EarlyStopping(1, min_delta=0.1)
    found = both(x, y, epochs=8, callbacks=[stopping], validation=(x, y))
    lengths = [len(model.history) for model in found]
    assert len(set(lengths)) > 1
    assert np.isnan(found.history[-1].validation_loss).tolist() == [n < max(lengths) for n in lengths]
    assert found.best() is found[int(np.argmin(found.evaluate(x, y).loss))]  # of the restored parameters
    assert [found.callbacks_of(k)[0].best_epoch for k in range(3)] == [n - 1 for n in lengths]
    again = copy.deepcopy(found)
    for one in (found, again):
        one.fit(x, y, epochs=2, batch_size=4)
    assert_same_bits(found, again)
    assert [model.epoch for model in found] == [n + 2 for n in lengths]


def test_a_network_stops_within_an_epoch() -> None:
    x, y = drawn()
    found = xpnet.Ensemble(MLP, CE, optim.SGD(0.1), seeds=SEEDS, dtype="float64")
    found.fit(x, y, epochs=3, batch_size=4, callbacks=StopsNetwork(1, 2))
    assert [(model.epoch, model.epoch_step) for model in found] == [(3, 0), (1, 2), (3, 0)]
    plain = xpnet.Ensemble(MLP, CE, optim.SGD(0.1), seeds=SEEDS, dtype="float64")
    plain.fit(x, y, epochs=3, batch_size=4)
    assert_equal(found[0], plain[0], 0)
    found[1].fit(x, y, epochs=2, batch_size=4)
    assert_equal(found[1], plain[1])


@pytest.mark.parametrize("on_device", [True, False])
def test_a_network_that_diverges_leaves_the_others_alone(on_device: bool) -> None:
    x, y = drawn()
    rates = [optim.SGD(0.1), optim.SGD(0.3), optim.SGD(1e200)]
    net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    given = {"epochs": 2, "batch_size": 4, "data_on_device": on_device}
    found = xpnet.Ensemble(net, losses.MeanSquaredError(), rates, seeds=SEEDS, dtype="float64")
    with pytest.warns(
        UserWarning, match=r"^network 2 \(seed 4\) has diverged and is taken out: epoch 1, step "
    ) as warned:
        found.fit(x, y, **given)
    assert warned[0].filename == __file__
    alone = xpnet.Model(net, losses.MeanSquaredError(), rates[2], seed=4, dtype="float64")
    before = copy.deepcopy(host(alone))
    with pytest.raises(DivergedError) as error:
        alone.fit(x, y, **given)
    assert found.diverged == {2: str(error.value)}
    for name, array in before.items():
        np.testing.assert_array_equal(host(found[2])[name], array)
    others = xpnet.Ensemble(net, losses.MeanSquaredError(), rates[:2], seeds=SEEDS[:2], dtype="float64")
    others.fit(x, y, **given)
    for k in range(2):
        assert_equal(found[k], others[k], 0)
    assert [model.epoch for model in found] == [2, 2, 0]
    found.fit(x, y, epochs=1)  # without it
    assert found[2].epoch == 0
    assert found.best("train_loss") is not found[2]
    all_of_them = xpnet.Ensemble(net, losses.MeanSquaredError(), rates[2], seeds=(0, 1), dtype="float64")
    with (
        pytest.warns(UserWarning, match="has diverged"),
        pytest.raises(DivergedError, match=r"^fit: all 2 networks have diverged; network 0: epoch 1"),
    ):
        all_of_them.fit(x, y, **given)


def test_a_loss_that_is_not_finite_after_the_last_step() -> None:
    """Found by `train_metrics="end"` alone."""
    x, y = drawn()
    rates = [optim.SGD(0.1), optim.SGD(1e300)]
    found = xpnet.Ensemble(nn.Linear(6, 3), losses.MeanSquaredError(), rates, seeds=(0, 1), dtype="float64")
    with pytest.warns(UserWarning, match="after its last step"):
        found.fit(x, y, epochs=1, batch_size=11, train_metrics="end")
    assert found.diverged.keys() == {1}
    assert (found[0].epoch, found[1].epoch) == (1, 0)


def test_callbacks_and_progress(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    """What is not for each network is called with the ensemble, and with means."""
    x, y = drawn()
    predictions, checkpoints = Predictions(x), xpnet.Checkpoints(tmp_path)
    found = xpnet.Ensemble(MLP, CE, optim.SGD(0.1), seeds=SEEDS)
    history = found.fit(
        x, y, epochs=3, validation=(x, y), callbacks=[predictions, checkpoints], progress=True
    )
    assert [labels.shape for labels in predictions.labels] == [(3, 11)] * 3
    mean = float(history[-1].validation_loss.mean())
    assert f"validation loss {mean:.4f}" in capsys.readouterr().err
    other = xpnet.Ensemble(MLP, CE, optim.SGD(0.1), seeds=SEEDS)
    assert checkpoints.resume(other) == []
    assert other.epoch == 3
    assert_same_bits(other, found)
    assert history.plot() is not None
    assert repr(found).startswith("<Ensemble of 3 of Sequential(Linear(6, 5)")


# Answers.


def test_predictions_of_all_networks() -> None:
    x, y = drawn(n=40)
    found = xpnet.Ensemble(MLP, CE, optim.SGD(0.1), seeds=SEEDS)
    found.fit(x, y, epochs=1)
    each, probabilities = found.predict(x), found.predict_proba(x, combine="each")
    for k, model in enumerate(found):
        np.testing.assert_array_equal(each[k], model.predict(x))
        np.testing.assert_allclose(probabilities[k], model.predict_proba(x), atol=1e-6)
    np.testing.assert_array_equal(found.predict(x, combine="mean"), probabilities.mean(axis=0).argmax(axis=1))
    np.testing.assert_allclose(found.predict_proba(x), probabilities.mean(axis=0))
    votes = [np.bincount(column, minlength=3).argmax() for column in each.T]
    np.testing.assert_array_equal(found.predict(x, combine="vote"), votes)
    binary = xpnet.Ensemble(nn.Linear(6, 1), losses.BinaryCrossEntropy(), optim.SGD(0.1), seeds=SEEDS)
    np.testing.assert_array_equal(binary.predict(x, combine="mean"), binary.predict_proba(x)[:, 0] > 0.5)
    real = xpnet.Ensemble(nn.Linear(6, 2), losses.MeanSquaredError(), optim.SGD(0.1), seeds=SEEDS)
    np.testing.assert_allclose(real.predict(x, combine="mean"), real.predict(x).mean(axis=0), atol=1e-6)
    with pytest.raises(ConfigError, match='expected a loss with classes for combine="vote"'):
        real.predict(x, combine="vote")


# Errors.

WRONG: list[tuple[Any, str]] = [
    (lambda: xpnet.Ensemble(MLP, CE, optim.SGD(0.1)), "Ensemble: expected a seed for each network, got none; write seeds=range(8)"),
    (lambda: xpnet.Ensemble(MLP, CE, optim.SGD(0.1), seeds=8), "Ensemble: expected seeds to be a list of them, one for each network, got 8; write seeds=range(8)"),
    (lambda: xpnet.Ensemble([MLP], CE, optim.SGD(0.1), seeds=(0, 1)), "Ensemble: expected net to be one, or a list of 2, one for each seed, got 1"),
    (lambda: xpnet.Ensemble(MLP, CE, optim.SGD(np.ones(3)), seeds=(0, 1)), "Ensemble: expected learning_rate of SGD to be a number, or an array of 2, one for each network, got an array of shape (3,)"),
    (lambda: xpnet.Ensemble(MLP, CE, optim.SGD(0.1), seeds=(0, 1), l2=[0.1]), "Ensemble: expected l2 to be a number, or 2 of them, got [0.1]"),
    (lambda: xpnet.Ensemble([nn.Linear(6, 3), nn.Linear(6, 4)], CE, optim.SGD(0.1), seeds=(0, 1)), "Ensemble: expected networks with the same parameters, got bias of shape (3,) in network 0 and (4,) in network 1"),
    (lambda: xpnet.Ensemble(MLP, CE, 0.1, seeds=(0, 1)), "Ensemble: expected optimizer to be an xpnet Optimizer, got 0.1; write optim.SGD(0.1)"),
    (lambda: fitted(shuffle="all"), "fit: expected shuffle to be \"each\", \"shared\" or False, got 'all'"),
    (lambda: fitted(own_data=True), "own_data: expected x of shape (2, n, ...) for 2 networks, got (11, 6)"),
    (lambda: fitted(sample_weight=np.ones((3, 11))), "sample_weight: expected weights of shape (11,), or (2, 11) for each network, got (3, 11)"),
    (lambda: fitted(sample_weight=np.eye(2, 11) - np.eye(2, 11)[:1]), "network 0: sample_weight: expected finite weights of at least 0, one above 0, got weights from 0 to 0"),
    (lambda: fitted(epochs=0).predict(drawn()[0], combine="all"), "predict: expected combine to be one of \"each\", \"mean\", \"vote\", got 'all'"),
    (lambda: fitted(epochs=0).best(), "best: expected networks with a validation_loss, got none; pass fit(…, validation=(x, y)), or write monitor='train_loss'"),
    (lambda: fitted(epochs=0).fit(drawn((5,))[0], drawn()[1]), "layer 0, Linear(6, 5): expected x of shape (n, 6), got (11, 5)"),
]  # fmt: skip


def fitted(**given: Any) -> xpnet.Ensemble:
    found = xpnet.Ensemble(MLP, CE, optim.SGD(0.1), seeds=(0, 1))
    found.fit(*drawn(), **{"epochs": 1, **given})
    return found


@pytest.mark.parametrize(("wrong", "line"), WRONG, ids=[line[:40] for _, line in WRONG])
def test_errors_say_what_is_wrong_in_one_line(wrong: Any, line: str) -> None:
    with pytest.raises(xpnet.Error) as error:
        wrong()
    assert str(error.value) == line


def test_files_of_others(tmp_path: Path) -> None:
    found, path = fitted(), tmp_path / "file.safetensors"
    found.save_checkpoint(path)
    other = xpnet.Ensemble(MLP, CE, optim.SGD(0.1), seeds=(0, 1, 2))
    with pytest.raises(CheckpointError, match="expected 3 networks, got 2"):
        other.load_checkpoint(path)
    with pytest.raises(CheckpointError, match=r"network 1: .*expected seed 5, the model's, got 1"):
        xpnet.Ensemble(MLP, CE, optim.SGD(0.1), seeds=(0, 5)).load_checkpoint(path)
    found[0].save_checkpoint(path)
    with pytest.raises(CheckpointError, match="expected the state of an Ensemble"):
        found.load_checkpoint(path)


def test_the_memory_of_a_step_with_own_data_on_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU, `fit` asks for it: it is that of examples, not of each network's data set."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    x, y = drawn((4, 4, 1), 10)
    found = xpnet.Ensemble(CNN, CE, optim.SGD(0.1), "torch", seeds=(0, 1))
    monkeypatch.setattr(type(found.backend), "free_bytes", lambda self: 1 << 30)
    found.fit(np.stack([x, x]), np.stack([y, y]), epochs=1, own_data=True)
    assert found.evaluate(np.stack([x, x]), np.stack([y, y]), own_data=True).loss.shape == (2,)
