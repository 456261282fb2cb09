"""The compiled steps of a model."""

from collections.abc import Callable
from dataclasses import dataclass

from xpnet._training.networks import Networks
from xpnet._training.state import State, Totals
from xpnet._training.step import Augment, Objective, evaluation_step, prediction_step, training_step
from xpnet.backend import Backend
from xpnet.optim import Optimizer
from xpnet.tree import Array

Step = Callable[..., tuple[State, Totals]]


@dataclass(frozen=True)
class Program:
    """The computations of a model, compiled for its backend.

    Attributes:
        make_step: the pure training step of an objective; see `training_step`.
        run_steps: `(state, data, rows, start, stop) -> state`; see `Backend.compile_loop`.
        evaluate: see `evaluation_step`.
        predict: see `prediction_step`.
        networks: the networks of an ensemble; None for one network.
    """

    objective: Objective
    optimizer: Optimizer
    backend: Backend
    seed: int
    make_step: Callable[[Objective], Step]
    run_steps: Callable[..., State]
    evaluate: Callable[..., tuple[Totals, Totals]]
    predict: Callable[..., tuple[Array, Array]]
    networks: Networks | None = None


def compile_program(
    objective: Objective,
    optimizer: Optimizer,
    backend: Backend,
    *,
    seed: int,
    augment: Augment | None,
    micro_batch: int | None,
    networks: Networks | None = None,
) -> Program:
    """Compile the steps; arguments as for `training_step`."""

    def make_step(objective: Objective) -> Step:
        return training_step(
            objective,
            optimizer,
            backend,
            seed=seed,
            augment=augment,
            micro_batch=micro_batch,
            networks=networks,
        )

    return Program(
        objective,
        optimizer,
        backend,
        seed,
        make_step,
        backend.compile_loop(make_step(objective)),
        backend.compile(evaluation_step(objective, backend, networks)),
        backend.compile(prediction_step(objective.net, backend, networks)),
        networks,
    )
