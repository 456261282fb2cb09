"""What a data set is: examples, names of the classes, and how its numbers became inputs."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xpnet.errors import DataError

IMAGES = {784: (28, 28, 1), 1024: (32, 32, 1), 3072: (32, 32, 3)}  # MNIST's, USPS-like and CIFAR's sizes


SAMPLE = 200  # images that decide on the order of the channels


class Examples(NamedTuple):
    """Inputs and their labels.

    Fields:
        x: float32: images (n, height, width, channels) or rows of a table (n, columns).
        y: int64 (n,), 0 to classes - 1.
    """

    x: NDArray[np.float32]
    y: NDArray[np.int64]


class Preparation(NamedTuple):
    """How the numbers of a file became inputs: x = (numbers - mean) / std, in the shape of an example.

    Fields:
        shape: shape of one input, as the network takes it.
        mean, std: one number for all, or one for each column of a table.
        planes: a file has an image's channels one after the other: (channels, height, width).
        transposed: a file has images of one channel that lie on their side, and are turned upright.
        resized: pictures of any size are brought to the shape.
        columns: the names of the input columns in the header of a CSV file, or empty.
        label: the name of the label column, or its position from 1, or None where a file has no such column.
        skipped: names or positions of further columns that are no inputs.
    """

    shape: tuple[int, ...]
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (255.0,)
    planes: bool = False
    columns: tuple[str, ...] = ()
    label: str | int | None = None
    skipped: tuple[str | int, ...] = ()
    transposed: bool = False
    resized: bool = False

    def apply(self, numbers: NDArray[Any]) -> NDArray[np.float32]:
        """The inputs (n, *shape) from numbers of a file (n, ...) of as many values an example.

        They may share memory with float32 numbers.

        Raises DataError where an example has another number of values.
        """
        values = math.prod(self.shape)
        if math.prod(numbers.shape[1:]) != values:
            raise DataError(
                f"expected {values} numbers for an input of shape {self.shape}, "
                f"got {math.prod(numbers.shape[1:])}"
            )
        if self.planes:
            height, width, channels = self.shape
            planes = numbers.reshape(-1, channels, height, width)
            numbers = planes.transpose(0, 2, 3, 1).copy()  # bytes, before they become four times as large
        if self.transposed:
            numbers = numbers.reshape(-1, self.shape[1], self.shape[0]).transpose(0, 2, 1).copy()
        exact = numbers.dtype == np.float32 or numbers.dtype.itemsize <= 2
        kind = np.float32 if exact else np.float64
        moved, scaled = any(self.mean), set(self.std) != {1.0}
        x: NDArray[Any] = numbers.reshape(-1, values).astype(kind, copy=moved or scaled)
        if moved:
            x -= np.asarray(self.mean, kind)
        if scaled:
            x /= np.asarray(self.std, kind)
        return np.require(x.reshape(-1, *self.shape), np.float32, ["C", "W"])

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON's types, which `from_json` takes."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in self._asdict().items()}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Preparation":
        """The preparation of a `to_json`."""
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
        return cls(**values)


class Dataset(NamedTuple):
    """A data set with the training and test examples as published. `split` makes validation examples.

    Fields:
        classes: number of classes.
        class_names: the name of each class, or empty: then a class is called by its number.
        notes: what was found or decided while reading, for the first line of a run: "divided by 255".
        preparation: how the numbers of the files became inputs, or None where nobody can know.
    """

    name: str
    train: Examples
    test: Examples
    classes: int
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    preparation: Preparation | None = None

    @property
    def label_names(self) -> tuple[str, ...]:
        """The name of each class, its number where it has no other name."""
        return self.class_names or tuple(map(str, range(self.classes)))

    def as_images(self) -> "Dataset":
        """The data set with images for rows, where these have as many columns as an image of MNIST or CIFAR.

        Any other data set is returned as it is.
        """
        shape = self.train.x.shape[1:]
        image = IMAGES.get(shape[0]) if len(shape) == 1 else None
        if image is None:
            return self
        planes = image[2] > 1 and _has_planes(self.train.x[:SAMPLE], image[1])
        to_images = Preparation(image, std=(1.0,), planes=planes)
        train, test = (Examples(to_images.apply(part.x), part.y) for part in (self.train, self.test))
        order = f" and {image[2]} channels, one after the other" if planes else ""
        notes = (*self.notes, f"{shape[0]} columns taken as images of {'x'.join(map(str, image[:2]))}{order}")
        preparation = self.preparation and self.preparation._replace(shape=image, planes=planes)
        return Dataset(self.name, train, test, self.classes, self.class_names, notes, preparation)

    def describe(self) -> dict[str, Any]:
        """What a run keeps of its data set to use the network later, in JSON's types."""
        return {
            "name": self.name,
            "classes": self.classes,
            "class_names": list(self.label_names),
            "notes": list(self.notes),
            "preparation": self.preparation and self.preparation.to_json(),
        }


def _has_planes(x: NDArray[np.float32], width: int) -> bool:
    """Whether rows hold three channels one after the other: the pixel below is one width away, not three."""
    one, three = (np.abs(x[:, step:] - x[:, :-step]).mean() for step in (width, 3 * width))
    return bool(one < three)
