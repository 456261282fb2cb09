"""Every public class has a row in the tables of `cases.py`, and so is tested by all laws."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterable
from types import ModuleType

import numpy as np
import pytest

import cases
from xpnet import backend, convert, init, losses, nn, optim, random, schedules
from xpnet.data import augment, datasets
from xpnet.onnx import layers
from xpnet.testing import examples

NUMPY = backend.get("numpy", dtype="float64")
BASES = {nn.Layer, nn.Container, losses.Loss, optim.Optimizer, schedules.Schedule}


def public_classes(module: ModuleType) -> set[type]:
    """The public classes of a module; without `__all__`, the classes that it defines."""
    names = getattr(module, "__all__", None) or [
        name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__
    ]
    classes = {getattr(module, name) for name in names if not name.startswith("_")}
    return {cls for cls in classes if inspect.isclass(cls) and not issubclass(cls, tuple)} - BASES


def missing(module: ModuleType, rows: Iterable[object]) -> list[str]:
    """The public classes without a row of their own. A class inside another one's row does not count."""
    return sorted(cls.__name__ for cls in public_classes(module) - {type(row) for row in rows})


TABLES = {
    "LAYERS": (nn, [case.layer for case in cases.LAYERS]),
    "LOSSES": (losses, [case.loss for case in cases.LOSSES]),
    "OPTIMIZERS": (optim, cases.OPTIMIZERS),
    "SCHEDULES": (schedules, [case.make() for case in cases.SCHEDULES]),
    "AUGMENTATIONS": (augment, cases.AUGMENTATIONS),
}


@pytest.mark.parametrize("table", TABLES)
def test_every_public_class_has_a_row(table: str) -> None:
    module, rows = TABLES[table]
    names = missing(module, rows)
    assert not names, f"{', '.join(names)} of {module.__name__}: no row in {table} of tests/cases.py"


@pytest.mark.parametrize("module", [nn, losses, optim], ids=lambda module: module.__name__)
def test_every_class_of_a_family_is_exported(module: ModuleType) -> None:
    """A class without an export has no row to miss: no other test would see it."""
    bases = (nn.Layer, losses.Loss, optim.Optimizer)
    inner = [  # fast forms of layers are nobody's to make
        importlib.import_module(each.name)
        for each in pkgutil.iter_modules(module.__path__, f"{module.__name__}.")
        if "._" not in each.name and each.name != "xpnet.nn.fast"
    ]
    defined = {
        name
        for each in inner
        for name, value in vars(each).items()
        if inspect.isclass(value) and value.__module__ == each.__name__ and issubclass(value, bases)
    }
    forgotten = sorted(
        name
        for name in defined - set(module.__all__)
        if not name.startswith("_") and not name.endswith("InTraining")
    )
    assert not forgotten, f"{', '.join(forgotten)}: not in {module.__name__}.__all__"


def test_every_initializer_has_a_row() -> None:
    functions = {
        name
        for name, value in vars(init).items()
        if inspect.isfunction(value) and value.__module__ == init.__name__ and not name.startswith("_")
    }
    names = functions - {case.name for case in cases.INITIALIZERS}
    assert not names, f"{', '.join(sorted(names))}: no row in INITIALIZERS of tests/cases.py"


def test_every_data_set_has_a_row() -> None:
    names = {*datasets.DATASETS, *datasets.KINDS} - {case.name.partition(":")[0] for case in cases.DATASETS}
    assert not names, f"{', '.join(sorted(names))}: no row in DATASETS of tests/cases.py"


def test_layers_that_differ_in_training_have_a_row_for_it() -> None:
    key = random.Key(np.zeros(1, np.int32))
    differ = {type(c.layer).__name__ for c in cases.LAYERS if c.layer.training_mode(key) is not c.layer}
    tried = {type(case.layer).__name__ for case in cases.LAYERS if case.training}
    assert not differ - tried, f"{differ - tried}: no row with training=True in LAYERS of tests/cases.py"


def test_every_layer_has_a_row_in_the_tables_of_other_formats() -> None:
    """ONNX needs all layers, PyTorch and Keras those with parameters of their own."""
    forgotten = sorted(cls.__name__ for cls in public_classes(nn) ^ layers.TABLE.keys())
    assert not forgotten, f"{', '.join(forgotten)}: no row in xpnet/onnx/layers.py"
    rng = random.generator(0, "rows")
    own = {type(c.layer) for c in cases.LAYERS if not c.layer.children() and c.layer.init(rng)}
    for module in (convert.torch, convert.keras):
        forgotten = sorted(cls.__name__ for cls in own ^ module.TABLE.keys())
        assert not forgotten, f"{', '.join(forgotten)}: no row in TABLE of {module.__name__}"
    assert convert.keras.KINDS.keys() == own


def test_a_class_without_a_row_is_found() -> None:
    """The search itself: with any row removed, it names that class."""
    for table, (module, rows) in TABLES.items():
        for cls in public_classes(module):
            rest = [row for row in rows if type(row) is not cls]
            assert missing(module, rest) == [cls.__name__], table
    assert len(public_classes(nn)) > 25
    assert len(public_classes(schedules)) > 5


def test_more_than_one_batch_size_and_no_case_twice() -> None:
    assert len({case.shape[0] for case in cases.LAYERS}) > 3
    for table in (cases.LAYERS, cases.LOSSES, cases.INITIALIZERS, cases.DATASETS):
        names = [str(case) for case in table]
        assert sorted(set(names)) == sorted(names)


def test_no_layer_says_mixed_that_is_independent() -> None:
    """Such a layer is right, but training cannot run parts of a batch in parallel."""
    silent = [
        str(case)
        for case in cases.LAYERS
        if case.trial.on(NUMPY).examples == "mixed"
        and not examples.difference_in_parts(case.trial, together=False)
    ]
    assert not silent, f"{silent}: say examples = 'independent'"


def test_no_loss_says_mixed() -> None:
    """A law makes every loss a mean over its examples: to say so lets training split the batch."""
    silent = [str(case) for case in cases.LOSSES if case.loss.examples == "mixed"]
    assert not silent, f"{silent}: say examples = 'independent'"
