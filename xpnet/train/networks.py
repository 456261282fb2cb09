"""Build the network of a `Config`."""

from xpnet import nn
from xpnet.errors import ConfigError, ShapeError
from xpnet.train.config import Config
from xpnet.train.registry import ACTIVATIONS


def build(config: Config, input_shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Stages of convolutions, if any, then fully connected layers.

    Raises ConfigError where the options do not fit the input shape or each other.
    """
    layers: list[nn.Layer] = [nn.GaussianNoise(config.input_noise)] if config.input_noise else []
    shape: tuple[int, ...] = (1, *input_shape)
    if config.channels:
        n = input_shape[-1]
        pools = for_each_stage("--pool", config.pool, len(config.channels))
        blocks = for_each_stage("--residual-blocks", config.residual_blocks, len(config.channels))
        for channels, pool, count in zip(config.channels, pools, blocks, strict=True):
            layers += convolution(config, n, channels)
            if pool > 1:
                layers.append(nn.MaxPool2d(pool))
            for _ in range(count):
                branch = convolution(config, channels, channels) + convolution(config, channels, channels)
                layers.append(nn.Residual(nn.Sequential(*branch)))
            n = channels
    layers.append(nn.GlobalAvgPool() if config.global_pool and config.channels else nn.Flatten())
    try:
        n = nn.Sequential(*layers).output_shape(shape)[-1]
    except ShapeError as error:
        raise ConfigError(f"--pool: expected windows that fit; {error}") from error
    for i, units in enumerate([*config.hidden, classes]):
        is_last = i == len(config.hidden)
        if config.dropout and (i > 0 or config.channels):
            layers.append(nn.Dropout(config.dropout))
        normalized = config.batch_norm and not is_last
        bias = config.bias and not normalized
        layers.append(nn.Linear(n, units, bias=bias, weight_init=config.weight_initializer()))
        if normalized:
            layers.append(nn.BatchNorm(units))
        layers += activation(config, config.output_activation if is_last else config.activation)
        n = units
    return nn.Sequential(*layers)


def convolution(config: Config, n: int, channels: int) -> list[nn.Layer]:
    """A convolution that keeps height and width, with its normalisation and activation."""
    bias = config.bias and not config.batch_norm  # batch normalisation has its own shift
    weight_init = config.weight_initializer()
    layers: list[nn.Layer] = [
        nn.Conv2d(n, channels, config.kernel_size, padding="same", bias=bias, weight_init=weight_init)
    ]
    if config.batch_norm:
        layers.append(nn.BatchNorm(channels))
    return layers + activation(config, config.activation)


def activation(config: Config, name: str) -> list[nn.Layer]:
    """The activation of that name, or none for "identity"."""
    return [] if name == "identity" else [ACTIVATIONS[name].build(config)]


def for_each_stage(option: str, values: tuple[int, ...], stages: int) -> tuple[int, ...]:
    """One value for each stage; a single value is for all stages."""
    if len(values) not in (1, stages):
        raise ConfigError(f"{option}: expected 1 number, or {stages} as --channels has, got {values}")
    return values * stages if len(values) == 1 else values
