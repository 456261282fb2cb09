"""Checkpoints: everything that a training needs to resume, in one file.

A checkpoint is a safetensors file (https://huggingface.co/docs/safetensors), which any safetensors tool can
read: arrays with names like `params.0.weight`, and a text header. The header holds everything else as JSON,
with `{"$array": name}` in place of each array, and the SHA-256 of this text and all arrays. Reading a file
never executes code, and takes no more memory than the size of the file.
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
from xpnet._training.state import Batches, Given, Progress, State, Totals, Training
from xpnet._util import files
from xpnet.backend import Backend
from xpnet.errors import CheckpointError
from xpnet.metrics import EpochMetrics
from xpnet.tree import Tree

FORMAT = "xpnet checkpoint 1"


def capture(training: Training, backend: Backend, seed: int, of_copy: bool = False) -> dict[str, Any]:
    """Everything that training changes, as a tree of arrays and of values that JSON can hold.

    The arrays are on the host. The next training step may overwrite them. A copy of the model, as the model
    itself, does not need the states of the schedule and the callbacks if their `fit` has come to its end.
    """
    state, progress = training.state, training.progress
    last = training.participants if training.unfinished or not of_copy else {}
    participants = {name: participant.state() for name, participant in last.items()}
    everything = {
        **state._asdict(),
        "totals": state.totals._asdict(),
        "seed": seed,
        "epoch": progress.epoch,
        "epoch_step": progress.epoch_step,
        "epoch_seconds": progress.epoch_seconds,
        "batches": _fields(progress.batches),
        "history": progress.history,
        "companions": participants | training.rewound | training.loaded,  # the format's name for these states
    }
    return tree.map(lambda leaf: backend.to_numpy(leaf) if backend.owns(leaf) else leaf, everything)


def restore(
    like: State, backend: Backend, seed: int, saved: Tree, path: str | Path, own_layout: bool = True
) -> Training:
    """The training that `capture` saved, for a model with the same network, optimizer, dtype and seed.

    Arguments:
        like: a state of the model, with the expected shapes, dtypes and memory layout.
        backend, seed: the model's backend and seed.
        saved: the result of `capture`.
        path: the path to name in errors.
        own_layout: whether arrays take the memory layout of `like`, or keep the layout of `saved`. A file
            does not store the layout, and matrix products may round differently with it.

    Raises CheckpointError if the saved training belongs to another model.
    """
    template = {name: value for name, value in like._asdict().items() if name != "totals"}
    expected = {name: backend.to_numpy(array) for name, array in _items(template)}
    try:
        if "averaged_statistics" not in saved:  # a file of an earlier version
            averaged = saved["statistics"] if template["averaged_statistics"] else {}
            saved = saved | {"averaged_statistics": averaged}
        found = dict(_items({name: saved[name] for name in template}))
        totals = Totals(**{name: _total(backend, value) for name, value in saved["totals"].items()})
        saved_seed, epoch, epoch_step = (int(saved[name]) for name in ("seed", "epoch", "epoch_step"))
        if min(epoch, epoch_step) < 0:
            raise ValueError(f"step {epoch_step} after epoch {epoch}")
        progress = Progress(
            epoch,
            epoch_step,
            float(saved["epoch_seconds"]),
            _batches(saved["batches"]),
            tuple([EpochMetrics(*row) for row in saved["history"]]),
        )
        loaded = dict(saved["companions"])
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        networks = saved.get("networks") if isinstance(saved, dict) else None
        got = f" ({error!r})"
        if isinstance(networks, tuple):
            got = f", got that of an Ensemble of {len(networks)}; load it into one, and take ensemble[k]"
        raise CheckpointError(f"{path}: expected the state of a Model{got}") from error
    if saved_seed != seed:
        raise CheckpointError(f"{path}: expected seed {seed}, the model's, got {saved_seed}")
    for name in expected | found:
        want, got = _describe(expected.get(name)), _describe(found.get(name))
        if want != got:
            raise CheckpointError(f"{path}: expected {name} to be {want}, got {got}")
    arrays = {}
    for name, array in expected.items():
        host = np.empty_like(array if own_layout else found[name], array.dtype)
        host[...] = found[name]
        arrays[name] = backend.from_host(host)
    state = {name: tree.replace(branch, arrays, name) for name, branch in template.items()}
    return Training(State(**state, totals=totals), progress, loaded)


def _fields(batches: Batches | Given | None) -> Any:
    """What the file holds of them: a list, or an object for batches that the user gives."""
    return batches._asdict() if isinstance(batches, Given) else batches


def _batches(saved: Any) -> Batches | Given | None:
    if saved is None:
        return None
    return Given(**saved) if isinstance(saved, dict) else Batches(*saved)


def _items(state: dict[str, Tree]) -> Iterator[tuple[str, Any]]:
    for field, branch in state.items():
        yield from tree.items(branch, field)


def _total(backend: Backend, value: Any) -> Any:
    """A total on the model's device. None if errors are not counted; a number before the first epoch."""
    if value is None or isinstance(value, int | float):
        return value
    if value.ndim > 0:
        raise ValueError(f"a total of shape {value.shape}")
    return backend.from_host(np.array(value, np.int64 if value.dtype.kind == "i" else value.dtype))


def _describe(array: Any) -> str:
    """Dtype and shape. All integer dtypes count as equal, since libraries use different ones."""
    if not isinstance(array, np.ndarray):
        return "nothing" if array is None else repr(array)
    dtype = "integers" if array.dtype.kind == "i" else array.dtype.name
    return f"{dtype} of shape {array.shape}"


def write(path: str | Path, state: Tree) -> None:
    """Write a tree of NumPy arrays and of values that JSON can hold to a file, atomically.

    Raises CheckpointError if the file cannot be written, or the tree holds anything else.
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
    """The tree that `write` wrote, with tuples for lists.

    Raises CheckpointError if the file is missing, damaged or not a checkpoint.
    """
    try:
        with open(path, "rb"):  # its errors are clearer than safe_open's
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
        way_out = "; load reads the parameters that save wrote" if str(path).endswith(".npz") else ""
        raise CheckpointError(
            f"{path}: expected an intact file of format {FORMAT!r}: {reason}{way_out}"
        ) from error


def _digest(text: str, arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(text.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _without_arrays(state: Tree, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """The state as JSON values. Moves its arrays into the dict `arrays`, by name."""
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
