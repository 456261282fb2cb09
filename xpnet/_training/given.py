"""Batches that the user gives: what counts as batches, passes over them, and the parts of one batch."""

import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, MappingView, Set
from itertools import islice
from typing import Any, Protocol

import numpy as np

from xpnet._training import judging
from xpnet._training.inputs import Inputs, naming
from xpnet._training.judging import Weighted
from xpnet._util.checks import is_number
from xpnet.backend._reading import a
from xpnet.errors import ConfigError, ShapeError
from xpnet.losses import Loss
from xpnet.nn._layer import Shape, show_shape

Batch = tuple[Any, ...] | list[Any]


class Items(Protocol):
    """A sequence of batches."""

    def __len__(self) -> int: ...

    def __getitem__(self, i: int, /) -> Batch: ...


Batches = Iterable[Batch] | Items  # what `fit` takes in place of x and y; a str is none
AS_ARRAY = ("shape", "__array__", "__array_interface__", "__dlpack__")
END = object()  # in place of a batch: there is none
END_THEM = "pass the first ones, as dataset.take(100) gives them"
PARTS = "(x, y) or (x, y, sample_weight)"


def are_batches(x: Any) -> bool:
    """Whether x is an iterable of batches: no array, and no list of anything else."""
    if x is None or isinstance(x, str | bytes | os.PathLike | Mapping | Set | type | io.IOBase):
        return False
    if any(hasattr(x, name) for name in AS_ARRAY):
        return False
    if isinstance(x, list | tuple):
        return not x or all(map(is_batch, x[:1]))
    return isinstance(x, Iterable) or (hasattr(x, "__len__") and hasattr(x, "__getitem__"))


def is_batch(item: Any) -> bool:
    """Whether an item of a list may be a batch: a tuple or list of two or three arrays."""
    return isinstance(item, list | tuple) and len(item) in (2, 3) and not is_number(item[0])


def are_pairs(pair: Any) -> bool:
    """Whether this is a list of batches rather than one pair (x, y) of arrays."""
    if not isinstance(pair, list | tuple):
        return are_batches(pair)
    return bool(pair) and _is_of_rows(pair[0]) and all(map(is_batch, pair))


def _is_of_rows(item: Any) -> bool:
    """Whether this is a batch of arrays, and not one array of a few."""
    if not is_batch(item):
        return False
    x, y = (tuple(getattr(each, "shape", ())) for each in item[:2])
    return len(x) > 1 and x[:1] == y[:1] and (isinstance(item, tuple) or x != y)


def are_inputs(x: Any) -> bool:
    """Whether x is an iterable of batches of inputs: of x, or of (x, y), for `predict`."""
    if isinstance(x, list | tuple):
        return are_pairs(x)
    if not are_batches(x) or isinstance(x, MappingView) or hasattr(x, "read"):
        return False
    if hasattr(x, "__getitem__") and hasattr(x, "__len__"):  # a sequence of rows, or of batches
        return len(x) > 0 and _is_of_rows(x[0])
    return isinstance(x, Iterable)


def _length(array: Any) -> int | None:
    """The number of rows of what has a shape."""
    shape = getattr(array, "shape", None)
    return int(shape[0]) if shape else None


def parts_of(batch: Any) -> tuple[Any, Any, Any]:
    """x, y, and the weights or None. Raises ShapeError for anything else than a batch."""
    if not isinstance(batch, list | tuple) or len(batch) not in (2, 3):
        raise ShapeError(f"expected {PARTS}, got {_described(batch)}")
    x, y, *weights = batch
    if isinstance(y, int | float) or getattr(y, "shape", None) == ():
        raise ShapeError(
            f"expected {PARTS} of many examples, got one example; group them, as "
            "torch.utils.data.DataLoader(examples, batch_size=64) or tf.data's dataset.batch(64) do"
        )
    return x, y, weights[0] if weights else None


def _described(batch: Any) -> str:
    if isinstance(batch, Mapping):
        keys = list(batch)[:2]
        yielded = ", ".join(f"batch[{key!r}]" for key in keys)
        return f"{a(batch)} with the keys {', '.join(map(repr, batch))}; make each batch ({yielded})"
    if isinstance(batch, list | tuple):
        return f"{a(batch)} of {len(batch)} items"
    if hasattr(batch, "shape"):
        return f"an array of shape {tuple(batch.shape)}"
    return a(batch)


class Passes:
    """Batches one by one, pass after pass.

    It tells batches that want to know: `set_epoch(number)`, of theirs or of their `sampler`, before a pass,
    as PyTorch's samplers have it; `on_epoch_begin()` before and `on_epoch_end()` after it, as sequences of
    Keras have them.

    Arguments:
        batches: an iterable, or an object with a length and items.
        passes, taken: where to start: after so many passes, and so many batches of the next one; what can be
            read only once starts where it is.

    Attributes:
        once: whether they can be read only once.
        position: the passes that are over, and the batches taken of the next one.
    """

    def __init__(self, batches: Any, passes: int = 0, taken: int = 0) -> None:
        self.batches = batches
        self.once = is_read_once(batches)
        self.position = passes, 0 if self.once else taken
        self._open: Iterator[Any] | None = None
        self._next: list[Any] = []  # a batch that was looked at
        self._over: int | None = passes  # the passes whose end was told; None: tells of none

    @property
    def name(self) -> str:
        return a(self.batches)

    def length(self) -> int | None:
        """The number of batches of a pass; None if it is not known."""
        try:
            return None if self.once else len(self.batches)
        except (TypeError, AttributeError, NotImplementedError):
            return None

    def first(self) -> Any:
        """The next batch, without taking it; END if there is none."""
        if not self._next:
            batch = self.take()
            if batch is END:
                return END
            passes, taken = self.position
            self._next, self.position = [batch], (passes, taken - 1)
        return self._next[0]

    def seek(self, position: tuple[int, int]) -> None:
        """Go to this position. What can be read only once stays where it is."""
        if not self.once and position != self.position:
            self.position, self._open, self._next = position, None, []

    def take(self) -> Any:
        """The next batch of the pass; END, once, at its end."""
        passes, taken = self.position
        if self._next:
            batch = self._next.pop()
        else:
            if self._open is None:
                self._open = self._opened(passes, taken)
            batch = next(self._open, END)
        if batch is not END:
            self.position = passes, taken + 1
        elif not self.once:
            self.end_pass()
        return batch

    def again(self, position: tuple[int, int]) -> "Passes":
        """The same batches from this position on, to read beside these; they are told of no end of a pass."""
        other = Passes(self.batches, *position)
        other._over = None
        return other

    def end_pass(self) -> None:
        """Go to the start of the next pass."""
        passes = self.position[0] + 1
        self.seek((passes, 0))
        if self._over is not None and passes > self._over:
            self._over = passes
            if callable(tell := getattr(self.batches, "on_epoch_end", None)):
                tell()

    def _opened(self, passes: int, taken: int) -> Iterator[Any]:
        for each in (self.batches, getattr(self.batches, "sampler", None)):
            if callable(tell := getattr(each, "set_epoch", None)):
                tell(passes)
        if self._over is not None and callable(tell := getattr(self.batches, "on_epoch_begin", None)):
            tell()
        return self.once_more(taken)

    def once_more(self, taken: int = 0) -> Iterator[Any]:
        """The batches of a pass of its own, without the first ones."""
        if not isinstance(self.batches, Iterable):
            return map(self.batches.__getitem__, range(taken, len(self.batches)))
        batches = iter(self.batches)
        return islice(batches, taken, None) if taken else batches


class Placer:
    """Checks batches and brings them into their dtype, on the device if they are there, else on the host.

    All have targets of one form, with weights or without.

    Arguments:
        inputs: checks x and y against the network.
        loss: the loss.

    Raises ShapeError, which names the batch, for one that does not fit.
    """

    def __init__(self, inputs: Inputs, loss: Loss) -> None:
        self.inputs, self.loss = inputs, loss
        self.form: tuple[Shape, bool] | None = None

    def __call__(self, batch: Any, number: int) -> tuple[Any, Any]:
        """Inputs and targets of a batch."""
        with naming(f"batch {number}"):
            x, y, weights = parts_of(batch)
            placed, target = self.pair(x, y)
            found = target if weights is None else self.weighted(target, weights)
            form = tuple(target.shape[1:]), weights is None
            self.form = self.form or form
            if form != self.form:
                raise ShapeError(f"expected {_form(*self.form)}, as in the first batch, got {_form(*form)}")
        return placed, found

    def read(self, x: Any, name: str = "x") -> Any:
        """An array of numbers."""
        return self.inputs.read(x, name)

    def pair(self, x: Any, y: Any) -> tuple[Any, Any]:
        """x and y of a batch, placed."""
        return self.inputs.place_batch(x, y)

    def weighted(self, target: Any, weights: Any) -> Weighted:
        """A placed target with the weights of the batch, on the host."""
        backend = self.inputs.backend
        found: Weighted = judging.weighted(self.loss, target, weights, backend, on_device=False, some=False)
        return found

    def length(self, x: Any) -> int:
        """The number of examples of x, as `read` gave it."""
        return int(x.shape[0]) if x.shape else 0

    def examples(self, placed: Any) -> int:
        """The number of examples of placed inputs."""
        return int(placed.shape[0])


def _form(shape: Shape, without_weights: bool) -> str:
    return f"y of shape {show_shape(('n', *shape))} {'without' if without_weights else 'and'} sample_weight"


class Placed:
    """Batches for evaluation: each pass checks and places them one by one.

    Arguments:
        opened: gives the batches of a pass.
        place: places one; it gets its number too.
    """

    def __init__(self, opened: Callable[[], Iterator[Any]], place: Callable[[Any, int], Any]) -> None:
        self.opened, self.place = opened, place

    def __iter__(self) -> Iterator[Any]:
        for number, batch in enumerate(self.opened(), 1):
            yield self.place(batch, number)


def inputs_of(inputs: Inputs, batches: Any, place: Callable[[Any], Any] | None = None) -> Iterator[Any]:
    """The inputs of batches of x or `(x, y)`, checked and placed one by one, by `place` or by the inputs."""
    require_end("predict: expected batches", batches, END_THEM)
    for number, batch in enumerate(Passes(batches).once_more(), 1):
        with naming(f"batch {number}"):
            x = _inputs_in(batch)
        try:
            with naming(f"batch {number}"):
                placed = (place or inputs.place_x)(x)
        except ShapeError:
            if number == 1 and len(np.shape(x)) < 2:
                inputs.read(batches)  # an iterable of rows: it is refused, with another way out
            raise
        yield placed


def _inputs_in(batch: Any) -> Any:
    """x of a batch of x, `(x, y)`, or as PyTorch's loader collates them, `[x]` and `[x, y]`."""
    if isinstance(batch, Mapping):
        raise ShapeError(f"expected x or (x, y), got {_described(batch)}")
    several = isinstance(batch, list) and len(batch) <= 3
    if several and all(hasattr(each, "shape") for each in batch):
        several = len(batch) > 0 and len(batch[0].shape) > 1
    else:
        several = isinstance(batch, tuple) and len(batch) > 0
    return batch[0] if several else batch


def is_read_once(batches: Any) -> bool:
    """Whether batches are an iterator, such as a generator."""
    return isinstance(batches, Iterator)


def require_end(what: str, batches: Any, way_out: str) -> None:
    """ConfigError for batches that say that they never end; `what` begins the line."""
    if never_end(batches):
        raise ConfigError(f"{what} that end, got {a(batches)}, which repeats for ever; {way_out}")


def never_end(batches: Any) -> bool:
    """Whether batches say so: by a cardinality of -1, as in tf.data, or `num_batches` None, as in Keras."""
    if callable(cardinality := getattr(batches, "cardinality", None)):
        return bool(cardinality() == -1)
    is_sequence = hasattr(batches, "__getitem__") and not hasattr(batches, "__len__")
    try:
        return is_sequence and getattr(batches, "num_batches", 0) is None
    except NotImplementedError:  # by a PyDataset that tells no number
        return True


def require_many(name: str, batches: Any, epochs: int, way_out: str) -> None:
    """ConfigError for an iterator that would have to be read in each of several epochs."""
    if epochs > 1 and is_read_once(batches):
        raise ConfigError(
            f"fit: expected {name} that can be read in each of {epochs} epochs, got {a(batches)}, which is "
            f"read once; {way_out}"
        )
