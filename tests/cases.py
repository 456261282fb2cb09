"""The table of cases: layers and losses with inputs. A row here gets all the laws of `test_laws.py`."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet import init, losses, nn


@dataclass(frozen=True)
class LayerCase:
    """A layer, the shape of an input, and a shape that it must refuse with that message.

    `stacks` tells that a leading axis of K networks may stand before all parameters.
    """

    layer: nn.Layer
    shape: tuple[int, ...]
    refused: tuple[int, ...] | None = None
    message: str = ""
    stacks: bool = True

    def __str__(self) -> str:
        return f"{self.layer} {self.shape}"


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


@dataclass(frozen=True)
class LossCase:
    """A loss with a target; predictions are drawn in `shape`."""

    name: str
    loss: losses.Loss
    shape: tuple[int, ...]
    target: Any

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


def draw(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Inputs of both signs, none of them near 0, where ReLU has its kink."""
    rng = np.random.default_rng(seed)
    return rng.choice([-1.0, 1.0], shape) * rng.uniform(0.1, 1.5, shape)
