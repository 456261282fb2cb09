"""`fit`, `evaluate` and `predict` on any iterable of batches: the same bits as arrays, and clear errors."""

import itertools
import math
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest

import xpnet
from array_likes import Dataset, DLPack, EagerTensor, PyDataset, Tensor
from conftest import MISSING, Place, at, params
from laws import assert_close, assert_same, fetch
from xpnet import data, losses, nn, optim, schedules
from xpnet._training import progress_bar
from xpnet.callbacks import Callback, Checkpoints, EarlyStopping
from xpnet.errors import ConfigError, DivergedError, ShapeError

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (70, 4, 4, 2), np.uint8)
Y = RNG.integers(0, 3, 70)
WEIGHTS = RNG.random(70)
ROWS = RNG.normal(size=(40, 3)).astype(np.float32)
LABELS = np.arange(40) % 3
PAIRS = [(ROWS[i : i + 16], LABELS[i : i + 16]) for i in (0, 16, 32)]


class Shuffled:
    """The batches that `fit` makes of arrays, in the same order."""

    def __init__(self, *arrays: Any, shuffle: bool = True) -> None:
        self.arrays, self.shuffle, self.epoch = arrays, shuffle, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[Any]:
        n = len(self.arrays[0])
        for rows, _ in data.batches(np.arange(n), np.arange(n), 16, epoch=self.epoch, shuffle=self.shuffle):
            yield tuple(array[rows] for array in self.arrays)

    def __len__(self) -> int:
        return -(-len(self.arrays[0]) // 16)


class Items:
    """A sequence of batches, as Keras has them."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches, self.begins, self.ends, self.asked = batches, 0, 0, []

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, i: int) -> Any:
        self.asked.append(i)
        return self.batches[i]

    def on_epoch_begin(self) -> None:
        self.begins += 1

    def on_epoch_end(self) -> None:
        self.ends += 1


class Unsized:
    """What can be read again and has no length."""

    def __init__(self, batches: Any) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


class Steps(Callback):
    """Records the steps, and interrupts one of them."""

    def __init__(self, at: tuple[int, int] | None = None, error: type[BaseException] | None = None) -> None:
        self.at, self.error, self.steps = at, error, []

    def on_step(self, model: xpnet.Model, step: int, n_steps: int) -> None:
        self.steps.append((model.epoch, step, n_steps))
        if (model.epoch, step) == self.at:
            model.stop()
            if self.error:
                raise self.error


def images(place: Place = ("numpy", None), **options: Any) -> xpnet.Model:
    """A model with every kind of state and of random numbers; on JAX a small one, which it compiles soon."""
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(32, 3))
    if place[0] == "jax":
        return xpnet.Model(net, losses.CrossEntropy(), optim.SGD(0.01), place[0], dtype="float64")
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm(3), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(12, 3)
    )
    return xpnet.Model(
        net, losses.CrossEntropy(), optim.Adam(0.01), place[0], device=place[1],
        augment=data.augment.HorizontalFlip(), l2=1e-3, **options,
    )  # fmt: skip


def rows(backend: str = "numpy", **options: Any) -> xpnet.Model:
    return xpnet.Model(nn.Linear(3, 3), losses.CrossEntropy(), optim.SGD(0.1), backend, **options)


def numbers(history: xpnet.metrics.History) -> list[tuple]:
    return [(*metrics[:6], *metrics[8:]) for metrics in history]


def assert_same_state(model: xpnet.Model, expected: xpnet.Model) -> None:
    for name in ("params", "statistics", "optimizer"):
        host = fetch(expected.backend, getattr(expected.state, name))
        assert_same(model.backend, getattr(model.state, name), host)
    assert numbers(model.history) == numbers(expected.history)


# The same bits as with arrays.


@pytest.mark.parametrize("weighted", [False, True])
def test_the_same_batches_give_the_same_bits_on_numpy(weighted: bool) -> None:
    same_bits(("numpy", None), weighted)


def test_the_same_batches_give_the_same_bits(place: Place) -> None:
    same_bits(place, weighted=place[0] == "torch")


def same_bits(place: Place, weighted: bool) -> None:
    """With a last batch that is smaller (on JAX none, which compiles for long), and with all that a step has."""
    held, given, steps = images(place), images(place), Steps()
    n = 64 if place[0] == "jax" else 70
    validation = X[:20], Y[:20]
    held.fit(
        X[:n], Y[:n], epochs=2, batch_size=16, validation=validation, schedule=schedules.Cosine(2, warmup=1),
        sample_weight=WEIGHTS if weighted else None,
    )  # fmt: skip
    batches = Shuffled(X, Y, WEIGHTS) if weighted else Shuffled(X[:n], Y[:n])
    given.fit(
        batches, epochs=2, validation=validation, schedule=schedules.Cosine(2, warmup=1), callbacks=steps
    )
    if place[0] == "jax":  # which compiles another order of sums for another number of examples
        assert_close(given.backend, given.params, fetch(held.backend, held.params), 1e-9)
    else:
        assert_same_state(given, held)
    last = -(-n // 16)
    assert steps.steps == [(epoch, step, last) for epoch in range(2) for step in range(1, last + 1)]
    assert given.history[0].images_per_second > 0


@pytest.mark.parametrize("options", [{"micro_batch": 5}, {"dtype": "float64"}])
def test_the_same_bits_with_other_models(options: dict[str, Any]) -> None:
    held, given = images(**options), images(**options)
    held.fit(X, Y, epochs=1, batch_size=16)
    given.fit(Shuffled(X, Y), epochs=1)
    assert_same_state(given, held)


def test_the_same_bits_in_regression() -> None:
    def model() -> xpnet.Model:
        return xpnet.Model(nn.Linear(3, 2), losses.MeanSquaredError(), optim.SGD(0.1))

    held, given = model(), model()
    held.fit(ROWS, ROWS[:, :2], epochs=2, batch_size=16)
    given.fit(Shuffled(ROWS, ROWS[:, :2]), epochs=2)
    assert_same_state(given, held)


def test_integers_stay_integers(rng: np.random.Generator) -> None:
    def model() -> xpnet.Model:
        net = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(12, 3))
        return xpnet.Model(net, losses.CrossEntropy(), optim.SGD(0.1))

    x = rng.integers(5, size=(40, 3))
    held, given = model(), model()
    held.fit(x, LABELS, epochs=1, batch_size=16)
    given.fit(Shuffled(x, LABELS), epochs=1)
    assert_same_state(given, held)
    x[17, 2] = 5
    with pytest.raises(
        ShapeError, match=r"^batch 2: .*expected x to hold integers from 0 to 4, got 5 at x\[1, 2\]"
    ):
        model().fit([(x[:16], LABELS[:16]), (x[16:], LABELS[16:])], epochs=1)


def in_order() -> xpnet.Model:
    """Three epochs of `PAIRS`."""
    model = rows()
    model.fit(ROWS, LABELS, epochs=3, batch_size=16, shuffle=False)
    return model


class Batch(NamedTuple):
    inputs: Any
    labels: Any


def loader(**options: Any) -> Any:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    examples = torch.utils.data.TensorDataset(torch.tensor(ROWS), torch.tensor(LABELS))
    return torch.utils.data.DataLoader(examples, batch_size=16, **options)


KINDS: dict[str, Callable[[], Any]] = {
    "a list": lambda: PAIRS,
    "a tuple": lambda: tuple(PAIRS),
    "lists of lists": lambda: [[x.tolist(), y.tolist()] for x, y in PAIRS],
    "named tuples": lambda: [Batch(*pair) for pair in PAIRS],
    "a sequence": lambda: Items(PAIRS),
    "no length": lambda: Unsized(PAIRS),
    "a loader": loader,
    "tensors": lambda: Unsized([tuple(map(Tensor, pair)) for pair in PAIRS]),
    "TensorFlow": lambda: Dataset([tuple(EagerTensor(each.copy()) for each in pair) for pair in PAIRS], -2),
    "DLPack": lambda: [tuple(DLPack(each.copy()) for each in pair) for pair in PAIRS],
    "one weight": lambda: [(x, y, np.ones(len(x))) for x, y in PAIRS],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_kinds(kind: str, backend: str) -> None:
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    model, expected = rows(backend), rows(backend)
    model.fit(KINDS[kind](), epochs=2, callbacks=Steps((1, 1)))
    model.fit(KINDS[kind](), epochs=1)  # goes on
    expected.fit(ROWS, LABELS, epochs=2, batch_size=16, shuffle=False)
    if kind == "one weight":
        np.testing.assert_allclose(model.history[-1].train_loss, expected.history[-1].train_loss, rtol=1e-6)
    else:
        assert_same_state(model, expected)


WHERE = ("numpy", "strict-device1", "torch", "cupy", "torch-cuda")


@pytest.mark.parametrize("name", params([name for name in WHERE if name not in MISSING]))
def test_batches_on_the_device(name: str) -> None:
    """They give the same bits as those on the host, and the arrays that the user holds stay as they are."""
    with at(name) as (backend, device):
        model, expected = rows(backend, device=device), rows(backend, device=device)
        host = model.backend.to_numpy
        pairs = [tuple(map(model.backend.asarray, pair)) for pair in PAIRS]
        before = [[host(each).copy() for each in pair] for pair in pairs]
        model.fit(pairs, epochs=3)
        expected.fit(PAIRS, epochs=3)
        for each in (model, expected):
            graphs = getattr(each._program.run_steps, "captured", {})
            assert len(graphs) in (0, 2)  # one for each size
        assert_same_state(model, expected)
        for pair, copies in zip(pairs, before, strict=True):
            for each, copy in zip(pair, copies, strict=True):
                np.testing.assert_array_equal(host(each), copy)


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
def test_a_buffer_may_be_used_again(backend: str) -> None:
    """A generator may write each batch into the arrays of the last one."""
    pytest.importorskip(backend, reason=f"{backend} is not installed")

    def reusing() -> Iterator[Any]:
        x, y = np.empty((16, 3), np.float32), np.empty(16, int)
        for _ in range(20):
            for pair in PAIRS[:2]:
                x[:], y[:] = pair
                yield x, y
        x[:], y[:] = np.nan, 0

    model, expected = rows(backend), rows(backend)
    model.fit(reusing(), epochs=20, steps_per_epoch=2)
    expected.fit(PAIRS[:2], epochs=20)
    assert_same_state(model, expected)


# Epochs and steps.


def test_a_generator_gives_one_epoch() -> None:
    model, steps = rows(), Steps()
    model.fit((pair for pair in PAIRS), epochs=1, callbacks=steps)
    assert steps.steps == [(0, step, math.inf) for step in (1, 2, 3)]
    assert numbers(model.history) == numbers(in_order().history)[:1]


def test_epochs_of_one_batch_without_a_length() -> None:
    class One:
        def __iter__(self) -> Iterator[Any]:
            return iter(PAIRS[:1])

    model, steps = rows(), Steps()
    model.fit(One(), epochs=3, callbacks=steps)
    assert [(epoch, step) for epoch, step, _ in steps.steps] == [(0, 1), (1, 1), (2, 1)]
    assert [each.epoch for each in model.history] == [1, 2, 3]
    assert model.epoch == 3


def test_steps_of_a_generator() -> None:
    """Each epoch, also of a second `fit`, goes on where the last one ended; no batch is lost."""
    taken: list[int] = []

    def endless() -> Iterator[Any]:
        for i in itertools.count():
            taken.append(i % 3)
            yield PAIRS[i % 3]

    model, steps, batches = rows(), Steps(), endless()
    model.fit(batches, epochs=2, steps_per_epoch=3, callbacks=steps)
    assert taken == [0, 1, 2] * 2
    model.fit(batches, epochs=1, steps_per_epoch=3)
    assert taken == [0, 1, 2] * 3
    assert steps.steps == [(epoch, step, 3) for epoch in range(2) for step in (1, 2, 3)]
    assert_same_state(model, in_order())


@pytest.mark.parametrize("make", [list, Unsized, Items])
def test_steps_go_on_pass_after_pass(make: Callable[[Any], Any]) -> None:
    """An epoch of 2 of 3 batches: the next one starts with the third, also in the next `fit`."""
    expected = rows()
    expected.fit([PAIRS[i % 3] for i in range(8)], epochs=1)
    at_once, one_by_one, batches = rows(), rows(), make(PAIRS)
    at_once.fit(batches, epochs=4, steps_per_epoch=2)
    for _ in range(4):
        one_by_one.fit(make(PAIRS), epochs=1, steps_per_epoch=2)
    for model in (at_once, one_by_one):
        assert_same(model.backend, model.params, fetch(expected.backend, expected.params))
    assert len(at_once.history) == 4
    if make is Items:
        assert batches.ends == 2
        assert batches.asked == [0, 1, 2, 0, 1, 2, 0, 1]


def test_who_wants_to_know_is_told_of_passes() -> None:
    class Sampler:
        epochs: ClassVar[list[int]] = []

        def set_epoch(self, epoch: int) -> None:
            self.epochs.append(epoch)

    batches, sampled = Items(PAIRS), Unsized(PAIRS)
    sampled.sampler = Sampler()
    model = rows()
    model.fit(batches, epochs=2, train_metrics="end")
    assert (batches.begins, batches.ends) == (2, 2)
    model.fit(sampled, epochs=2)
    assert Sampler.epochs == [2, 3]


@pytest.mark.parametrize(
    ("given", "epochs", "line", "steps"),
    [
        (
            5,
            3,
            "fit: expected 3 batches for epoch 2, got 2, and no more: this shorter epoch is the last",
            [3, 2],
        ),
        (3, 3, "fit: expected 3 batches for epoch 2, got no more: epoch 1 was the last", [3]),
    ],
)
def test_a_generator_that_runs_dry_ends_fit(given: int, epochs: int, line: str, steps: list[int]) -> None:
    """Nothing is lost: the steps that were done are an epoch, measured as any other."""
    model, seen = rows(), Steps()
    with pytest.warns(UserWarning, match=re.escape(line)) as warned:
        history = model.fit((PAIRS[i % 3] for i in range(given)), epochs=epochs, steps_per_epoch=3,
                            callbacks=seen, validation=(ROWS, LABELS))  # fmt: skip
    assert [each.filename for each in warned] == [__file__]
    assert [len([step for epoch, step, _ in seen.steps if epoch == e]) for e in range(len(steps))] == steps
    assert len(history) == len(steps)
    assert model.epoch_step == 0
    expected = rows()
    expected.fit([PAIRS[i % 3] for i in range(given)], epochs=1)
    assert_same(model.backend, model.params, fetch(expected.backend, expected.params))


def test_a_wrong_length_is_told() -> None:
    class Wrong(Unsized):
        def __len__(self) -> int:
            return 5

    model = rows()
    with pytest.warns(UserWarning, match="fit: expected 5 batches for epoch 1, as len says, got 3"):
        model.fit(Wrong(PAIRS), epochs=1, schedule=schedules.Cosine(2))
    with pytest.warns(UserWarning, match="expected 5 batches for epoch 2, as len says, got 6"):
        model.fit(Wrong(PAIRS * 2), epochs=1)
    assert model.epoch == 2


def test_schedules_know_the_steps() -> None:
    schedule = schedules.Cosine(2)
    held, given, counted = rows(), rows(), rows()
    held.fit(ROWS, LABELS, epochs=2, batch_size=16, shuffle=False, schedule=schedule)
    given.fit(PAIRS, epochs=2, schedule=schedule)
    counted.fit(itertools.cycle(PAIRS), epochs=2, steps_per_epoch=3, schedule=schedule)
    assert_same_state(given, held)
    assert_same_state(counted, held)
    line = r"steps of an epoch for the schedule Cosine\(2\), got an Unsized without a length; pass steps_per"
    with pytest.raises(ConfigError, match=line):
        rows().fit(Unsized(PAIRS), epochs=2, schedule=schedule)
    constant = schedules.Step(every=1, factor=0.5)  # in an epoch
    model, expected = rows(), rows()
    model.fit(Unsized(PAIRS), epochs=3, schedule=constant)
    expected.fit(PAIRS, epochs=3, schedule=constant)
    assert_same_state(model, expected)
    assert model.learning_rate == pytest.approx(0.025)


# Measures.


def test_train_metrics_at_the_end() -> None:
    held, given = rows(), rows()
    held.fit(ROWS, LABELS, epochs=2, batch_size=16, shuffle=False, train_metrics="end")
    given.fit(PAIRS, epochs=2, train_metrics="end")
    np.testing.assert_allclose([m[1:3] for m in given.history], [m[1:3] for m in held.history], rtol=1e-6)
    assert given.history[0].train_metrics == "end"
    history = rows().fit(PAIRS, epochs=1, train_metrics="end", train_metrics_examples=20)
    expected = rows().fit(
        ROWS, LABELS, epochs=1, batch_size=16, shuffle=False, train_metrics="end", train_metrics_examples=20
    )
    np.testing.assert_allclose(history[0][1:3], expected[0][1:3], rtol=1e-6)


@pytest.mark.parametrize("validation", [PAIRS, PAIRS[:2], Items(PAIRS), Unsized(PAIRS), tuple(PAIRS[1:])])
def test_validation_and_test_in_batches(validation: Any) -> None:
    pairs = getattr(validation, "batches", validation)
    x, y = np.concatenate([x for x, _ in pairs]), np.concatenate([y for _, y in pairs])
    model, early = rows(l2=0.1), EarlyStopping(3)
    history = model.fit(ROWS, LABELS, epochs=2, validation=validation, test=validation, callbacks=early)
    assert early.best_epoch > 0
    expected = model.evaluate(x, y)
    np.testing.assert_allclose(history[-1][3:5], expected[:2], rtol=1e-6)
    assert history[-1][8:10] == history[-1][3:5]
    assert model.evaluate(validation) == pytest.approx(expected, rel=1e-6)
    np.testing.assert_array_equal(model.predict(validation), model.predict(x))


def test_measures_of_batches_on_each_library(place: Place) -> None:
    model = rows(place[0], device=place[1])
    expected = model.evaluate(ROWS[:32], LABELS[:32])
    np.testing.assert_allclose(model.evaluate(PAIRS[:2]), expected, rtol=1e-6)
    np.testing.assert_array_equal(model.predict(PAIRS[:2]), model.predict(ROWS[:32]))


def test_evaluate_and_predict_take_generators() -> None:
    model = rows()
    weighted = ((x, y, np.arange(len(x))) for x, y in PAIRS)
    weights = np.concatenate([np.arange(len(x)) for x, _ in PAIRS])
    expected = model.evaluate(ROWS, LABELS, sample_weight=weights)
    np.testing.assert_allclose(model.evaluate(weighted), expected, rtol=1e-6)
    np.testing.assert_array_equal(model.predict(x for x, _ in PAIRS), model.predict(ROWS))
    np.testing.assert_array_equal(model.predict(pair for pair in PAIRS), model.predict(ROWS))
    np.testing.assert_array_equal(model.predict((x,) for x, _ in PAIRS), model.predict(ROWS))
    spoilt = [*PAIRS[:2], (np.full((2, 3), np.nan), [0, 1])]
    with pytest.raises(ShapeError, match=r"^batch 3: expected finite numbers in x, got nan at x\[0, 0\]"):
        model.evaluate(iter(spoilt))
    with pytest.raises(ShapeError, match=r"^batch 3: expected finite numbers in x, got nan at x\[0, 0\]"):
        model.predict(iter(spoilt))
    for call in (model.evaluate, model.predict):
        with pytest.raises(ConfigError, match="expected at least one batch, got none"):
            call(iter([]))
        with pytest.raises(ConfigError, match="expected no batch_size with an iterable of batches, got 3"):
            call(iter(PAIRS), batch_size=3)


def test_a_wrong_batch_of_validation_is_named() -> None:
    validation = [*PAIRS, (ROWS, LABELS[:5])]
    with pytest.raises(ShapeError, match=r"^validation: batch 4: CrossEntropy\(\): expected 40 labels"):
        rows().fit(PAIRS, epochs=1, validation=validation)


# Interrupts.


@pytest.mark.parametrize("steps_per_epoch", [None, 2])
@pytest.mark.parametrize("make", [list, Unsized, Items])
@pytest.mark.parametrize("by_file", [False, True])
def test_resume_in_an_epoch(
    make: Callable[[Any], Any], steps_per_epoch: int | None, by_file: bool, tmp_path: Path
) -> None:
    """The next `fit`, also in another process, gives the bits of the unbroken training."""
    options: dict[str, Any] = {"steps_per_epoch": steps_per_epoch}
    expected, broken = rows(), rows()
    expected.fit(make(PAIRS), epochs=3, **options)
    with pytest.raises(KeyboardInterrupt):
        broken.fit(make(PAIRS), epochs=3, callbacks=Steps((1, 1), KeyboardInterrupt), **options)
    assert (broken.epoch, broken.epoch_step) == (1, 1)
    model = broken
    if by_file:
        broken.save_checkpoint(tmp_path / "checkpoint")
        model = rows()
        model.load_checkpoint(tmp_path / "checkpoint")
    model.fit(make(PAIRS), epochs=2, **options)
    assert_same_state(model, expected)


def test_resume_from_checkpoints_between_epochs(tmp_path: Path) -> None:
    expected, broken, model = rows(), rows(), rows()
    expected.fit(PAIRS, epochs=4, steps_per_epoch=2)
    broken.fit(PAIRS, epochs=1, steps_per_epoch=2, callbacks=Checkpoints(tmp_path))
    checkpoints = Checkpoints(tmp_path)
    checkpoints.resume(model)
    model.fit(PAIRS, epochs=3, steps_per_epoch=2, callbacks=checkpoints)
    assert_same_state(model, expected)


def test_an_interrupted_epoch_goes_on_with_the_same_batches() -> None:
    def broken(*data: Any, **options: Any) -> xpnet.Model:
        model = rows()
        model.fit(*data, epochs=1, callbacks=Steps((0, 2)), **options)
        assert model.epoch_step == 2
        return model

    restart = "set model.epoch_step = 0 to restart the epoch"
    for model, again, options, line in (
        (broken(PAIRS), [ROWS, LABELS], {}, f"fit: expected an iterable of batches, as in the interrupted epoch 1, got Batches(examples=40, batch_size=64, shuffle=True); {restart}"),
        (broken(ROWS, LABELS, batch_size=16), [PAIRS], {}, f"fit: expected Batches(examples=40, batch_size=16, shuffle=True), as in the interrupted epoch 1, got an iterable of batches; {restart}"),
        (broken(PAIRS), [PAIRS], {"steps_per_epoch": 3}, f"got an iterable of batches with steps_per_epoch=3; {restart}"),
        (broken(PAIRS), [PAIRS[:1]], {}, f"fit: expected at least 2 batches, as in the interrupted epoch 1, got 1; {restart}"),
        (broken(PAIRS), [iter(PAIRS)], {}, "fit: expected batches that can be read again, to go on after step 2 of the interrupted epoch 1, got a list_iterator; set model.epoch_step = 0 to restart the epoch with the next batches"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=re.escape(line)):
            model.fit(*again, epochs=1, **options)
        model.epoch_step = 0
        model.fit(*again, epochs=1, **options)
        assert model.epoch == 1


def test_an_epoch_of_which_only_the_measures_are_missing() -> None:
    """`stop` after its last step, where nobody knows that it is the last."""
    model = rows()
    model.fit(Unsized(PAIRS), epochs=3, callbacks=Steps((0, 3)))
    assert (model.epoch, model.epoch_step) == (0, 3)
    model.fit(Unsized(PAIRS), epochs=3)
    assert_same_state(model, in_order())
    known = rows()
    known.fit(Items(PAIRS), epochs=3, callbacks=Steps((0, 3)))
    assert (known.epoch, known.epoch_step) == (1, 0)


def test_an_error_of_the_iterable_loses_no_step() -> None:
    def failing(fails: bool) -> Iterator[Any]:
        yield from PAIRS[:2]
        if fails:
            raise OSError("the disk is gone")
        yield PAIRS[2]

    class Failing:
        fails = True

        def __iter__(self) -> Iterator[Any]:
            return failing(self.fails)

    model, batches = rows(), Failing()
    with pytest.raises(OSError, match="the disk is gone") as error:
        model.fit(batches, epochs=1)
    assert error.value.__notes__ == ["fit: this came in place of batch 3 of epoch 1"]
    assert model.epoch_step == 2
    with pytest.raises(OSError, match="the disk is gone") as error:
        rows().fit(map(open, ["the disk is gone"]), epochs=1)
    assert error.value.__notes__ == ["fit: this came in place of batch 1 of epoch 1"]
    batches.fails = False
    model.fit(batches, epochs=3)
    assert_same_state(model, in_order())


def test_what_an_interrupted_generator_loses_is_told() -> None:
    model = rows()
    with pytest.raises(KeyboardInterrupt) as error:
        model.fit(iter(PAIRS), epochs=1, callbacks=Steps((0, 2), KeyboardInterrupt))
    assert error.value.__notes__ == [
        "fit: a list_iterator cannot be read again: its 32 examples of the interrupted epoch 1 do not come back"
    ]


# Divergence.


def diverging() -> xpnet.Model:
    return xpnet.Model(
        nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3)), losses.MeanSquaredError(), optim.SGD(1e30)
    )


PAIRS_TO_FIT = [(x, x) for x, _ in PAIRS]


def test_divergence_names_step_and_layer() -> None:
    model, held = diverging(), diverging()
    before = model.params["0"]["weight"].copy() if isinstance(model.params, dict) else None
    with pytest.raises(DivergedError) as error:
        model.fit(PAIRS_TO_FIT, epochs=2)
    with pytest.raises(DivergedError) as expected:
        held.fit(ROWS, ROWS, epochs=2, batch_size=16, shuffle=False)
    assert str(error.value) == str(expected.value)
    assert "of 3, learning rate 1e+30" in str(error.value)
    assert model.epoch_step == 0
    assert before is None or np.array_equal(model.params["0"]["weight"], before)
    with pytest.raises(
        DivergedError, match=r"step \d, learning rate 1e\+30: .*the first value that is not finite"
    ):
        diverging().fit(Unsized(PAIRS_TO_FIT), epochs=1)
    line = r"the batches can be read only once; pass a list of batches"
    with pytest.raises(DivergedError, match=line):
        diverging().fit(iter(PAIRS_TO_FIT), epochs=1)


def test_a_spoilt_batch_is_named() -> None:
    x = ROWS[:16].copy()
    x[3, 1] = np.nan
    with pytest.raises(DivergedError, match=r"is in the inputs, in step 2 \(nan at x\[3, 1\] of batch 2\)"):
        rows().fit([PAIRS[0], (x, LABELS[:16]), PAIRS[2]], epochs=1)


def test_steps_that_cannot_be_found_again() -> None:
    class Changing:
        spoilt = True

        def __iter__(self) -> Iterator[Any]:
            spoilt, self.spoilt = self.spoilt, False
            return iter([(np.full((2, 3), np.nan), [0, 1])] if spoilt else PAIRS)

    with pytest.raises(DivergedError, match="all values were finite: the batches come in another order each"):
        rows().fit(Changing(), epochs=1)


# Errors.


@pytest.mark.parametrize(
    ("batches", "error", "message"),
    [
        ([], ConfigError, "fit: expected at least one batch, got none"),
        (iter([]), ConfigError, "fit: expected at least one batch, got none"),
        ([*PAIRS, (ROWS[:, :2], LABELS)], ShapeError, "batch 4: Linear(3, 3): expected x of shape (n, 3), got (40, 2)"),
        ([*PAIRS, (ROWS, LABELS[:5])], ShapeError, "batch 4: CrossEntropy(): expected"),
        ([*PAIRS, (ROWS, LABELS + 1)], ShapeError, "batch 4: CrossEntropy(): expected"),
        ([*PAIRS, (ROWS[:0], LABELS[:0])], ShapeError, "batch 4: expected at least one example"),
        ([*PAIRS, (ROWS, LABELS, LABELS[:5])], ShapeError, "batch 4: sample_weight: expected 40 weights"),
        ([*PAIRS, (ROWS, LABELS, -LABELS)], ShapeError, "batch 4: sample_weight: expected finite weights of at least 0, got weights from -2"),
        ([*PAIRS, (ROWS, LABELS, LABELS)], ShapeError, "batch 4: expected y of shape (n,) without sample_weight, as in the first batch, got y of shape (n,) and sample_weight"),
        ([*PAIRS, (ROWS, np.eye(3)[LABELS])], ShapeError, "batch 4: expected y of shape (n,) without sample_weight, as in the first batch, got y of shape (n, 3)"),
        ([*PAIRS, (ROWS, ["a"] * 40)], ShapeError, "batch 4: expected an array of real numbers, got dtype <U1, with 'a' at y[0]"),
        ([*PAIRS, ROWS], ShapeError, "batch 4: expected (x, y) or (x, y, sample_weight), got an array of shape (40, 3)"),
        ([*PAIRS, (ROWS,)], ShapeError, "batch 4: expected (x, y) or (x, y, sample_weight), got a tuple of 1 items"),
        (iter([ROWS]), ShapeError, "batch 1: expected (x, y) or (x, y, sample_weight), got an array of shape (40, 3)"),
        (iter([3]), ShapeError, "batch 1: expected (x, y) or (x, y, sample_weight), got an int"),
        (Unsized([{"image": ROWS, "label": LABELS}]), ShapeError, "got a dict with the keys 'image', 'label'; make each batch (batch['image'], batch['label'])"),
        (Items(list(zip(ROWS, LABELS, strict=True))), ShapeError, "batch 1: expected (x, y) or (x, y, sample_weight) of many examples, got one example; group them, as torch.utils.data.DataLoader"),
        (Items([]), ConfigError, "fit: expected at least one batch, got none"),
        (ROWS, ConfigError, "fit: expected y to be the targets of x, got None; write fit(x, y)"),
        (ROWS.tolist(), ConfigError, "fit: expected y to be the targets of x, got None; write fit(x, y)"),
        (None, ConfigError, "fit: expected y to be the targets of x, got None; write fit(x, y)"),
        ("data.npz", ConfigError, "fit: expected y to be the targets of x, got None; write fit(x, y)"),
        ({"x": ROWS}, ConfigError, "fit: expected y to be the targets of x, got None; write fit(x, y)"),
        (data.Examples(ROWS, LABELS), ConfigError, "fit: expected x to be an array, got a pair; write fit(*examples)"),
    ],
)  # fmt: skip
def test_refused_batches(batches: Any, error: type[Exception], message: str) -> None:
    model = rows()
    before = model.params["weight"].copy()
    with pytest.raises(error) as raised:
        model.fit(batches, epochs=1)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert model.epoch_step == 0
    np.testing.assert_array_equal(model.params["weight"], before)


def test_a_second_pass_without_batches() -> None:
    class OneTime:
        batches = iter(PAIRS)

        def __iter__(self) -> Iterator[Any]:
            return self.batches

    model = rows()
    with pytest.raises(
        ConfigError, match=r"fit: expected batches in epoch 2 too, got none: an? OneTime that gives"
    ):
        model.fit(OneTime(), epochs=2)
    assert model.epoch == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 8}, "fit: expected no batch_size with an iterable of batches, got 8; the iterable makes the batches"),
        ({"shuffle": True}, "fit: expected no shuffle with an iterable of batches, got True; the iterable decides the order"),
        ({"validation_split": 0.2}, "fit: expected no validation_split with an iterable of batches, got 0.2; pass validation"),
        ({"sample_weight": np.ones(40)}, "got an array of shape (40,); make each batch (x, y, sample_weight)"),
        ({"data_on_device": True}, "fit: expected no data_on_device with an iterable of batches, got True"),
        ({"train_metrics": "end", "steps_per_epoch": 2}, 'fit: expected batches for another pass with train_metrics="end", got steps_per_epoch=2'),
        ({"x": iter(PAIRS), "epochs": 1, "train_metrics": "end"}, 'with train_metrics="end", got a list_iterator'),
        ({"x": iter(PAIRS)}, "fit: expected batches that can be read in each of 2 epochs, got a list_iterator, which is read once; pass steps_per_epoch,"),
        ({"validation": iter(PAIRS)}, "fit: expected validation batches that can be read in each of 2 epochs, got a list_iterator"),
        ({"test": iter(PAIRS)}, "fit: expected test batches that can be read in each of 2 epochs, got a list_iterator"),
        ({"steps_per_epoch": 0}, "fit: expected steps_per_epoch to be an integer of at least 1, got 0"),
        ({"x": ROWS, "y": LABELS, "steps_per_epoch": 2}, "fit: expected no steps_per_epoch with arrays, got 2"),
    ],
)  # fmt: skip
def test_refused_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        rows().fit(**{"x": PAIRS, "epochs": 2, **arguments})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


class Endless(PyDataset):
    num_batches = None

    def __getitem__(self, i: int) -> Any:
        return PAIRS[i % 3]


def test_batches_that_never_end() -> None:
    """Data sets of TensorFlow and Keras that repeat: only steps make an epoch of them."""
    model = rows()
    first = "pass the first ones, as dataset.take"
    for batches in (Dataset(PAIRS, -1), Endless(), PyDataset()):
        that = f"batches that end, got an? {type(batches).__name__}, which repeats for ever; "
        with pytest.raises(ConfigError, match=f"^fit: expected {that}pass steps_per_epoch"):
            model.fit(batches, epochs=1)
        with pytest.raises(ConfigError, match=f"^fit: expected validation {that}{first}"):
            model.fit(PAIRS, epochs=1, validation=batches)
        with pytest.raises(ConfigError, match=f"^evaluate: expected {that}{first}"):
            model.evaluate(batches)
        with pytest.raises(ConfigError, match=f"^predict: expected {that}{first}"):
            model.predict(batches)
    for batches in (Dataset(PAIRS, -1), Endless()):
        model = rows()
        model.fit(batches, epochs=3, steps_per_epoch=3)
        assert_same_state(model, in_order())


def test_data_sets_that_are_no_batches_tell_the_way_out() -> None:
    examples = Dataset(
        [(EagerTensor(x), EagerTensor(np.asarray(y))) for x, y in zip(ROWS, LABELS, strict=True)]
    )
    one = (
        "batch 1: expected (x, y) or (x, y, sample_weight) of many examples, got one example; group them, as "
    )
    alone = "got a Dataset; pass one data set alone, without y, of batches, as x.batch(64) makes them"
    keyed = Dataset([{"image": ROWS, "label": LABELS}])
    for call, message in (
        (
            lambda: rows().fit(examples, epochs=1),
            one + "torch.utils.data.DataLoader(examples, batch_size=64) or",
        ),
        (lambda: rows().evaluate(examples), one),
        (lambda: rows().predict(examples), alone),
        (lambda: rows().fit(examples, LABELS), alone),
        (
            lambda: rows().predict(keyed),
            "batch 1: expected x or (x, y), got a dict with the keys 'image', 'label'",
        ),
    ):
        with pytest.raises(ShapeError, match=re.escape(message)):
            call()


def test_arguments_that_mean_something() -> None:
    history = rows().fit(PAIRS, epochs=1, shuffle=False, data_on_device=False, validation=(ROWS, LABELS))
    assert history[0].validation_loss is not None
    assert rows().fit(PAIRS, epochs=1, validation=iter(PAIRS))[0].validation_loss is not None
    balanced = xpnet.Model(nn.Linear(3, 3), losses.CrossEntropy(class_weights="balanced"), optim.SGD(0.1))
    with pytest.raises(ConfigError, match="expected numbers for class_weights with an iterable of batches"):
        balanced.fit(PAIRS, epochs=1)
    nothing = [*PAIRS[:1], (ROWS, LABELS)]
    weights = [(x, y, np.full(len(x), float(i))) for i, (x, y) in enumerate(nothing)]
    assert rows().fit(weights, epochs=1)[0].train_loss > 0  # a batch may have no weight above 0


def test_the_progress_of_batches_without_a_length(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(progress_bar, "REDRAW_SECONDS", 0.0)
    monkeypatch.setattr(progress_bar, "_is_terminal", lambda stream: True)
    rows().fit(Unsized(PAIRS), epochs=1, progress=True)
    _, shown = capfd.readouterr()
    assert "epoch 1/1  step 2  running loss" in shown
    assert "left" not in shown
    rows().fit(PAIRS, epochs=1, progress=True)
    assert "epoch 1/1  step 2/3  running loss" in capfd.readouterr().err


def test_nothing_of_pytorch_warns() -> None:
    """A loader that shuffles, with a worker's collation, on every backend."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for backend in ("numpy", "torch"):
            model = rows(backend)
            model.fit(loader(shuffle=True, drop_last=True), epochs=2, validation=loader())
            assert model.evaluate(loader()).accuracy == model.history[-1].validation_accuracy
            np.testing.assert_array_equal(model.predict(loader()), model.predict(ROWS))
