"""ONNX files: their graph computes what `predict` does, in onnx's reference implementation and in onnxruntime."""

import json
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import cases
import xpnet
from bench.workloads import WORKLOADS
from conftest import run_script
from models import drawn
from test_predict import rows, trained
from xpnet import Model, data, losses, nn, optim, random, tree
from xpnet.backend import namespace
from xpnet.errors import BackendError, CheckpointError, ConfigError, DivergedError, ShapeError
from xpnet.train import command_line, networks

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
from onnx.reference import ReferenceEvaluator  # noqa: E402

try:
    import onnxruntime
except ImportError:
    onnxruntime = None

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "scripts" / "configs").glob("*.yaml"))
TOLERANCES = {"float32": 3e-6, "float64": 1e-12}
each_dtype = pytest.mark.parametrize("dtype", TOLERANCES)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"


def outputs(path: Path, x: np.ndarray) -> Iterator[np.ndarray]:
    """What onnx's reference implementation and onnxruntime compute, where it is installed."""
    yield ReferenceEvaluator(str(path)).run(None, {"x": x})[0]
    if onnxruntime is not None:
        yield onnxruntime.InferenceSession(str(path)).run(None, {"x": x})[0]


def test_files_run_on_onnxruntime() -> None:
    """A skipped test where it is missing; elsewhere `outputs` compares it in all tests."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def metadata(path: Path) -> dict[str, str]:
    return {each.key: each.value for each in onnx.load(path).metadata_props}


@each_dtype
@pytest.mark.parametrize("case", [case for case in cases.LAYERS if not case.training], ids=str)
def test_layers_compute_what_predict_does(case: cases.LayerCase, dtype: str, file: Path) -> None:
    model = drawn(case.layer, dtype=dtype)
    xpnet.onnx.export(model, file, case.shape[1:])
    for n in (1, 7):
        rng, size = np.random.default_rng(n), (n, *case.shape[1:])
        x = rng.integers(case.entries, size=size) if case.entries else rng.uniform(-3, 3, size).astype(dtype)
        expected = model.predict(x)
        for found in outputs(file, x):
            assert found.dtype == expected.dtype
            np.testing.assert_allclose(found, expected, rtol=TOLERANCES[dtype], atol=TOLERANCES[dtype])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs(path: Path, file: Path) -> None:
    config = command_line.read(path)
    if config.name == "cifar10":  # of 6.5 million parameters, which take 9 s
        config = replace(config, channels=tuple(channels // 8 for channels in config.channels))
    shape = (32, 32, 3) if config.dataset == "cifar10" else (28, 28, 1)
    model = drawn(networks.build(config, shape, 10))
    exported = xpnet.onnx.export(model, file, shape)
    x = np.random.default_rng(0).random((7, *shape), np.float32)
    expected = model.predict(x)
    for found in outputs(file, x):
        np.testing.assert_allclose(found, expected, rtol=0, atol=3e-6 * max(1, np.abs(expected).max()))
    assert exported.difference <= 3e-6 * max(1, exported.largest)
    convolutional = bool(config.channels)
    assert operators(file).count("Transpose") == convolutional * (1 if config.global_pool else 2)


def test_cnn_a_has_few_nodes(file: Path) -> None:
    """The transposes between convolutions and pools cancel."""
    cnn_a = next(each for each in WORKLOADS.values() if each.network.startswith("conv5x5x16"))
    exported = xpnet.onnx.export(drawn(nn.Sequential(*cnn_a.layers)), file, cnn_a.input_shape)
    assert operators(file) == [
        *("Transpose", "Conv", "Relu", "MaxPool", "Conv", "Relu", "MaxPool", "Transpose"),
        *("Flatten", "Gemm", "Relu", "Gemm"),
    ]
    assert exported.nodes == 12 <= 19


def test_an_input_is_transposed_once_for_two_branches(file: Path) -> None:
    net = nn.Residual(nn.Conv2d(2, 4, 3, padding="same"), nn.Conv2d(2, 4, 1))
    xpnet.onnx.export(drawn(net), file, (5, 6, 2))
    assert operators(file) == ["Transpose", "Conv", "Conv", "Add", "Transpose"]


def test_what_the_file_says_of_itself(file: Path) -> None:
    net = nn.Sequential(nn.Linear(5, 4, bias=False), nn.Residual(nn.Linear(4, 4)), nn.GELU())
    told = {"class_names": ("a", "b", "c", "é"), "metadata": {"author": "me"}}
    exported = xpnet.onnx.export(drawn(net, losses.CrossEntropy()), file, (5,), **told)
    model = onnx.load(file)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 20)]
    assert (model.producer_name, exported.opset, model.ir_version) == ("xpnet", 20, 9)
    shapes = [
        [dim.dim_param or dim.dim_value for dim in each.type.tensor_type.shape.dim]
        for each in (*model.graph.input, *model.graph.output)
    ]
    assert shapes == [["n", 5], ["n", 4]]
    assert [each.name for each in (*model.graph.input, *model.graph.output)] == ["x", "y"]
    assert {each.name for each in model.graph.initializer} == {
        "0.weight", "1.branch.weight", "1.branch.bias"
    }  # fmt: skip
    assert [node.name for node in model.graph.node] == ["0/Gemm", "1/branch/Gemm", "1/Add", "2/Gelu"]
    assert metadata(file) == {
        "loss": "CrossEntropy()", "outputs": "logits", "probabilities": "Softmax",
        "class_names": '["a", "b", "c", "é"]', "author": "me",
    }  # fmt: skip
    assert str(exported).startswith(f"{file}: opset 20, 4 nodes, {file.stat().st_size} bytes; outputs up to ")
    assert exported.difference < 3e-6


def test_weights_and_statistics_are_those_of_predict(file: Path) -> None:
    """Averaged weights, running statistics of these, no dropout: all differ from those of a training step."""
    net = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm(8), nn.Dropout(0.5), nn.Linear(8, 3))
    model = Model(net, losses.MeanSquaredError(), optim.AverageWeights(optim.SGD(0.1), 0.9))
    x, y = cases.draw((64, 5)), cases.draw((64, 3))
    model.fit(x, y, epochs=2, batch_size=16)
    xpnet.onnx.export(model, file)  # the shape is that of x
    expected = model.predict(x)
    model.train()
    assert np.abs(model.forward(x) - expected).max() > 0.01
    for found in outputs(file, x.astype(np.float32)):
        np.testing.assert_allclose(found, expected, atol=3e-6)


@pytest.mark.parametrize("backend", ["array-api-strict", "torch", "jax"])
def test_models_of_any_library(backend: str, file: Path) -> None:
    pytest.importorskip(backend.replace("-", "_"), reason=f"{backend} is not installed")
    model = drawn(nn.Sequential(nn.Linear(5, 3), nn.SiLU()), backend=backend)
    xpnet.onnx.export(model, file, (5,))
    x = cases.draw((4, 5)).astype(np.float32)
    np.testing.assert_allclose(next(outputs(file, x)), model.predict(x), atol=3e-6)


@each_dtype
@pytest.mark.parametrize(
    ("loss", "outputs_", "last"),
    [(losses.CrossEntropy(0.1), 3, "Softmax"), (losses.BinaryCrossEntropy(), 1, "Sigmoid")],
)
def test_probabilities(loss: losses.Loss, outputs_: int, last: str, dtype: str, file: Path) -> None:
    model = drawn(nn.Linear(5, outputs_), loss, dtype=dtype)
    xpnet.onnx.export(model, file, (5,), probabilities=True)
    assert operators(file) == ["Gemm", last]
    assert metadata(file)["outputs"] == "probabilities"
    x = cases.draw((7, 5)).astype(dtype)
    for found in outputs(file, x):
        np.testing.assert_allclose(found, model.predict_proba(x), atol=TOLERANCES[dtype])


def test_the_graph_normalizes(file: Path) -> None:
    normalization = data.Normalization((0.2, 0.5), (0.3, 2.0))
    model = drawn(nn.Sequential(nn.Conv2d(2, 3, 3), nn.GlobalAvgPool()))
    xpnet.onnx.export(model, file, (5, 4, 2), normalization=normalization)
    x = np.random.default_rng(0).random((3, 5, 4, 2), np.float32)
    for found in outputs(file, x):
        np.testing.assert_allclose(found, model.predict(data.normalize(x, normalization)), atol=3e-6)
    assert json.loads(metadata(file)["normalization"]) == {"mean": [0.2, 0.5], "std": [0.3, 2.0]}


def test_equal_arrays_are_stored_once(file: Path) -> None:
    tied = nn.Tied(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), {"1.weight": "0.weight"})
    xpnet.onnx.export(drawn(tied), file, (4,))
    assert [each.name for each in onnx.load(file).graph.initializer] == ["0.weight", "0.bias", "1.bias"]


# Layers of your own.


class Nothing(NamedTuple):
    """No residuals."""


@dataclass(frozen=True, repr=False)
class Scale(nn.Layer):
    """y = γ x + 1."""

    features: int

    def init(self, rng: random.Generator) -> Any:
        return {"gamma": np.linspace(0.5, 2, self.features)}

    def forward(self, params: Any, x: Any) -> Any:
        return params["gamma"] * x + 1, Nothing()

    def backward(self, params: Any, residuals: Any, dy: Any) -> Any:
        return params["gamma"] * dy, {"gamma": namespace(dy).sum(dy, axis=0)}


@dataclass(frozen=True, repr=False)
class Exportable(Scale):
    """`Scale` that exports itself; by another constant if it is wrong."""

    constant: float = 1.0

    def onnx(self, graph: Any, params: Any, x: Any) -> Any:
        return graph("Add", graph("Mul", x, params["gamma"]), self.constant)


@dataclass(frozen=True, repr=False)
class Double(nn.Container):
    """y = f(f(x))."""

    net: nn.Layer

    examples = nn.Container.examples

    def children(self) -> dict[Any, nn.Layer]:
        return {"net": self.net}

    def with_children(self, children: dict[Any, nn.Layer]) -> "Double":
        return Double(**children)

    def forward(self, params: Any, x: Any) -> Any:
        for _ in range(2):
            x, _ = self.net.forward(params["net"], x)
        return x, nn.ContainerResiduals({"net": Nothing()})

    def onnx(self, graph: Any, params: Any, x: Any) -> Any:
        for _ in range(2):
            x = xpnet.onnx.add(graph, self.net, params["net"], x, "net")
        return x


@each_dtype
def test_a_layer_of_your_own_brings_its_operators(dtype: str, file: Path) -> None:
    """x has its channels last, also behind a convolution, and float64 arrays become constants of the dtype."""
    net = nn.Sequential(nn.Conv2d(2, 3, 1), Exportable(3), Double(nn.Sequential(nn.Tanh(), Exportable(3))))
    model = drawn(net, dtype=dtype)
    xpnet.onnx.export(model, file, (4, 5, 2))
    x = cases.draw((2, 4, 5, 2)).astype(dtype)
    for found in outputs(file, x):
        np.testing.assert_allclose(found, model.predict(x), atol=TOLERANCES[dtype])
    assert "1.gamma" in [each.name for each in onnx.load(file).graph.initializer]


def test_a_subclass_that_computes_the_same_needs_no_operators(file: Path) -> None:
    class Small(nn.Linear):
        def init(self, rng: random.Generator) -> Any:
            return tree.map(lambda leaf: 0.01 * leaf, super().init(rng))

    assert xpnet.onnx.export(drawn(Small(5, 3)), file, (5,)).nodes == 1


class Cubed(nn.ReLU):
    """y = x³."""

    def forward(self, params: Any, x: Any) -> Any:
        return x * x * x, Nothing()


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (Scale(5), "Scale(5): expected a layer of xpnet.nn or one with a method onnx(graph, params, x)"),
        (nn.Sequential(nn.Tanh(), nn.Residual(Scale(5))), "layer 1.branch, Scale(5): expected a layer of"),
        (Cubed(), "Cubed(): expected a layer of"),
        (nn.Sequential(nn.Tanh(), Exportable(5, 1.5), nn.Tanh()),
         "expected outputs within 3e-05 of the model's, got a difference of 0.") ,
        (Exportable(5, np.ones(7)), "expected a valid ONNX graph, got "),
        (nn.Sequential(Exportable(5, "1")), "0: expected a Value, an array or a number, got '1'"),
    ],
    ids=["none", "inner", "subclass", "wrong", "invalid", "text"],
)  # fmt: skip
def test_a_layer_that_cannot_be_exported_is_named(net: nn.Layer, words: str, file: Path) -> None:
    """And the file that was there stays."""
    file.write_text("before")
    with pytest.raises(ConfigError) as error:
        xpnet.onnx.export(drawn(net), file, (5,))
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    if "difference" in words:
        assert "from layer 1, Exportable(5, constant=1.5), on" in str(error.value)
    assert (file.read_text(), len(list(file.parent.iterdir()))) == ("before", 1)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({}, ConfigError, "export: expected input_shape, such as (28, 28, 1), for a model that has seen no x"),
        ({"model": types.SimpleNamespace(model_=None)}, ConfigError, "export: expected a Model, got SimpleNamespace; pass model_ of the estimator"),
        ({"input_shape": (4,)}, ShapeError, "Linear(5, 3): expected x of shape (n, 5), got (n, 4)"),
        ({"input_shape": (5,), "x": [[1.0]]}, ShapeError, "expected x of shape (n, 5), got (1, 1)"),
        ({"x": np.ones((0, 5))}, ShapeError, "with at least one example, got (0, 5)"),
        ({"input_shape": (5,), "class_names": ("a", "b")}, ConfigError, "expected 3 class names, got 2"),
        ({"input_shape": (5,), "class_names": (1, 2, 3)}, ConfigError, "to hold strings, got 1"),
        ({"input_shape": 5}, ConfigError, "such as (28, 28, 1), got 5; write (5,)"),
        ({"input_shape": ("n", 5)}, ConfigError, "to be the shape of one example, such as (28, 28, 1), got ('n', 5)"),
        ({"input_shape": (5,), "normalization": (0.1, 0.3)}, ConfigError, "expected normalization to be a data.Normalization, got (0.1, 0.3); write"),
        ({"input_shape": (5,), "class_names": "abc"}, ConfigError, "expected class_names to be a list of strings, got 'abc'"),
        ({"input_shape": (5,), "metadata": ["a"]}, ConfigError, "expected metadata to be a dict, got ['a']"),
        ({"input_shape": (5,), "tolerance": 0}, ConfigError, "expected tolerance to be a number above 0, got 0"),
        ({"input_shape": (5,), "probabilities": True}, ConfigError, "got MeanSquaredError()"),
        ({"input_shape": (5,), "path": "no/such/folder.onnx"}, CheckpointError, "no/such/folder.onnx: cannot be"),
    ],
)  # fmt: skip
def test_arguments_that_cannot_be_used(
    arguments: dict[str, Any], error: type[Exception], words: str, file: Path
) -> None:
    with pytest.raises(error) as found:
        xpnet.onnx.export(**{"model": drawn(nn.Linear(5, 3)), "path": file, **arguments})
    assert words in str(found.value)
    assert not file.exists()


def test_names_in_an_array(file: Path) -> None:
    xpnet.onnx.export(drawn(nn.Linear(5, 3)), file, (5,), class_names=np.array(["a", "b", "c"]))
    assert metadata(file)["class_names"] == '["a", "b", "c"]'


def test_a_network_that_diverged_is_not_exported(file: Path) -> None:
    """All its outputs are NaN, in the file as in the model."""
    model = drawn(nn.Linear(5, 3))
    model.params = {"weight": np.ones((5, 3)), "bias": [0.0, np.nan, 0.0]}
    with pytest.raises(DivergedError, match="expected finite parameters, got infinite or NaN in bias"):
        xpnet.onnx.export(model, file, (5,))


def test_examples_of_your_own(file: Path) -> None:
    """They give the shape, too. A function that normal numbers do not suit is exported all the same."""
    exported = xpnet.onnx.export(drawn(nn.Linear(5, 3)), file, x=[[1, 2, 3, 4, 5]] * 3)
    assert (exported.examples, exported.nodes) == (3, 1)


def test_without_onnx_one_line_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(BackendError, match=r"^expected the package onnx: pip install onnx$"):
        xpnet.onnx.export(drawn(nn.Linear(5, 3)), tmp_path / "model.onnx", (5,))


def test_without_onnxruntime_the_reference_implementation_runs_files(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert xpnet.onnx.export(drawn(nn.Linear(5, 3)), file, (5,)).engine.startswith("onnx.reference ")


# The programs.


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("run"), normalize=True)


@pytest.fixture
def pixels(tmp_path: Path) -> Path:
    images = data.load("mnist-sample").test.x[:9]
    np.save(tmp_path / "pixels.npy", (images * 255).round().astype(np.uint8))
    return tmp_path / "pixels.npy"


def call(name: str, monkeypatch: Any, capsys: Any, *arguments: object) -> tuple[int, str, str]:
    return run_script(ROOT / "scripts" / f"{name}.py", monkeypatch, capsys, *map(str, arguments))


@pytest.mark.parametrize("option", ["", "--probabilities", "--no-normalization"])
def test_predictions_of_the_file_are_those_of_the_run(
    option: str,
    run: Path,
    file: Path,
    pixels: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    status, out, err = call("export", monkeypatch, capsys, run, file, *filter(None, [option]))
    assert (status, err) == (0, "")
    assert out.startswith(f"{file}: opset 20, ")
    assert "differ from the model's by at most " in out
    found, expected = (
        rows(call("predict", monkeypatch, capsys, source, pixels)[1]) for source in (file, run)
    )
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    numbers = [np.array([row[2:] for row in table[1:]], float) for table in (found, expected)]
    np.testing.assert_allclose(*numbers, atol=1e-5)
    assert metadata(file)["class_names"] == json.dumps(list(map(str, range(10))))
    assert ("normalization" in metadata(file)) == (option != "--no-normalization")


@pytest.mark.parametrize(("loss", "columns"), [("hinge", 2), ("mean-squared-error", 12)])
def test_predictions_for_a_loss_without_probabilities(
    loss: str, columns: int, file: Path, pixels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    folder = trained(tmp_path, loss=loss)
    xpnet.load_run(folder).export(file)
    (header, *found), (expected_header, *expected) = (
        rows(call("predict", monkeypatch, capsys, source, pixels)[1]) for source in (file, folder)
    )
    assert (header, len(header)) == (expected_header, columns)
    assert [row[:2] for row in found] == [row[:2] for row in expected]


@pytest.mark.parametrize(
    ("program", "arguments", "words"),
    [
        ("export", ["{run}", "model.txt"], "FILE.onnx: expected a name that ends in .onnx, got model.txt"),
        ("export", ["{run}", "no/model.onnx"], "FILE.onnx: expected a file in a folder that exists"),
        ("export", ["nothing", "model.onnx"], "expected the folder of a run, got nothing, which is missing"),
        ("export", ["{run}", "model.onnx", "--weights", "all"], "--weights: expected best or last, got 'all'"),
        ("export", ["{run}"], "the following arguments are required: FILE.onnx"),
        ("predict", ["nothing.onnx", "x.npy"], "nothing.onnx: No such file or directory"),
        ("predict", ["broken.onnx", "x.npy"], "broken.onnx: expected an ONNX model: "),
        ("predict", ["one.onnx", "x.npy"], "one.onnx: expected the metadata of an exported run: one output that"),
        ("predict", ["names.onnx", "x.npy"], "names.onnx: expected the metadata of an exported run: class names"),
        ("predict", ["empty.onnx", "x.npy"], "empty.onnx: expected an ONNX model with an input (n, ...)"),
        ("predict", ["other.onnx", "x.npy"], "other.onnx: expected inputs as its loader gives them (--prepared)"),
        ("predict", ["other.onnx", "x.npy", "--backend", "numpy"], "--backend: expected the folder of a run with it"),
    ],
)  # fmt: skip
def test_mistakes(
    program: str, arguments: list[str], words: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.ones((2, 5), np.uint8))
    Path("broken.onnx").write_text("no model")
    Path("empty.onnx").touch()
    xpnet.onnx.export(drawn(nn.Linear(5, 3)), "other.onnx", (5,))
    xpnet.onnx.export(drawn(nn.Linear(5, 1)), "one.onnx", (5,))
    xpnet.onnx.export(drawn(nn.Linear(5, 3)), "names.onnx", (5,), metadata={"class_names": "[1, 2, 3]"})
    given = [each.format(run=run) for each in arguments]
    status, out, err = call(program, monkeypatch, capsys, *given)
    assert (status, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("loss", "outputs_", "names"),
    [(losses.CrossEntropy(), 3, ("a", "b", "c")), (losses.BinaryCrossEntropy(), 1, ("no", "yes"))],
)
def test_a_file_without_a_run_takes_prepared_inputs(
    loss: losses.Loss, outputs_: int, names: tuple[str, ...], file: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    model = drawn(nn.Linear(5, outputs_), loss)
    xpnet.onnx.export(model, file, (5,), class_names=names)
    np.save(tmp_path / "x.npy", x := cases.draw((4, 5)))
    _, out, _ = call("predict", monkeypatch, capsys, file, tmp_path / "x.npy", "--prepared")
    header, *found = rows(out)
    assert header == ["input", "class", *(f"p_{name}" for name in names)]
    assert [row[1] for row in found] == [names[label] for label in model.predict(x)]
    p = model.predict_proba(x)[:, -1]
    np.testing.assert_allclose(np.array([row[-1] for row in found], float), p, atol=1e-5)
