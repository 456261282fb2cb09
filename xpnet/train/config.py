"""The options of a training run, as a dataclass: their checks, and the objects that they describe.

`xpnet.train.registry` holds what an option such as `optimizer` may be, `xpnet.train.command_line` reads
options from a command line and YAML files.
"""

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from xpnet import data, init, losses, optim, schedules
from xpnet._util.checks import has_type, settled
from xpnet._util.choices import Choice
from xpnet._util.text import did_you_mean, short
from xpnet.backend import BACKENDS, DTYPES
from xpnet.errors import ConfigError
from xpnet.metrics import TRAIN_METRICS
from xpnet.train.registry import ACTIVATIONS, INITIALIZERS, LOSSES, OPTIMIZERS, SCHEDULES

T = TypeVar("T")

CONFIG_FILE = "config.yaml"  # in the folder of a run


def one_of(choices: Collection[str], default: str) -> Any:
    """The field of an option that names one of these choices."""
    return field(default=default, metadata={"choices": choices})


@dataclass(frozen=True)
class Config:
    """All options of a run. The defaults are those of `scripts/configs/mlp.yaml`.

    Arguments:
        name: name of the run; its default folder ends in it
        dataset: the images and labels
        data_dir: folder of the data sets; default $XPNET_DATA, else the user's cache
        download: download a data set that is not in its folder
        train_fraction: share of the training images to train on; the others are for validation; 1: none are
        split: which images to train on: the first of the file, as many of each class (stratified) or random
            ones
        normalize: scale each channel to mean 0 and standard deviation 1 over the images to train on
        random_crop: in training, shift each image by up to this many pixels and fill with zeros; 0: off
        horizontal_flip: in training, mirror half of the images
        cutout: in training, set a square of this many pixels a side to zero in each image; 0: off
        channels: channels of each convolutional stage, `--channels 16 32`; none: an MLP
        kernel_size: height and width of all kernels; convolutions keep the size of the image
        pool: max-pooling window after the convolution of each stage, 1: none; one number: for all stages
        residual_blocks: residual blocks of two convolutions at the end of each stage; one number: for all
            stages
        global_pool: average the last stage over all positions instead of flattening it
        hidden: units of each hidden layer, `--hidden 512 512`; `--hidden` alone: no hidden layer
        activation: activation after each convolution and each hidden layer
        output_activation: activation after the last layer
        bias: layers have biases
        batch_norm: batch normalisation after each convolution and hidden layer, which then have no bias
        dropout: in training, share of the inputs of each fully connected layer that is dropped; pixels are
            kept
        input_noise: in training, standard deviation of the Gaussian noise added to the pixels
        weight_init: distribution of the initial weights
        weight_scale: factor on the initial weights
        loss: loss to minimise, together with the L2 penalty
        label_smoothing: share of each label that is spread over all classes
        optimizer: update rule; g is the gradient and w the weight
        learning_rate: learning rate η
        momentum: decay of the running sum or mean of gradients
        nesterov: Nesterov's form of the momentum
        weight_decay: λ; adds λw to the gradient of each weight w, or shrinks it by ηλw (adamw, lion); the
            reported loss does not include it
        l2: λ; adds λ/2·Σw² over all weights to the loss, but not over biases
        clip_norm: upper limit for the norm of all gradients together; longer ones are scaled down; 0: off
        average_weights: decay of a moving average of the parameters, which validation and test use; 0: off
        schedule: change of the learning rate over the epochs
        warmup: epochs over which the learning rate rises from 0
        schedule_factor: factor on the learning rate at each change
        schedule_every: epochs between two changes, or epochs without a lower validation loss
        early_stopping: stop after this many epochs without a higher validation accuracy; 0: never
        epochs: passes over the training images
        batch_size: images in a step
        micro_batch: images that go through the network at once, to save memory; 0: the whole batch
        shuffle: draw a new order of the training images for each epoch
        seed: seed of the initial weights, the order of the images and all randomness in training
        backend: array library
        device: device of the array library, for example cuda:1, or gpu:all for all GPUs on jax
        dtype: floating-point type of all arrays
        tf32: let a GPU round the factors of float32 products to TF32, which is faster
        output_dir: folder of the run; it must be new; default runs/DATE-TIME-NAME
        train_metrics: training loss and accuracy of an epoch: means over its batches, each measured before
            its update, in training mode (running), or those of the network after the last update, as for
            validation, which take one more pass over the training images (end)
        train_metrics_examples: with end, measure on so many training images only, the first ones
        test_each_epoch: also record test loss and accuracy after each epoch; they choose nothing
        checkpoint_every: minutes between checkpoints within an epoch; each epoch ends with one in any case
        quiet: print the last line only

    Raises ConfigError for a value out of its range.
    """

    name: str = "mlp"
    # data
    dataset: str = "mnist-sample"
    data_dir: str | None = None
    download: bool = True
    train_fraction: float = 0.8
    split: str = one_of(data.splits.HOW, "first")
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
    activation: str = one_of(ACTIVATIONS, "relu")
    output_activation: str = one_of(ACTIVATIONS, "identity")
    bias: bool = True
    batch_norm: bool = False
    dropout: float = 0.0
    input_noise: float = 0.0
    weight_init: str = one_of(INITIALIZERS, "he-normal")
    weight_scale: float = 1.0
    # training
    loss: str = one_of(LOSSES, "cross-entropy")
    label_smoothing: float = 0.0
    optimizer: str = one_of(OPTIMIZERS, "sgd")
    learning_rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 0.0
    l2: float = 0.00003
    clip_norm: float = 0.0
    average_weights: float = 0.0
    schedule: str = one_of(SCHEDULES, "constant")
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
    backend: str = one_of(BACKENDS, "numpy")
    device: str | None = None
    dtype: str = one_of(DTYPES, "float32")
    tf32: bool = False
    # output
    output_dir: str | None = None
    train_metrics: str = one_of(TRAIN_METRICS, "running")
    train_metrics_examples: int | None = None
    test_each_epoch: bool = False
    checkpoint_every: float = 10.0
    quiet: bool = False

    def __post_init__(self) -> None:
        for option in fields(self):
            value = settled(self, option.name)
            if isinstance(value, list):  # from a YAML file
                value = tuple(value)
                object.__setattr__(self, option.name, value)
            choices = choices_of(option)
            if not has_type(value, option.type) or (choices and value not in choices):
                expected = ", ".join(choices) or kind_of(option.type)
                like = did_you_mean(value, choices) if isinstance(value, str) else ""
                raise ConfigError(
                    f"{option_name(option.name)}: expected {expected}, got {short(value)}{like}"
                )
        at_least_0 = ("random_crop", "cutout", "early_stopping", "micro_batch", "seed")
        at_least_1 = ("kernel_size", "schedule_every", "epochs", "batch_size")
        counts = ("channels", "pool", "hidden")
        for name, ok, expected in (
            ("train_fraction", 0 < self.train_fraction <= 1, "above 0 and at most 1"),
            *((name, getattr(self, name) >= 0, "at least 0") for name in at_least_0),
            *((name, getattr(self, name) >= 1, "at least 1") for name in at_least_1),
            *((name, min(getattr(self, name), default=1) >= 1, "numbers of at least 1") for name in counts),
            ("residual_blocks", min(self.residual_blocks, default=0) >= 0, "numbers of at least 0"),
            ("dropout", 0 <= self.dropout < 1, "at least 0 and below 1"),
            ("input_noise", 0 <= self.input_noise < math.inf, "a finite number and at least 0"),
            ("weight_scale", math.isfinite(self.weight_scale), "a finite number"),
            ("checkpoint_every", self.checkpoint_every > 0, "above 0"),
            ("l2", 0 <= self.l2 < math.inf, "a finite number and at least 0"),
            (
                "train_metrics_examples",
                self.train_metrics_examples is None or self.train_metrics_examples >= 1,
                "at least 1",
            ),
        ):
            if not ok:
                raise ConfigError(
                    f"{option_name(name)}: expected {expected}, got {short(getattr(self, name))}"
                )
        if self.train_fraction == 1 and (self.early_stopping or self.schedule == "plateau"):
            name = "early_stopping" if self.early_stopping else "schedule"
            raise ConfigError(
                f"{option_name(name)}: expected validation images with {getattr(self, name)}, got "
                "--train-fraction 1, which leaves none"
            )
        if self.train_metrics_examples is not None and self.train_metrics != "end":
            raise ConfigError(
                f"--train-metrics-examples: expected --train-metrics end with it, got {self.train_metrics}"
            )
        self.make_loss()
        self.make_optimizer()
        self.make_schedule()

    def check_inputs(self, input_shape: tuple[int, ...]) -> None:
        """ConfigError if an option needs images, but inputs of that shape are not images."""
        for name in ("normalize", "random_crop", "horizontal_flip", "cutout", "channels"):
            if getattr(self, name) and len(input_shape) != 3:
                raise ConfigError(
                    f"{option_name(name)}: expected a data set of images, got inputs of shape {input_shape}; "
                    "rows of a CSV file become images with ,shape=HEIGHTxWIDTH after the files"
                )

    def weight_initializer(self) -> init.Initializer:
        return init.scaled(INITIALIZERS[self.weight_init].make, self.weight_scale)

    def make_loss(self) -> losses.Loss:
        smoothing = [name for name, choice in LOSSES.items() if "label_smoothing" in choice.options.values()]
        if self.label_smoothing and self.loss not in smoothing:
            raise ConfigError(
                f"--label-smoothing: expected --loss {' or '.join(smoothing)} with it, got {self.loss}"
            )
        return self._build(LOSSES[self.loss])

    def make_optimizer(self) -> optim.Optimizer:
        optimizer = self._build(OPTIMIZERS[self.optimizer])
        if self.clip_norm:
            with naming({"max_norm": "clip_norm"}):
                optimizer = optim.ClipNorm(optimizer, self.clip_norm)
        if self.average_weights:
            with naming({"decay": "average_weights"}):
                optimizer = optim.AverageWeights(optimizer, self.average_weights)
        return optimizer

    def make_schedule(self) -> schedules.Schedule | None:
        return self._build(SCHEDULES[self.schedule])

    def _build(self, choice: Choice[T]) -> T:
        with naming(choice.options):
            return choice.build(self)

    def make_augmentation(self) -> data.augment.Augmentation | None:
        """The augmentation of training images: crop, flip and cutout, in this order."""
        chosen: list[data.augment.Augmentation] = []
        if self.random_crop:
            chosen.append(data.augment.RandomCrop(self.random_crop))
        if self.horizontal_flip:
            chosen.append(data.augment.HorizontalFlip())
        if self.cutout:
            chosen.append(data.augment.Cutout(self.cutout))
        return data.augment.Compose(*chosen) if chosen else None


@contextmanager
def naming(options: Mapping[str, str]) -> Iterator[None]:
    """Begin a ConfigError about an argument with the option that supplies it."""
    try:
        yield
    except ConfigError as error:
        about = re.search(r"expected (\w+) to be", str(error))
        if about and about[1] in options:
            raise ConfigError(f"{option_name(options[about[1]])}: {error}") from error
        raise


def parse(arguments: Sequence[str], prog: str) -> tuple[Config, Path | None]:
    """`command_line.parse`: the config that command-line arguments describe, and the folder to resume."""
    from xpnet.train import command_line  # imports this module

    return command_line.parse(arguments, prog)


def option_name(field_name: str) -> str:
    """--batch-size for batch_size."""
    return "--" + field_name.replace("_", "-")


def choices_of(option: Field[Any]) -> Collection[str]:
    """The registry or the names that an option chooses from; empty where it takes any value of its type."""
    return option.metadata.get("choices", ())


def kind_of(annotation: Any) -> str:
    """The type of an option in words: `int`, `str or None`, `tuple[int, ...]`."""
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace(" | ", " or ")
