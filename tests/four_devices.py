"""What `test_jax_devices.py` checks, computed in a process where JAX has 4 devices: prints one JSON object."""

import json
import pickle
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import xpnet
from xpnet import Callback, Ensemble, Model, losses, nn, optim, tree
from xpnet._training.judging import Weighted
from xpnet.data import augment, stream
from xpnet.errors import Error

RNG = np.random.default_rng(0)
N, BATCH = 16, 8
IMAGES, LABELS, WEIGHTS = RNG.random((N, 4, 4, 2)), RNG.integers(3, size=N), RNG.random(N) + 0.1


def mlp(backend: str, **options: Any) -> Model:
    net = nn.Sequential(nn.Flatten(), nn.Linear(32, 8), nn.Tanh(), nn.Linear(8, 3))
    return model(net, optim.SGD(0.1, momentum=0.9), backend, **options)


def cnn(backend: str) -> Model:
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding="same", bias=False), nn.BatchNorm(3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(12, 3),
    )  # fmt: skip
    changes = augment.Compose(augment.RandomCrop(1), augment.HorizontalFlip())
    return model(net, optim.Adam(0.01), backend, augment=changes)


def model(net: nn.Layer, optimizer: optim.Optimizer, backend: str, **options: Any) -> Model:
    """A model on NumPy, or on the 4 devices of JAX."""
    options |= {"device": None if backend == "numpy" else "cpu:all", "dtype": "float64"}
    return Model(net, losses.CrossEntropy(), optimizer, backend, **options)


def numbers(model: Model) -> np.ndarray:
    """All that training has changed, and what it reports, in one vector."""
    arrays = [model.backend.to_numpy(each).ravel() for each in tree.leaves((model.params, model.statistics))]
    rows = [value for row in model.history for value in row[1:6] if value is not None]
    return np.concatenate([*arrays, rows])


def difference(*pair: Any) -> float:
    one, other = (numbers(each) if isinstance(each, Model) else np.asarray(each) for each in pair)
    return float(np.abs(one - other).max()) if one.shape == other.shape else float("inf")


def collectives(model: Model, target: Any, batch_size: int) -> list[list[Any]]:
    """What the devices exchange in a step of `fit`: the kind of each operation and the shapes of its arrays."""
    place, n = model.backend.asarray, len(tree.leaves(target)[0])
    data, index = (place(IMAGES[:n]), tree.map(place, target)), place(np.arange(n).reshape(-1, batch_size))
    return exchanged(model._program.run_steps.lower(model.state, data, (index, None), 0, 1).compile())


def exchanged(compiled: Any) -> list[list[Any]]:
    """The kind of each operation by which devices exchange arrays, and the shapes of these."""
    kinds = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter|collective-broadcast"
    found = re.findall(rf" = (.+) ({kinds})(?:-start)?\(", compiled.as_text())
    return sorted([kind, re.findall(r"[fs]\d+\[[\d,]*\]", shapes)] for shapes, kind in found)


def ensemble(backend: str) -> tuple[list[float], list[list[Any]]]:
    """What two networks predict after an epoch from the host, and what devices exchange in one of its steps."""
    net, device = mlp("numpy").net, None if backend == "numpy" else "cpu:all"
    two = Ensemble(net, losses.CrossEntropy(), optim.SGD(0.1), backend, [0, 1], "float64", device=device)
    program, found = two._team.program((0, 1)), []
    lower = getattr(program.run_steps, "lower", None)
    if lower is not None:

        def run_steps(*arguments: Any) -> Any:
            compiled = lower(*arguments).compile()
            found.extend(exchanged(compiled))
            return compiled(*arguments)

        object.__setattr__(program, "run_steps", run_steps)
    two.fit(IMAGES, LABELS, epochs=1, batch_size=N, data_on_device=False, progress=False)
    return two.predict(IMAGES[:7]).ravel().tolist(), found


class Saver(Callback):
    """Saves a checkpoint after the first step."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_step(self, model: Model, step: int, n_steps: int) -> None:
        if step == 1:
            model.save_checkpoint(self.path)


def fit(model: Model, n: int = N, **options: Any) -> Model:
    defaults = {"epochs": 1, "batch_size": BATCH, "validation": (IMAGES[:7], LABELS[:7])}
    model.fit(IMAGES[:n], LABELS[:n], progress=False, **(defaults | options))
    return model


def error_of(call: Callable[[], Any]) -> str:
    try:
        call()
    except Error as error:
        return str(error)
    return "none"


def main() -> dict[str, Any]:
    found: dict[str, Any] = {"devices": repr(xpnet.backend.get("jax", "cpu:all"))}
    found["no device"] = error_of(lambda: xpnet.backend.get("jax", "cpu:every"))

    one, four = mlp("numpy"), mlp("jax")
    uneven = {"n": 14, "batch_size": 7}  # 4 devices do not divide it
    found["MLP"] = difference(fit(one, **uneven, epochs=2), fit(four, **uneven, epochs=2))
    found["predict"] = difference(*[each.predict_proba(IMAGES[:7]) for each in (one, four)])
    found["collectives of the MLP"] = collectives(four, LABELS[:14], 7)
    found["a copy"] = difference(four, pickle.loads(pickle.dumps(four)))
    stream.CHUNK_BYTES = BATCH * IMAGES[0].nbytes  # a chunk for each batch
    last = {"n": 14, "sample_weight": WEIGHTS[:14]}  # the last batch has 6 examples
    found["streamed"] = difference(fit(one, **last), fit(four, **last, data_on_device=False))
    spoilt = np.where(np.arange(N)[:, None, None, None] == 7, np.nan, IMAGES)[:14]
    again = last | {"batch_size": BATCH, "data_on_device": False, "progress": False}
    del again["n"]
    found["not finite"] = [
        error_of(lambda each=each: each.fit(spoilt, LABELS[:14], **again)) for each in (one, four)
    ]

    (of_one, _), (of_four, found["collectives of the ensemble"]) = map(ensemble, ("numpy", "jax"))
    found["ensemble"] = difference(of_one, of_four)

    one, four = cnn("numpy"), cnn("jax")
    found["saved"] = [each.step_memory((4, 4, 2), BATCH).saved_activations for each in (one, four)]
    weights = {"sample_weight": WEIGHTS}
    found["CNN"] = difference(fit(one, **weights, epochs=2), fit(four, **weights, epochs=2))
    found["collectives of the CNN"] = collectives(four, Weighted(LABELS, WEIGHTS), BATCH)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "checkpoint")
        fit(one, **weights, callbacks=[Saver(path)])
        four.load_checkpoint(path)
        found["resumed on more devices"] = difference(one, fit(four, **weights))
        fit(four, **weights, callbacks=[Saver(path)])
        one.load_checkpoint(path)
        found["resumed on fewer devices"] = difference(four, fit(one, **weights))
    return found


if __name__ == "__main__":
    print(json.dumps(main()))
