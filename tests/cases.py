"""The table of cases: layers and losses with inputs. A row here gets all the laws of `test_laws.py`."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xpnet import init, losses, nn
from xpnet.testing.losses import LossTrial
from xpnet.testing.subject import draw
from xpnet.testing.trial import LayerTrial

__all__ = ["LAYERS", "LOSSES", "LayerCase", "LossCase", "draw"]


@dataclass(frozen=True)
class LayerCase:
    """A layer, the shape of an input, and a shape that it must refuse with that message.

    `stacks` tells that a leading axis of K networks may stand before all parameters, `training` that
    the layer is tried as it is in training, `entries` that inputs are whole numbers below that.
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
            "Conv2d(3, 4, 3): expected x of shape (n, h, w, 3) that a window fits in, got (1, 2, 3, 3)",
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
            "MaxPool2d(3, stride=2): expected x of shape (n, h, w, c) that a window fits in, got (2, 8, 2, 2)",
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
            "AvgPool2d(2): expected x of shape (n, h, w, c) that a window fits in, got (2, 1, 5, 3)",
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
    LayerCase(nn.Residual(nn.Sequential()), (4, 5)),
    LayerCase(
        nn.Residual(nn.Conv1d(2, 2, 1, 2)),
        (3, 1, 2),
        (3, 4, 2),
        "Residual: expected branch and shortcut to give one shape, got (3, 2, 2) and (3, 4, 2)",
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
]


@dataclass(frozen=True)
class LossCase:
    """A loss with a target; predictions are drawn in `shape`."""

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
    LossCase("real", losses.BinaryCrossEntropy(), (4, 3), _SOFT),
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
]
