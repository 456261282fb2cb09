"""Augmentations: random changes to a batch of images, made on the device inside the training step.

An augmentation is called with images x (n, height, width, channels) of any library, or nested lists, and an
`xpnet.random.Key`, and returns images of the same shape and dtype. It has no state: the same key gives the
same images, bit for bit, on every library. It works under `jit`, does not wait for the device and does not
change x. Each image of the result depends on that image of x alone, which `examples = "independent"` says. A
function that does not say so always gets whole batches.

All raise ConfigError for an argument out of its range, and ShapeError unless x has four axes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xpnet._util.checks import is_number, require_integer, settled
from xpnet._util.examples import Examples, combined
from xpnet.backend import device, namespace, ops
from xpnet.backend._reading import as_array
from xpnet.errors import ConfigError, ShapeError
from xpnet.random import Key, bits
from xpnet.tree import Array

LARGEST = 1 << 20  # number of pixels: sums of such numbers stay below 2³¹

Augmentation = Callable[[Array, Key], Array]


@dataclass(frozen=True)
class RandomCrop:
    """Shift each image by a random number of pixels each way, and fill with zeros.

    This equals padding the image with zeros and cropping it at random to its old size.

    Arguments:
        padding: the largest shift in pixels; all shifts from -padding to padding are equally likely.

    (He, Zhang, Ren and Sun, 2016, §4.2, for CIFAR-10 with a padding of 4.)
    """

    examples = "independent"

    padding: int = 4

    def __post_init__(self) -> None:
        _require_positive_integer(self, padding=self.padding)

    def __call__(self, x: Array, key: Key) -> Array:
        x, (n, height, width, channels) = _images(self, x)
        xp = namespace(x)
        shift = _draw(key, (n, 2)) % (2 * self.padding + 1) - self.padding
        row = _range(height, x) + shift[:, :1]
        column = _range(width, x) + shift[:, 1:]
        inside = _between(row, 0, height)[:, :, None] & _between(column, 0, width)[:, None, :]
        # Wrap around at first, so that every position lies in the image; zeros replace the wrapped pixels.
        pixel = (row % height)[:, :, None] * width + (column % width)[:, None, :]
        pixels = xp.reshape(x, (n, height * width, channels))
        rolled = ops(x).take_in_each(pixels, xp.reshape(pixel, (n, height * width)))
        return xp.where(inside[..., None], xp.reshape(rolled, x.shape), _zero(x))


@dataclass(frozen=True)
class HorizontalFlip:
    """Mirror each image left to right, with a probability.

    Arguments:
        probability: the probability that an image is mirrored, from 0 to 1.
    """

    examples = "independent"

    probability: float = 0.5

    def __post_init__(self) -> None:
        p = settled(self, "probability")
        if not is_number(p) or not 0 <= p <= 1:
            raise ConfigError(f"{self}: expected probability to be a number from 0 to 1, got {p!r}")

    def __call__(self, x: Array, key: Key) -> Array:
        x, (n, _, _, _) = _images(self, x)
        xp = namespace(x)
        # Compare integers: libraries may round a probability differently.
        flipped = _draw(key, (n, 1, 1, 1)) % (1 << 24) < round(self.probability * (1 << 24))
        return xp.where(flipped, xp.flip(x, axis=2), x)


@dataclass(frozen=True)
class Cutout:
    """Set a square in each image to zero. Its centre is random; the square may reach over the border.

    Zero should be the mean of the pixels: normalize the images first.

    Arguments:
        size: the side of the square in pixels.

    (DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout", 2017.)
    """

    examples = "independent"

    size: int

    def __post_init__(self) -> None:
        _require_positive_integer(self, size=self.size)

    def __call__(self, x: Array, key: Key) -> Array:
        x, (n, height, width, _) = _images(self, x)
        middle = _draw(key, (n, 2))
        top = middle[:, :1] % height - self.size // 2
        left = middle[:, 1:] % width - self.size // 2
        rows = _between(_range(height, x), top, top + self.size)
        columns = _between(_range(width, x), left, left + self.size)
        hole = rows[:, :, None] & columns[:, None, :]
        return namespace(x).where(hole[..., None], _zero(x), x)


@dataclass(frozen=True, init=False, repr=False)
class Compose:
    """Apply augmentations in order, the i-th with the i-th child of the key.

    Arguments:
        augmentations: functions of (x, key), for example `Compose(RandomCrop(4), HorizontalFlip())`.
    """

    augmentations: tuple[Augmentation, ...]

    def __init__(self, *augmentations: Augmentation) -> None:
        for i, augmentation in enumerate(augmentations):
            if not callable(augmentation):
                raise ConfigError(
                    f"Compose: expected argument {i} to be an augmentation, got {augmentation!r}"
                )
        object.__setattr__(self, "augmentations", augmentations)

    @property
    def examples(self) -> Examples:
        return combined(getattr(each, "examples", "mixed") for each in self.augmentations)

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.augmentations))})"

    def __call__(self, x: Array, key: Key) -> Array:
        for i, augmentation in enumerate(self.augmentations):
            x = augmentation(x, key.child(i))
        return x


def _images(augmentation: Augmentation, x: Any) -> tuple[Any, tuple[int, int, int, int]]:
    """x as an array, and its shape."""
    x = as_array(x)
    if x.ndim != 4:
        raise ShapeError(
            f"{augmentation}: expected x of shape (n, height, width, channels), got {tuple(x.shape)}"
        )
    n, height, width, channels = x.shape
    return x, (n, height, width, channels)


def _draw(key: Key, shape: tuple[int, ...]) -> Array:
    """Random int32, 0 to 2³¹ - 1, of that shape: remainders by a small number are nearly uniform."""
    return bits(key, shape) & 0x7FFFFFFF


def _range(stop: int, x: Array) -> Array:
    return namespace(x).arange(stop, device=device(x))


def _between(x: Array, start: Any, stop: Any) -> Array:
    return (x >= start) & (x < stop)


def _zero(x: Array) -> Array:
    return namespace(x).zeros((), dtype=x.dtype, device=device(x))


def _require_positive_integer(augmentation: Augmentation, **arguments: Any) -> None:
    for name, value in arguments.items():
        settled(augmentation, name)
        require_integer(augmentation, name, value)
        if value > LARGEST:
            raise ConfigError(f"{augmentation}: expected {name} to be at most {LARGEST:,}, got {value:,}")
