"""A checkpoint: all that a training goes on from, in one file.

It is a safetensors file (https://huggingface.co/docs/safetensors), which any tool for those can read: arrays
with names like `params.0.weight`, and a header of text. The header holds everything else as JSON, with
`{"$array": name}` in the place of each array, and the SHA-256 of that text and all arrays. Nothing in a file
is ever executed, and reading one takes no more memory than the file is long.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from xpnet import tree
from xpnet._training.loop import Batches
from xpnet._training.step import State, Totals
from xpnet._util import files
from xpnet.errors import CheckpointError
from xpnet.metrics import EpochMetrics
from xpnet.tree import Tree

FORMAT = "xpnet checkpoint 1"

Model = Any  # xpnet.Model, which imports this module


def capture(model: Model) -> dict[str, Any]:
    """Everything that changes while a model learns: a tree of arrays and of what JSON can hold.

    The arrays are on the host, and the next step of training may overwrite them.
    """
    companions = {name: companion.state() for name, companion in model._companions.items()}
    state = {
        **model._state._asdict(),
        "totals": model._state.totals._asdict(),
        "seed": model.seed,
        "epoch": model.epoch,
        "epoch_step": model.epoch_step,
        "epoch_seconds": model._epoch_seconds,
        "batches": model._batches,
        "history": tuple(model.history),
        "companions": companions | model._companion_states,
    }
    return tree.map(lambda leaf: model.backend.to_numpy(leaf) if model.backend.owns(leaf) else leaf, state)


def restore(model: Model, saved: Tree, path: str | Path) -> None:
    """Give the model what `capture` took from one of the same network, optimizer, dtype and seed.

    Raises CheckpointError, and leaves the model as it was, where that was another one.
    """
    template = {name: value for name, value in model._state._asdict().items() if name != "totals"}
    expected = {name: model.backend.to_numpy(array) for name, array in _items(template)}
    try:
        found = dict(_items({name: saved[name] for name in template}))
        totals = Totals(**{name: _total(model, value) for name, value in saved["totals"].items()})
        seed, epoch, epoch_step = (int(saved[name]) for name in ("seed", "epoch", "epoch_step"))
        if min(epoch, epoch_step) < 0:
            raise ValueError(f"step {epoch_step} after epoch {epoch}")
        progress = {
            "epoch": epoch,
            "epoch_step": epoch_step,
            "history": [EpochMetrics(*row) for row in saved["history"]],
            "_epoch_seconds": float(saved["epoch_seconds"]),
            "_batches": None if saved["batches"] is None else Batches(*saved["batches"]),
            "_companions": {},
            "_companion_states": dict(saved["companions"]),
        }
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise CheckpointError(f"{path}: expected the state of a Model ({error!r})") from error
    if seed != model.seed:
        raise CheckpointError(f"{path}: expected the seed {model.seed}, as the model's, got {seed}")
    for name in expected | found:
        want, got = _describe(expected.get(name)), _describe(found.get(name))
        if want != got:
            raise CheckpointError(f"{path}: expected {name} to be {want}, got {got}")
    arrays = {}
    for name, array in expected.items():
        host = np.empty_like(array)  # lies in memory as the model's own does: products may differ by that
        host[...] = found[name]
        arrays[name] = model.backend.from_host(host)
    state = {name: tree.replace(branch, arrays, name) for name, branch in template.items()}
    model._state = State(**state, totals=totals)
    model.zero_grads()
    for name, value in progress.items():
        setattr(model, name, value)


def _items(state: dict[str, Tree]) -> Iterator[tuple[str, Any]]:
    for field, branch in state.items():
        yield from tree.items(branch, field)


def _total(model: Model, value: Any) -> Any:
    """A total on the model's device; None where nothing is counted, a number before the first epoch."""
    if value is None or isinstance(value, int | float):
        return value
    if value.ndim > 0:
        raise ValueError(f"a total of shape {value.shape}")
    return model.backend.from_host(np.array(value, np.int64 if value.dtype.kind == "i" else value.dtype))


def _describe(array: Any) -> str:
    """Dtype and shape; integers of any size are the same, since libraries differ there."""
    if not isinstance(array, np.ndarray):
        return "nothing" if array is None else repr(array)
    dtype = "integers" if array.dtype.kind == "i" else array.dtype.name
    return f"{dtype} of shape {array.shape}"


def write(path: str | Path, state: Tree) -> None:
    """Write a tree of NumPy arrays and of what JSON can hold to a file, whole or not at all.

    Raises CheckpointError where it cannot be written, or the tree holds anything else.
    """
    arrays: dict[str, np.ndarray] = {}
    try:
        text = json.dumps(_without_arrays(state, "", arrays))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: expected arrays, numbers and text in the state ({error})") from error
    metadata = {"format": FORMAT, "state": text, "sha256": _digest(text, arrays)}
    with files.saving(path) as file:
        file.write(safetensors.numpy.save(arrays, metadata))


def read(path: str | Path) -> Tree:
    """The tree that `write` wrote, with tuples where it had lists.

    Raises CheckpointError where the file is missing, damaged or of another kind.
    """
    try:
        with open(path, "rb"):  # whose errors say more than those of safe_open
            pass
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ValueError(f"the format is {metadata.get('format')!r}")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata["sha256"] != _digest(metadata["state"], arrays):
            raise ValueError("the checksum is wrong")
        return _with_arrays(json.loads(metadata["state"]), arrays)
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        RecursionError,
        safetensors.SafetensorError,
    ) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{path}: expected an {FORMAT} that is whole: {reason}") from error


def _digest(text: str, arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(text.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _without_arrays(state: Tree, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """The state as JSON; its arrays go into that dict, under their names."""
    if isinstance(state, dict | tuple | list):
        pairs = state.items() if isinstance(state, dict) else enumerate(state)
        branches = {
            str(key): _without_arrays(branch, f"{name}.{key}" if name else str(key), arrays)
            for key, branch in pairs
        }
        return branches if isinstance(state, dict) else list(branches.values())
    if isinstance(state, np.ndarray):
        arrays[name] = np.asarray(state, order="C")
        return {"$array": name}
    return state


def _with_arrays(state: Any, arrays: dict[str, np.ndarray]) -> Tree:
    if isinstance(state, dict):
        if state.keys() == {"$array"}:
            return arrays[state["$array"]]
        return {key: _with_arrays(branch, arrays) for key, branch in state.items()}
    return tuple([_with_arrays(branch, arrays) for branch in state]) if isinstance(state, list) else state
