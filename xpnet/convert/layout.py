"""Names and layouts of parameters in other libraries, and the conversion by these tables."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from xpnet import nn, tree
from xpnet._util.checks import one_network
from xpnet.convert.places import Place, Places
from xpnet.errors import CheckpointError, ConfigError
from xpnet.model import Model
from xpnet.nn import Layer
from xpnet.nn._layer import show_shape
from xpnet.tree import Tree


class Slot(NamedTuple):
    """A parameter of a layer in another library.

    Fields:
        own, other: its names.
        axes: the axes of our array in the order of theirs, as `numpy.transpose` takes them; () if equal.
    """

    own: str
    other: str
    axes: tuple[int, ...] = ()


Table = Mapping[type[Layer], tuple[Slot, ...]]


def slots(place: Place, table: Table) -> Iterator[Slot]:
    """The parameters of a layer in the other library. A layer of your own keeps its names and layouts."""
    rows = next((table[cls] for cls in type(place.layer).__mro__ if cls in table), None)
    if rows is None:
        if type(place.layer).__module__.startswith("xpnet."):
            raise ConfigError(f"{place}: expected a layer that the other library has, got none")
        rows = tuple(Slot(name, name) for name in place.shapes)
    return (slot for slot in rows if slot.own in place.shapes)


def ours(place: Place, slot: Slot, array: np.ndarray, what: str, source: str) -> np.ndarray:
    """Their array in our layout. CheckpointError for another shape."""
    shape = place.shapes[slot.own]
    expected = tuple(shape[axis] for axis in slot.axes) or shape
    if array.shape != expected:
        raise CheckpointError(
            f"{source}: {place}: expected {what} of shape {show_shape(expected)}, "
            f"got {show_shape(array.shape)}"
        )
    if slot.axes:
        array = array.transpose(np.argsort(slot.axes))
    return np.ascontiguousarray(
        array if place.order is None or not _has_features(place, slot) else array[place.order]
    )


def theirs(place: Place, slot: Slot, array: np.ndarray) -> np.ndarray:
    """Our array in their layout."""
    if place.order is not None and _has_features(place, slot):
        array = array[np.argsort(place.order)]
    return np.ascontiguousarray(array.transpose(slot.axes) if slot.axes else array)


def _has_features(place: Place, slot: Slot) -> bool:
    """Whether the first axis of our array is the features that the layer takes."""
    return not (isinstance(place.layer, nn.Linear) and slot.own == "bias")


def to_tree(places: Places, found: dict[str, Any], source: str) -> Tree:
    """The tree of parameters and statistics, of arrays by our names. Tied parameters must be equal."""
    for tie in places.ties:
        if tie.name in found:
            shared = found[tie.source]
            if not np.array_equal(found[tie.name], shared.mT if tie.transposed else shared):
                raise CheckpointError(
                    f"{source}: expected {tie.name} to equal {tie.source}{'.T' * tie.transposed}, to which "
                    "the network ties it, got other numbers"
                )
    return tree.replace(places.template, found)


def of_model(model: Model, places: Places) -> dict[str, np.ndarray]:
    """The arrays that the model predicts with, on the host by our names, tied ones too."""
    found = dict(tree.items(tree.map(model.backend.to_numpy, model.snapshot())))
    for tie in places.ties:
        found[tie.name] = found[tie.source].mT if tie.transposed else found[tie.source]
    return found


def require_model(model: Any) -> None:
    """ConfigError for anything else than a model."""
    if not isinstance(model, Model):
        raise ConfigError(f"convert: expected a Model, got {type(model).__name__}{one_network(model)}")


class Equal(NamedTuple):
    """How the other library has an equal network, for errors.

    Fields:
        function: the one that reads it: "from_torch".
        network: its class: "torch.nn.Sequential".
        layers: what it calls layers.
        names: the name there for the name of each of our layers; None if only the order tells.
    """

    function: str
    network: str
    layers: str
    names: Mapping[str, str] | None


def matched(
    places: Places,
    there: Sequence[str],
    names: Mapping[str, str] | None,
    equal: Equal,
    in_order: bool,
    source: str,
) -> dict[str, str]:
    """The name there for the name of each layer with parameters: as given, of an equal network, or by order.

    Arguments:
        there: the names of the layers with parameters there.
        in_order: whether these are in the order of the network.
    """
    ours = [place.name for place in places.found]
    listed = ", ".join(there if in_order else sorted(there)) or "none"
    if names is not None:
        if set(names) != set(ours):
            raise ConfigError(
                f"{equal.function}: expected names for the layers {', '.join(ours)}, "
                f"got {', '.join(names) or 'none'}"
            )
        return dict(names)
    if equal.names is not None and set(equal.names.values()) <= set(there):
        return dict(equal.names)
    if not in_order:
        expected = ", ".join((equal.names or {}).values())
        raise CheckpointError(
            f"{source}: expected the names of an equal {equal.network} ({expected}), got {listed}: "
            f"pass names={{{ours[0]!r}: …}}"
        )
    if len(there) != len(ours):
        raise CheckpointError(
            f"{source}: expected {len(ours)} {equal.layers} with parameters, as the network has "
            f"({', '.join(ours)}), got {len(there)}: {listed}"
        )
    return dict(zip(ours, there, strict=True))


def require_none_left(rest: Collection[str], source: str) -> None:
    """CheckpointError for the names of parameters or layers there that no layer of ours took."""
    if rest:
        more = f" and {len(rest) - 1} more" if len(rest) > 1 else ""
        raise CheckpointError(f"{source}: expected no {min(rest)}{more}, for which the network has no place")


Lookup = Callable[[Place, Slot], tuple[np.ndarray | None, str]]


def converted(places: Places, table: Table, look_up: Lookup, source: str) -> Tree:
    """The tree for a network, of the arrays that `look_up` finds, with their names in the source.

    Raises CheckpointError for an array that is missing or of another shape, naming the layer.
    """
    found: dict[str, Any] = {}
    tied = {tie.name for tie in places.ties}
    for place in places.found:
        for slot in slots(place, table):
            array, what = look_up(place, slot)
            if array is not None:
                found[place.named(slot.own)] = ours(place, slot, array, what, source)
            elif place.named(slot.own) not in tied:
                expected = place.shapes[slot.own]
                shape = tuple(expected[axis] for axis in slot.axes) or expected
                raise CheckpointError(
                    f"{source}: {place}: expected {what} of shape {show_shape(shape)}, got none"
                )
    return to_tree(places, found, source)
