"""The arguments of `Model` and of `fit`: the mistakes that people make, each answered in one line."""

import difflib
import inspect
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from xpnet import backend as backends
from xpnet import losses, nn, optim, schedules
from xpnet._training import agreement, given
from xpnet._util.checks import is_number, require_flag, require_integer
from xpnet._util.text import example_call, shortened
from xpnet.backend._reading import a
from xpnet.backend.backends import DTYPES
from xpnet.callbacks import Callback, Checkpoints, EarlyStopping, TensorBoard
from xpnet.data.dataset import Dataset
from xpnet.errors import ConfigError, ShapeError
from xpnet.losses import Loss
from xpnet.metrics import TRAIN_METRICS
from xpnet.nn import Layer
from xpnet.optim import Optimizer
from xpnet.schedules import Schedule


class _Kind(NamedTuple):
    """A kind of objects that an argument may be, and how to write one."""

    base: type
    prefix: str
    classes: dict[str, type]
    example: str


def _kind(base: type, module: ModuleType, example: str) -> _Kind:
    found = {
        name: value
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, base) and value is not base and name[0] != "_"
    }
    return _Kind(base, module.__name__.removeprefix("xpnet.") + ".", found, example)


LAYER = _kind(Layer, nn, "nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))")
LOSS = _kind(Loss, losses, "losses.CrossEntropy() or losses.MeanSquaredError()")
OPTIMIZER = _kind(Optimizer, optim, "optim.SGD(0.1) or optim.Adam()")
SCHEDULE = _kind(Schedule, schedules, "schedules.Cosine(epochs=10)")
CALLBACK = _Kind(
    Callback,
    "xpnet.",
    {"EarlyStopping": EarlyStopping, "Checkpoints": Checkpoints, "callbacks.TensorBoard": TensorBoard},
    "xpnet.EarlyStopping(3) or xpnet.Checkpoints(folder)",
)
KINDS = {"net": LAYER, "loss": LOSS, "optimizer": OPTIMIZER, "schedule": SCHEDULE, "callbacks": CALLBACK}
OWN = ("builtins", "xpnet", "__main__")  # their objects are shown without a module
BATCHES = {  # arguments that mean nothing with batches, and what to do
    "batch_size": "the iterable makes the batches",
    "shuffle": "the iterable decides the order, as DataLoader(…, shuffle=True) or dataset.shuffle(n) do",
    "validation_split": "pass validation=(x, y), or other batches",
    "sample_weight": "make each batch (x, y, sample_weight)",
    "data_on_device": "each batch goes to the device by itself",
}
WRITTEN: dict[str, Collection[str]] = {"backend": backends.BACKENDS, "dtype": DTYPES}
OTHER_NAMES = {  # of other libraries
    "mse": "MeanSquaredError",
    "mae": "MeanAbsoluteError",
    "l1": "MeanAbsoluteError",
    "bce": "BinaryCrossEntropy",
    "bcewithlogits": "BinaryCrossEntropy",
    "nll": "CrossEntropy",
    "logloss": "CrossEntropy",
    "categoricalcrossentropy": "CrossEntropy",
    "sparsecategoricalcrossentropy": "CrossEntropy",
    "dense": "Linear",
    "earlystop": "EarlyStopping",
    "modelcheckpoint": "Checkpoints",
    "tensorboard": "callbacks.TensorBoard",
    "reducelronplateau": "ReduceOnPlateau",
    "steplr": "Step",
    "exponentiallr": "Exponential",
    "cosineannealinglr": "Cosine",
    "cosinedecay": "Cosine",
    "onecyclelr": "OneCycle",
}


def require(where: str, name: str, value: Any) -> None:
    """ConfigError, which says what to write, unless the value is what the argument `name` takes."""
    base = KINDS[name].base
    if not isinstance(value, base):
        expected = f"{where}: expected {name} to be an xpnet {base.__name__}"
        raise ConfigError(f"{expected}, got {_show(value)}; {_way_out(name, value)}")


def _way_out(name: str, value: Any) -> str:
    """What to write in place of the value."""
    kind = KINDS[name]
    given = value if inspect.isclass(value) else type(value)
    for other, (base, *_) in KINDS.items():
        if issubclass(given, base) and other != name:
            call = "Model(net, loss, optimizer)" if other in ("net", "loss", "optimizer") else "fit"
            return f"pass it as the argument {other} of {call}"
    if issubclass(given, kind.base):
        return (
            f"write {kind.prefix if kind.classes.get(given.__name__) is given else ''}{example_call(given)}"
        )
    if name == "net" and isinstance(value, list | tuple):
        layers = ", ".join(_show(each) for each in value[:3]) + ", …" * (len(value) > 3)
        return f"write nn.Sequential({layers})"
    if name == "schedule" and is_number(value):
        return f"a constant rate is the optimizer's own; write a schedule such as {kind.example}"
    if name == "optimizer" and is_number(value):
        return f"write optim.SGD({value!r})"
    if name == "schedule" and inspect.isroutine(value):
        return "derive a class from schedules.Schedule, whose __call__(self, epoch) returns the factor"
    called = value if isinstance(value, str) else getattr(value, "__name__", given.__name__)
    found = _closest(called, kind)
    schedule = _closest(called, SCHEDULE) if name == "callbacks" and found is None else None
    if schedule is not None:
        cls = SCHEDULE.classes[schedule]
        return f"pass it as the argument schedule of fit: {SCHEDULE.prefix}{example_call(cls)}"
    has_weights = hasattr(given, "get_weights") or hasattr(given, "state_dict")  # as Keras, as PyTorch
    if name == "net" and found in (None, "Sequential") and has_weights:
        return "write the equal network in xpnet's layers; xpnet.convert moves the weights"
    if found is None:
        return f"write {kind.example}"
    cls = kind.classes[found]
    return f"write {kind.prefix}{found.removesuffix(cls.__name__)}{example_call(cls)}"


def _closest(name: str, kind: _Kind) -> str | None:
    """The class of this kind whose name is most like a given one, in any spelling; None if none is."""
    plain = re.sub("[^a-z0-9]", "", name.lower())
    plain = re.sub("loss$", "", plain) if kind is LOSS else plain
    if OTHER_NAMES.get(plain) in kind.classes:
        return OTHER_NAMES[plain]
    spelt = {each.lower(): each for each in kind.classes}
    found = difflib.get_close_matches(plain, spelt, n=1, cutoff=0.75)
    return spelt[found[0]] if found else None


def _show(value: Any) -> str:
    """A short description in one line."""
    if inspect.isclass(value):
        return f"the class {_full_name(value)}"
    if inspect.ismodule(value) or inspect.isroutine(value):
        return f"the {'module' if inspect.ismodule(value) else 'function'} {value.__name__}"
    if isinstance(getattr(value, "shape", None), tuple):
        return f"an array of shape {tuple(value.shape)}"
    text = repr(value)
    if type(value).__module__.partition(".")[0] not in OWN or text.startswith("<"):
        return f"an object of class {_full_name(type(value))}"
    return shortened(text)


def _full_name(cls: type) -> str:
    library = cls.__module__.partition(".")[0]
    return f"{'' if library in OWN else f'{library}.'}{cls.__qualname__}"


def _spelt(name: str, value: Any, options: Collection[str]) -> str:
    """What to write in place of a library, a dtype or a backend; nothing if that is not known."""
    cls = value if isinstance(value, type) else type(value)
    if issubclass(cls, backends.Backend) and hasattr(cls, "name"):
        first = "" if cls.name in options else f"call xpnet.backend.register({cls.__name__}), and "
        return f'{first}write {name}="{cls.name}"'
    names = (getattr(value, each, None) for each in ("__name__", "name"))
    found = next((each for each in names if isinstance(each, str)), str(value).rpartition(".")[2])
    plain = found.partition(".")[0].replace("_", "-")
    return f'write {name}="{plain}"' if plain in options else ""


def check_model(**arguments: Any) -> None:
    """ConfigError for an argument of `Model` that cannot be used."""
    for name in ("net", "loss", "optimizer"):
        require("Model", name, arguments[name])
    require_numbers(arguments["optimizer"])
    require_integer("Model", "seed", arguments["seed"], least=0)
    for name, options in WRITTEN.items():
        value = arguments[name]
        if not isinstance(value, str):
            way_out = f"; {_spelt(name, value, options)}".rstrip("; ")
            expected = " or ".join(f'"{each}"' for each in options)
            raise ConfigError(f"Model: expected {name} to be {expected}, got {_show(value)}{way_out}")
    augment = arguments["augment"]
    if augment is not None and (inspect.isclass(augment) or not callable(augment)):
        raise ConfigError(
            f"Model: expected augment to be a function of images and a key, got {_show(augment)}; "
            "write data.augment.HorizontalFlip() or data.augment.Compose(…)"
        )
    require_flag("Model", "tf32", arguments["tf32"])


def require_numbers(optimizer: Optimizer) -> None:
    """ConfigError for an array where the optimizer of one network has a number."""
    is_known = type(optimizer).__module__.startswith("xpnet.")
    for name, value in getattr(optimizer, "__dict__", {}).items():
        if isinstance(value, Optimizer):
            require_numbers(value)
        elif getattr(value, "ndim", 0) > 0 and (is_known or name == "learning_rate"):
            raise ConfigError(
                f"Model: expected {name} of {type(optimizer).__name__} to be a number, got {_show(value)}; "
                "xpnet.Ensemble trains a network for each"
            )


def check_fit(
    models: Sequence[Mapping[str, Any]], of_ensemble: Mapping[str, Any] | None = None, **arguments: Any
) -> None:
    """ConfigError for an argument of `fit` that cannot be used, or is not the same in all processes.

    Those of an ensemble alone have been checked.
    """
    require_integer("fit", "epochs", arguments["epochs"], least=0)
    for name in ("batch_size", "steps_per_epoch"):
        if arguments[name] is not None:
            require_integer("fit", name, arguments[name])
    if arguments["shuffle"] is not None:
        require_flag("fit", "shuffle", arguments["shuffle"])
    if arguments["data_on_device"] is not None:
        require_flag("fit", "data_on_device", arguments["data_on_device"])
    progress = arguments["progress"]
    if not (isinstance(progress, str) and progress == "auto"):
        require_flag("fit", "progress", progress)
    if arguments["schedule"] is not None:
        require("fit", "schedule", arguments["schedule"])
    check_train_metrics("fit", arguments["train_metrics"], arguments["train_metrics_examples"])
    check_data(arguments["x"], arguments["y"])
    for name in ("validation", "test"):
        check_pair(name, arguments[name], arguments["epochs"])
    check_split(arguments["validation"], arguments["validation_split"])
    if arguments["y"] is None:
        check_batches(**arguments)
    elif arguments["steps_per_epoch"] is not None:
        raise ConfigError(
            f"fit: expected no steps_per_epoch with arrays, got {arguments['steps_per_epoch']}; an epoch is "
            "all examples, in batches of batch_size"
        )
    agreement.require_same(models, arguments | dict(of_ensemble or {}))


def check_batches(**arguments: Any) -> None:
    """ConfigError for an argument of `fit` that means nothing with batches."""
    refuse_with_batches("fit", BATCHES, arguments)
    x, steps, epochs = arguments["x"], arguments["steps_per_epoch"], arguments["epochs"]
    if steps is None:
        given.require_end("fit: expected batches", x, "pass steps_per_epoch")
        given.require_many(
            "batches", x, epochs, "pass steps_per_epoch, a list of batches or an object with __iter__"
        )
    if arguments["train_metrics"] == "end" and (given.is_read_once(x) or steps is not None):
        got = f"steps_per_epoch={steps}" if steps is not None else a(x)
        raise ConfigError(
            f'fit: expected batches for another pass with train_metrics="end", got {got}; '
            "pass examples to measure as validation"
        )


def refuse_with_batches(where: str, ways: dict[str, str], values: dict[str, Any]) -> None:
    """ConfigError for an argument that means nothing with batches; `ways` says what to do instead."""
    for name, value in values.items():
        way_out = ways.get(name)
        if way_out is not None and value is not None and value is not False:
            raise ConfigError(
                f"{where}: expected no {name} with an iterable of batches, got {_show(value)}; {way_out}"
            )


def check_data(x: Any, y: Any, where: str = "fit") -> None:
    """ConfigError for inputs without targets, unless they are batches, and for pairs of both."""
    shapes = [getattr(each, "shape", None) for each in x] if isinstance(x, tuple) and len(x) == 2 else [None]
    pair = None not in shapes and shapes[0] != shapes[1]
    if pair and (y is None or isinstance(y, tuple)):
        more = ", validation=examples" if y is not None else ""
        raise ConfigError(f"{where}: expected x to be an array, got a pair; write {where}(*examples{more})")
    if isinstance(x, Dataset):
        part = "train" if where == "fit" else "test"
        raise ConfigError(
            f"{where}: expected x to be an array, got a Dataset; write {where}(*dataset.{part})"
        )
    if y is None and not given.are_batches(x):
        raise ConfigError(f"{where}: expected y to be the targets of x, got None; write {where}(x, y)")


def check_train_metrics(where: str, train_metrics: Any, examples: Any) -> None:
    """ConfigError unless they are "running", or "end" and perhaps a number of examples."""
    if not (isinstance(train_metrics, str) and train_metrics in TRAIN_METRICS):
        expected = " or ".join(f'"{each}"' for each in TRAIN_METRICS)
        raise ConfigError(f"{where}: expected train_metrics to be {expected}, got {_show(train_metrics)}")
    if examples is not None:
        require_integer(where, "train_metrics_examples", examples)
        if train_metrics != "end":
            raise ConfigError(
                f'{where}: expected train_metrics="end" with train_metrics_examples={examples}, '
                f'got "{train_metrics}", which is a mean over all examples'
            )


def check_evaluate(x: Any, y: Any, **options: Any) -> None:
    """ConfigError for an argument of `evaluate` that cannot be used."""
    if options["batch_size"] is not None:
        require_integer("evaluate", "batch_size", options["batch_size"])
    if y is None:
        check_data(x, y, "evaluate")
        given.require_end("evaluate: expected batches", x, given.END_THEM)
        refuse_with_batches("evaluate", BATCHES, options)


def check_pair(name: str, pair: Any, epochs: int = 1) -> None:
    """ConfigError unless it is a pair (x, y), batches for so many epochs, or None."""
    if pair is None:
        return
    if given.are_pairs(pair):
        given.require_end(f"fit: expected {name} batches", pair, given.END_THEM)
        way_out = "pass a list of batches or an object with __iter__"
        given.require_many(f"{name} batches", pair, epochs, way_out)
        return
    expected, way_out = f"fit: expected {name} to be a pair (x, y)", f"write {name}=(x, y)"
    if name == "validation" and is_number(pair) and 0 < pair < 1:
        raise ConfigError(f"{expected}, got {pair!r}; write validation_split={pair!r}")
    if not isinstance(pair, tuple | list):
        raise ConfigError(f"{expected}, got {_show(pair)}; {way_out}")
    if len(pair) != 2:
        raise ConfigError(f"{expected}, got {len(pair)} items; {way_out}")
    if any(each is None for each in pair):
        raise ConfigError(f"{expected}, got None for one of them; {way_out}")


def check_split(validation: Any, fraction: Any) -> None:
    """ConfigError unless the share is a number between 0 and 1, and there is no other validation."""
    if validation is not None and fraction is not None:
        raise ConfigError("fit: expected validation or validation_split, got both")
    if fraction is not None and not (is_number(fraction) and 0 < fraction < 1):
        way_out = "; write validation=(x, y)" if isinstance(fraction, tuple | list) else ""
        raise ConfigError(
            f"fit: expected validation_split to be a number between 0 and 1, got {_show(fraction)}{way_out}"
        )


def callbacks_of(callbacks: Any) -> tuple[Callback, ...]:
    """The callbacks, of which a single one need not be in a list. ConfigError for anything else."""
    if callbacks is None:
        return ()
    several = isinstance(callbacks, Iterable) and not isinstance(callbacks, str | dict | Callback)
    found = tuple(callbacks) if several and not inspect.isclass(callbacks) else (callbacks,)
    for each in found:
        require("fit", "callbacks", each)
    return found


def with_advice(error: ShapeError, net: Layer, x: Any, y: Any) -> ShapeError:
    """The error, with a note if the arguments x and y of `fit` fit the network the other way round."""
    try:
        net.output_shape(np.shape(y))
        swapped = np.ndim(x) < np.ndim(y)
    except Exception:
        return error
    return ShapeError(f"{error}; x and y may be swapped: write fit(x, y)") if swapped else error
