"""Training by hand: a network with its loss, its optimizer and the state of training."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

from xpnet import backend as backends
from xpnet import optim, random, tree
from xpnet._training import arguments, judging, last_layers, memory, summary, trees
from xpnet._training.inputs import Inputs
from xpnet._training.program import Program, compile_program
from xpnet._training.sizes import needs
from xpnet._training.state import Progress, State, Training, initial_state
from xpnet._training.step import Augment, Objective, averaged_statistics, noise_stream, warn_of_one_value
from xpnet._training.summary import StepMemory
from xpnet._util import text
from xpnet._util.checks import python_number, require_shape
from xpnet._util.warning import Once
from xpnet.errors import Error, ShapeError
from xpnet.losses import Loss
from xpnet.metrics import History
from xpnet.nn import Layer
from xpnet.nn._layer import Shape
from xpnet.nn.containers import require_shallow
from xpnet.optim import Optimizer
from xpnet.tree import Array, ArrayLike, Tree


class _Forward(NamedTuple):
    """The last forward pass: the network in the mode it was run in, and what the backward pass needs."""

    net: Layer
    params: Tree
    prediction: Array
    residuals: Any


class Engine(NamedTuple):
    """What an ensemble trains a model by: its steps, its training, and the checks of its inputs."""

    program: Program
    training: Training
    inputs: Inputs


def engine(learner: "Learner") -> Engine:
    """The engine of a model."""
    return Engine(learner._program, learner._training, learner._inputs)


def use_loss(learner: "Learner", loss: Loss) -> None:
    """Let a model minimise this loss from now on."""
    learner._use_loss(loss)


@contextmanager
def fitting(learners: Sequence["Learner"]) -> Iterator[None]:
    """Within the block, these models are trained by an ensemble, and not by their own `fit`."""
    for learner in learners:
        learner._grads, learner._fitting = None, True
    try:
        yield
    finally:
        for learner in learners:
            learner._fitting = False


class Learner:
    """The base class of `xpnet.Model`: training by hand, step by step. `Model` documents the arguments."""

    def __init__(
        self,
        net: Layer,
        loss: Loss,
        optimizer: Optimizer,
        backend: str = "numpy",
        seed: int = 0,
        dtype: str = "float32",
        *,
        device: Any = None,
        l2: float = 0.0,
        augment: Augment | None = None,
        micro_batch: int | None = None,
        tf32: bool = False,
    ) -> None:
        arguments.check_model(
            net=net,
            loss=loss,
            optimizer=optimizer,
            backend=backend,
            seed=seed,
            dtype=dtype,
            augment=augment,
            tf32=tf32,
        )
        require_shallow(net)
        self.net = net
        self.loss_function = loss
        self._optimizer = optimizer
        self.micro_batch = python_number(micro_batch)
        self.seed = python_number(seed)
        self.objective = Objective(net, loss, l2)
        last_layers.check(net, loss)
        if not getattr(self, "_is_copy", False):
            last_layers.warn(net, loss, stacklevel=2)
        self.backend = backends.get(backend, device, dtype, tf32)
        self.training = True
        l2 = self.objective.l2
        self._options = {"dtype": dtype, "device": device, "l2": l2, "augment": augment, "tf32": tf32}
        self._inputs = Inputs(net, loss, self.backend)
        self._program = self._compile()
        with memory.explain_out_of_memory(self.backend, "the parameters of the network"):
            self._training = Training(initial_state(net, optimizer, self.backend, seed), Progress())
        self._grads: Tree | None = None
        self._fitting = False
        self._last_forward: _Forward | None = None
        self._once = Once()

    def _compile(self) -> Program:
        options = {"seed": self.seed, "augment": self._options["augment"], "micro_batch": self.micro_batch}
        return compile_program(self.objective, self._optimizer, self.backend, **options)

    def _settings(self) -> dict[str, Any]:
        """All that a training depends on but the state."""
        names = "net", "optimizer", "micro_batch", "seed", "backend", "epoch", "epoch_step"
        return {"loss": self.loss_function, **self._options} | {name: getattr(self, name) for name in names}

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer.

        Assign another one to use it in `step` and `fit`. It takes over the optimizer state if that has the
        arrays it needs, in a callback from the next epoch on; else it starts at once, from its initial state.
        """
        return self._optimizer

    @optimizer.setter
    def optimizer(self, optimizer: Optimizer) -> None:
        arguments.require("Model", "optimizer", optimizer)
        arguments.require_numbers(optimizer)
        fresh = self.state.starting(optimizer)
        self._optimizer = optimizer
        self._program = self._compile()
        for part in ("optimizer", "averaged_statistics"):
            new = getattr(fresh, part)
            if tree.shapes(new) != tree.shapes(getattr(self.state, part)):
                self._update(**{part: new})

    @property
    def l2(self) -> float:
        """λ of the L2 penalty. Assign another one to use it from now on."""
        return self.objective.l2

    @l2.setter
    def l2(self, l2: float) -> None:
        self.objective = replace(self.objective, l2=l2)
        self._options["l2"] = self.objective.l2
        self._program = self._compile()

    # The state of training.

    @property
    def state(self) -> State:
        return self._training.state

    @property
    def params(self) -> Tree:
        """The parameters, a tree of arrays on the device. Training may overwrite these arrays.

        Assign a tree of arrays of any library: the model copies them and resets the optimizer. The current
        epoch restarts, or goes on in a callback of `fit`. Raises ShapeError for other names or shapes.
        """
        return self.state.params

    @params.setter
    def params(self, params: Tree) -> None:
        self._start_from(trees.like(self.params, params, self.backend, "params"))

    def _start_from(self, params: Tree, statistics: Tree | None = None) -> None:
        state = self.state._replace(params=params)
        state = state if statistics is None else state._replace(statistics=statistics)
        self._training.start_anew(state.starting(self.optimizer))
        self.zero_grads()

    @property
    def statistics(self) -> Tree:
        """The statistics that layers collect in training, such as the running means of batch normalisation.

        A tree in the form of `params`. Assign a tree of arrays of any library: the model copies them. Raises
        ShapeError for other names or shapes.
        """
        return self.state.statistics

    @statistics.setter
    def statistics(self, statistics: Tree) -> None:
        statistics = trees.like(self.statistics, statistics, self.backend, "statistics")
        averaged = self.state._replace(statistics=statistics).starting(self.optimizer).averaged_statistics
        self._update(statistics=statistics, averaged_statistics=averaged)

    @property
    def grads(self) -> Tree:
        """The gradients added up by `backward` since the last `zero_grads`, a tree in the form of `params`.

        Raises Error in a callback of `fit`, which does not keep gradients.
        """
        if self._grads is None:
            if self._fitting:
                raise Error(
                    "grads: expected forward(x) and backward(target) in the callback first, got neither; "
                    "fit does not keep gradients"
                )
            self._grads = optim.zeros_like(self.params)
        return self._grads

    @grads.setter
    def grads(self, grads: Tree) -> None:
        self._grads = grads

    @property
    def epoch(self) -> int:
        return self._training.progress.epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._training.progress = self._training.progress._replace(epoch=epoch)

    @property
    def epoch_step(self) -> int:
        return self._training.progress.epoch_step

    @epoch_step.setter
    def epoch_step(self, step: int) -> None:
        self._training.progress = self._training.progress._replace(epoch_step=step)

    @property
    def history(self) -> History:
        return History(self._training.progress.history)

    @property
    def learning_rate(self) -> float:
        return self._training.progress.learning_rate

    @property
    def input_shape(self) -> Shape | None:
        """The shape of one example of the last x; None before the first."""
        seen = self._inputs.input_shape
        return None if seen is None else seen[1:]

    def _update(self, **fields: Any) -> None:
        """Replace these fields of the state."""
        self._training.state = self.state._replace(**fields)

    def _variables(self) -> Tree:
        """The parameters and statistics that the network uses outside training."""
        return self.state.variables(self.optimizer)

    # Training step by step.

    def train(self, training: bool = True) -> None:
        """Switch `forward` to training mode (or, with False, to evaluation mode)."""
        self.training = training

    def eval(self) -> None:
        """Switch `forward` to evaluation mode, the mode of `evaluate` and `predict`."""
        self.train(False)

    def forward(self, x: ArrayLike) -> Array:
        """The network's output for x, an array on the device. `loss`, `errors` and `backward` refer to it."""
        x = self._inputs.place_x(x)
        alone = x.shape[0] == 1
        if self.training:
            key = random.Key(self.state.step, noise_stream(self.seed)).child(0)
            net, params = self.net.training_mode(key), self.params
            if alone:
                params = tree.merge(params, self.statistics)
        else:
            net, params = self.net, self._variables()
        with self.backend.precision():
            prediction, residuals = net.forward(params, x)
            if self.training:
                evaluated = self.optimizer.evaluation_params(self.params, self.state.optimizer)
                averaged = averaged_statistics(net, self.state, evaluated, x, alone)
                if alone:
                    warn_of_one_value(net, residuals, self._once)
                statistics = net.new_statistics(self.statistics, residuals)
                self._update(statistics=statistics, averaged_statistics=averaged)
        self._last_forward = _Forward(net, params, prediction, residuals)
        return prediction

    def loss(self, target: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """The loss of the last `forward`, with the L2 penalty. Waits for the device.

        With `sample_weight`, as `fit` takes it, it is a weighted mean, in `backward` too.
        """
        last, placed = self._last(target, sample_weight)
        with self.backend.precision():
            totals, _ = judging.forward(self.objective.loss, last.prediction, placed)
            value = judging.mean(totals, last.prediction.shape[0])
            return float(self.objective.penalized(last.params, value))

    def errors(self, target: ArrayLike) -> int:
        """The number of wrong predictions in the last `forward`. Waits for the device."""
        last, placed = self._last(target)
        errors = self.loss_function.errors(last.prediction, placed)
        if errors is None:
            raise ShapeError(
                f"{self.loss_function}: expected integer labels to count errors, got real targets"
            )
        return int(errors)

    def backward(self, target: ArrayLike, sample_weight: ArrayLike | None = None) -> None:
        """Add to `grads` the gradients of the loss of the last `forward`, with the L2 penalty."""
        (net, params, prediction, residuals), placed = self._last(target, sample_weight)
        with self.backend.precision():
            _, loss_residuals = judging.forward(self.objective.loss, prediction, placed)
            dprediction = judging.backward(self.objective.loss, loss_residuals)
            grads = net.parameter_gradients(params, residuals, dprediction)
            grads = self.objective.penalized_gradients(params, grads)
            total = optim.zeros_like(self.params) if self._grads is None else self._grads
            self._grads = tree.map(lambda total, g: total + g, total, grads)

    def _last(self, target: ArrayLike, sample_weight: ArrayLike | None = None) -> tuple[_Forward, Any]:
        """The last `forward`, and its target on the device, with weights if there are any."""
        last = self._last_forward
        if last is None:
            raise Error("Model: expected a call of forward(x) first, got none")
        placed = self._inputs.place_target(last.prediction.shape, target)
        return last, judging.weighted(self.objective.loss, placed, sample_weight, self.backend)

    def _use_loss(self, loss: Loss) -> None:
        """Minimise this loss from now on, `loss_function` with numbers that `fit` has computed."""
        if loss != self.objective.loss:
            self.objective = replace(self.objective, loss=loss)
            self._program = self._compile()

    def zero_grads(self) -> None:
        """Set `grads` to zero."""
        self._grads = None

    def step(self) -> None:
        """Update the parameters by the optimizer, with `grads`."""
        params = tree.map(self.backend.copy, self.params)  # the last `forward` still needs the old ones
        with self.backend.precision():
            params, optimizer = self.optimizer.update(params, self.grads, self.state.optimizer)
        self._update(params=params, optimizer=optimizer, step=self.state.step + 1)

    # Tables.

    def parameter_count(self) -> int:
        """The number of parameters."""
        return summary.count(self.params)

    def __repr__(self) -> str:
        calls = repr(self.net), repr(self.loss_function), text.constructor_call(self.optimizer)
        made_of = ", ".join(text.shortened(call) for call in calls)
        return (
            f"<Model of {made_of}: {self.parameter_count():,} parameters in {self.backend.dtype_name} "
            f"on {self.backend.name}, epoch {self.epoch}>"
        )

    def summary(self, input_shape: Shape | None = None, batch_size: int = 64) -> str:
        """A table of the layers: output shapes, parameters, operations, and the memory of a training step.

        The operations are the multiplications and additions in matrix products. The column `saved` gives the
        bytes that the forward pass keeps for the backward pass; an array that two layers keep counts for the
        first of them.

        Arguments:
            input_shape: the shape of one example, such as `(28, 28, 1)`. None: that of the last x;
                before the first x, the table lists the parameters alone.
            batch_size: examples per step.
        """
        shape = self.input_shape if input_shape is None else require_shape("summary", input_shape)
        if shape is None:
            return summary.text(self.net, self.params)
        rows, need = needs(self.net, self.state, self.backend, (batch_size, *shape), self.micro_batch)
        on = " on each device" if self.backend.n_devices > 1 else ""
        step = f"A step of {batch_size} examples in {self.backend.dtype_name} takes{on} {need}"
        return summary.text(self.net, self.params, rows, step)

    def _repr_html_(self) -> str:
        """The table of the layers that a notebook shows; with output shapes after the first x."""
        shape, rows = self.input_shape, None
        if shape is not None:
            rows, _ = needs(self.net, self.state, self.backend, (2, *shape), self.micro_batch)
        made_of = f"Model: {self.loss_function}, {text.constructor_call(self.optimizer)}"
        where = f"{self.backend.dtype_name} on {self.backend.name}, epoch {self.epoch}"
        return summary.html(f"{text.shortened(made_of)}, {where}", self.net, self.params, rows)

    def step_memory(self, input_shape: Shape, batch_size: int = 64) -> StepMemory:
        """The memory in bytes, on each device, of a training step on a batch of that size; no step is run."""
        shape = require_shape("step_memory", input_shape)
        return needs(self.net, self.state, self.backend, (batch_size, *shape), self.micro_batch)[1]


for _member in vars(Learner).values():  # Python's errors for a wrong call then name the class that users know
    if callable(_member):
        _member.__qualname__ = f"Model.{_member.__name__}"
