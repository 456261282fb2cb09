"""Any input to xpnet either works or raises an `xpnet.Error` of one line.

The ordinary tests check each property on a few fixed cases, `pytest -m slow` on 10,000.
"""

import contextlib
import functools
import gzip
import inspect
import io
import math
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

import xpnet
from data_files import idx_bytes
from xpnet import losses, nn, optim, schedules
from xpnet._training import checkpoint
from xpnet._util import files
from xpnet.data import augment, cifar, csv, idx, split
from xpnet.data.normalization import channel_statistics, normalize
from xpnet.train import Config
from xpnet.train.command_line import parse
from xpnet.train.config import option_name
from xpnet.train.experiment import make_model

MANY = 10_000


def fuzz(few: int, **strategies: st.SearchStrategy) -> Callable[[Callable[..., None]], None]:
    """Two tests of a property: one with `few` cases, and one with many, marked slow."""

    def decorate(function: Callable[..., None]) -> None:
        checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much]
        for name, count in (
            (f"test_{function.__name__}", few),
            (f"test_{function.__name__}_many_times", MANY),
        ):

            @functools.wraps(function)
            def test(*args: Any, **kwargs: Any) -> None:
                with works_or_says_why():
                    function(*args, **kwargs)

            test.__name__ = test.__qualname__ = name
            test = settings(
                max_examples=count, derandomize=True, deadline=None, suppress_health_check=checks
            )(given(**strategies)(test))
            globals()[name] = pytest.mark.slow(test) if count == MANY else test

    return decorate


@contextlib.contextmanager
def works_or_says_why() -> Iterator[None]:
    answer = "all is well"
    try:
        with np.errstate(all="ignore"):
            yield
    except xpnet.Error as error:
        answer = str(error)
    assert len(answer.splitlines()) == 1


def call(function: Callable[..., Any], arguments: list[Any]) -> Any:
    """The result of the call. Rejects cases with a wrong number of arguments, which is Python's error."""
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        reject()
    return function(*arguments)


@contextlib.contextmanager
def at_most(limit: int) -> Iterator[None]:
    """Context manager: expects the block to allocate at most that much memory."""
    tracemalloc.start()
    try:
        yield
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < limit


# Files


def damaged(good: bytes) -> st.SearchStrategy[bytes]:
    """A good file, truncated or with bytes changed, removed or inserted; or arbitrary bytes."""
    place = st.integers(0, len(good) - 1)

    def flip(changes: list[tuple[int, int]]) -> bytes:
        content = bytearray(good)
        for position, bits in changes:
            content[position] ^= bits
        return bytes(content)

    return st.one_of(
        place.map(lambda end: good[:end]),
        st.lists(st.tuples(place, st.integers(1, 255)), min_size=1, max_size=4).map(flip),
        st.tuples(place, st.binary(max_size=9)).map(lambda cut: good[: cut[0]] + cut[1] + good[cut[0] :]),
        st.tuples(place, st.integers(1, 9)).map(lambda cut: good[: cut[0]] + good[sum(cut) :]),
        st.binary(max_size=99),
    )


IMAGES = idx_bytes(np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28))
LABELS = idx_bytes(np.array([3, 1, 2], np.uint8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@fuzz(
    60, content=damaged(IMAGES) | damaged(LABELS), item=st.sampled_from([(28, 28), ()]), zipped=st.booleans()
)
def idx_file(folder: Path, content: bytes, item: tuple[int, ...], zipped: bool) -> None:
    path = folder / ("idx.gz" if zipped else "idx")
    path.write_bytes(gzip.compress(content) if zipped else content)
    with at_most(3 * idx.CHUNK):
        idx.read(path, item)


@fuzz(30, content=damaged(gzip.compress(IMAGES, mtime=0)))
def gzipped_idx_file(folder: Path, content: bytes) -> None:
    path = folder / "idx.gz"
    path.write_bytes(content)
    with at_most(3 * idx.CHUNK):
        idx.read(path, (28, 28))


CSV_TEXT = st.text(alphabet="0123456789.,-+e \n\r\t\"'#_naifx;\0é٣\ufeff", max_size=60)
CSV_FILE = damaged(b"label,a,b\n0,51,255\n2,255,0\n1,0,102\n") | CSV_TEXT.map(str.encode)


@fuzz(100, train=CSV_FILE, test=CSV_FILE, label=st.sampled_from(["first", "last", None]))
def csv_files(folder: Path, train: bytes, test: bytes, label: str | None) -> None:
    (folder / "train.csv").write_bytes(train)
    (folder / "test.csv").write_bytes(test)
    found = csv.read("csv", folder / "train.csv", folder / "test.csv", csv.Options(label))
    assert np.isfinite(found.train.x).all()
    assert np.isfinite(found.test.x).all()
    assert 0 <= found.train.y.min() <= found.train.y.max() == found.classes - 1


@fuzz(40, content=damaged(bytes(range(256)) * 24 + b"\0" * (2 * cifar.RECORD - 24 * 256)))
def cifar_file(folder: Path, content: bytes) -> None:
    """A file of CIFAR-10 with two images instead of 10,000."""
    (folder / "batch.bin").write_bytes(content)
    with pytest.MonkeyPatch.context() as patch, at_most(1_000_000):
        patch.setattr(cifar, "RECORDS", 2)
        x, y = cifar.read([folder / "batch.bin"])
        assert x.max() <= 1
        assert y.max() <= 9


SHAPES = {"0.weight": (4, 3), "0.bias": (3,)}


def npz(**options: Any) -> bytes:
    file = io.BytesIO()
    save = np.savez_compressed if options.pop("compressed", False) else np.savez
    save(
        file,
        **{name: np.arange(math.prod(shape), dtype=float).reshape(shape) for name, shape in SHAPES.items()},
    )
    return file.getvalue()


def load_npz(folder: Path, content: bytes) -> None:
    (folder / "model.npz").write_bytes(content)
    with at_most(1_000_000):
        arrays = files.load_arrays(folder / "model.npz", SHAPES)
        assert {name: array.shape for name, array in arrays.items()} == SHAPES
        assert all(array.dtype.kind in "biuf" for array in arrays.values())


@fuzz(100, content=damaged(npz()) | damaged(npz(compressed=True)))
def parameter_file(folder: Path, content: bytes) -> None:
    load_npz(folder, content)


def test_a_parameter_file_cut_off_anywhere(folder: Path) -> None:
    for content in (npz(), npz(compressed=True)):
        for end in range(len(content)):
            with works_or_says_why():
                load_npz(folder, content[:end])
                pytest.fail(f"{end} of {len(content)} bytes are no file")


HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "descr": st.sampled_from(
            ["<f8", "<f4", "|O", "<U9", "<U999999999", "|V99999999", "<c16", "<M8[s]", "x", "", 3]
        )
        | st.lists(st.tuples(st.text(max_size=3), st.sampled_from(["<f8", "|O"])), max_size=2),
        "fortran_order": st.booleans() | st.integers(),
        "shape": st.lists(st.sampled_from([-1, 0, 1, 3, 4, 10**6, 10**9, 2**63, 2**70]), max_size=4).map(
            tuple
        )
        | st.integers(),
        "more": st.text(max_size=3),
    },
).map(repr) | st.text(max_size=30)


@fuzz(
    60, header=HEADERS, version=st.sampled_from([(1, 0), (2, 0), (3, 0), (9, 9)]), length=st.integers(0, 200)
)
def parameter_file_with_a_lie_in_its_header(
    folder: Path, header: str, version: tuple[int, int], length: int
) -> None:
    """A wrong header cannot make the reader allocate much memory."""
    size = 2 if version == (1, 0) else 4
    text = header.encode() + b"\n"
    member = b"\x93NUMPY" + bytes(version) + len(text).to_bytes(size, "little") + text + bytes(length)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("0.weight.npy", member)
        archive.writestr("0.bias.npy", member)
    load_npz(folder, file.getvalue())


# Options

ODD = st.one_of(
    st.sampled_from(
        [0, 1, -1, 2, 3, 0.0, 0.1, 0.5, 0.9, 1.0, 1.5, -0.5, 1e-300, 1e300, math.nan, math.inf, -math.inf]
    ),
    st.sampled_from(
        [None, True, False, "", "same", "relu", "x\ny", (), (1,), (2, 2), (0, 3), (1, 2, 3), [1, 2], {}]
    ),
    st.sampled_from([10**10, -(10**10), 2**63, 10**30, np.float32(0.5), np.int64(2), np.nan, b"x", 1j]),
)
OPTIONS = Config.__dataclass_fields__
SOME_OPTIONS = st.dictionaries(st.sampled_from(sorted(OPTIONS)), ODD, max_size=4)
EXAMPLES = np.random.default_rng(0).normal(size=(6, 8, 8, 1)), np.array([0, 1, 2, 0, 1, 2])


def train_a_little(config: Config) -> None:
    """Train one epoch on images and one on rows."""
    images, y = EXAMPLES
    for x in (images, images.reshape(6, -1)):
        config.check_inputs(x.shape[1:])
        model = make_model(config, x.shape[1:], 3)
        model.fit(
            x, y, epochs=1, batch_size=config.batch_size, validation=(x, y), schedule=config.make_schedule()
        )
        assert len(model.predict(x)) == 6


def small(options: dict[str, Any]) -> dict[str, Any]:
    """The options with a small network and one epoch, unless they set others."""
    return {"hidden": (3,), "epochs": 1, **options}


@fuzz(60, options=SOME_OPTIONS)
def config(options: dict[str, Any]) -> None:
    train_a_little(Config(**small(options)))


@fuzz(
    25,
    options=SOME_OPTIONS,
    extra=st.lists(st.sampled_from(["--", "-x", "--epochs", "1", "", "--no-bias", "é"]), max_size=2),
)
def command_line(options: dict[str, Any], extra: list[str]) -> None:
    arguments = []
    for name, value in options.items():
        arguments += [option_name(name), *map(str, value if isinstance(value, tuple | list) else [value])]
    train_a_little(parse([*arguments, *extra], "train.py")[0])


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=4,
)
YAML = st.one_of(
    st.dictionaries(st.sampled_from(sorted(OPTIONS)) | st.text(max_size=5), PLAIN, max_size=3).map(yaml.safe_dump),
    st.text(max_size=40),
    st.lists(st.sampled_from(["epochs", ":", " ", "\n", "- ", "[", "]", "{", "&a", "*a", "!!python/object:os.x", "3", "|"])).map("".join),
).map(str.encode) | st.binary(max_size=20)  # fmt: skip


@fuzz(25, content=YAML)
def yaml_file(folder: Path, content: bytes) -> None:
    (folder / "config.yaml").write_bytes(content)
    parse(["--config", str(folder / "config.yaml")], "train.py")


# Layers, losses, optimizers and the rest

ARGUMENTS = st.tuples(st.lists(ODD, max_size=5), st.integers(0, 1 << 30))
LAYERS = [
    getattr(nn, name) for name in nn.__all__ if name not in ("Layer", "Container", "ContainerResiduals")
]
SHAPE = st.lists(st.integers(0, 5), max_size=4).map(tuple)


@fuzz(200, layer=st.sampled_from(LAYERS), arguments=st.lists(ODD, max_size=5), shape=SHAPE)
def layer(layer: type, arguments: list[Any], shape: tuple[int, ...]) -> None:
    """A layer with any arguments and an input of any shape, in a model, which checks its inputs."""
    made = call(layer, arguments)
    net = nn.Sequential(made, nn.Flatten())
    model = xpnet.Model(net, losses.MeanSquaredError(), optim.SGD(0.1))
    x = np.ones(shape)
    y = model.forward(x)
    model.backward(np.zeros(y.shape))
    model.step()
    assert y.shape == net.output_shape(shape)


@fuzz(
    100,
    optimizer=st.sampled_from(
        [getattr(optim, name) for name in optim.__all__ if name[0].isupper() and name != "Optimizer"]
    ),
    arguments=st.lists(ODD, max_size=5),
)
def optimizer(optimizer: type, arguments: list[Any]) -> None:
    if optimizer in (optim.ClipNorm, optim.ClipValue, optim.AverageWeights):
        arguments = [optim.SGD(0.1), *arguments]
    made = call(optimizer, arguments)
    model = xpnet.Model(nn.Linear(2, 2), losses.CrossEntropy(), made)
    model.fit(np.ones((4, 2)), [0, 1, 0, 1], epochs=1, batch_size=2)


@fuzz(
    60,
    schedule=st.sampled_from(
        [each for each in vars(schedules).values() if each in schedules.Schedule.__subclasses__()]
    ),
    arguments=st.lists(ODD, max_size=4),
)
def schedule(schedule: type, arguments: list[Any]) -> None:
    made = call(schedule, arguments)
    model = xpnet.Model(nn.Linear(2, 2), losses.CrossEntropy(), optim.SGD(0.1))
    x, y = np.ones((4, 2)), [0, 1, 0, 1]
    model.fit(x, y, epochs=2, batch_size=2, schedule=made, validation=(x, y))


AUGMENTATIONS = [augment.RandomCrop, augment.HorizontalFlip, augment.Cutout, augment.Compose]


@fuzz(40, augmentation=st.sampled_from(AUGMENTATIONS), arguments=st.lists(ODD, max_size=2), shape=SHAPE)
def augmentation(augmentation: type, arguments: list[Any], shape: tuple[int, ...]) -> None:
    made = call(augmentation, arguments)
    key = xpnet.random.Key(np.zeros(1, np.int32))
    assert made(np.ones(shape), key).shape == shape


LOSSES = [getattr(losses, name) for name in losses.__all__ if name[0].isupper() and name != "Loss"]
DTYPES = [
    "float64",
    "float32",
    "float16",
    "int64",
    "int8",
    "uint8",
    "bool",
    "complex64",
    "<U3",
    "object",
    "M8[s]",
]


@st.composite
def arrays(draw: Callable[..., Any], shapes: st.SearchStrategy[tuple[int, ...]]) -> np.ndarray:
    """Arrays of any dtype, with a few odd values."""
    shape, dtype = draw(shapes), draw(st.sampled_from(DTYPES))
    values = draw(st.sampled_from([0, 1, 2, 3, -1, 127, math.nan, math.inf, 1e300, 0.5]))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    x = rng.integers(0, 3, shape).astype("float64")
    if x.size:
        x.flat[draw(st.integers(0, x.size - 1))] = values
    if np.dtype(dtype).kind in "biuM":
        return np.nan_to_num(x, nan=0, posinf=1, neginf=0).clip(-1, 127).astype("int64").astype(dtype)
    with np.errstate(all="ignore"):
        return x.astype(dtype)


NUMBER_OF_EXAMPLES = st.sampled_from([0, 1, 4])
INPUTS = arrays(st.tuples(NUMBER_OF_EXAMPLES, st.just(2)) | SHAPE)
TARGETS = arrays(
    st.tuples(NUMBER_OF_EXAMPLES) | st.tuples(NUMBER_OF_EXAMPLES, st.sampled_from([1, 3])) | SHAPE
)
COUNTS = st.sampled_from([1, 2, 1, 2, 0, -1, 10**12, 1.5, None, "2", math.nan, True])


@fuzz(
    200,
    x=INPUTS,
    y=TARGETS,
    loss=st.sampled_from(LOSSES),
    arguments=st.lists(ODD, max_size=2) | st.just([]),
    outputs=st.sampled_from([1, 3]),
    batch_size=COUNTS,
    micro_batch=COUNTS | st.none(),
    on_device=st.booleans(),
)
def training(
    x: Any,
    y: Any,
    loss: type,
    arguments: list[Any],
    outputs: int,
    batch_size: Any,
    micro_batch: Any,
    on_device: bool,
) -> None:
    """Trainings with any inputs and targets: labels out of range, no data, one sample, one class."""
    made = call(loss, arguments)
    model = xpnet.Model(nn.Linear(2, outputs), made, optim.SGD(0.1), micro_batch=micro_batch)
    before = [array.copy() for array in xpnet.tree.leaves(model.params)]
    try:
        model.fit(x, y, epochs=1, batch_size=batch_size, validation=(x, y), data_on_device=on_device)
    except xpnet.Error:
        for old, new in zip(before, xpnet.tree.leaves(model.params), strict=True):
            np.testing.assert_array_equal(old, new)
        raise
    assert model.predict(x).shape[0] == len(y)


@fuzz(
    40,
    options=st.dictionaries(
        st.sampled_from(["seed", "dtype", "device", "l2", "micro_batch", "backend"]), ODD, max_size=3
    ),
)
def model_options(options: dict[str, Any]) -> None:
    model = xpnet.Model(nn.Linear(2, 2), losses.CrossEntropy(), optim.SGD(0.1), **options)
    model.fit(np.ones((4, 2)), [0, 1, 0, 1], epochs=1)


@fuzz(40, x=arrays(SHAPE), fraction=ODD)
def data_functions(x: np.ndarray, fraction: Any) -> None:
    found = channel_statistics(x)
    normalize(x, found)
    split(xpnet.data.Examples(x, np.zeros(len(x), np.int64)), fraction)


def good_files(folder: Path) -> dict[str, bytes]:
    """A file that can be read, for each reader of `fuzz_files`."""
    checkpoint.write(folder / "state", {"epoch": 1, "params": ({"weight": np.ones((2, 2))},)})
    return {
        "idx": IMAGES,
        "csv": b"label,a,b\n0,51,255\n2,255,0\n1,0,102\n",
        "cifar": b"\0" * (2 * cifar.RECORD),
        "parameters": npz(),
        "checkpoint": (folder / "state").read_bytes(),
    }


@pytest.mark.slow
@pytest.mark.parametrize("reader", ["idx", "csv", "cifar", "parameters", "checkpoint"])
def test_files_that_reach_new_lines(tmp_path: Path, reader: str) -> None:
    """Files found by coverage-guided fuzzing: see `fuzz_files`."""
    pytest.importorskip("atheris", reason="atheris is not installed; pip install '.[fuzz]'")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "good").write_bytes(good_files(tmp_path)[reader])
    program = Path(__file__).with_name("fuzz_files.py")
    options = [
        f"-runs={MANY}",
        "-seed=1",
        "-max_len=8192",
        "-rss_limit_mb=2048",
        f"-artifact_prefix={tmp_path}/",
    ]
    done = subprocess.run([sys.executable, program, reader, corpus, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Done {MANY}" in done.stderr
