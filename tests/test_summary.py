"""The summary of a training step, compared with what a step really does."""

import gc
import math
import tracemalloc
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import xpnet
from cases import LAYERS, LayerCase, draw
from xpnet import losses, nn, optim, random, tree
from xpnet._training import cost, summary
from xpnet.nn import conv

KEY = random.Key(np.zeros(1, np.int32), 7)


def flops(layer: nn.Layer, *shape: int) -> cost.Flops:
    return cost.flops(layer, layer.init(np.random.default_rng(0)), shape)


def test_flops_of_a_linear_layer() -> None:
    """2·n·in·out for each product: y forward, dW and dx backward."""
    product = 2 * 64 * 784 * 128
    assert flops(nn.Linear(784, 128), 64, 784) == (product, 2 * product, product)
    assert flops(nn.Linear(5, 3), 2, 4, 5) == (2 * 8 * 5 * 3, 2 * 2 * 8 * 5 * 3, 2 * 8 * 5 * 3)


def test_flops_of_convolutions() -> None:
    """Each of the 11 x 6 outputs of each channel is a sum of 3·5·2 products."""
    outputs = 4 * 11 * 6 * 7
    assert flops(nn.Conv2d(2, 7, (3, 5)), 4, 13, 10, 2) == (outputs * 60, outputs * 120, outputs * 60)
    same = flops(nn.Conv2d(2, 7, 3, stride=2, padding="same"), 1, 5, 6, 2)
    assert same.forward == 2 * (3 * 3 * 7) * (3 * 3 * 2)
    assert flops(nn.Conv1d(2, 3, 4), 1, 9, 2).forward == 2 * (6 * 3) * (4 * 2)


def test_flops_of_an_embedding_are_its_product_with_one_hot_rows() -> None:
    product = 2 * (8 * 6) * 7 * 3
    assert flops(nn.Embedding(7, 3), 8, 6) == (0, product, product)


def test_the_way_back_ends_at_the_first_layer_with_parameters() -> None:
    first, second = 2 * 10 * 6 * 5, 2 * 10 * 5 * 3
    net = nn.Sequential(nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    assert flops(net, 10, 6) == (first + second, 2 * (first + second), first + 2 * second)
    behind_a_norm = nn.Sequential(nn.BatchNorm(6), *net.layers)
    assert flops(behind_a_norm, 10, 6).parameter_gradients == 2 * (first + second)
    assert flops(nn.Residual(nn.Linear(6, 6), nn.Linear(6, 6)), 10, 6) == (1440, 2880, 1440)
    assert flops(nn.Sequential(nn.Tanh()), 10, 6) == (0, 0, 0)


@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_saved_bytes_are_those_of_the_residuals(case: LayerCase) -> None:
    """The summary extrapolates from two and three examples; the result is right for more."""
    for n in (2, 6):
        shape = (n, *case.shape[1:])
        params = case.layer.init(np.random.default_rng(0))
        rows = summary.rows(case.layer, params, shape, "float64", n)
        x = np.zeros(shape, int) if case.entries else draw(shape)
        _, residuals = case.layer.training_mode(KEY).forward(params, x)
        memory = {}
        for array in tree.leaves(residuals):
            if isinstance(array, np.ndarray):
                while getattr(array, "base", None) is not None:
                    array = array.base
                memory[id(array)] = array.nbytes
        assert sum(row.saved for row in rows) == sum(memory.values())
        assert all(row.saved >= 0 for row in rows)


MLP = nn.Sequential(nn.Flatten(), nn.Linear(1024, 500), nn.ReLU(), nn.Dropout(), nn.Linear(500, 10))
CNN = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding="same"),
    nn.BatchNorm(8),
    nn.ReLU(),
    nn.Residual(nn.Sequential(nn.Conv2d(8, 8, 3, padding="same"), nn.GELU(), nn.Conv2d(8, 8, 1))),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(2048, 10),
)


@pytest.mark.parametrize("net", [MLP, CNN], ids=["mlp", "cnn"])
@pytest.mark.parametrize("kept", [300_000, conv.KEPT])
def test_saved_bytes_are_what_stays_allocated(
    net: nn.Layer, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By tracemalloc, with the windows of convolutions kept for few examples only, and for all."""
    monkeypatch.setattr(conv, "KEPT", kept)
    params = net.init(np.random.default_rng(0))
    rows = summary.rows(net, params, (50, 32, 32, 1), "float64", 50)

    def residuals() -> Any:
        return net.training_mode(KEY).forward(params, np.random.default_rng(0).normal(size=(50, 32, 32, 1)))[
            1
        ]

    residuals()  # fills the caches of NumPy's operations
    tracemalloc.start()
    try:
        kept_for_backward = residuals()
        gc.collect()
        allocated = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert kept_for_backward is not None
    assert sum(row.saved for row in rows) == pytest.approx(allocated, rel=0.005)


def test_memory_of_a_step() -> None:
    net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    model = xpnet.Model(net, losses.CrossEntropy(), optim.SGD(0.1, 0.9), dtype="float64")
    memory = model.step_memory((6,), 20)
    parameters = (6 * 5 + 5 + 5 * 3 + 3) * 8
    assert memory == (parameters, parameters, parameters, 20 * (6 + 5) * 8, 0)


@pytest.mark.parametrize(
    ("workers", "micro_batch", "trees"),
    [
        (1, None, 1),
        (1, 30, 2),  # two parts: the second's gradients, and the first's
        (
            1,
            15,
            3,
        ),  # four parts in sequence: the fourth's, the third's, and the sum of the first two
        (2, 15, 4),  # two running parts, a sum of one and a sum of two
        (8, 15, 4),  # at most one per part
        (1, 8, 4),  # eight parts
    ],
)
def test_the_gradients_of_a_step_are_those_at_work_and_the_sums_so_far(
    workers: int, micro_batch: int | None, trees: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xpnet.backend.Strict, "workers", workers)
    net = nn.Linear(6, 5)
    model = xpnet.Model(
        net, losses.CrossEntropy(), optim.SGD(0.1), "array-api-strict", micro_batch=micro_batch
    )
    memory = model.step_memory((6,), 60)
    assert memory.parameters == (6 * 5 + 5) * 4
    assert memory.gradients == trees * memory.parameters


def test_micro_batches_save_less_and_convolutions_need_room() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 10))

    def memory(micro_batch: int | None) -> summary.StepMemory:
        model = xpnet.Model(
            net, losses.CrossEntropy(), optim.SGD(0.1), "array-api-strict", micro_batch=micro_batch
        )
        return model.step_memory((8, 8, 3), 60)

    whole, cut = memory(None), memory(15)
    assert cut.saved_activations == whole.saved_activations / 4
    assert cut.workspace == whole.workspace / 4 == 15 * 16 * 75 * 4
    assert whole.optimizer_state == 0


def test_the_windows_of_dy_count() -> None:
    """They are larger than those of x where a convolution has more output channels. The first makes none."""
    first, second = nn.Conv2d(16, 4, 3, padding="same"), nn.Conv2d(4, 8, 3, padding="same")

    def workspace(*layers: nn.Layer) -> int:
        net = nn.Sequential(*layers, nn.GlobalAvgPool())
        model = xpnet.Model(net, losses.CrossEntropy(), optim.SGD(0.1), "array-api-strict")
        return model.step_memory((5, 6, 16), 10).workspace

    positions, taps = 10 * 5 * 6, 9
    assert workspace(first) == positions * taps * 16 * 4
    assert workspace(nn.Conv2d(16, 4, 1), second) == positions * taps * 8 * 4
    branch = nn.Residual(nn.Sequential(second, nn.Conv2d(8, 4, 1)))
    assert workspace(nn.Conv2d(16, 4, 1), branch) == positions * taps * 8 * 4
    assert workspace(nn.Conv2d(16, 4, 1), nn.Conv2d(4, 8, 3)) == positions * 16 * 4  # dx without windows


def test_the_table() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    model = xpnet.Model(net, losses.CrossEntropy(), optim.Adam(0.1))
    assert model.summary() == "\n".join([
        "layer             parameters",
        "----------------------------",
        "Flatten()                  0",
        "Linear(784, 128)     100,480",
        "ReLU()                     0",
        "Linear(128, 10)        1,290",
        "----------------------------",
        "total                101,770",
    ])  # fmt: skip
    assert model.summary((28, 28, 1)) == "\n".join([
        "layer             output shape  parameters  FLOPs forward  FLOPs backward    saved",
        "----------------------------------------------------------------------------------",
        "Flatten()         (n, 784)               0             0               0       0 B",
        "Linear(784, 128)  (n, 128)         100,480         12.8 M          12.8 M   201 kB",
        "ReLU()            (n, 128)               0             0               0   32.8 kB",
        "Linear(128, 10)   (n, 10)            1,290          164 k           328 k      0 B",
        "----------------------------------------------------------------------------------",
        "total                              101,770           13 M          13.2 M   233 kB",
        "",
        "A step of 64 examples in float32 takes 1.86 MB: parameters 407 kB, gradients 407 kB, "
        "optimizer state 814 kB, saved activations 233 kB, workspace 0 B",
    ])  # fmt: skip


def test_long_layers_are_cut_short() -> None:
    net = nn.Sequential(nn.Residual(nn.Sequential(*[nn.Linear(6, 6)] * 9)))
    model = xpnet.Model(net, losses.CrossEntropy(), optim.SGD(0.1))
    assert max(map(len, model.summary((6,)).splitlines()[:3])) < 110
    assert "Residual(Sequential(Linear(6, 6), Linea…" in model.summary((6,))
    assert math.isclose(cost.flops(net, model.params, (1, 6)).forward, 9 * 72)


@dataclass(frozen=True)
class Odd(nn.Identity):
    name: str = "<b>&"


def test_a_notebook_shows_the_layers() -> None:
    net = nn.Sequential(nn.Flatten(), Odd(), nn.Linear(12, 2))
    model = xpnet.Model(net, losses.CrossEntropy(), optim.SGD(0.1))

    def shown() -> list[str]:
        page = ElementTree.fromstring(model._repr_html_())  # and so is well-formed
        return [" | ".join(cell.text or "" for cell in row) for row in page.iter("tr")]

    layers = ["Flatten()", "Odd(name='<b>&')", "Linear(12, 2)", "total"]
    counts = ["0", "0", "26", "26"]
    assert shown() == [
        "layer | parameters",
        *(f"{name} | {n}" for name, n in zip(layers, counts, strict=True)),
    ]
    model.fit(np.ones((4, 3, 4)), [0, 1, 1, 0], epochs=2)
    shapes = ["(n, 12)", "(n, 12)", "(n, 2)", ""]
    assert shown() == [
        "layer | output shape | parameters",
        *(" | ".join(row) for row in zip(layers, shapes, counts, strict=True)),
    ]
    caption = ElementTree.fromstring(model._repr_html_()).findtext("caption")
    assert caption == "Model: CrossEntropy(), SGD(0.1), float32 on numpy, epoch 2"
