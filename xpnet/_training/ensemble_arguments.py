"""The arguments of `Ensemble` and of its methods, checked, and the data of its networks, placed."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from xpnet import tree
from xpnet._training import arguments, given, held_out, judging
from xpnet._training.ensemble import Team
from xpnet._training.ensemble_data import Data
from xpnet._training.inputs import HostInputs, naming
from xpnet._training.judging import Weighted
from xpnet._training.learner import use_loss
from xpnet._util.checks import is_number, require_flag
from xpnet._util.numbers import whole
from xpnet.errors import ConfigError, ShapeError
from xpnet.metrics import EpochMetrics
from xpnet.nn import Layer
from xpnet.nn._layer import show_shape
from xpnet.optim import Optimizer
from xpnet.optim import _stacked as stacked_optimizers
from xpnet.tree import Tree

MONITORS = tuple(
    [f"{part}_{what}" for part in ("validation", "train", "test") for what in ("loss", "accuracy")]
)


def members(
    net: Layer | Sequence[Layer], optimizer: Optimizer | Sequence[Optimizer], seeds: Any, l2: Any
) -> list[tuple[Layer, Optimizer, int, float]]:
    """Network, optimizer, seed and λ of each network. ConfigError unless they are equally many."""
    try:
        numbers = list(seeds)
    except TypeError:
        way_out = f"; write seeds=range({seeds})" if is_number(seeds) else ""
        raise ConfigError(
            f"Ensemble: expected seeds to be a list of them, one for each network, got {seeds!r}{way_out}"
        ) from None
    k = len(numbers)
    if k == 0:
        raise ConfigError("Ensemble: expected a seed for each network, got none; write seeds=range(8)")
    nets: Any = _each("net", net, k, Layer)
    return list(zip(nets, optimizers(optimizer, k), numbers, strengths(l2, k), strict=True))


def optimizers(given: Optimizer | Sequence[Optimizer], k: int) -> list[Optimizer]:
    """The optimizer of each network, of one with numbers or arrays of K, or of a list of K."""
    if not isinstance(given, list | tuple):
        arguments.require("Ensemble", "optimizer", given)
        one: Any = given
        return stacked_optimizers.of_each_network(one, k)
    each: Any = _each("optimizer", given, k, Optimizer)
    for one in each:
        arguments.require("Ensemble", "optimizer", one)
    found = [stacked_optimizers.with_numbers(one) for one in each]
    for one in found:
        arguments.require_numbers(one)
    return found


def strengths(l2: Any, k: int) -> list[float]:
    """λ of each network, of a number for all or K in a list or an array."""
    if is_number(l2):
        return [l2] * k
    found = l2.tolist() if hasattr(l2, "tolist") else l2
    if not isinstance(found, list | tuple) or len(found) != k or not all(map(is_number, found)):
        raise ConfigError(f"Ensemble: expected l2 to be a number, or {k} of them, got {l2!r}")
    return list(found)


def _each(name: str, given: Any, k: int, kind: type) -> list[Any]:
    """One object for all networks, or one for each."""
    if not isinstance(given, list | tuple):
        return [given] * k
    if len(given) != k:
        raise ConfigError(
            f"Ensemble: expected {name} to be one, or a list of {k}, one for each seed, got {len(given)}"
        )
    return list(given)


def require_same_shapes(what: str, each: Sequence[Tree]) -> None:
    """ConfigError unless the parameters or statistics of all networks have the same names and shapes."""
    first = tree.shapes(each[0])
    for k, other in enumerate(map(tree.shapes, each)):
        for name in sorted(first.keys() | other.keys()):
            shapes = [show_shape(found[name]) if name in found else "none" for found in (first, other)]
            if shapes[0] != shapes[1]:
                raise ConfigError(
                    f"Ensemble: expected networks with the same {what}, got {name} of shape {shapes[0]} "
                    f"in network 0 and {shapes[1]} in network {k}"
                )


def pair(name: str, found: Any) -> tuple[Any, Any]:
    """A pair (x, y), batches or None, and the weights of (x, y, weights) or None."""
    if given.are_pairs(found):
        return found, None
    if isinstance(found, tuple | list) and len(found) == 3:
        return (found[0], found[1]), found[2]
    return found, None


def order(shuffle: Any, y: Any) -> Any:
    """What `fit` is told of the order: "each", "shared" or False. ConfigError for anything else."""
    if y is None:
        arguments.refuse_with_batches("fit", arguments.BATCHES, {"shuffle": shuffle})
    if shuffle is None or isinstance(shuffle, bool | np.bool_):
        return "each" if shuffle is None or shuffle else False
    if isinstance(shuffle, str) and shuffle in ("each", "shared"):
        return shuffle
    raise ConfigError(f'fit: expected shuffle to be "each", "shared" or False, got {shuffle!r}')


def score(metrics: EpochMetrics | None, monitor: str) -> float | None:
    """A metric, higher is better; None if there is none, or NaN. ConfigError for another name."""
    if monitor not in MONITORS:
        raise ConfigError(f"best: expected monitor to be one of {', '.join(MONITORS)}, got {monitor!r}")
    value = getattr(metrics, monitor, None)
    if value is None or math.isnan(value):
        return None
    return -value if monitor.endswith("loss") else value


class Own:
    """Data for the networks of an ensemble: for all of them, or each network's own.

    Arguments:
        team: the networks.
        is_own: whether the arrays have a leading axis of K networks.
    """

    def __init__(self, team: Team, is_own: Any) -> None:
        require_flag("Ensemble", "own_data", is_own)
        self.team = team
        self.is_own = bool(is_own)
        self.k = len(team.models)
        self.inputs = team.engine(0).inputs

    def read(self, name: str, array: Any) -> Any:
        """An array of numbers; ShapeError unless it has the axis of networks, if each has its own."""
        if self.is_own:
            self._require_even(name, array)
        found = self.inputs.read(array, name)
        if self.is_own and (len(found.shape) < 2 or found.shape[0] != self.k):
            raise ShapeError(
                f"own_data: expected {name} of shape ({self.k}, n, ...) for {self.k} networks, "
                f"got {show_shape(tuple(found.shape))}"
            )
        return found

    def _require_even(self, name: str, each: Any) -> None:
        """ShapeError for a list of the networks' own arrays that differ in their shapes."""
        if not isinstance(each, list | tuple) or not all(hasattr(one, "shape") for one in each):
            return
        for k, one in enumerate(each):
            if tuple(one.shape) != tuple(each[0].shape):
                raise ShapeError(
                    f"own_data: expected {name} of one shape for all networks, got "
                    f"{show_shape(tuple(each[0].shape))} for network 0 and {show_shape(tuple(one.shape))} "
                    f"for network {k}; fill up the shorter ones, with sample_weight 0 for what is filled up"
                )

    def _folded(self, array: Any) -> Any:
        """The arrays of all networks one after the other."""
        if not self.is_own:
            return array
        whole_array: Any = array if self.team.backend.owns(array) else array[:]
        xp = self.team.backend.xp if self.team.backend.owns(array) else np
        return xp.reshape(whole_array, (self.k * array.shape[1], *array.shape[2:]))

    @contextmanager
    def _naming_networks(self, *arrays: Any) -> Iterator[None]:
        """Within the block, a ShapeError names the network whose own x or y does not fit, and its entry."""
        try:
            yield
        except ShapeError:
            place: Any = self.inputs.place if len(arrays) > 1 else self.inputs.place_x
            for k in range(self.k if self.is_own else 0):
                with naming(f"network {k}"):
                    place(*[array[k, ...] for array in arrays])
            raise

    def _let_name_networks(self, placed: Any) -> None:
        """Let inputs that are checked when they are read, one after the other, name the network and its x."""
        if not (self.is_own and isinstance(placed, HostInputs)) or (check := placed.check) is None:
            return
        n = placed.shape[0] // self.k

        def of_each(part: Any, rows: Any) -> None:
            k, own = np.divmod(np.asarray(rows), n)
            for network in np.unique(k):
                with naming(f"network {network}"):
                    check(part[k == network], own[k == network])

        placed.check = of_each

    def _require_same_outputs(self, placed: Any) -> None:
        """ShapeError unless all networks take x, with outputs of one shape. Each then knows that of x."""
        shape = tuple(placed.shape)
        nets = {id(model.net): (k, model.net) for k, model in reversed([*enumerate(self.team.models)])}
        outputs = []
        for k, net in nets.values() if len(nets) > 1 else ():
            with naming(f"network {k}"):
                outputs.append((k, tuple(net.output_shape(shape)[1:])))
        for k, found in outputs:
            if found != outputs[-1][1]:
                raise ShapeError(
                    f"Ensemble: expected networks with outputs of one shape, got {show_shape(('n', *found))} "
                    f"from network {k} and {show_shape(('n', *outputs[-1][1]))} from network {outputs[-1][0]}"
                )
        if self.team.engine(self.k - 1).inputs.input_shape != self.inputs.input_shape:
            for k in range(self.k):
                self.team.engine(k).inputs.input_shape = self.inputs.input_shape

    def place_x(self, x: Any) -> Data:
        """Inputs without targets."""
        x = self.read("x", x)
        try:
            with self._naming_networks(x):
                placed = self.inputs.place_x(self._folded(x))
            self.inputs.require_rows(self.inputs.net.output_shape(tuple(placed.shape)))
        except ShapeError as error:
            raise self._advised(error, x) from error
        self._require_same_outputs(placed)
        return Data(placed, placed, self.k, self.is_own)

    def _pair(self, x: Any, y: Any) -> tuple[Any, Any]:
        """x and y, each network's own one after the other."""
        if self.is_own and x.shape[1] != y.shape[1]:
            raise ShapeError(f"own_data: expected a y for each of {x.shape[1]} x, got {y.shape[1]}")
        return self._folded(x), self._folded(y)

    def place_batch(self, x: Any, y: Any) -> tuple[Any, Any]:
        """`Inputs.place_batch` of each network's own x and y one after the other."""
        pair = self._pair(x, y)
        try:
            with self._naming_networks(x, y):
                placed, target = self.inputs.place_batch(*pair)
        except ShapeError as error:
            raise self._advised(error, x, y) from error
        self._require_same_outputs(placed)
        return placed, target

    def _advised(self, error: ShapeError, x: Any, y: Any = None) -> ShapeError:
        """The error, with a note if the arrays look like those of each network."""
        if self.is_own or len(x.shape) < 3 or x.shape[0] != self.k:
            return error
        if y is None:
            try:
                self.inputs.net.output_shape(tuple(x.shape[1:]))
            except ShapeError:
                return error
            return ShapeError(f"{error}; for x of each network write own_data=True")
        if x.shape[:2] != y.shape[:2]:
            return error
        return ShapeError(f"{error}; for x and y of each network write own_data=True")

    def place(self, x: Any, y: Any, weights: Any, on_device: bool) -> Data:
        """Inputs and targets, perhaps with weights (n,), or (K, n) for each network."""
        pair = self._pair(x, y)
        try:
            with self._naming_networks(x, y):
                placed, target = self.inputs.place(*pair, on_device)
        except ShapeError as error:
            if self.is_own:
                raise
            advised = self._advised(error, x, y)
            if advised is error:
                advised = arguments.with_advice(error, self.team.models[0].net, x, y)
            raise advised from error
        self._require_same_outputs(placed)
        self._let_name_networks(placed)
        data = Data(placed, target, self.k, self.is_own, bool(on_device))
        return data if weights is None else data._replace(y=self.weighted(data, weights))

    def weighted(self, data: Data, weights: Any, some: bool = True) -> Weighted:
        """The targets with weights (n,), or (K, n) for each network; `some` as in `judging.weighted`."""
        loss, backend = self.team.models[0].loss_function, self.team.backend
        n = data.examples
        host = self._read_weights(weights, n)
        for k, row in enumerate(host if host.ndim == 2 else host[None]):
            with naming(f"network {k}") if host.ndim == 2 else nullcontext():
                target = data.y[:n, ...] if self.is_own else data.y
                judging.weighted(loss, target, row, backend, data.on_device, some)
        if self.is_own:
            host = np.broadcast_to(host, (self.k, n)).reshape(-1)
        elif host.ndim == 2:
            host = host.T
        place = backend.asarray if data.on_device else backend.on_host
        return Weighted(data.y, place(np.ascontiguousarray(host), real=True))

    def _read_weights(self, weights: Any, n: int) -> Any:
        """Weights of n examples, for all networks or for each. ShapeError for another shape."""
        host: Any = self.team.backend.numbers(weights, "sample_weight")[...]
        if host.shape not in ((n,), (self.k, n)):
            way_out = "; pass its transpose" if host.shape == (n, self.k) else ""
            raise ShapeError(
                f"sample_weight: expected weights of shape ({n},), or ({self.k}, {n}) for each network, "
                f"got {show_shape(host.shape)}{way_out}"
            )
        return host

    def batches(self, batches: Any) -> given.Placed:
        """Batches to evaluate, placed one by one as `Data`."""
        return given.Placed(given.Passes(batches).once_more, OwnPlacer(self).placed)

    def measured(self, name: str, pair: Any, weights: Any, on_device: bool) -> Any:
        """Data, or batches, to measure after each epoch; None for None. Errors start with its name."""
        if pair is None or given.are_pairs(pair):
            return None if pair is None else self.batches(pair)
        with naming(name):
            own = self._as_training(pair[0])
            x, y = own.read("x", pair[0]), own.read("y", pair[1])
            return own.place(x, y, weights, on_device)

    def _as_training(self, x: Any) -> "Own":
        """Itself; for x without the axis of networks, which its training data has, what is for all."""
        example = self.inputs.input_shape  # of the training data
        shared = self.is_own and example is not None and len(getattr(x, "shape", ())) == len(example)
        return Own(self.team, False) if shared else self

    def split(self, fraction: float, x: Any, y: Any, weights: Any) -> tuple[tuple[Any, Any, Any], Any]:
        """x, y and weights without the last examples, and these: see `held_out.split`."""
        if weights is not None:
            weights = self._read_weights(weights, x.shape[1 if self.is_own else 0])
        if not self.is_own:
            (first, targets), others = held_out.split(fraction, x, y)
            n = first.shape[0]
            return (first, targets, None if weights is None else weights[..., :n]), others
        n = x.shape[1] - max(whole(fraction * x.shape[1]), 1)
        if n < 1:
            raise ConfigError(
                f"fit: expected validation_split to leave an example to train on, got {fraction} of "
                f"{x.shape[1]} examples"
            )
        kept = None if weights is None else weights[..., :n]
        return (x[:, :n, ...], y[:, :n, ...], kept), (x[:, n:, ...], y[:, n:, ...])

    def use_losses(self, y: Any) -> None:
        """Let each network minimise its loss on placed targets: balanced class weights come from them."""
        team, data = self.team, Data(judging.without_weights(y), y, self.k, self.is_own)
        for k, model in enumerate(team.models):
            loss = model.loss_function
            if getattr(loss, "class_weights", None) == "balanced":
                loss = judging.for_training(loss, data.targets(k, k), team.backend)
            use_loss(model, loss)


class OwnPlacer(given.Placer):
    """Checks and places batches for the networks of an ensemble, as `given.Placer` does for one.

    Arguments:
        own: what checks their arrays.
    """

    def __init__(self, own: Own) -> None:
        super().__init__(own.inputs, own.team.models[0].loss_function)
        self.own = own

    def read(self, x: Any, name: str = "x") -> Any:
        return self.own.read(name, x)

    def pair(self, x: Any, y: Any) -> tuple[Any, Any]:
        return self.own.place_batch(self.read(x), self.read(y, "y"))

    def weighted(self, target: Any, weights: Any) -> Weighted:
        found = self.own.weighted(self.data(target, target), weights, some=False)
        if self.own.is_own or found.weights.ndim == 2:
            return found
        each = np.repeat(found.weights[:, None], self.own.k, axis=1)  # all batches have one form
        return found._replace(weights=each)

    def length(self, x: Any) -> int:
        return int(x.shape[1]) if self.own.is_own else super().length(x)

    def examples(self, placed: Any) -> int:
        return self.data(placed, placed).examples

    def data(self, x: Any, y: Any, on_device: bool = False) -> Data:
        """Placed arrays of a batch, with what they are."""
        return Data(x, y, self.own.k, self.own.is_own, on_device)

    def placed(self, batch: Any, number: int) -> Data:
        """A batch on the device."""
        x, y = self(batch, number)
        place = self.inputs.backend.asarray
        return self.data(place(x), tree.map(place, y), on_device=True)
