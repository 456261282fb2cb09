"""The options of a training run: a dataclass, a YAML file and a command line that mean the same."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from xpnet import data, init, losses, nn, optim, schedules
from xpnet._util.checks import has_type
from xpnet.errors import ConfigError

CONFIG_FILE = "config.yaml"  # in the folder of a run
OF_A_RESUME = (  # options that may differ when a run goes on
    "epochs", "checkpoint_every", "data_dir", "download", "backend", "device", "quiet",
)  # fmt: skip

ACTIVATIONS: dict[str, Callable[[], nn.Layer]] = {
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "leaky-relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
}
LOSSES: dict[str, Callable[[], losses.Loss]] = {
    "cross-entropy": losses.CrossEntropy,
    "mean-squared-error": losses.MeanSquaredError,
    "mean-absolute-error": losses.MeanAbsoluteError,
    "huber": losses.Huber,
    "hinge": losses.Hinge,
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
    "orthogonal": init.orthogonal,
}


Activation = Literal[
    "identity", "relu", "leaky-relu", "elu", "gelu", "silu", "softplus", "sigmoid", "tanh"
]  # fmt: skip
Initializer = Literal[
    "zeros", "normal", "uniform", "lecun-normal", "lecun-uniform", "glorot-normal", "glorot-uniform",
    "he-normal", "he-uniform", "orthogonal",
]  # fmt: skip


@dataclass(frozen=True)
class Config:
    """All options of a run; the defaults are those of `scripts/configs/mlp.yaml`.

    Arguments:
        name: of the run; its default folder ends in it
        dataset: mnist-sample (bundled), shapes (drawn when asked for), mnist, fashion-mnist, cifar10, or
            csv:TRAIN.csv,TEST.csv[,label=last]
        data_dir: folder of the data sets; without it $XPNET_DATA, then the user's cache
        download: fetch a data set that is not in its folder
        train_fraction: share of the training images to train on, the first ones; the rest is for validation
        normalize: bring each channel of the images to mean 0 and standard deviation 1 over those to train on
        random_crop: in training, shift each image by up to so many pixels, with zeros around it; 0 for none
        horizontal_flip: in training, mirror half of the images
        cutout: in training, a square of zeros of so many pixels in each image; 0 for none
        channels: numbers of channels of the convolutional stages, `--channels 16 32`; none for an MLP
        kernel_size: of all convolutions, which keep height and width
        pool: max-pooling after each stage's convolution, over so many pixels each way; 1 for none, a single
            number for all stages
        residual_blocks: after that, so many blocks of two convolutions each, added to their input; a single
            number for all stages
        global_pool: after the last stage take the mean over all positions, not all positions
        hidden: numbers of units of the hidden layers, `--hidden 512 512`; `--hidden` alone for none
        activation: after each convolution and each hidden layer
        output_activation: after the last layer
        bias: whether layers have biases
        batch_norm: normalise over the batch after convolutions and hidden layers, which then have no biases
        dropout: in training, share of what enters a fully connected layer that is dropped, other than pixels
        input_noise: in training, standard deviation of the noise that is added to the pixels
        weight_init: of the initial weights; normal is N(0, 1) and uniform U(-1, 1)
        weight_scale: factor on the initial weights
        loss: what is minimised, with the L2 penalty
        label_smoothing: share of each label that is spread over all classes; of cross-entropy alone
        optimizer: sgd (v = μv + g), ema-momentum (v = βv + (1-β)g), rmsprop, adam, adamw, adagrad or lion
        learning_rate: η, times v is a step
        momentum: μ of sgd, β of ema-momentum, β₁ of adam, adamw and lion; the others have none
        nesterov: Nesterov's form of sgd's momentum
        weight_decay: λ of λw, added to the gradients of weights (adamw and lion: weights shrink by ηλw); the
            reported loss does not show it
        l2: λ of λ/2·Σw² over weights (not biases), added to the loss
        clip_norm: the largest norm of all gradients together; longer ones are scaled down; 0 for none
        average_weights: decay of a moving average of the parameters, which is what is tested; 0 for none
        schedule: of the learning rate over the epochs; plateau goes by the validation loss
        warmup: epochs in which cosine rises to the learning rate
        schedule_factor: of step, exponential and plateau: the learning rate is multiplied by that
        schedule_every: every so many epochs (step); after so many without a lower validation loss (plateau)
        early_stopping: stop after so many epochs without a higher validation accuracy; 0 for never
        epochs: how many times to go through the training images
        batch_size: images in a step
        micro_batch: images that go through the network at once, to save memory; 0 for all of a step's
        shuffle: a new order of the training images for each epoch
        seed: of the initial weights, the order of the images, and all that is random in training
        backend: the array library
        device: where the library has several, say cuda:1
        dtype: of all arrays
        output_dir: the run folder, which must be new; without it runs/DATE-TIME-NAME
        checkpoint_every: minutes between checkpoints within an epoch; one is written after each epoch anyway
        quiet: print the last line only

    Raises ConfigError for a value out of its range.
    """

    name: str = "mlp"
    # data
    dataset: str = "mnist-sample"
    data_dir: str | None = None
    download: bool = True
    train_fraction: float = 0.8
    normalize: bool = False
    random_crop: int = 0
    horizontal_flip: bool = False
    cutout: int = 0
    # network
    channels: tuple[int, ...] = ()
    kernel_size: int = 3
    pool: tuple[int, ...] = (2,)
    residual_blocks: tuple[int, ...] = (0,)
    global_pool: bool = False
    hidden: tuple[int, ...] = (512, 512)
    activation: Activation = "relu"
    output_activation: Activation = "identity"
    bias: bool = True
    batch_norm: bool = False
    dropout: float = 0.0
    input_noise: float = 0.0
    weight_init: Initializer = "he-normal"
    weight_scale: float = 1.0
    # training
    loss: Literal["cross-entropy", "mean-squared-error", "mean-absolute-error", "huber", "hinge"] = (
        "cross-entropy"
    )
    label_smoothing: float = 0.0
    optimizer: Literal["sgd", "ema-momentum", "rmsprop", "adam", "adamw", "adagrad", "lion"] = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 0.0
    l2: float = 0.00003
    clip_norm: float = 0.0
    average_weights: float = 0.0
    schedule: Literal["constant", "step", "exponential", "cosine", "one-cycle", "plateau"] = "constant"
    warmup: float = 0.0
    schedule_factor: float = 0.1
    schedule_every: int = 10
    early_stopping: int = 0
    epochs: int = 20
    batch_size: int = 100
    micro_batch: int = 0
    shuffle: bool = True
    seed: int = 0
    # machine
    backend: Literal["numpy", "cupy", "torch", "jax", "dask", "array-api-strict"] = "numpy"
    device: str | None = None
    dtype: Literal["float32", "float64"] = "float32"
    # output
    output_dir: str | None = None
    checkpoint_every: float = 10.0
    quiet: bool = False

    def __post_init__(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            if isinstance(value, list):  # as a YAML file has it
                value = tuple(value)
                object.__setattr__(self, option.name, value)
            if not has_type(value, option.type):
                expected = kind_of(option.type)
                raise ConfigError(f"{option_name(option.name)}: expected {expected}, got {value!r}")
        at_least_0 = ("random_crop", "cutout", "early_stopping", "micro_batch", "seed")
        at_least_1 = ("kernel_size", "schedule_every", "epochs", "batch_size")
        counts = ("channels", "pool", "hidden")
        for name, ok, expected in (
            ("train_fraction", 0 < self.train_fraction < 1, "above 0 and below 1"),
            *((name, getattr(self, name) >= 0, "at least 0") for name in at_least_0),
            *((name, getattr(self, name) >= 1, "at least 1") for name in at_least_1),
            *((name, min(getattr(self, name), default=1) >= 1, "numbers of at least 1") for name in counts),
            ("residual_blocks", min(self.residual_blocks, default=0) >= 0, "numbers of at least 0"),
            ("dropout", 0 <= self.dropout < 1, "at least 0 and below 1"),
            ("input_noise", 0 <= self.input_noise < math.inf, "a finite number and at least 0"),
            ("weight_scale", math.isfinite(self.weight_scale), "a finite number"),
            ("checkpoint_every", self.checkpoint_every > 0, "above 0"),
            ("l2", 0 <= self.l2 < math.inf, "a finite number and at least 0"),
        ):
            if not ok:
                raise ConfigError(f"{option_name(name)}: expected {expected}, got {getattr(self, name)}")
        self.make_loss()
        self.make_optimizer()
        self.make_schedule()

    def check_inputs(self, input_shape: tuple[int, ...]) -> None:
        """ConfigError if an option is for images, and inputs of that shape are none."""
        for name in ("normalize", "random_crop", "horizontal_flip", "cutout", "channels"):
            if getattr(self, name) and len(input_shape) != 3:
                raise ConfigError(
                    f"{option_name(name)}: expected a data set of images, got inputs of shape {input_shape}"
                )

    def weight_initializer(self) -> init.Initializer:
        return init.scaled(INITIALIZERS[self.weight_init], self.weight_scale)

    def make_loss(self) -> losses.Loss:
        if self.loss == "cross-entropy":
            return losses.CrossEntropy(self.label_smoothing)
        if self.label_smoothing:
            raise ConfigError(f"--label-smoothing: expected --loss cross-entropy with it, got {self.loss}")
        return LOSSES[self.loss]()

    def make_optimizer(self) -> optim.Optimizer:
        rate, momentum, decay = self.learning_rate, self.momentum, self.weight_decay
        optimizer: optim.Optimizer
        match self.optimizer:
            case "sgd":
                optimizer = optim.SGD(rate, momentum, self.nesterov, decay)
            case "ema-momentum":
                optimizer = optim.EMAMomentum(rate, momentum, decay)
            case "rmsprop":
                optimizer = optim.RMSprop(rate, weight_decay=decay)
            case "adagrad":
                optimizer = optim.Adagrad(rate, weight_decay=decay)
            case "adam":
                optimizer = optim.Adam(rate, momentum, weight_decay=decay)
            case "adamw":
                optimizer = optim.AdamW(rate, momentum, weight_decay=decay)
            case "lion":
                optimizer = optim.Lion(rate, momentum, weight_decay=decay)
        if self.clip_norm:
            optimizer = optim.ClipNorm(optimizer, self.clip_norm)
        if self.average_weights:
            optimizer = optim.AverageWeights(optimizer, self.average_weights)
        return optimizer

    def make_schedule(self) -> schedules.Schedule | None:
        match self.schedule:
            case "step":
                return schedules.Step(self.schedule_every, self.schedule_factor)
            case "exponential":
                return schedules.Exponential(self.schedule_factor)
            case "cosine":
                return schedules.Cosine(self.epochs, self.warmup)
            case "one-cycle":
                return schedules.OneCycle(self.epochs)
            case "plateau":
                return schedules.ReduceOnPlateau(self.schedule_factor, self.schedule_every)
        return None

    def make_augmentation(self) -> data.augment.Augmentation | None:
        """What is done to the images in training: crop, flip and cutout, in this order."""
        chosen: list[data.augment.Augmentation] = []
        if self.random_crop:
            chosen.append(data.augment.RandomCrop(self.random_crop))
        if self.horizontal_flip:
            chosen.append(data.augment.HorizontalFlip())
        if self.cutout:
            chosen.append(data.augment.Cutout(self.cutout))
        return data.augment.Compose(*chosen) if chosen else None


def option_name(field_name: str) -> str:
    """--batch-size for batch_size."""
    return "--" + field_name.replace("_", "-")


def kind_of(annotation: Any) -> str:
    """The type of an option in words: `int`, `str or None`, `tuple[int, ...]`, `relu, tanh`."""
    if get_origin(annotation) is Literal:
        return ", ".join(get_args(annotation))
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace(" | ", " or ")


def parse(arguments: Sequence[str], prog: str) -> tuple[Config, Path | None]:
    """The config that command-line arguments and the YAML files they name describe.

    With `--resume RUN_DIR` it is the run's own, and the folder comes with it.

    Raises ConfigError, in one line, for an option that does not exist, a value of the wrong type, or an
    option that a resumed run does not have like that.
    """
    # Imported here: who starts runs from Python needs neither.
    import docstring_parser
    import jsonargparse

    parser = jsonargparse.ArgumentParser(
        prog=prog,
        description="Train a network and leave a folder with all that came of it.",
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", action="config", help="YAML file of options; what follows it overrides it"
    )
    others = ", ".join(option_name(name) for name in OF_A_RESUME)
    parser.add_argument(
        "--resume",
        metavar="RUN_DIR",
        help=f"go on with the run in that folder, with its own options; of others only {others}",
    )
    helps = {
        param.arg_name: param.description for param in docstring_parser.parse(Config.__doc__ or "").params
    }
    for option in fields(Config):
        kind: dict[str, Any] = {"type": option.type, "default": option.default}
        if option.type is bool:
            yes_no = jsonargparse.ActionYesNo(yes_prefix="", no_prefix="no-")
            kind = {"action": yes_no, "default": option.default}
        elif isinstance(option.default, tuple):
            kind = {"type": int, "nargs": "*", "default": list(option.default)}
        parser.add_argument(option_name(option.name), help=helps[option.name], **kind)

    def values(arguments: Sequence[str], defaults: bool = True) -> dict[str, Any]:
        try:
            found = parser.parse_args(list(arguments), defaults=defaults).as_dict()
        except (jsonargparse.ArgumentError, UnicodeError) as error:
            raise ConfigError(" ".join(str(error).split())) from error
        found.pop("config", None)
        return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}

    given = values(arguments, defaults=False)
    resume = given.pop("resume", None)
    if resume is None:
        options = values(arguments)
        del options["resume"]
        return Config(**options), None
    folder = Path(resume)
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise ConfigError(f"--resume: expected the folder of a run, got {folder}, without a {CONFIG_FILE}")
    options = values(["--config", str(path)])
    del options["resume"]
    return go_on_with(Config(**options), given), folder


def go_on_with(config: Config, given: dict[str, Any]) -> Config:
    """The config of a run that is resumed with these options.

    Raises ConfigError for one that differs from the run's and cannot.
    """
    for name, value in given.items():
        own = getattr(config, name)
        if name not in OF_A_RESUME and value != own:
            raise ConfigError(f"{option_name(name)}: expected the run's own {own} with --resume, got {value}")
    if given.get("backend", config.backend) != config.backend:
        given = {"device": None, **given}  # the run's own is one of its own library
    return replace(config, **given)
