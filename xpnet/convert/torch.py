"""Weights of PyTorch: state dicts, and safetensors files of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from xpnet import backend, nn
from xpnet._util import files
from xpnet.backend._reading import numbers
from xpnet.convert.layout import (
    Equal,
    Slot,
    Table,
    converted,
    matched,
    of_model,
    require_model,
    require_none_left,
    slots,
    theirs,
)
from xpnet.convert.places import Place, Places
from xpnet.errors import CheckpointError, ConfigError, ShapeError
from xpnet.model import Model
from xpnet.nn import Layer
from xpnet.nn._layer import Shape
from xpnet.tree import Tree

_NORM = (Slot("scale", "weight"), Slot("shift", "bias"))
TABLE: Table = {
    nn.Linear: (Slot("weight", "weight", (1, 0)), Slot("bias", "bias")),
    nn.Conv2d: (Slot("weight", "weight", (3, 2, 0, 1)), Slot("bias", "bias")),
    nn.Conv1d: (Slot("weight", "weight", (2, 1, 0)), Slot("bias", "bias")),
    nn.BatchNorm: (
        *_NORM,
        Slot("running_mean", "running_mean"),
        Slot("running_variance", "running_var"),
    ),
    nn.LayerNorm: _NORM,
    nn.GroupNorm: _NORM,
    nn.Embedding: (Slot("weight", "weight"),),
}
COUNT = "num_batches_tracked"  # of BatchNorm, which needs it for a cumulative mean only
HOW_TO_SAVE = "save one with safetensors.torch.save_file(net.state_dict(), 'model.safetensors')"


def from_torch(
    net: Layer,
    state: Mapping[str, Any] | str | Path,
    input_shape: Shape | None = None,
    names: Mapping[str, str] | None = None,
) -> Tree:
    """The parameters and statistics of a network, from those of an equal network in PyTorch.

        model.restore(from_torch(net, torch_net.state_dict(), (28, 28, 1)))

    Weights get xpnet's layouts. Behind `Flatten`, PyTorch has the features of an image as (channels, height,
    width) and xpnet as (height, width, channels): the next `Linear` gets its rows in xpnet's order.

    Layers are found by their names in an equal `torch.nn.Sequential`: "0.weight", and "3.branch.0.weight" in
    a `Residual`. If the modules of a state dict have other names, they are taken in their order. A file does
    not keep the order.

    Arguments:
        net: the network, whose layers do what those in PyTorch do.
        state: `state_dict()` of the network in PyTorch, or a safetensors file of it.
        input_shape: the shape of one example, in xpnet's order: (28, 28, 1). A network without `Flatten`
            needs none.
        names: the name of the PyTorch module for the name of each layer with parameters:
            `{"0": "features.conv1", "4": "classifier"}`.

    Returns a tree of NumPy arrays as `Model.snapshot` gives it, for `Model.restore` or `net.forward`.

    Raises CheckpointError for a file that is not safetensors, and for an array that is missing, left over or
    of another shape; the error names the layer. ConfigError where the order of features cannot be known.
    """
    source = "state" if isinstance(state, Mapping) else str(state)
    arrays = _arrays(state)
    places = Places(net, input_shape, channels_first=True)
    there = list(dict.fromkeys(name.rpartition(".")[0] for name in arrays))
    same = {place.name: place.name for place in places.found}
    equal = Equal("from_torch", "torch.nn.Sequential", "modules", same)
    modules = matched(places, there, names, equal, in_order=isinstance(state, Mapping), source=source)
    rest = set(arrays)

    def look_up(place: Place, slot: Slot) -> tuple[np.ndarray | None, str]:
        name = _key(modules[place.name], slot.other)
        rest.discard(name)
        return arrays.get(name), name

    found = converted(places, TABLE, look_up, source)
    require_none_left({name for name in rest if name.rpartition(".")[2] != COUNT}, source)
    return found


def to_torch(model: Model, input_shape: Shape | None = None) -> dict[str, Any]:
    """The weights that `predict` uses, as the `state_dict` of an equal `torch.nn.Sequential`.

        torch_net.load_state_dict(to_torch(model))

    The inverse of `from_torch`, which tells of names and layouts.

    Arguments:
        model: the model, on any backend.
        input_shape: the shape of one example. None: that of the last x of the model.

    Returns tensors on the CPU. Raises BackendError where PyTorch is missing; `save_torch` does not need it.
    """
    state = _state(model, input_shape)
    torch = backend.get("torch", "cpu")
    return {name: torch.from_host(array) for name, array in state.items()}


def save_torch(model: Model, path: str | Path, input_shape: Shape | None = None) -> None:
    """Write `to_torch(model)` to a safetensors file, which `safetensors.torch.load_file` reads.

    Raises CheckpointError where the file cannot be written.
    """
    content = safetensors.numpy.save(_state(model, input_shape))
    with files.saving(path) as file:
        file.write(content)


def _state(model: Model, input_shape: Shape | None) -> dict[str, np.ndarray]:
    require_model(model)
    shape = model.input_shape if input_shape is None else input_shape
    places = Places(model.net, shape, channels_first=True)
    arrays = of_model(model, places)
    made: dict[str, np.ndarray] = {}
    for place in places.found:
        for slot in slots(place, TABLE):
            made[_key(place.name, slot.other)] = theirs(place, slot, arrays[place.named(slot.own)])
        if isinstance(place.layer, nn.BatchNorm):
            made[_key(place.name, COUNT)] = np.zeros((), np.int64)
    return made


def _key(module: str, name: str) -> str:
    return f"{module}.{name}" if module else name


def _arrays(state: Mapping[str, Any] | str | Path) -> dict[str, np.ndarray]:
    """The arrays by name. CheckpointError for a file of another kind."""
    if isinstance(state, Mapping):
        found = {}
        for name, value in state.items():
            if isinstance(value, Mapping):
                raise CheckpointError(
                    f"state: expected an array in {name}, got a dict of {len(value)}; if it is the "
                    f"state_dict, pass state[{name!r}]"
                )
            try:
                found[str(name)] = np.asarray(numbers(value, str(name))[...])
            except ShapeError as error:
                raise CheckpointError(f"state: {name}: {error}") from error
        return found
    if not isinstance(state, str | Path):
        hint = "; pass its state_dict()" if hasattr(state, "state_dict") else ""
        raise ConfigError(
            "from_torch: expected a state_dict or the path of a safetensors file, "
            f"got {type(state).__name__}{hint}"
        )
    try:
        content = Path(state).read_bytes()
        stored = dict(safetensors.deserialize(content))  # type: ignore[no-untyped-call]
    except OSError as error:
        raise CheckpointError(f"{state}: {error.strerror or error}") from error
    except (safetensors.SafetensorError, TypeError, ValueError, KeyError) as error:
        if content.startswith((b"PK\x03\x04", b"\x80")):
            raise CheckpointError(
                f"{state}: expected a safetensors file, got a pickle, which may execute anything: "
                f"{HOW_TO_SAVE}"
            ) from error
        raise CheckpointError(f"{state}: expected a safetensors file ({error}): {HOW_TO_SAVE}") from error
    for name, each in stored.items():
        if each["dtype"] not in DTYPES:
            raise CheckpointError(f"{state}: expected {name} of floats or integers, got {each['dtype']}")
    return {name: _decoded(**each) for name, each in stored.items()}


DTYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "BOOL": "?"},
    **{f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IU" for size in (1, 2, 4, 8)},
}


def _decoded(dtype: str, shape: list[int], data: bytes) -> np.ndarray:
    array = np.frombuffer(data, DTYPES[dtype]).reshape(shape)
    if dtype == "BF16":  # the upper half of a float32
        return (array.astype("<u4") << 16).view("<f4")
    return array
