"""Weights of Keras: lists of arrays, and files."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from xpnet import nn
from xpnet.backend._reading import numbers
from xpnet.convert import keras_files
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
)
from xpnet.convert.places import Place, Places
from xpnet.errors import CheckpointError, ConfigError
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


def from_keras(
    net: Layer,
    weights: Sequence[ArrayLike] | str | Path,
    names: Mapping[str, str] | None = None,
) -> Tree:
    """The parameters and statistics of a network, from those of an equal network in Keras.

        model.restore(from_keras(net, keras_model.get_weights()))

    Both have channels last, so the layouts are the same. Keras's normalisations have ε = 0.001 by default:
    `BatchNorm(8, epsilon=1e-3)`.

    Arguments:
        net: the network, whose layers do what those in Keras do, in the same order.
        weights: `get_weights()` of the network in Keras, or a file that its `save_weights` or `save` wrote:
            `.weights.h5`, `.keras` or `.h5`, also of Keras 2.
        names: the name of the layer in the file for the name of each of our layers with parameters:
            `{"0": "encoder/dense", "3": "head"}`. `.weights.h5` and `.keras` files need it for nested and
            subclassed models; a `.h5` file tells the order of the layers.

    Returns a tree of NumPy arrays as `Model.snapshot` gives it, for `Model.restore` or `net.forward`.

    Raises CheckpointError for a file that cannot be read, and for an array that is missing, left over or of
    another shape, naming the layer; BackendError for a file without the package h5py.
    """
    places = Places(net, None)
    if isinstance(weights, str | Path):
        return _of_file(places, Path(weights), names)
    if names is not None:
        raise ConfigError("from_keras: expected names with a file, got a list of arrays, which have an order")
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


def _of_file(places: Places, path: Path, names: Mapping[str, str] | None) -> Tree:
    """The tree of the arrays in a file of Keras."""
    found, in_order = keras_files.read(path)
    seen, by_kind = Counter[str](), {}
    for place in places.found:
        kind = next((KINDS[cls] for cls in type(place.layer).__mro__ if cls in KINDS), "")
        by_kind[place.name] = f"{kind}_{seen[kind]}" if seen[kind] else kind
        seen[kind] += 1
    equal = Equal("from_keras", "keras.Sequential", "layers", None if in_order else by_kind)
    layers = matched(places, list(found), names, equal, in_order, str(path))
    for place in places.found:
        name, expected = layers[place.name], [slot.other for slot in slots(place, TABLE)]
        if name in found and len(found[name]) != len(expected):
            listed = ", ".join(expected)
            raise CheckpointError(
                f"{path}: {place}: expected the arrays {listed} in {name}, got {len(found[name])}"
            )

    def look_up(place: Place, slot: Slot) -> tuple[np.ndarray | None, str]:
        i = [each.own for each in slots(place, TABLE)].index(slot.own)
        name = layers[place.name]
        return found[name][i] if name in found else None, f"{name}/{slot.other}"

    tree = converted(places, TABLE, look_up, str(path))
    require_none_left(found.keys() - layers.values(), str(path))
    return tree
