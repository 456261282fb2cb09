"""What people pass as data: it works where it can, else one line says what came, where, and what to pass."""

import array
import collections
import datetime
import decimal
import io
import re
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

import xpnet
from array_likes import DLPack, EagerTensor, RaggedTensor, SparseTensor, SymbolicTensor, Tensor
from conftest import MakeBackend
from xpnet import data, losses, nn, optim
from xpnet.backend import device
from xpnet.data import augment
from xpnet.errors import ConfigError, ShapeError
from xpnet.random import Key

X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
Y = np.array([0, 1, 2, 0, 1, 2])


def make_model(backend: str = "numpy") -> xpnet.Model:
    return xpnet.Model(nn.Linear(3, 3), losses.CrossEntropy(), optim.SGD(0.1), backend)


def objects(*rows: Any) -> np.ndarray:
    array = np.empty(len(rows), object)
    array[:] = rows
    return array


def records() -> np.ndarray:
    """Records of 13 bytes: the steps between their numbers are no multiple of a number's size."""
    made = np.zeros(6, [("x", "f4", 3), ("y", "i1")])
    made["x"] = X
    return made


class Rows:
    """A sequence of one's own."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Any:
        return self.rows[i]


class Loader:
    """Batches of pairs, as PyTorch's DataLoader."""

    dataset = Rows([(X[0], 0)])

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Any:
        return iter([(X, Y)])


def ml_dtypes_of(dtype: str) -> Callable[[], Any]:
    return lambda: X.astype(
        getattr(pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed"), dtype)
    )


def frame(**columns: Any) -> Any:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    return pandas.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], **columns}, index=list("fedcba"))


WORKS: dict[str, Callable[[], Any]] = {
    "lists": X.tolist,
    "a list of arrays": lambda: list(X),
    "a tuple of tuples": lambda: tuple(map(tuple, X.tolist())),
    "a deque": lambda: collections.deque(X.tolist()),
    "a sequence of one's own": lambda: Rows(X),
    "a memoryview": lambda: memoryview(X),
    "a matrix": lambda: X.view(np.matrix),
    "backwards": lambda: X[::-1].copy()[::-1],
    "columns backwards": lambda: X[:, ::-1].copy()[:, ::-1],
    "swapped bytes": lambda: X.astype(">f4"),
    "read-only": lambda: np.frombuffer(X.tobytes(), np.float32).reshape(X.shape),
    "every second column": lambda: np.repeat(X, 2, axis=1)[:, ::2],
    "a field of packed records": lambda: records()["x"],
    "longdouble": lambda: X.astype(np.longdouble),
    "objects": lambda: X.astype(object),
    "decimals": lambda: [[decimal.Decimal(float(value)) for value in row] for row in X],
    "masked without a mask": lambda: np.ma.masked_array(X),
    "a DataFrame": frame,
    "a DataFrame of nullable dtypes": lambda: frame().astype("Float64"),
    "a DataFrame with other columns": lambda: frame(b=X[:, 1].astype(object)),
    "a categorical column": lambda: frame(a=frame()["a"].astype("category")),
    "JAX": lambda: pytest.importorskip("jax", reason="JAX is not installed").numpy.asarray(X),
    "PyTorch": lambda: pytest.importorskip("torch", reason="PyTorch is not installed").tensor(X),
    "DLPack": lambda: DLPack(X.copy()),
    "a tensor": lambda: Tensor(X),
    "TensorFlow": lambda: EagerTensor(X.copy()),
}


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
@pytest.mark.parametrize("kind", WORKS)
def test_works(kind: str, backend: str) -> None:
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    model, expected = make_model(backend), make_model(backend)
    x = WORKS[kind]()
    history = model.fit(x, Y, epochs=1, validation=(x, Y))
    assert history[0][:5] == expected.fit(X, Y, epochs=1, validation=(X, Y))[0][:5]
    np.testing.assert_array_equal(model.predict_proba(x), expected.predict_proba(X))


@pytest.mark.parametrize("kind", ["bfloat16", "float8_e4m3fn", "float8_e5m2", "int4", "float16", "bool"])
def test_narrow_dtypes_work_as_their_values(kind: str, make_backend: MakeBackend) -> None:
    x = X.astype(kind) if kind in ("float16", "bool") else ml_dtypes_of(kind)()
    place = make_backend("float32")
    found = place.to_numpy(place.asarray(x, real=True))
    np.testing.assert_array_equal(found, x.astype(np.float32))
    assert found.dtype == np.float32
    if kind == "int4":
        assert place.asarray(x).dtype == place.index_dtype


LABELS: dict[str, Callable[[], Any]] = {
    "a Series": lambda: pytest.importorskip("pandas", reason="pandas is not installed").Series(
        Y, index=list("fedcba")
    ),
    "a Series of nullable integers": lambda: pytest.importorskip(
        "pandas", reason="pandas is not installed"
    ).Series(Y, dtype="Int64"),
    "an Index": lambda: pytest.importorskip("pandas", reason="pandas is not installed").Index(Y),
    "categories": lambda: (
        pytest.importorskip("pandas", reason="pandas is not installed").Series(Y).astype("category")
    ),
    "a Categorical": lambda: pytest.importorskip("pandas", reason="pandas is not installed").Categorical(Y),
    "backwards": lambda: Y[::-1].copy()[::-1],
    "swapped bytes": lambda: Y.astype(">i8"),
    "objects": lambda: Y.astype(object),
    "numbers of NumPy": lambda: list(Y),
    "DLPack": lambda: DLPack(Y.copy()),
    "a tensor": lambda: Tensor(Y),
    "TensorFlow": lambda: EagerTensor(Y.copy()),
}


def test_dlpack_copies_nothing(make_backend: MakeBackend) -> None:
    backend, array = make_backend("float32"), X.copy()
    found = backend.adopted(DLPack(array))
    if backend.owns(found):  # a GPU cannot adopt what is in the memory of the host
        assert backend.name == "jax" or np.shares_memory(backend.to_numpy(found), array)
        assert device(found) != backend.device or backend.asarray(found, real=True) is found
    np.testing.assert_array_equal(backend.to_numpy(backend.asarray(DLPack(array))), array)
    for own in (found, X.tolist(), None):
        assert backend.adopted(own) is own


def test_dlpack_that_fails_is_told() -> None:
    class Fails(DLPack):
        def __dlpack__(self, **options: Any) -> Any:
            raise BufferError("it is on the moon")

    with pytest.raises(ShapeError, match=r"got a Fails \(it is on the moon\)"):
        make_model().fit(Fails(X), Y)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("kind", LABELS)
def test_labels(kind: str, backend: str) -> None:
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    model, expected = make_model(backend), make_model(backend)
    assert model.fit(X, LABELS[kind](), epochs=1)[0][:3] == expected.fit(X, Y, epochs=1)[0][:3]


def sparse(format: str, kind: str = "array") -> Callable[[], Any]:
    return lambda: getattr(scipy.sparse, f"coo_{kind}")(X.astype(float)).asformat(format)


MASKED = np.ma.masked_array(X, mask=X > 0.9)
FIRST = tuple(np.argwhere(X > 0.9)[0].tolist())
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "masked": (lambda: MASKED, f"got a masked array with {(X > 0.9).sum()} masked entries, the first at x{list(FIRST)}; pass x.filled(…)"),
    "masked rows": (lambda: list(MASKED), f"masked entries, the first at x[{FIRST[0]}][{FIRST[1]}]; pass x[{FIRST[0]}].filled(…)"),
    "complex": (lambda: X * 1j, "got dtype complex64; pass x.real, or np.stack([x.real, x.imag], axis=-1)"),
    "complex objects": (lambda: (X * 1j).astype(object), "dtype object, with "),
    "None in lists": (lambda: [[1.0, None, 2.0]] * 6, "got dtype object, with None at x[0, 1]; fill in missing values"),
    "strings of digits": (lambda: X.astype(str), "numbers as text; pass x.astype(float)"),
    "lists of digits": (lambda: [["1", "2", "3"]] * 6, "numbers as text; pass np.asarray(x).astype(float)"),
    "words": (lambda: [["1", "red", "3"]] * 6, "with 'red' at x[0, 1]; number the words, as np.unique(column"),
    "dates": (lambda: [[datetime.date(2020, 1, 1)] * 3] * 6, "with a date at x[0, 0]; pass numbers, such as (x - x.min())"),
    "datetime64": (lambda: X.astype("M8[s]"), "got dtype datetime64[s]; pass numbers, such as (x - x.min()) / np.timedelta64(1, 's')"),
    "timedelta64": (lambda: X.astype("m8[s]"), "got dtype timedelta64[s]; pass x / np.timedelta64(1, 's')"),
    "records": (lambda: np.zeros(6, [("a", "f4"), ("b", "i4")]), "structured_to_unstructured(x)"),
    "an array of arrays": (lambda: objects(*X), "with a ndarray at x[0]; pass np.stack(list(x))"),
    "an array of uneven arrays": (lambda: objects(X[0], X[1][:2]), "pad its rows to one length"),
    "an array of uneven lists": (lambda: objects([[1], [1, 2]], [[1], [2, 3]]), "with a list at x[0]; p"),
    "uneven lists": (lambda: [[1, 2, 3], [1, 2]], "got uneven rows (x[0] has 3 entries, x[1] has 2); pad them to one length"),
    "a generator": (lambda: (row for row in X), "got a generator; pass np.stack(list(x))"),
    "a map": (lambda: map(list, X), "got a map; pass np.stack(list(x))"),
    "values of a dict": (lambda: {"a": X}.values(), "got a dict_values; pass np.stack(list(x))"),
    "a dict": (lambda: {"a": X[:, 0], "b": X[:, 1]}, "got a dict; pass one of its arrays, x['a'], or np.column_stack(list(x.values()))"),
    "a set": (lambda: {1.0, 2.0}, "got a set; sets have no order: pass np.array(sorted(x))"),
    "a string": (lambda: "data.csv", "got a str; read it first, as np.load(x) or np.loadtxt(x) do"),
    "a path": (lambda: Path("data.npy"), "read it first, as np.load(x) or np.loadtxt(x) do"),
    "an open file": (lambda: io.BytesIO(b"1,2"), "got an open file; read it first"),
    "what can be read": (lambda: types.SimpleNamespace(read=None), "got an open file; read it first"),
    "a sparse tensor": (lambda: SparseTensor(X), "got a sparse SparseTensor; pass tf.sparse.to_dense(x)"),
    "a ragged tensor": (lambda: RaggedTensor(objects(X[0], X[1][:2])), "with a ndarray at x[0]; pass x.to_tensor(), which pads them with zeros"),
    "a symbolic tensor": (SymbolicTensor, "got a SymbolicTensor (it has no actual values)"),
    "words of TensorFlow": (lambda: EagerTensor(np.array([[b"1", b"red"]], object)), "with 'red' at x[0, 1]; number the words"),
    "bytes": (lambda: np.array([[b"1", b"red", b"3"]] * 6), "with 'red' at x[0, 1]; number the words"),
    "None": (lambda: None, "got None; pass an array"),
    "a class": (lambda: dict, "got <class 'dict'>; pass an array"),
    "a function": (lambda: len, "got a builtin_function_or_method; pass an array"),
    "a data set": (lambda: Rows([(row, 0) for row in X]), "got a Rows; pass np.stack([x for x, y in dataset])"),
    "a loader": (Loader, "got a Loader; pass the arrays of all examples: np.concatenate([x for x, y in loader])"),
    "a number": (lambda: 3.0, "Linear(3, 3): expected x of shape (n, 3), got ()"),
    "an array without axes": (lambda: np.array(3), "Linear(3, 3): expected x of shape (n, 3), got ()"),
    "a flat array": (lambda: array.array("f", [1, 2, 3]), "Linear(3, 3): expected x of shape (n, 3), got (3,)"),
    "a DataFrame with words": (lambda: frame(b=["red"] * 6), "with 'red' at x[0, 1], in column 'b'; number the words"),
    "a DataFrame with a gap": (lambda: frame(b=pytest.importorskip("pandas", reason="pandas is not installed").array([1, 2, None, 3, 4, 5]), a=["x"] * 6).iloc[:, 1:].astype(object), "with <NA> at x[2, 0], in column 'b'; fill in missing values"),
    "a DataFrame with dates": (lambda: frame(a=pytest.importorskip("pandas", reason="pandas is not installed").date_range("2020", periods=6)), "with a Timestamp at x[0, 0], in column 'a'"),
    "a list of sparse rows": (lambda: [sparse("csr")()] * 2, "pass np.stack([each.toarray() for each in x])"),
    **{f"sparse {format}_{kind}": (sparse(format, kind), f"got a sparse {format}_{kind}; pass x.toarray()")
       for format in ("csr", "csc", "coo", "bsr", "dia", "dok", "lil") for kind in ("array", "matrix")},
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_is_refused_with_the_way_out(kind: str) -> None:
    make, message = REFUSED[kind]
    model = make_model()
    calls: list[Callable[[Any], Any]] = [
        lambda x: model.fit(x, Y, epochs=1),
        lambda x: model.fit(x, Y, epochs=1, data_on_device=False),
        lambda x: model.fit(X, Y, epochs=1, validation=(x, Y)),  # None is the pair's own mistake
        lambda x: model.evaluate(x, Y),
        model.predict,
        model.predict_proba,
        model.forward,
        lambda x: xpnet.backend.get("array-api-strict").asarray(x).shape[7],
    ]
    for i, call in enumerate(calls):
        if (i == 7 and "Linear" in message) or (i == 2 and kind == "None"):
            continue
        if kind == "a loader" and call in (model.predict, model.predict_proba):
            continue  # they take its batches: `test_given_batches.py`
        with pytest.raises(ShapeError) as error:
            call(make())
        assert message in str(error.value)
        assert "\n" not in str(error.value)
        assert str(error.value).startswith("validation: ") == (i == 2)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.ma.masked_array(Y, mask=Y == 2), "got a masked array with 2 masked entries, the first at y[2]; pass y.filled(…)"),
        (["a", "b", "c"] * 2, "with 'a' at y[0]; number the words, as np.unique(y, return_inverse=True)[1] does"),
        (list("012012"), "pass np.asarray(y).astype(float), or np.asarray(y).astype(int) for labels"),
        ([0, 1, None, 0, 1, 2], "with None at y[2]; fill in missing values"),
        ([[1], [1, 2]], "got uneven rows (y[0] has 1 entries, y[1] has 2)"),
        (iter(Y), "got an iterator; pass np.stack(list(y))"),
        ({"y": Y}, "got a dict; pass one of its arrays, y['y']"),
        ("labels.npy", "got a str; read it first, as np.load(y)"),
        (Y * 1j, "got dtype complex128; pass y.real"),
    ],
)  # fmt: skip
def test_targets_are_refused_under_their_own_name(y: Any, message: str) -> None:
    model = make_model()
    for call in (
        lambda: model.fit(X, y, epochs=1),
        lambda: model.fit(X, y, epochs=1, data_on_device=False),
        lambda: model.fit(X, Y, epochs=1, validation=(X, y)),
        lambda: model.evaluate(X, y),
    ):
        if "iterator" not in message:
            with pytest.raises(ShapeError, match=re.escape(message)):
                call()
    model.forward(X)
    for by_hand in (model.loss, model.errors, model.backward):
        with pytest.raises(ShapeError, match=re.escape(message)):
            by_hand(y)


def test_masked_parameters_are_refused() -> None:
    model = make_model()
    before = model.params["weight"].copy()
    weight = np.ma.masked_array(np.ones((3, 3)), mask=np.eye(3, dtype=bool))
    with pytest.raises(ShapeError, match=r"params\.weight: expected an array of numbers, got a masked array"):
        model.params = {"weight": weight, "bias": np.zeros(3)}
    np.testing.assert_array_equal(model.params["weight"], before)


def test_batches_take_what_fit_takes() -> None:
    for x, y in ((X.tolist(), Y.tolist()), (frame(), LABELS["a Series"]()), (X, Y.tolist())):
        for found, expected in zip(data.batches(x, y, 4), data.batches(X, Y, 4), strict=True):
            np.testing.assert_array_equal(found[0], expected[0])
            np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X, Y[:5], r"batches: expected a y for each of 6 x, got x of shape \(6, 3\) and y of shape \(5,\)"),
        (X.tolist(), [*Y, 0], r"batches: expected a y for each of 6 x, got x of shape \(6, 3\) and y of shape \(7,\)"),
        (X, 3, r"batches: expected a y for each of 6 x, got x of shape \(6, 3\) and y of shape \(\)"),
        (3.0, Y, r"batches: expected x \(n, ...\), got x of shape \(\)"),
        (MASKED, Y, "got a masked array"),
        (X, ["a"] * 6, r"with 'a' at y\[0\]"),
        ((row for row in X), Y, r"pass np.stack\(list\(x\)\)"),
    ],
)  # fmt: skip
def test_batches_refuse_what_does_not_fit(x: Any, y: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        data.batches(x, y, 4)
    with pytest.raises(ConfigError, match="batches: expected at least one example, got none"):
        data.batches([], [], 4)


@pytest.mark.parametrize(
    "change",
    [augment.RandomCrop(1), augment.HorizontalFlip(), augment.Cutout(2), augment.Compose(augment.Cutout(2))],
)
def test_augmentations_take_lists(change: Any) -> None:
    images, key = np.arange(32.0).reshape(2, 4, 4, 1), Key(np.zeros(1, np.int32))
    np.testing.assert_array_equal(change(images.tolist(), key), change(images, key))
    with pytest.raises(ShapeError, match=r"expected x of shape \(n, height, width, channels\), got \(2,\)"):
        change([1.0, 2.0], key)


def test_normalization_takes_lists() -> None:
    images = np.random.default_rng(0).normal(size=(2, 4, 4, 3))
    found = data.channel_statistics(images.tolist())
    assert found == data.channel_statistics(images)
    np.testing.assert_array_equal(data.normalize(images.tolist(), found), data.normalize(images, found))
    with pytest.raises(ShapeError, match="got a masked array"):
        data.channel_statistics(np.ma.masked_array(images, mask=images > 0))
