"""Where the steps of an ensemble come from: arrays that are cut into batches, or batches for all networks."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet._training import ensemble_data, given
from xpnet._training.batches import GivenBatches
from xpnet._training.ensemble import Team
from xpnet._training.ensemble_arguments import Own, OwnPlacer
from xpnet._training.ensemble_data import Data
from xpnet._training.sources import Arrays, Buffers
from xpnet._training.state import Batches, Progress
from xpnet.tree import Array

RESTART = "set ensemble.epoch_step = 0 to restart the epoch"


class EnsembleArrays(Arrays):
    """Arrays for all networks, or each network's own, of which each epoch makes batches.

    Arguments:
        team: the networks.
        data: the arrays.
        batch_size: examples per step and network.
        shuffle: "each": an order for each network, from its seed; "shared": one order for all, from the first
            seed; False: the order of the data.
    """

    restart = RESTART

    def __init__(self, team: Team, data: Data, batch_size: int, shuffle: Any) -> None:
        self.team, self.all_data, self.shuffle = team, data, shuffle
        self.backend, self.x, self.y = team.backend, data.x, data.y
        named: Any = {"each": True, "shared": "shared", False: False}  # what `Model.fit` calls the order
        self.record = Batches(data.examples, batch_size, named[shuffle])
        self.buffers = Buffers(team.backend)

    def begin(self, progress: Progress) -> None:
        """Nothing to do: `for_networks` gives the steps of each epoch."""

    def for_networks(self, places: tuple[int, ...], epochs: Sequence[int]) -> "Positions":
        """The steps of these networks, which have completed so many epochs."""
        seeds = [self.team.models[k].seed for k in (*places, 0)]
        stacks = ensemble_data.batch_positions(
            self.all_data, places, self.record.batch_size, seeds, list(epochs), self.shuffle
        )
        return Positions(self, self.all_data.of(self.backend, places), stacks, places)

    def data(self) -> Data:
        return self.all_data


class Positions(Arrays):
    """Arrays that are cut into batches by positions, as `batch_positions` gives them."""

    def __init__(
        self, whole: EnsembleArrays, data: Data, stacks: list[np.ndarray], places: tuple[int, ...]
    ) -> None:
        self.places = places
        self.backend, self.record, self.buffers = whole.backend, whole.record, whole.buffers
        self.whole, self.own_data, self.positions = whole, data, stacks
        self.x, self.y, self.on_device = data.x, data.y, data.on_device
        self.stacks = [self.backend.asarray(rows) for rows in stacks] if data.on_device else list(stacks)
        self.n_steps = sum(len(rows) for rows in stacks)

    def of_network(self, i: int) -> "Positions":
        """The steps of the i-th of these networks alone."""
        row = i if self.positions[0].shape[1] > 1 else 0
        x, y, first = self.own_data.of_network(i, self.places[i])
        stacks = [rows[:, row] - first for rows in self.positions]
        return Positions(self.whole, self.own_data._replace(x=x, y=y), stacks, self.places[i : i + 1])


class EnsembleBatches(GivenBatches):
    """Batches that the user gives, each for all networks or with each network's own examples.

    Arguments:
        own: checks and places them.
        batches, steps_per_epoch, progress: as for `GivenBatches`.
    """

    restart = RESTART
    place: OwnPlacer

    def __init__(self, own: Own, batches: Any, steps_per_epoch: int | None, progress: Progress) -> None:
        self.places = tuple(range(own.k))
        super().__init__(OwnPlacer(own), batches, steps_per_epoch, progress)

    def for_networks(self, places: tuple[int, ...], epochs: Sequence[int]) -> "EnsembleBatches":
        """The steps of these networks."""
        if places != self.places:
            self.places, self.indices, self.buffers = places, {}, {}
        return self

    def of_network(self, i: int) -> "BatchesOfOne":
        """The steps of the i-th of these networks alone."""
        return BatchesOfOne(self, self.places[i])

    def _load(self, x: Array, y: Any) -> tuple[Array, Any]:
        return super()._load(x, self.place.data(x, y).of(self.backend, self.places).y)

    def _positions(self, n: int) -> np.ndarray:
        order = np.arange(n)[None, :]
        return order + n * np.array(self.places)[:, None] if self.place.own.is_own else order

    def data(self) -> Any:
        return given.Placed(self.passes.once_more, self.place.placed)


class BatchesOfOne(GivenBatches):
    """The batches of the epoch for one network of an ensemble, read once more."""

    place: OwnPlacer

    def __init__(self, batches: EnsembleBatches, k: int) -> None:
        vars(self).update(vars(batches))
        self.k, self.passes = k, batches.passes.again(batches.record[1:])
        self.buffers, self.indices, self.reached, self.batch = {}, {}, None, None

    def _load(self, x: Array, y: Any) -> tuple[Array, Any]:
        x, y, _ = self.place.data(x, y).of_network(self.k, self.k)
        return super()._load(x, y)
