"""The registries of choices: one row is enough for the command line, the YAML files, `--help` and the model."""

import inspect
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

from xpnet import backend, init, losses, nn, optim, schedules, train
from xpnet._util.choices import Choice, takers, takes
from xpnet.data import datasets
from xpnet.errors import ConfigError
from xpnet.studies import options as studies
from xpnet.train import registry
from xpnet.train.command_line import make_parser, parse
from xpnet.train.experiment import make_model

REGISTRIES: dict[str, dict[str, Choice[Any]]] = {
    "activation": registry.ACTIVATIONS,
    "weight_init": registry.INITIALIZERS,
    "loss": registry.LOSSES,
    "optimizer": registry.OPTIMIZERS,
    "schedule": registry.SCHEDULES,
    "dataset": datasets.DATASETS,
}
ROWS = [pytest.param(option, name, id=name) for option, rows in REGISTRIES.items() for name in rows]


def printed_help(monkeypatch: pytest.MonkeyPatch) -> str:
    """What `--help` prints on a wide terminal, with single spaces."""
    monkeypatch.setenv("COLUMNS", "500")
    return " ".join(make_parser("train.py").format_help().split())


@pytest.mark.parametrize(("option", "name"), ROWS)
def test_a_row_names_options_of_a_config_and_arguments_of_what_it_makes(option: str, name: str) -> None:
    choice = REGISTRIES[option][name]
    assert set(choice.options.values()) <= {field.name for field in fields(train.Config)}
    assert set(choice.options) <= set(inspect.signature(choice.make).parameters)


@pytest.mark.parametrize(
    ("option", "name"), [row for row in ROWS if row.values[0] not in ("dataset", "weight_init")]
)
def test_a_row_takes_all_that_has_no_default(option: str, name: str) -> None:
    """An argument that a row forgets to take would be a TypeError on the command line."""
    REGISTRIES[option][name].build(train.Config())


@pytest.mark.parametrize(("option", "name"), ROWS)
def test_help_prints_each_choice(option: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert f" {name} {REGISTRIES[option][name].help} " in printed_help(monkeypatch)


WITHOUT_A_ROW = {
    "Layer", "Softmax",  # cross-entropy contains the softmax
    "Loss", "BinaryCrossEntropy",  # labels of data sets are classes
    "Optimizer", "ClipNorm", "ClipValue", "AverageWeights",  # wrappers, which have their own options
    "Schedule", "Constant",  # the constant rate is None
    "ones", "scaled",
}  # fmt: skip


@pytest.mark.parametrize(
    ("option", "module"),
    [
        ("activation", nn.activations),
        ("loss", losses),
        ("optimizer", optim),
        ("schedule", schedules),
        ("weight_init", init),
    ],
)
def test_what_is_public_has_a_row(option: str, module: ModuleType) -> None:
    """Fails for a new optimizer that `--optimizer` does not know."""
    made = {choice.make for choice in REGISTRIES[option].values()}
    kind = {"loss": losses.Loss, "optimizer": optim.Optimizer, "schedule": schedules.Schedule}.get(
        option, nn.Layer
    )
    for name, value in vars(module).items():
        if name.startswith("_") or name in WITHOUT_A_ROW:
            continue
        if module is nn.activations and name not in nn.__all__:  # a base class
            continue
        is_one = isinstance(value, type) and issubclass(value, kind)
        if option == "weight_init":
            is_one = inspect.isfunction(value) and value.__module__ == "xpnet.init"
        assert not is_one or value in made, f"{name}: no row in xpnet/train/registry.py"


OPTIONS = {"learning_rate": 0.3, "momentum": 0.7, "nesterov": False, "weight_decay": 0.01, "warmup": 2.0}
SCHEDULE = {"schedule_factor": 0.6, "schedule_every": 4, "epochs": 9}


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("sgd", optim.SGD(0.3, 0.7, False, 0.01)),
        ("ema-momentum", optim.EMAMomentum(0.3, 0.7, 0.01)),
        ("rmsprop", optim.RMSprop(0.3, weight_decay=0.01)),
        ("adam", optim.Adam(0.3, 0.7, weight_decay=0.01)),
        ("adamw", optim.AdamW(0.3, 0.7, weight_decay=0.01)),
        ("nadam", optim.NAdam(0.3, 0.7, weight_decay=0.01)),
        ("adagrad", optim.Adagrad(0.3, weight_decay=0.01)),
        ("lion", optim.Lion(0.3, 0.7, weight_decay=0.01)),
    ],
)
def test_optimizers_get_their_options(name: str, made: optim.Optimizer) -> None:
    assert train.Config(optimizer=name, **OPTIONS).make_optimizer() == made


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("constant", None),
        ("step", schedules.Step(4, 0.6)),
        ("exponential", schedules.Exponential(0.6)),
        ("cosine", schedules.Cosine(9, 2.0)),
        ("one-cycle", schedules.OneCycle(9)),
    ],
)
def test_schedules_get_their_options(name: str, made: schedules.Schedule | None) -> None:
    assert train.Config(schedule=name, **OPTIONS, **SCHEDULE).make_schedule() == made


def test_the_plateau_gets_its_options() -> None:
    made = train.Config(schedule="plateau", **SCHEDULE).make_schedule()
    assert isinstance(made, schedules.ReduceOnPlateau)
    assert (made.factor, made.patience) == (0.6, 4)


def test_the_loss_gets_its_options() -> None:
    assert train.Config(label_smoothing=0.1).make_loss() == losses.CrossEntropy(0.1)


def test_help_says_which_choices_take_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    text = printed_help(monkeypatch)
    assert (
        "; for sgd, as beta for ema-momentum, as beta1 for adam, adamw, nadam and lion (type: float, " in text
    )
    assert "; as every for step, as patience for plateau (type: int, default: 10)" in text
    assert "passes over the training images (type: int, default: 20)" in text
    assert "learning rate η (type: float, default: 0.1)" in text, "all optimizers take it"


def test_takers() -> None:
    rows = {
        "a": Choice(dict, "", takes("x")),
        "b": Choice(dict, "", takes("y", beta="x")),
        "c": Choice(dict, "", takes(beta="x")),
        "d": Choice(dict, ""),
    }
    assert takers(rows, "x") == {"x": ["a"], "beta": ["b", "c"]}
    assert takers(rows, "z") == {}


@dataclass(frozen=True)
class Descent(optim.Optimizer):
    """An optimizer with an argument named differently from its option."""

    learning_rate: float
    rate: float = 0.0

    def init(self, params: Any) -> Any:
        return {}

    def update(self, params: Any, grads: Any, state: Any) -> Any:
        return params, state


@dataclass(frozen=True)
class Scale(nn.Layer):
    """An activation with an argument."""

    factor: float = 1.0

    def forward(self, params: Any, x: Any) -> Any:
        return self.factor * x, ()

    def backward(self, params: Any, residuals: Any, dy: Any) -> Any:
        return self.factor * dy, {}


@dataclass(frozen=True, repr=False)
class Twice(losses.MeanSquaredError):
    """A loss."""


@dataclass(frozen=True)
class Flat(schedules.Schedule):
    """A schedule."""

    height: float

    def __call__(self, epoch: float) -> float:
        return self.height


def sevens(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.full(shape, 7.0)


def no_examples(name: str, data_dir: object, download: bool) -> datasets.Dataset:
    some = datasets.Examples(np.zeros((2, 3), np.float32), np.array([0, 1]))
    return datasets.Dataset(name, some, some, 2)


NEW = {
    "optimizer": Choice(Descent, "walks downhill", takes("learning_rate", rate="l2")),
    "activation": Choice(Scale, "a straight line", takes(factor="weight_scale")),
    "loss": Choice(Twice, "half of four halves"),
    "weight_init": Choice(sevens, "always seven"),
    "schedule": Choice(Flat, "as far as the eye sees", takes(height="schedule_factor")),
    "dataset": Choice(no_examples, "three zeros"),
}


@pytest.mark.parametrize("option", NEW)
def test_a_new_choice_is_one_row(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REGISTRIES[option], "new-one", NEW[option])
    assert f" new-one {NEW[option].help} " in printed_help(monkeypatch)
    from_command_line, _ = parse([f"--{option.replace('_', '-')}", "new-one", "--l2", "0.25"], "train.py")
    path = tmp_path / "new.yaml"
    path.write_text(yaml.safe_dump({option: "new-one", "l2": 0.25}))
    from_yaml, _ = parse(["--config", str(path)], "train.py")
    config = train.Config(**{option: "new-one", "l2": 0.25})
    assert from_command_line == from_yaml == config
    model = make_model(config, (3,), 2)
    assert isinstance(model.net, nn.Sequential)
    made = {
        "optimizer": lambda: model.optimizer == Descent(0.1, rate=0.25),
        "activation": lambda: model.net.layers[2] == Scale(1.0),
        "loss": lambda: config.make_loss() == Twice(),
        "weight_init": lambda: model.params[1]["weight"][0, 0] == 7,
        "schedule": lambda: config.make_schedule() == Flat(0.1),
        "dataset": lambda: datasets.load(config.dataset).train.x.shape == (2, 3),
    }
    assert made[option]()


@pytest.mark.parametrize("option", sorted({*NEW, "backend", "dtype", "output_activation"} - {"dataset"}))
@pytest.mark.parametrize("value", ["new-one", 3, None, ()])
def test_another_value_is_an_error_that_lists_the_choices(option: str, value: Any) -> None:
    names = {"backend": backend.BACKENDS, "dtype": backend.DTYPES, "output_activation": registry.ACTIVATIONS}
    expected = ", ".join({**REGISTRIES, **names}[option])
    with pytest.raises(ConfigError) as caught:
        train.Config(**{option: value})
    assert str(caught.value) == f"--{option.replace('_', '-')}: expected {expected}, got {value!r}"


def test_a_new_backend_is_a_row_of_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backend.BACKENDS, "abacus", backend.BACKENDS["numpy"])
    assert f"array library: {', '.join(backend.BACKENDS)} (type" in printed_help(monkeypatch)
    assert parse(["--backend", "abacus"], "train.py")[0].backend == "abacus"


def test_studies_name_the_data_sets_and_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(datasets.DATASETS, "new-one", NEW["dataset"])
    monkeypatch.setenv("COLUMNS", "500")
    text = studies.make_parser("study.py", "").format_help()
    assert ", ".join(datasets.DATASETS) in text
    assert ", ".join(backend.BACKENDS) in text


def test_initializers_are_scaled() -> None:
    rng = np.random.default_rng(0)
    made = train.Config(weight_init="normal", weight_scale=3.0).weight_initializer()(rng, (2, 2))
    np.testing.assert_array_equal(made, 3 * init.normal(np.random.default_rng(0), (2, 2)))
