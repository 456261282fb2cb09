"""Weights of Keras: lists of arrays, and files."""

import io
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xpnet import nn
from xpnet.backend._reading import numbers
from xpnet.convert.layout import Slot, Table, converted, of_model, require_model, slots
from xpnet.convert.places import Place, Places
from xpnet.errors import BackendError, CheckpointError, ConfigError
from xpnet.model import Model
from xpnet.nn import Layer
from xpnet.tree import ArrayLike, Tree

_KERNEL = (Slot("weight", "kernel"), Slot("bias", "bias"))
_NORM = (Slot("scale", "gamma"), Slot("shift", "beta"))
# In the order in which Keras keeps them.
TABLE: Table = {
    nn.Linear: _KERNEL,
    nn.Conv2d: _KERNEL,
    nn.Conv1d: _KERNEL,
    nn.BatchNorm: (
        *_NORM,
        Slot("running_mean", "moving_mean"),
        Slot("running_variance", "moving_variance"),
    ),
    nn.LayerNorm: _NORM,
    nn.GroupNorm: _NORM,
    nn.Embedding: (Slot("weight", "embeddings"),),
}
# What Keras calls the layers in a file; the second of a kind ends in _1.
KINDS: dict[type[Layer], str] = {
    nn.Linear: "dense",
    nn.Conv2d: "conv2d",
    nn.Conv1d: "conv1d",
    nn.BatchNorm: "batch_normalization",
    nn.LayerNorm: "layer_normalization",
    nn.GroupNorm: "group_normalization",
    nn.Embedding: "embedding",
}
NO_WEIGHTS = "expected a file of Keras's weights, as Keras 3 saves them ({}); else pass get_weights()"


def from_keras(net: Layer, weights: Sequence[ArrayLike] | str | Path) -> Tree:
    """The parameters and statistics of a network, from those of an equal network in Keras.

        model.restore(from_keras(net, keras_model.get_weights()))

    Both have channels last, so the layouts are the same. Keras's normalisations have ε = 0.001 by default:
    `BatchNorm(8, epsilon=1e-3)`.

    Arguments:
        net: the network, whose layers do what those in Keras do, in the same order.
        weights: `get_weights()` of the network in Keras, or a file that `save_weights` or `save` of Keras 3
            wrote, `.weights.h5` or `.keras`.

    Returns a tree of NumPy arrays as `Model.snapshot` gives it, for `Model.restore` or `net.forward`.

    Raises CheckpointError for a file that cannot be read, and for an array that is missing, left over or of
    another shape, naming the layer; BackendError for a file without the package h5py.
    """
    places = Places(net, None)
    if isinstance(weights, str | Path):
        return _of_file(places, Path(weights))
    if not isinstance(weights, Sequence):
        hint = "; pass its get_weights()" if hasattr(weights, "get_weights") else ""
        raise ConfigError(
            f"from_keras: expected a list of arrays or a path, got {type(weights).__name__}{hint}"
        )
    arrays = [np.asarray(numbers(each, "weights")[...]) for each in weights]
    rest = iter(enumerate(arrays))

    def look_up(place: Place, slot: Slot) -> tuple[np.ndarray | None, str]:
        i, array = next(rest, (len(arrays), None))
        return array, f"weights[{i}], its {slot.other},"

    found = converted(places, TABLE, look_up, "weights")
    if left := len(list(rest)):
        raise CheckpointError(f"weights: expected {len(arrays) - left} arrays, got {len(arrays)}")
    return found


def to_keras(model: Model) -> list[np.ndarray]:
    """The weights that `predict` uses, for `set_weights` of an equal network in Keras."""
    require_model(model)
    places = Places(model.net, None)
    arrays = of_model(model, places)
    return [arrays[place.named(slot.own)] for place in places.found for slot in slots(place, TABLE)]


def _of_file(places: Places, path: Path) -> Tree:
    """The tree of the arrays in a file of Keras 3."""
    try:
        import h5py
    except ImportError as error:
        raise BackendError("from_keras: expected the package h5py to read files: pip install h5py") from error
    found: dict[str, list[np.ndarray]] = {}
    try:
        content = path.read_bytes()
        if zipfile.is_zipfile(io.BytesIO(content)):  # .keras
            content = zipfile.ZipFile(io.BytesIO(content)).read("model.weights.h5")
        with h5py.File(io.BytesIO(content)) as file:
            for name, group in file["layers"].items():
                own = group.get("vars", {})
                found[name] = [np.asarray(own[str(i)]) for i in range(len(own))]
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or NO_WEIGHTS.format(error)}") from error
    except Exception as error:  # HDF5 raises many kinds
        raise CheckpointError(f"{path}: {NO_WEIGHTS.format(error)}") from error
    seen, names = Counter[str](), {}
    for place in places.found:
        kind = next((KINDS[cls] for cls in type(place.layer).__mro__ if cls in KINDS), "")
        names[place.name] = f"{kind}_{seen[kind]}" if seen[kind] else kind
        seen[kind] += 1
    if left := sorted(name for name, each in found.items() if each and name not in names.values()):
        raise CheckpointError(f"{path}: expected the layers {', '.join(names.values())}, got {left[0]}, too")

    def look_up(place: Place, slot: Slot) -> tuple[np.ndarray | None, str]:
        i = [each.own for each in slots(place, TABLE)].index(slot.own)
        arrays = found.get(names[place.name], [])
        return arrays[i] if i < len(arrays) else None, f"{names[place.name]}/{slot.other}"

    return converted(places, TABLE, look_up, str(path))
