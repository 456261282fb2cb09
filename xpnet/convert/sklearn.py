"""Weights of scikit-learn's MLPClassifier and MLPRegressor."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet import nn, tree
from xpnet.backend._reading import numbers
from xpnet.convert.layout import Slot, Table, converted, require_model
from xpnet.convert.places import Place, Places
from xpnet.errors import CheckpointError, ConfigError
from xpnet.model import Model
from xpnet.nn import Layer
from xpnet.tree import Tree

TABLE: Table = {nn.Linear: (Slot("weight", "coefs_"), Slot("bias", "intercepts_"))}


def from_sklearn(net: Layer, estimator: Any) -> Tree:
    """The parameters of a network of `Linear` layers, from a fitted MLPClassifier or MLPRegressor.

    A classifier for two classes has one output, the logit of the second: a network for
    `BinaryCrossEntropy`.

    Arguments:
        net: the network, with a `Linear` for each weight matrix.
        estimator: a fitted estimator, or its `(coefs_, intercepts_)`.

    Returns a tree of NumPy arrays as `Model.snapshot` gives it.

    Raises CheckpointError where number or shapes of the layers differ, naming the layer.
    """
    kinds = estimator if isinstance(estimator, tuple) and len(estimator) == 2 else ()
    given = kinds if kinds and all(isinstance(kind, Sequence) for kind in kinds) else _fitted(estimator)
    arrays = {
        name: [np.asarray(numbers(each, name)) for each in kind]
        for name, kind in zip(("coefs_", "intercepts_"), given, strict=True)
    }
    places = Places(net, None)
    at = {place.name: i for i, place in enumerate(places.found)}
    if len(at) != len(arrays["coefs_"]):
        raise CheckpointError(f"estimator: expected {len(at)} layers, got {len(arrays['coefs_'])}")

    def look_up(place: Place, slot: Slot) -> tuple[np.ndarray | None, str]:
        i = at[place.name]
        return arrays[slot.other][i] if i < len(arrays[slot.other]) else None, f"{slot.other}[{i}]"

    return converted(places, TABLE, look_up, "estimator")


def to_sklearn(model: Model) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """`(coefs_, intercepts_)` of a network of `Linear` layers with biases, as scikit-learn has them.

    Raises ConfigError for a network with other layers that have parameters.
    """
    require_model(model)
    coefs, intercepts = [], []
    arrays = dict(tree.items(tree.map(model.backend.to_numpy, model.snapshot())))
    for place in Places(model.net, None).found:
        if not isinstance(place.layer, nn.Linear) or not place.layer.bias:
            raise ConfigError(f"{place}: expected layers Linear with biases, as scikit-learn has them")
        coefs.append(arrays[place.named("weight")])
        intercepts.append(arrays[place.named("bias")])
    return coefs, intercepts


def _fitted(estimator: Any) -> tuple[Any, Any]:
    if not hasattr(estimator, "coefs_"):
        raise ConfigError(
            f"from_sklearn: expected a fitted MLPClassifier or MLPRegressor, got {type(estimator).__name__}"
        )
    return estimator.coefs_, estimator.intercepts_
