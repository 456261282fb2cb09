"""Objects that are arrays in one way only, or as other libraries have them."""

from collections.abc import Iterator
from typing import Any

import numpy as np


class DLPack:
    """An array that has DLPack alone, as its consumers call it."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


class Tensor:
    """An array that has `numpy()` alone."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def numpy(self) -> np.ndarray:
        return self.array


class RaggedTensor(Tensor):
    """As TensorFlow's: `numpy()` gives objects where rows differ in length, and there is no `__array__`."""

    def to_tensor(self) -> Tensor:
        raise NotImplementedError


class SparseTensor:
    """As TensorFlow's: no way to an array of its own."""

    def __init__(self, array: np.ndarray) -> None:
        self.indices, self.values, self.dense_shape = np.argwhere(array), array[array != 0], array.shape


class SymbolicTensor:
    """As Keras's: it has a shape and no values."""

    shape = (6, 3)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise ValueError("it has no\n actual values")


class TensorShape:
    """As TensorFlow's: no tuple, but equal to one."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def __len__(self) -> int:
        return len(self.shape)

    def __iter__(self) -> Iterator[int]:
        return iter(self.shape)

    def __getitem__(self, i: Any) -> Any:
        return self.shape[i]

    def __eq__(self, other: object) -> bool:
        return self.shape == tuple(other)  # type: ignore[arg-type]

    def __hash__(self) -> int:
        return hash(self.shape)


class EagerTensor(DLPack):
    """As TensorFlow's: all protocols, and a shape and a dtype of its own kinds."""

    def __init__(self, array: np.ndarray) -> None:
        super().__init__(array)
        self.shape, self.dtype = TensorShape(array.shape), f"tf.{array.dtype}"

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(self.array, dtype)

    def numpy(self) -> np.ndarray:
        return self.array

    def __len__(self) -> int:
        return len(self.array)

    def __iter__(self) -> Iterator[Any]:
        return iter(map(type(self), self.array))

    def __getitem__(self, i: Any) -> Any:
        return type(self)(np.asarray(self.array[i]))


class Dataset:
    """As a data set of tf.data: `len` fails where the number of items is unknown (-2) or infinite (-1)."""

    def __init__(self, items: list[Any], cardinality: int | None = None) -> None:
        self.items, self.number = items, len(items) if cardinality is None else cardinality

    def __iter__(self) -> Iterator[Any]:
        yield from self.items
        if self.number == -1:
            for _ in range(100):
                yield from self.items
            raise AssertionError("it was read on and on")

    def __len__(self) -> int:
        if self.number < 0:
            raise TypeError("The dataset is infinite." if self.number == -1 else "Its length is unknown.")
        return self.number

    def cardinality(self) -> Any:
        return np.asarray(self.number)

    def batch(self, size: int) -> "Dataset":
        raise NotImplementedError


class PyDataset:
    """As `keras.utils.PyDataset`, of which a class of one's own tells the number of batches, or None."""

    @property
    def num_batches(self) -> int | None:
        raise NotImplementedError("implement num_batches")

    def __getitem__(self, i: int) -> Any:
        raise NotImplementedError

    def __iter__(self) -> Iterator[Any]:
        yield from map(self.__getitem__, range(100))
        raise AssertionError("it was read on and on")
