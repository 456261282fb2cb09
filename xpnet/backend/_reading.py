"""What users pass as data, as NumPy arrays of numbers; what cannot be read is refused with the way out."""

import datetime
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import suppress
from decimal import Decimal
from numbers import Complex, Integral, Real
from typing import Any, NoReturn

import array_api_compat
import numpy as np

from xpnet.backend._lazy import LazyArray, is_lazy
from xpnet.backend.ops import device, ops
from xpnet.errors import ShapeError

CPU = 1  # the number of this kind of device in DLPack
FILL = "fill in missing values or leave their examples out, as pandas' {name}.fillna(0) or {name}.dropna() do"
WORDS = "number the words, as np.unique({of}, return_inverse=True)[1] does"
DATES = "pass numbers, such as ({name} - {name}.min()) / np.timedelta64(1, 's')"


def as_array(x: Any, name: str = "x") -> Any:
    """x itself if it is an array of any library, else `numbers(x)`. A store is read as a whole."""
    if isinstance(x, LazyArray) or not array_api_compat.is_array_api_obj(x) or isinstance(x, np.ndarray):
        return numbers(x, name)[...] if is_lazy(x) else numbers(x, name)
    return x


def numbers(x: Any, name: str = "x") -> np.ndarray | LazyArray:
    """x as a NumPy array of numbers in its own dtype. An array in a store stays there, as a `LazyArray`.

    Integers stay integers, also in an array of objects and in pandas' own integer dtypes.

    Raises ShapeError, which calls the array by its name, if x is not an array of real numbers.
    """
    if type(x) is np.ndarray and has_numbers(x.dtype):
        return x
    if is_lazy(x):
        if not has_numbers(np.dtype(x.dtype)):
            raise _wrong_dtype(f"dtype {x.dtype}", f"write numbers into the store of {name}")
        return x if isinstance(x, LazyArray) else LazyArray(x, x.dtype)
    require_no_mask(x, name)
    _require_array(x, name)
    try:
        array = _as_numpy(x)
    except Exception as error:
        if is_too_large(error):
            raise
        raise ShapeError(unreadable(x, error, name)) from error
    return _real(array, x, name)


def has_numbers(dtype: Any) -> bool:
    """Whether a dtype of NumPy is one of its own for bools, integers or floats."""
    return dtype.kind in "biuf" and dtype.isbuiltin != 2  # 2: registered by others, as float8_e5m2


def is_readable(x: Any) -> bool:
    """Whether NumPy reads x as an array by one of its own protocols."""
    return any(hasattr(x, way) for way in ("__array__", "__array_interface__", "__array_struct__"))


def _as_numpy(x: Any) -> np.ndarray:
    if not is_readable(x):
        if hasattr(x, "__dlpack__"):
            return np.from_dlpack(x)
        if callable(getattr(x, "numpy", None)):
            return np.asarray(x.numpy())
    return np.asarray(x)


def is_too_large(error: BaseException) -> bool:
    """Whether an error says that an array does not fit into memory, on this or on any machine."""
    of_numpy = ("array is too big", "Maximum allowed dimension")
    return isinstance(error, MemoryError) or any(words in str(error) for words in of_numpy)


def require_no_mask(x: Any, name: str = "x") -> None:
    """ShapeError for masked entries, in an array or in lists of arrays: NumPy would use what they hide."""
    if isinstance(x, np.ma.MaskedArray):
        mask = np.ma.getmaskarray(x)
        if mask.any():
            where, n = entry(name, _first(mask)), int(mask.sum())
            way_out = f"pass {name}.filled(…) with the value to use for them"
            _refuse(f"a masked array with {n} masked entries, the first at {where}", way_out)
    elif isinstance(x, list | tuple):
        kinds = set(map(type, x))
        if any(issubclass(kind, np.ma.MaskedArray | list | tuple) for kind in kinds):
            for i, each in enumerate(x):
                require_no_mask(each, f"{name}[{i}]")


def entry(name: str, position: tuple[int, ...]) -> str:
    """An entry as Python writes it: x[3, 0]."""
    return f"{name}[{', '.join(map(str, position))}]" if position else name


def unreadable(x: Any, reason: object, name: str = "x") -> str:
    """The error line for an array whose values cannot be read, with the reason."""
    if array_api_compat.is_array_api_obj(x):
        kind = f"{type(x).__module__.partition('.')[0]}.{type(x).__name__}"
        advice = ops(x).advice(x).replace("pass x.", f"pass {name}.")
        got = f"a {kind} of dtype {x.dtype} on {device(x)} ({one_line(reason)}); {advice}"
    elif isinstance(reason, ValueError) and not is_readable(x):
        got = f"uneven rows ({_uneven(x, name) or one_line(reason)}); pad them to one length"
    else:
        got = f"{a(x)} ({one_line(reason)})"
    return f"expected an array of numbers, got {got}"


def _uneven(x: Any, name: str) -> str:
    """The first two rows of different lengths; empty if the difference is deeper."""
    lengths = [len(row) if hasattr(row, "__len__") else 0 for row in x] if isinstance(x, list | tuple) else []
    i = next((i for i, length in enumerate(lengths) if length != lengths[0]), 0)
    return f"{name}[0] has {lengths[0]} entries, {name}[{i}] has {lengths[i]}" if i else ""


def a(x: Any) -> str:
    """The type of an object with its article."""
    kind = type(x).__name__
    return f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}"


def one_line(text: object) -> str:
    """The text in one line, with single spaces."""
    return " ".join(str(text).split())


def _require_array(x: Any, name: str) -> None:
    """ShapeError for what is no array, if NumPy would take it for one object or read it for long."""
    kind = type(x).__name__
    for dense, count in (("toarray", "nnz"), ("todense", "nse")):
        if hasattr(x, dense) and hasattr(x, count):
            _refuse(f"a sparse {kind}", f"pass {name}.{dense}()")
    if hasattr(x, "dense_shape"):
        _refuse(f"a sparse {kind}", f"pass tf.sparse.to_dense({name})")
    if is_readable(x) or hasattr(x, "__dlpack__") or callable(getattr(x, "numpy", None)):
        return
    if x is None or isinstance(x, type):
        _refuse(repr(x), "pass an array")
    is_file = isinstance(x, io.IOBase) or hasattr(x, "read")
    if is_file or isinstance(x, str | bytes | os.PathLike):
        way_out = f"read it first, as np.load({name}) or np.loadtxt({name}) do"
        _refuse("an open file" if is_file else a(x), way_out)
    if isinstance(x, Mapping):
        key = next(iter(x), "name")
        _refuse(a(x), f"pass one of its arrays, {name}[{key!r}], or np.column_stack(list({name}.values()))")
    if isinstance(x, Set):
        _refuse(a(x), f"sets have no order: pass np.array(sorted({name}))")
    if hasattr(x, "dataset") and isinstance(x, Iterable):
        arrays = "pass the arrays of all examples: np.concatenate([x for x, y in loader])"
        _refuse(a(x), f"{arrays}, or to fit and evaluate the loader alone, without y")
    if isinstance(x, Iterable) and callable(getattr(x, "batch", None)):
        _refuse(a(x), f"pass one data set alone, without y, of batches, as {name}.batch(64) makes them")
    if isinstance(x, Iterator) or (isinstance(x, Iterable) and not hasattr(x, "__len__")):
        _refuse(a(x), f"pass np.stack(list({name}))")
    if isinstance(x, list | tuple | int | float | np.generic | range | memoryview):
        return
    example = _first_item(x)
    if example is None or isinstance(example, tuple | Mapping):
        way = (
            "pass np.stack([x for x, y in dataset])"
            if isinstance(example, tuple)
            else f"pass np.stack(list({name}))"
        )
        _refuse(a(x), way if hasattr(x, "__getitem__") or isinstance(x, Iterable) else "pass an array")


def _first_item(x: Any) -> Any:
    """The first item of a sequence; None for any other object."""
    try:
        return x[0] if len(x) else ()
    except Exception:
        return None


def _real(array: np.ndarray, x: Any, name: str) -> np.ndarray:
    """The array if it holds real numbers, or its real numbers if it holds them as objects."""
    kind, dtype = array.dtype.kind, f"dtype {array.dtype}"
    if has_numbers(array.dtype):
        return array
    if kind == "O":
        return _from_objects(array, x, name)
    if kind in "Vf" and array.dtype.names is None:  # ml_dtypes, such as bfloat16
        with suppress(TypeError, ValueError):
            return array.astype(np.int64 if "int" in array.dtype.name else np.float32)
    if kind in "SUT":
        _refuse_words(array, x, dtype, name)
    ways = {
        "c": f"pass {name}.real, or np.stack([{name}.real, {name}.imag], axis=-1)",
        "M": DATES.format(name=name),
        "m": f"pass {name} / np.timedelta64(1, 's')",
        "V": f"pass numpy.lib.recfunctions.structured_to_unstructured({name})",
    }
    raise _wrong_dtype(dtype, ways.get(kind, "pass numbers"))


def _from_objects(array: np.ndarray, x: Any, name: str) -> np.ndarray:
    """The numbers in an array of objects: bools, integers if all are, else float64."""
    flat = array.reshape(-1)
    kinds = set(map(type, flat))
    wrong = tuple(kind for kind in kinds if not issubclass(kind, Real | np.bool_ | Decimal))
    if wrong:
        i = next(i for i, each in enumerate(flat) if isinstance(each, wrong))
        _refuse_object(flat[i], array, x, tuple(map(int, np.unravel_index(i, array.shape))), name)
    if kinds and all(issubclass(kind, bool | np.bool_) for kind in kinds):
        return array.astype(bool)
    if kinds and all(issubclass(kind, Integral | np.bool_) for kind in kinds):
        with suppress(OverflowError):  # of a Python int beyond int64
            return array.astype(np.int64)
    try:
        return array.astype(np.float64)
    except OverflowError as error:
        raise ShapeError(
            f"expected an array of numbers that a float can hold, got others ({error})"
        ) from error


def _refuse_object(item: Any, array: np.ndarray, x: Any, position: tuple[int, ...], name: str) -> NoReturn:
    """Raise the ShapeError for an item that is no number in an array of objects."""
    if array.ndim == 0:
        _refuse(a(item), "pass an array")
    missing = item is None or type(item).__name__ in ("NAType", "NaTType")
    if missing:
        shown, way = str(item), FILL.format(name=name)
    elif isinstance(item, str | bytes):
        _refuse_words(array, x, f"dtype {array.dtype}", name)
    elif isinstance(item, Complex):
        shown, way = f"{item}", f"pass np.real({name})"
    elif isinstance(item, datetime.date | datetime.time | np.datetime64):
        shown, way = a(item), DATES.format(name=name)
    elif isinstance(item, list | tuple) or hasattr(item, "__array__"):
        even = len({_shape(each) for each in array.reshape(-1)}) == 1
        shown = a(item)
        way = f"pass np.stack(list({name}))" if even else "pad its rows to one length"
        if callable(getattr(x, "to_tensor", None)):  # of a RaggedTensor
            way = f"pass {name}.to_tensor(), which pads them with zeros"
    elif hasattr(item, "toarray"):
        shown, way = a(item), f"pass np.stack([each.toarray() for each in {name}])"
    else:
        shown, way = a(item), "pass numbers"
    raise _wrong_dtype(f"dtype {array.dtype}, with {shown} at {_entry_of(name, position, x)}", way)


def _refuse_words(array: np.ndarray, x: Any, dtype: str, name: str) -> NoReturn:
    """Raise the ShapeError for text: numbers as text can be converted, words have to be numbered."""
    for position, each in np.ndenumerate(array):
        if isinstance(each, str | bytes) and not _is_number(each):
            word = each if isinstance(each, str) else each.decode(errors="replace")
            shown = f"{word[:20]!r} at {_entry_of(name, position, x)}"
            raise _wrong_dtype(
                f"{dtype}, with {shown}", WORDS.format(of=name if array.ndim == 1 else "column")
            )
    of = name if hasattr(x, "astype") else f"np.asarray({name})"
    labels = f", or {of}.astype(int) for labels" if name == "y" else ""
    raise _wrong_dtype(f"{dtype}, numbers as text", f"pass {of}.astype(float){labels}")


def _shape(row: Any) -> tuple[int, ...] | str:
    try:
        return np.shape(row)
    except ValueError:
        return "uneven"


def _is_number(text: str | bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _entry_of(name: str, position: tuple[int, ...], x: Any) -> str:
    """`entry`, with the column of a table."""
    columns = getattr(x, "columns", None)
    column = (
        f", in column {str(columns[position[1]])!r}" if columns is not None and len(position) == 2 else ""
    )
    return f"{entry(name, position)}{column}"


def _first(mask: np.ndarray) -> tuple[int, ...]:
    """The position of the first true entry."""
    return tuple(map(int, np.unravel_index(int(mask.argmax()), mask.shape)))


def _refuse(got: str, way_out: str) -> NoReturn:
    raise ShapeError(f"expected an array of numbers, got {got}; {way_out}")


def _wrong_dtype(got: str, way_out: str) -> ShapeError:
    return ShapeError(f"expected an array of real numbers, got {got}; {way_out}")
