"""The rules that a reader of the code relies on, checked on the sources."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import xpnet
from xpnet import backend, data, losses, nn, optim, schedules, train

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "xpnet").rglob("*.py"))

# A module may import from earlier lines, and from its own package.
LAYERS = [
    {"errors"},
    {"tree", "_util"},
    {"backend"},
    {"distributed"},
    {"random", "special"},
    {"init"},
    {"nn", "losses", "optim", "schedules"},
    {"plots"},
    {"gradcheck", "data", "metrics"},
    {"testing"},
    {"callbacks"},
    {"_training"},
    {"model"},
    {"ensemble"},
    {"onnx", "convert"},
    {"train"},
    {"runs"},
    {"studies", "sklearn"},
    {"__main__"},
]
ARRAY_LIBRARIES = {"numpy", "cupy", "torch", "jax", "array_api_strict", "array_api_compat", "dask", "ndonnx"}


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes except blocks under `if TYPE_CHECKING`, which do not run."""
    yield tree
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield from nodes(node)


def imports(path: Path) -> Iterator[str]:
    """The dotted names that a source imports when it runs, anywhere in the file."""
    for node in nodes(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            module = str(node.module)
            yield from (f"{module}.{alias.name}" if module == "xpnet" else module for alias in node.names)


def part(path: Path) -> str:
    """The first name below xpnet: `nn` for xpnet/nn/linear.py, `model` for xpnet/model.py."""
    return path.relative_to(ROOT / "xpnet").parts[0].removesuffix(".py")


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if part(path) != "__init__"], ids=lambda p: str(p.name)
)
def test_imports_run_one_way(path: Path) -> None:
    height = {name: i for i, names in enumerate(LAYERS) for name in names}
    here = part(path)
    for name in imports(path):
        package, _, rest = name.partition(".")
        other = rest.partition(".")[0]
        if package == "xpnet" and other != here:
            assert height[other] < height[here], f"{path.name} imports {name}"


def test_only_the_backend_names_array_libraries() -> None:
    for path in SOURCES:
        found = {name.partition(".")[0] for name in imports(path)} & ARRAY_LIBRARIES
        if part(path) in ("nn", "losses", "optim", "special"):
            assert found == set(), path
        elif part(path) != "backend":
            assert found <= {"numpy"}, path


def test_only_the_backend_branches_on_a_library() -> None:
    """Differences between libraries are methods of `Ops` or attributes of `Backend`."""
    branch = re.compile(
        r"\blibrary\(|isinstance\(.*ndarray|\.name [=!]= |__name__ [=!]= |import_module|is_\w+_array\("
    )
    for path in SOURCES:
        if part(path) in ("nn", "losses", "optim", "special", "random", "gradcheck", "schedules", "tree"):
            assert branch.findall(path.read_text()) == [], path


def test_a_library_has_one_file() -> None:
    """NumPy may have more files, named after it. The shared files name only NumPy, for the host."""
    for path in (ROOT / "xpnet" / "backend").glob("*.py"):
        own = path.name.split("_")[1].removesuffix(".py") if path.name.startswith("_") else ""
        source = path.read_text()
        named = {
            name for name in ARRAY_LIBRARIES - {"numpy"} if f"import {name}" in source or f'"{name}' in source
        }
        assert named <= {"array_api_compat"} | {name for name in ARRAY_LIBRARIES if own and own in name}, path


def test_array_libraries_are_those_of_the_backends() -> None:
    """A library that is not in the list above could be named anywhere."""
    missing = {cls.module.partition(".")[0] for cls in backend.BACKENDS.values()} - ARRAY_LIBRARIES
    assert not missing, f"{missing}: add it to ARRAY_LIBRARIES"


def test_importing_xpnet_imports_nothing_heavy() -> None:
    code = "import sys, xpnet; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split())
    heavy = {
        "torch",
        "jax",
        "cupy",
        "dask",
        "h5py",
        "zarr",
        "array_api_strict",
        "matplotlib",
        "pooch",
        "tqdm",
        "yaml",
        "jinja2",
        "scipy",
        "optuna",
        "sklearn",
        "onnx",
        "pandas",
        "tensorboardX",
    }
    assert "numpy" in loaded
    assert not loaded & heavy


def test_files_stay_short() -> None:
    assert {path.name: n for path in SOURCES if (n := path.read_text().count("\n")) > 400} == {}


def test_public_names() -> None:
    """Adding or removing a public name is a decision, so the list stands here."""
    assert set(xpnet.__all__) == {
        "BackendError", "Callback", "CheckpointError", "Checkpoints", "ConfigError", "DataError", "DivergedError",
        "EarlyStopping", "Ensemble", "Error", "Model", "ShapeError", "backend", "convert", "data", "distributed", "gradcheck", "init", "load_run", "losses", "nn", "onnx", "optim", "plots",
        "schedules", "testing",
    }  # fmt: skip
    for error in (
        value for value in vars(xpnet).values() if isinstance(value, type) and issubclass(value, Exception)
    ):
        assert issubclass(error, xpnet.Error)
        assert error.__module__ == "xpnet.errors"
    assert set(nn.__all__) == {
        "AvgPool1d", "AvgPool2d", "BatchNorm", "Container", "ContainerResiduals", "Conv1d", "Conv2d", "Dropout", "ELU", "Embedding", "Flatten", "GELU",
        "GaussianNoise", "GlobalAvgPool", "GroupNorm", "Identity", "Layer", "LayerNorm", "LeakyReLU", "Linear", "MaxPool1d",
        "MaxPool2d", "ReLU", "Residual", "Sequential", "SiLU", "Sigmoid", "Softmax", "Softplus", "Tanh", "Tied",
    }  # fmt: skip
    assert set(losses.__all__) == {
        "BinaryCrossEntropy", "CrossEntropy", "Hinge", "Huber", "Loss", "MeanAbsoluteError", "MeanSquaredError",
        "l2",
    }  # fmt: skip
    assert set(data.__all__) == {
        "Dataset", "Examples", "Normalization", "Preparation", "augment", "batches", "channel_statistics", "load", "normalize",
        "register", "split",
    }  # fmt: skip
    assert set(optim.__all__) == {
        "Adagrad", "Adam", "AdamW", "AverageWeights", "ClipNorm", "ClipValue", "EMAMomentum", "Lion", "NAdam", "Optimizer",
        "RMSprop", "SGD", "decay_weights", "zeros_like",
    }  # fmt: skip
    assert set(train.__all__) == {"Config", "TrainedRun", "run"}
    for module in (losses, optim, nn, schedules):
        documented = [name for name in vars(module) if isinstance(vars(module)[name], type)]
        assert all(vars(module)[name].__doc__ for name in documented)


def test_dir_and_help_show_the_public_names() -> None:
    public = {*xpnet.__all__, "__version__"}
    assert set(dir(xpnet)) == public
    code = "import pydoc, xpnet; print(pydoc.render_doc(xpnet, renderer=pydoc.plaintext))"
    text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    sections = {part.split("\n", 1)[0]: part for part in re.split(r"\n(?=[A-Z][A-Z ]+\n)", text)}
    # pkgutil finds these two in the folder: a package cannot hide them.
    hidden = re.findall(r"\b_[a-z]\w*", sections["PACKAGE CONTENTS"])
    assert set(hidden) == {"_training", "_util"}
    classes = re.findall(r"^    class (\w+)", text, re.MULTILINE)
    assert set(classes) == {name for name in xpnet.__all__ if isinstance(getattr(xpnet, name), type)}
    assert xpnet.__version__ in sections["VERSION"]
    assert set(sections) <= {
        "Python Library Documentation: package xpnet",
        "NAME",
        "PACKAGE CONTENTS",
        "CLASSES",
        "FUNCTIONS",
        "VERSION",
        "FILE",
    }


def test_nothing_reaches_into_the_model() -> None:
    """Only model.py and its base class use the private attributes of Model."""
    for path in SOURCES:
        text = path.read_text()
        assert not re.search(r"\bmodel\._[a-z]", text), path
        assert not re.search(r"\bModel = Any\b", text), path


def test_every_public_class_and_function_has_a_docstring() -> None:
    for path in SOURCES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                if (part(path) == "backend" and node.name != "Backend") or node.name.endswith("Residuals"):
                    continue  # Backend documents the methods of backends, each layer its residuals
                assert ast.get_docstring(node), f"{path.name}: {node.name}"


@pytest.mark.parametrize("path", sorted((ROOT / "tests").glob("*.py")), ids=lambda path: path.name)
def test_tests_draw_numbers_of_their_own(path: Path) -> None:
    """A generator of the whole file gives numbers that depend on the tests that ran before, in any order."""
    tree = ast.parse(path.read_text())
    shared = {
        ast.unparse(target)
        for node in tree.body
        if isinstance(node, ast.Assign) and re.search(r"default_rng\([^()]*\)$", ast.unparse(node.value))
        for target in node.targets
    }
    tests = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test")]
    used = {
        f"{test.name}: {node.id}" for test in tests for node in ast.walk(test) if isinstance(node, ast.Name)
    }
    assert not [use for use in used if use.partition(": ")[2] in shared]
