"""The networks that options describe, and the configs in scripts/configs."""

from pathlib import Path

import numpy as np
import pytest

from xpnet import nn, train
from xpnet._training.summary import count
from xpnet.errors import ConfigError
from xpnet.train import networks
from xpnet.train.command_line import parse

CONFIGS = sorted((Path(__file__).parents[1] / "scripts" / "configs").glob("*.yaml"))


def build(shape: tuple[int, ...] = (28, 28, 1), **options) -> nn.Sequential:
    return networks.build(train.Config(**options), shape, 10)


def test_a_multi_layer_perceptron() -> None:
    assert str(build(hidden=(16, 8), activation="tanh", dropout=0.5)) == (
        "Sequential(Flatten(), Linear(784, 16), Tanh(), Dropout(), Linear(16, 8), Tanh(), "
        "Dropout(), Linear(8, 10))"
    )


def test_a_convolutional_network() -> None:
    net = build(channels=(4, 8), kernel_size=5, pool=(2, 3), hidden=(16,), input_noise=0.1)
    assert str(net) == (
        "Sequential(GaussianNoise(0.1), Conv2d(1, 4, 5, padding='same'), ReLU(), MaxPool2d(2), "
        "Conv2d(4, 8, 5, padding='same'), ReLU(), MaxPool2d(3), Flatten(), Linear(128, 16), ReLU(), Linear(16, 10))"
    )
    assert net.output_shape(("n", 28, 28, 1)) == ("n", 10)


def test_a_residual_network() -> None:
    net = build(
        (32, 32, 3),
        channels=(4, 8),
        pool=(1, 2),
        residual_blocks=(0, 1),
        global_pool=True,
        hidden=(),
        batch_norm=True,
    )
    block = "Conv2d(8, 8, 3, padding='same', bias=False), BatchNorm(8), ReLU()"
    assert str(net) == (
        "Sequential(Conv2d(3, 4, 3, padding='same', bias=False), BatchNorm(4), ReLU(), "
        "Conv2d(4, 8, 3, padding='same', bias=False), BatchNorm(8), ReLU(), MaxPool2d(2), "
        f"Residual(Sequential({block}, {block})), GlobalAvgPool(), Linear(8, 10))"
    )


@pytest.mark.parametrize(
    ("options", "shape", "message"),
    [
        ({"channels": (4, 4, 4), "pool": (1, 2)}, (28, 28, 1), "--pool: expected 1 number, or 3 as --channels has, got (1, 2)"),
        ({"channels": (4, 4), "pool": (30,)}, (28, 28, 1), "--pool: expected windows that fit; layer 2, MaxPool2d(30): expected x of shape"),
    ],
)  # fmt: skip
def test_refuses_options_that_do_not_fit(options: dict, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        build(shape, **options)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_describe_networks(path: Path) -> None:
    config, _ = parse(["--config", str(path)], "train.py")
    shape = (32, 32, 3) if config.dataset == "cifar10" else (28, 28, 1)
    assert networks.build(config, shape, 10).output_shape((5, *shape)) == (5, 10)


def test_cnn_and_mlp_deep_have_as_many_parameters() -> None:
    counts = {}
    for path in CONFIGS:
        if path.stem in ("cnn", "mlp_deep"):
            net = networks.build(parse(["--config", str(path)], "train.py")[0], (28, 28, 1), 10)
            counts[path.stem] = count(net.init(np.random.default_rng(0)))
    assert 500_000 <= counts["mlp_deep"] <= 1_000_000
    assert abs(counts["cnn"] / counts["mlp_deep"] - 1) < 0.1
