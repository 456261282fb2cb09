"""The options of a training run: a dataclass, a YAML file and a command line that mean the same."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, Literal

from xpnet import init, losses, nn, optim
from xpnet.errors import ConfigError

ACTIVATIONS = {"identity": nn.Identity, "relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
LOSSES: dict[str, type[losses.Loss]] = {
    "cross-entropy": losses.CrossEntropy,
    "mean-squared-error": losses.MeanSquaredError,
}
INITIALIZERS: dict[str, init.Initializer] = {
    "zeros": init.zeros,
    "normal": init.normal,
    "uniform": init.uniform,
    "lecun-normal": init.lecun_normal,
    "lecun-uniform": init.lecun_uniform,
    "glorot-normal": init.glorot_normal,
    "glorot-uniform": init.glorot_uniform,
    "he-normal": init.he_normal,
    "he-uniform": init.he_uniform,
}


Activation = Literal["identity", "relu", "sigmoid", "tanh"]
Initializer = Literal[
    "zeros",
    "normal",
    "uniform",
    "lecun-normal",
    "lecun-uniform",
    "glorot-normal",
    "glorot-uniform",
    "he-normal",
    "he-uniform",
]


@dataclass(frozen=True)
class Config:
    """All options of a run; the defaults are those of `scripts/configs/mlp.yaml`.

    Arguments:
        name: of the run; its default folder ends in it
        dataset: mnist-sample (bundled), mnist, fashion-mnist, or csv:TRAIN.csv,TEST.csv[,label=last]
        data_dir: folder of the data sets; without it $XPNET_DATA, then the user's cache
        download: fetch a data set that is not in its folder
        train_fraction: share of the training images to train on, the first ones; the rest is for validation
        hidden: numbers of units of the hidden layers, `--hidden 512 512`; `--hidden` alone for none
        activation: after each hidden layer
        output_activation: after the last layer
        bias: whether layers have biases
        weight_init: of the initial weights; normal is N(0, 1) and uniform U(-1, 1)
        weight_scale: factor on the initial weights
        loss: what is minimised, with the L2 penalty
        optimizer: sgd (v = μv + g) or ema-momentum (v = βv + (1-β)g)
        learning_rate: η, times v is a step
        momentum: μ of sgd, β of ema-momentum
        nesterov: Nesterov's form of sgd's momentum
        weight_decay: λ of λw, added to the gradients of weights; the reported loss does not show it
        l2: λ of λ/2·Σw² over weights (not biases), added to the loss
        epochs: how many times to go through the training images
        batch_size: images in a step
        shuffle: a new order of the training images for each epoch
        seed: of the initial weights and the order of the images
        backend: the array library
        device: where the library has several, say cuda:1
        dtype: of all arrays
        output_dir: the run folder, which must be new; without it runs/DATE-TIME-NAME
        quiet: print the last line only

    Raises ConfigError for a value out of its range.
    """

    name: str = "mlp"
    # data
    dataset: str = "mnist-sample"
    data_dir: str | None = None
    download: bool = True
    train_fraction: float = 0.8
    # network
    hidden: tuple[int, ...] = (512, 512)
    activation: Activation = "relu"
    output_activation: Activation = "identity"
    bias: bool = True
    weight_init: Initializer = "he-normal"
    weight_scale: float = 1.0
    # training
    loss: Literal["cross-entropy", "mean-squared-error"] = "cross-entropy"
    optimizer: Literal["sgd", "ema-momentum"] = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 0.0
    l2: float = 0.00003
    epochs: int = 20
    batch_size: int = 100
    shuffle: bool = True
    seed: int = 0
    # machine
    backend: Literal["numpy", "cupy", "torch", "jax", "array-api-strict"] = "numpy"
    device: str | None = None
    dtype: Literal["float32", "float64"] = "float32"
    # output
    output_dir: str | None = None
    quiet: bool = False

    def __post_init__(self) -> None:
        for name, ok, expected in (
            ("train_fraction", 0 < self.train_fraction < 1, "above 0 and below 1"),
            ("hidden", min(self.hidden, default=1) >= 1, "numbers of at least 1"),
            ("weight_scale", math.isfinite(self.weight_scale), "a finite number"),
            ("l2", 0 <= self.l2 < math.inf, "a finite number and at least 0"),
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("seed", self.seed >= 0, "at least 0"),
        ):
            if not ok:
                raise ConfigError(f"{option_name(name)}: expected {expected}, got {getattr(self, name)}")
        self.make_optimizer()

    def make_network(self, n_in: int, n_out: int) -> nn.Sequential:
        """The multi-layer perceptron that the options describe."""
        sizes = [n_in, *self.hidden, n_out]
        weight_init = init.scaled(INITIALIZERS[self.weight_init], self.weight_scale)
        layers: list[nn.Layer] = [nn.Flatten()]
        for i, (n, m) in enumerate(pairwise(sizes)):
            is_last = i == len(sizes) - 2
            activation = ACTIVATIONS[self.output_activation if is_last else self.activation]()
            layers.append(nn.Linear(n, m, bias=self.bias, weight_init=weight_init))
            if activation != nn.Identity():
                layers.append(activation)
        return nn.Sequential(*layers)

    def make_loss(self) -> losses.Loss:
        return LOSSES[self.loss]()

    def make_optimizer(self) -> optim.Optimizer:
        if self.optimizer == "ema-momentum":
            return optim.EMAMomentum(self.learning_rate, self.momentum, self.weight_decay)
        return optim.SGD(self.learning_rate, self.momentum, self.nesterov, self.weight_decay)


def option_name(field_name: str) -> str:
    """--batch-size for batch_size."""
    return "--" + field_name.replace("_", "-")


def parse(arguments: Sequence[str], prog: str) -> Config:
    """The config that command-line arguments and the YAML files they name describe.

    Raises ConfigError, in one line, for an option that does not exist or a value of the wrong type.
    """
    # Imported here: who starts runs from Python needs neither.
    import docstring_parser
    import jsonargparse

    parser = jsonargparse.ArgumentParser(
        prog=prog,
        description="Train a multi-layer perceptron and leave a folder with all that came of it.",
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", action="config", help="YAML file of options; what follows it overrides it"
    )
    helps = {
        param.arg_name: param.description for param in docstring_parser.parse(Config.__doc__ or "").params
    }
    for option in fields(Config):
        kind: dict[str, Any] = {"type": option.type, "default": option.default}
        if option.type is bool:
            yes_no = jsonargparse.ActionYesNo(yes_prefix="", no_prefix="no-")
            kind = {"action": yes_no, "default": option.default}
        elif option.name == "hidden":
            kind = {"type": int, "nargs": "*", "default": list(Config.hidden)}
        parser.add_argument(option_name(option.name), help=helps[option.name], **kind)
    try:
        options = parser.parse_args(list(arguments))
    except jsonargparse.ArgumentError as error:
        raise ConfigError(" ".join(str(error).split())) from error
    values = {option.name: options[option.name] for option in fields(Config)}
    return Config(**{**values, "hidden": tuple(values["hidden"])})
