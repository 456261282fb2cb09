"""The tables of cases. Every public class needs a row here, or `test_completeness.py` fails.

Each row is tested by all laws: layers and losses in `test_laws.py`, optimizers in `test_optim.py`, schedules in
`test_schedules.py`, initialisers in `test_init.py`, augmentations in `test_augment.py`, data sets in
`test_datasets.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import data_files
from xpnet import init, losses, nn, optim
from xpnet.data import cifar, idx_sets
from xpnet.data.augment import Augmentation, Compose, Cutout, HorizontalFlip, RandomCrop
from xpnet.schedules import Constant, Cosine, Exponential, OneCycle, ReduceOnPlateau, Schedule, Step
from xpnet.testing.losses import LossTrial
from xpnet.testing.subject import draw
from xpnet.testing.trial import LayerTrial

__all__ = ["AUGMENTATIONS", "DATASETS", "INITIALIZERS", "LAYERS", "LOSSES", "OPTIMIZERS", "SCHEDULES", "draw"]


@dataclass(frozen=True)
class LayerCase:
    """A layer, the shape of an input, and a shape that it must refuse with `message`.

    `stacks`: the parameters may have a leading axis of K networks. `training`: test the layer in training
    mode. `entries`: inputs are integers below this number.
    """

    layer: nn.Layer
    shape: tuple[int, ...]
    refused: tuple[int, ...] | None = None
    message: str = ""
    stacks: bool = True
    training: bool = False
    entries: int = 0

    def __str__(self) -> str:
        return f"{self.layer} {self.shape}{' in training' * self.training}"

    @property
    def trial(self) -> LayerTrial:
        return LayerTrial(self.layer, self.draw_x(), self.training, tolerances=(2e-6, 1e-13))

    def draw_x(self) -> np.ndarray:
        if self.entries:
            return np.random.default_rng(0).integers(self.entries, size=self.shape)
        return draw(self.shape)


LAYERS = [
    LayerCase(nn.Linear(5, 3), (4, 5), (4, 6), "Linear(5, 3): expected x of shape (n, 5), got (4, 6)"),
    LayerCase(
        nn.Linear(5, 3, bias=False), (4, 5), (5,), "Linear(5, 3, bias=False): expected x of shape (n, 5)"
    ),
    LayerCase(
        nn.Linear(1, 1, bias_init=init.normal), (1, 1), (1, 2), "Linear(1, 1): expected x of shape (n, 1)"
    ),
    LayerCase(nn.Identity(), (4, 5)),
    LayerCase(nn.ReLU(), (4, 5)),
    LayerCase(nn.LeakyReLU(), (4, 5)),
    LayerCase(nn.LeakyReLU(slope=0.3), (4, 5)),
    LayerCase(nn.ELU(), (4, 5)),
    LayerCase(nn.ELU(alpha=1.7), (4, 5)),
    LayerCase(nn.GELU(), (4, 5)),
    LayerCase(nn.GELU(form="tanh"), (4, 5)),
    LayerCase(nn.GELU(form="sigmoid"), (4, 5)),
    LayerCase(nn.SiLU(), (4, 5)),
    LayerCase(nn.Softplus(), (4, 5)),
    LayerCase(nn.Sigmoid(), (4, 5)),
    LayerCase(nn.Tanh(), (4, 5)),
    LayerCase(nn.Softmax(), (4, 5)),
    LayerCase(nn.Softmax(), (3, 1)),
    LayerCase(nn.Flatten(), (4, 2, 3, 5), (4,), "Flatten(): expected x of shape (n, ...)", stacks=False),
    LayerCase(nn.Flatten(), (1, 6), (), "Flatten(): expected x of shape (n, ...), got ()", stacks=False),
    LayerCase(nn.Sequential(), (4, 5)),
    LayerCase(
        nn.Sequential(nn.Linear(5, 4), nn.Sigmoid(), nn.Linear(4, 3), nn.Tanh()),
        (6, 5),
        (6, 4),
        "layer 0, Linear(5, 4): expected x of shape (n, 5), got (6, 4)",
    ),
    LayerCase(
        nn.Sequential(nn.Tanh(), nn.Sequential(nn.Linear(5, 4), nn.ReLU()), nn.Linear(4, 3), nn.Identity()),
        (6, 5),
        (6, 4),
        "layer 1, layer 0, Linear(5, 4): expected x of shape (n, 5), got (6, 4)",
    ),
    LayerCase(
        nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 2)),
        (3, 2, 3, 2),
        (3, 2, 3, 3),
        "layer 1, Linear(12, 4): expected x of shape (n, 12), got (3, 18)",
        stacks=False,
    ),
]

# Images. 6x5 and 7x8 are odd sizes, (3, 1) is a stride above the kernel, 5 a kernel as large as the image.
_PARAMETERS = {"bias_init": init.normal}
LAYERS += [
    LayerCase(layer, shape, refused, message, stacks=False)
    for layer, shape, refused, message in [
        (
            nn.Conv2d(3, 4, 3, **_PARAMETERS),
            (2, 6, 5, 3),
            (2, 6, 5, 4),
            "Conv2d(3, 4, 3): expected x of shape (n, h, w, 3), got (2, 6, 5, 4)",
        ),
        (
            nn.Conv2d(3, 4, 3),
            (1, 3, 3, 3),
            (1, 2, 3, 3),
            "Conv2d(3, 4, 3): expected x of shape (n, h, w, 3) with room for a window, got (1, 2, 3, 3)",
        ),
        (
            nn.Conv2d(1, 2, 5, padding="same", bias=False),
            (2, 5, 5, 1),
            (2, 5, 5),
            "Conv2d(1, 2, 5, padding='same', bias=False): expected x of shape (n, h, w, 1), got (2, 5, 5)",
        ),
        (nn.Conv2d(2, 3, 2, padding="same"), (3, 7, 8, 2), None, ""),
        (nn.Conv2d(2, 3, (2, 4), (3, 2), "same"), (2, 7, 8, 2), None, ""),
        (nn.Conv2d(2, 3, 3, 2, 1), (2, 7, 8, 2), None, ""),
        (
            nn.Conv2d(2, 3, 4, 1, 2),
            (2, 3, 5, 2),
            None,
            "",
        ),
        (nn.Conv2d(2, 3, (2, 1), (3, 4)), (2, 9, 7, 2), None, ""),
        (nn.Conv2d(2, 3, 1), (2, 4, 3, 2), None, ""),
        (nn.Conv2d(2, 1, (5, 4), 2), (1, 5, 4, 2), None, ""),
        (
            nn.Conv1d(3, 4, 3),
            (2, 7, 3),
            (2, 7, 3, 3),
            "Conv1d(3, 4, 3): expected x of shape (n, t, 3), got (2, 7, 3, 3)",
        ),
        (nn.Conv1d(2, 3, 4, 3, "same"), (3, 8, 2), None, ""),
        (
            nn.MaxPool2d(2),
            (2, 6, 4, 3),
            (2, 6, 4),
            "MaxPool2d(2): expected x of shape (n, h, w, c), got (2, 6, 4)",
        ),
        (
            nn.MaxPool2d(3, 2),
            (2, 8, 7, 2),
            (2, 8, 2, 2),
            "MaxPool2d(3, stride=2): expected x of shape (n, h, w, c) with room for a window, got (2, 8, 2, 2)",
        ),
        (nn.MaxPool2d((2, 3), (3, 4)), (1, 9, 8, 2), None, ""),
        (nn.MaxPool2d(4), (2, 4, 4, 1), None, ""),
        (
            nn.MaxPool1d(3, 1),
            (2, 7, 2),
            (2, 7),
            "MaxPool1d(3, stride=1): expected x of shape (n, t, c), got (2, 7)",
        ),
        (
            nn.AvgPool2d(2),
            (2, 6, 5, 3),
            (2, 1, 5, 3),
            "AvgPool2d(2): expected x of shape (n, h, w, c) with room for a window, got (2, 1, 5, 3)",
        ),
        (nn.AvgPool2d((3, 2), (1, 3)), (2, 7, 8, 2), None, ""),
        (nn.AvgPool1d(2, 3), (1, 8, 2), None, ""),
        (
            nn.GlobalAvgPool(),
            (2, 3, 4, 5),
            (2, 5),
            "GlobalAvgPool(): expected x of shape (n, ..., c), got (2, 5)",
        ),
        (nn.GlobalAvgPool(), (1, 7, 2), None, ""),
        (
            nn.Sequential(
                nn.Conv2d(1, 2, 3, padding="same"), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 3)
            ),
            (2, 4, 7, 1),
            (2, 4, 9, 1),
            "layer 4, Linear(12, 3): expected x of shape (n, 12), got (2, 16)",
        ),
    ]
]

_BLOCK = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm(4), nn.Dropout(0.3), nn.Linear(4, 5))
LAYERS += [
    LayerCase(layer, shape, refused, message, training=training)
    for layer, shape, refused, message in [
        (nn.BatchNorm(5), (4, 5), (4, 6), "BatchNorm(5): expected x of shape (n, ..., 5), got (4, 6)"),
        (
            nn.BatchNorm(3, 0.2, 0.1),
            (2, 4, 3, 3),
            (3,),
            "BatchNorm(3, momentum=0.2, epsilon=0.1): expected x of shape (n, ..., 3), got (3,)",
        ),
        (nn.Dropout(0.3), (4, 5), None, ""),
        (nn.Dropout(0.9), (2, 3, 2, 5), None, ""),
        (nn.GaussianNoise(0.5), (4, 5), None, ""),
        (
            nn.Residual(_BLOCK),
            (6, 5),
            (6, 4),
            "branch, layer 0, Linear(5, 4): expected x of shape (n, 5), got (6, 4)",
        ),
        (
            nn.Sequential(nn.GaussianNoise(0.1), nn.Residual(_BLOCK, nn.Linear(5, 5)), nn.Tanh()),
            (6, 5),
            None,
            "",
        ),
    ]
    for training in (False, True)
]
_MIXES = (nn.BatchNorm(5), nn.BatchNorm(3, 0.2, 0.1))
LAYERS = [replace(case, stacks=case.layer in _MIXES) if case.training else case for case in LAYERS]
LAYERS += [
    LayerCase(nn.BatchNorm(2), (1, 2), training=True),
    LayerCase(nn.LayerNorm(5), (4, 5), (4, 6), "LayerNorm(5): expected x of shape (n, ..., 5), got (4, 6)"),
    LayerCase(nn.LayerNorm(3, epsilon=0.1), (2, 4, 3, 3)),
    LayerCase(
        nn.GroupNorm(2, 6), (4, 6), (4, 5), "GroupNorm(2, 6): expected x of shape (n, ..., 6), got (4, 5)"
    ),
    LayerCase(nn.GroupNorm(3, 6, epsilon=0.1), (2, 4, 3, 6)),
    LayerCase(nn.GroupNorm(1, 4), (3, 5, 4)),
    LayerCase(nn.GroupNorm(4, 4), (3, 5, 4)),
    LayerCase(nn.Residual(nn.Sequential()), (4, 5)),
    LayerCase(
        nn.Residual(nn.Conv1d(2, 2, 1, 2)),
        (3, 1, 2),
        (3, 4, 2),
        "Residual: expected branch and shortcut to return the same shape, got (3, 2, 2) and (3, 4, 2)",
        stacks=False,
    ),
    LayerCase(
        nn.Embedding(7, 3),
        (4,),
        (),
        "Embedding(7, 3): expected x of shape (n, ...), got ()",
        stacks=False,
        entries=7,
    ),
    LayerCase(nn.Embedding(7, 3), (4, 2), stacks=False, entries=7),
    LayerCase(
        nn.Tied(nn.Sequential(nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 5)), {"2.weight": "0.weight.T"}),
        (4, 5),
        (4, 6),
        "layer 0, Linear(5, 3): expected x of shape (n, 5), got (4, 6)",
    ),
]
LAYERS += [
    LayerCase(
        nn.Tied(nn.Residual(_BLOCK, nn.Linear(5, 5)), {"shortcut.bias": "branch.3.bias"}),
        (6, 5),
        stacks=not training,
        training=training,
    )
    for training in (False, True)
]


@dataclass(frozen=True)
class LossCase:
    """A loss with a target; predictions of shape `shape` are drawn."""

    name: str
    loss: losses.Loss
    shape: tuple[int, ...]
    target: Any

    @property
    def trial(self) -> LossTrial:
        return LossTrial(self.loss, draw(self.shape), self.target, tolerances=(2e-6, 1e-13))

    def __str__(self) -> str:
        return f"{self.loss} {self.name}"


_SOFT = np.random.default_rng(7).dirichlet(np.ones(3), size=4)
_MASS = _SOFT * [[2.0], [0.0], [0.5], [1.0]]
_REAL = np.random.default_rng(8).uniform(-2, 2, (4, 3))
_WEIGHTS = (0.5, 2.0, 1.25)
LOSSES = [
    LossCase("labels", losses.CrossEntropy(), (4, 3), np.array([0, 2, 1, 2])),
    LossCase("one-hot", losses.CrossEntropy(), (4, 3), np.eye(3)[[0, 2, 1, 2]]),
    LossCase("soft", losses.CrossEntropy(), (4, 3), _SOFT),
    LossCase("one example", losses.CrossEntropy(), (1, 2), np.array([1])),
    LossCase("one class", losses.CrossEntropy(), (3, 1), np.array([0, 0, 0])),
    LossCase("labels", losses.CrossEntropy(label_smoothing=0.1), (4, 3), np.array([0, 2, 1, 2])),
    LossCase("soft", losses.CrossEntropy(label_smoothing=0.1), (4, 3), _SOFT),
    LossCase("labels", losses.CrossEntropy(class_weights=_WEIGHTS), (4, 3), np.array([0, 2, 1, 2])),
    LossCase("soft", losses.CrossEntropy(class_weights=_WEIGHTS), (4, 3), _SOFT),
    LossCase("labels", losses.CrossEntropy(0.2, _WEIGHTS), (4, 3), np.array([0, 2, 1, 2])),
    LossCase("soft", losses.CrossEntropy(0.2, _WEIGHTS), (4, 3), _SOFT),
    LossCase("rows of any sum", losses.CrossEntropy(), (4, 3), _MASS),
    LossCase("rows of any sum", losses.CrossEntropy(0.2, _WEIGHTS), (4, 3), _MASS),
    LossCase("labels", losses.CrossEntropy(class_weights={1: 3.0}), (4, 3), np.array([0, 2, 1, 2])),
    LossCase("labels", losses.CrossEntropy(ignore_label=-100), (4, 3), np.array([0, -100, 1, 2])),
    LossCase("none counts", losses.CrossEntropy(ignore_label=-1), (2, 3), np.array([-1, -1])),
    LossCase("labels", losses.CrossEntropy(0.2, _WEIGHTS, 1), (4, 3), np.array([0, 2, 1, 2])),
    LossCase("rows of any sum", losses.CrossEntropy(0.2, _WEIGHTS, -100), (4, 3), _MASS),
    LossCase("real", losses.BinaryCrossEntropy(), (4, 3), _SOFT),
    LossCase("real", losses.BinaryCrossEntropy(2.5), (4, 3), _SOFT),
    LossCase("real", losses.BinaryCrossEntropy((2.5, 0.5, 1.0)), (4, 3), _SOFT),
    LossCase("labels", losses.BinaryCrossEntropy(pos_weight=3), (5, 1), np.array([0, 1, 1, 0, 1])),
    LossCase("yes and no", losses.BinaryCrossEntropy(), (4, 3), np.eye(3)[[0, 2, 1, 2]]),
    LossCase("labels", losses.BinaryCrossEntropy(), (5, 1), np.array([0, 1, 1, 0, 1])),
    LossCase("labels", losses.Hinge(), (4, 3), np.array([0, 2, 1, 2])),
    LossCase("labels", losses.Hinge(margin=0.3), (4, 3), np.array([0, 2, 1, 2])),
    LossCase("one class", losses.Hinge(), (3, 1), np.array([0, 0, 0])),
    LossCase("real", losses.MeanAbsoluteError(), (4, 3), _REAL),
    LossCase("labels", losses.MeanAbsoluteError(), (4, 3), np.array([0, 2, 1, 2])),
    LossCase("real", losses.Huber(), (4, 3), _REAL),
    LossCase("real", losses.Huber(delta=0.4), (4, 3), _REAL),
    LossCase("labels", losses.Huber(), (4, 3), np.array([0, 2, 1, 2])),
    LossCase("real", losses.MeanSquaredError(), (4, 3), _SOFT),
    LossCase("labels", losses.MeanSquaredError(), (4, 3), np.array([0, 2, 1, 2])),
    LossCase("one output", losses.MeanSquaredError(), (5, 1), np.linspace(-1, 1, 5)[:, None]),
    LossCase("counts", losses.MeanSquaredError(), (5, 1), np.array([3, 0, 1, 7, 2])),
]

# `test_optim.textbook` has the formula from each paper.
OPTIMIZERS = [
    optim.SGD(0.1),
    optim.SGD(0.1, weight_decay=0.3),
    optim.SGD(0.1, momentum=0.9),
    optim.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.3),
    optim.EMAMomentum(0.1, beta=0.8),
    optim.EMAMomentum(0.1, beta=0.8, weight_decay=0.3),
    optim.RMSprop(0.01),
    optim.RMSprop(0.01, 0.9, 1e-3, weight_decay=0.3),
    optim.Adagrad(0.1),
    optim.Adagrad(0.1, 1e-3, weight_decay=0.3),
    optim.Adam(0.01),
    optim.Adam(0.01, 0.8, 0.95, 1e-3, weight_decay=0.3),
    optim.Adam(0.01, 0.0, 0.0),
    optim.AdamW(0.01),
    optim.AdamW(0.01, 0.8, 0.95, 1e-3, weight_decay=0.3),
    optim.NAdam(0.01),
    optim.NAdam(0.01, 0.8, 0.95, 1e-3, weight_decay=0.3, momentum_decay=0.1),
    optim.NAdam(0.01, 0.0, 0.0),
    optim.Lion(0.01),
    optim.Lion(0.01, 0.8, 0.95, weight_decay=0.3),
    optim.ClipNorm(optim.SGD(0.1, 0.9), 1.5),
    optim.ClipNorm(optim.SGD(0.1), 1e9),
    optim.ClipValue(optim.Adam(0.01), 0.5),
    optim.AverageWeights(optim.ClipNorm(optim.Adam(0.01), 1.0), 0.9),
    optim.ClipValue(optim.AverageWeights(optim.SGD(0.1), 0.9), 1.0),
]


@dataclass(frozen=True)
class ScheduleCase:
    """A schedule with its values at some times, or after each of some validation losses."""

    make: Callable[[], Schedule]
    values: dict[float, float]
    losses: tuple[float, ...] = ()

    def __str__(self) -> str:
        schedule = self.make()
        return f"{type(schedule).__name__}{sorted(self.values)}"


SCHEDULES = [
    ScheduleCase(Constant, {0: 1, 7.5: 1}),
    ScheduleCase(partial(Step, 2, 0.5), {0: 1, 1.99: 1, 2: 0.5, 5: 0.25}),
    ScheduleCase(partial(Exponential, 0.81), {0: 1, 1: 0.81, 0.5: 0.9, 2: 0.6561}),
    ScheduleCase(partial(Cosine, 10), {0: 1, 5: 0.5, 10: 0, 12: 0}),
    ScheduleCase(partial(Cosine, 10, warmup=2, final=0.2), {0: 0, 1: 0.5, 2: 1, 6: 0.6, 10: 0.2, 99: 0.2}),
    ScheduleCase(partial(OneCycle, 10, 0.4, 0.2, 0.1), {0: 0.2, 2: 0.6, 4: 1, 7: 0.55, 10: 0.1, 11: 0.1}),
    ScheduleCase(
        partial(ReduceOnPlateau, 0.5, patience=1),
        {0: 1, 1: 1, 2: 1, 3: 0.5, 4: 0.5, 5: 0.25, 6: 0.25},
        losses=(3.0, 3.0, 3.0, 3.5, 3.0, 2.0),
    ),
]


@dataclass(frozen=True)
class InitializerCase:
    """An initialiser, with the mean, the standard deviation and the bound of a weight (400, 300) from it."""

    initializer: init.Initializer
    deviation: float
    bound: float | None = None
    mean: float = 0.0

    @property
    def name(self) -> str:
        """The name of the function in `xpnet.init`, also for a partial of it or for its result."""
        function = getattr(self.initializer, "func", self.initializer)
        return getattr(function, "__name__", type(function).__name__.strip("_").lower())

    def __str__(self) -> str:
        return f"{self.name} {self.deviation:.3g}"


INITIALIZERS = [
    InitializerCase(init.zeros, 0, 0),
    InitializerCase(init.ones, 0, 1, mean=1),
    InitializerCase(init.normal, 1),
    InitializerCase(partial(init.normal, std=0.01), 0.01),
    InitializerCase(init.uniform, 1 / np.sqrt(3), 1),
    InitializerCase(partial(init.uniform, low=-0.5, high=0.5), 0.5 / np.sqrt(3), 0.5),
    InitializerCase(init.fan_out_uniform, np.sqrt(1 / 900), np.sqrt(1 / 300)),
    InitializerCase(init.lecun_normal, np.sqrt(1 / 400)),
    InitializerCase(init.lecun_uniform, np.sqrt(1 / 400), np.sqrt(3 / 400)),
    InitializerCase(init.glorot_normal, np.sqrt(2 / 700)),
    InitializerCase(init.glorot_uniform, np.sqrt(2 / 700), np.sqrt(6 / 700)),
    InitializerCase(init.he_normal, np.sqrt(2 / 400)),
    InitializerCase(init.he_uniform, np.sqrt(2 / 400), np.sqrt(6 / 400)),
    InitializerCase(init.orthogonal, np.sqrt(1 / 400)),
    InitializerCase(init.scaled(init.normal, 0.001), 0.001),
]

# `test_augment.naive` has a loop over images for each.
AUGMENTATIONS: list[Augmentation] = [
    RandomCrop(),
    RandomCrop(1),
    RandomCrop(9),
    HorizontalFlip(),
    HorizontalFlip(0.2),
    Cutout(1),
    Cutout(4),
    Cutout(5),
    Cutout(40),
    Compose(),
    Compose(RandomCrop(2), HorizontalFlip(), Cutout(3)),
    Compose(HorizontalFlip(), Compose(RandomCrop(2), RandomCrop(1))),
]


@dataclass(frozen=True)
class DatasetCase:
    """A data set, the shape of its examples, their number, and a function that writes small files if needed."""

    name: str
    example: tuple[int, ...]
    train: int
    test: int
    classes: int = 10
    class_names: int = 0
    write: Callable[[Path], object] | None = None

    def __str__(self) -> str:
        return self.name


CIFAR_RECORDS = 4  # per file written here; tests set `cifar.RECORDS` (10,000) to this number


def _write_cifar(folder: Path) -> None:
    (folder / "cifar10").mkdir()
    records = np.random.default_rng(0).integers(0, 256, (CIFAR_RECORDS, cifar.RECORD), np.uint8)
    records[:, 0] %= 10
    for file in (*cifar.TRAIN_FILES, cifar.TEST_FILE):
        (folder / "cifar10" / file).write_bytes(records.tobytes())


def _write_cifar100(folder: Path) -> None:
    (folder / "cifar100").mkdir()
    for file, batches in (("train.bin", 5), ("test.bin", 1)):
        shape = (batches * CIFAR_RECORDS, 1 + cifar.RECORD)
        records = np.random.default_rng(0).integers(0, 100, shape, np.uint8)
        (folder / "cifar100" / file).write_bytes(records.tobytes())


def _write_csv(folder: Path) -> None:
    for name, labels in (("train.csv", (0, 2, 1)), ("test.csv", (1, 0))):
        (folder / name).write_text("".join(f"{label},0,128,255\n" for label in labels))


def _write_idx(name: str) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        kind = idx_sets.SETS[name]
        content = dict(zip(kind.files, data_files.small_files(first=kind.first).values(), strict=True))
        data_files.write(folder, content, name)

    return write


def _write_npz(folder: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (5, 6, 7), np.uint8)
    x[0, 0, 0] = 255
    np.savez(folder / "a.npz", x_train=x[:3], y_train=[0, 2, 1], x_test=x[3:], y_test=[[1], [0]])


def _write_npy(folder: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(folder / "x.npy", rng.random((20, 3)))
    np.save(folder / "y.npy", np.arange(20) % 2)


def _write_pictures(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / "pets" / name).mkdir(parents=True)
        for i in range(10):
            picture = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
            picture.save(folder / "pets" / name / f"{i}.png")


IDX = [(name, kind.classes, len(kind.class_names)) for name, kind in idx_sets.SETS.items()]
DATASETS = [
    DatasetCase("mnist-sample", (28, 28, 1), 3000, 1000),
    DatasetCase("shapes", (32, 32, 3), 2000, 500, class_names=10),
    *(DatasetCase(name, (28, 28, 1), 3, 2, classes, names, _write_idx(name)) for name, classes, names in IDX),
    DatasetCase("cifar10", (32, 32, 3), 5 * CIFAR_RECORDS, CIFAR_RECORDS, class_names=10, write=_write_cifar),
    DatasetCase(
        "cifar100", (32, 32, 3), 5 * CIFAR_RECORDS, CIFAR_RECORDS, 100, class_names=100, write=_write_cifar100
    ),
    DatasetCase("csv:train.csv,test.csv", (3,), 3, 2, classes=3, write=_write_csv),
    DatasetCase("npz:a.npz", (6, 7, 1), 3, 2, classes=3, write=_write_npz),
    DatasetCase("npy:x.npy,y.npy", (3,), 16, 4, classes=2, write=_write_npy),
    DatasetCase("folder:pets", (5, 6, 3), 16, 4, classes=2, class_names=2, write=_write_pictures),
    DatasetCase("sklearn:digits", (8, 8, 1), 1438, 359, class_names=10),
]
