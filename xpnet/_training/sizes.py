"""How many examples pass through a network at once, and the memory that a training step takes."""

import math

from xpnet._training import cost, summary
from xpnet._training.state import State
from xpnet._util.checks import require_integer
from xpnet._util.examples import Examples
from xpnet.backend import Backend
from xpnet.nn import Layer
from xpnet.nn._layer import Shape
from xpnet.nn.fast import faster
from xpnet.random import Key


def examples_at_once(
    net: Layer,
    input_shape: Shape,
    n: int,
    backend: Backend,
    examples: Examples | None = None,
    networks: int = 1,
) -> int:
    """The number of examples, of n, to pass through the network at once for the best speed.

    Convolutions make arrays many times the size of their input, so parts of the batch run in parallel, one
    per core. Dense layers are fastest with the whole batch in one product, and computations that mix examples
    need the whole batch.

    Arguments:
        net: the network in training mode.
        input_shape: the shape of one example.
        n: the batch size.
        backend: the backend.
        examples: how examples depend on each other in the whole step; None: as in the network.
        networks: the number of such networks.
    """
    examples = net.examples if examples is None else examples
    numbers = networks * cost.workspace(net, (1, *input_shape))
    if backend.part_bytes is None or numbers == 0 or examples == "mixed":
        return n
    least, most = backend.part_bytes
    whole, parts = n * numbers * backend.itemsize, 1
    while parts < n and (whole > parts * most or (whole > parts * least and parts < backend.workers)):
        parts *= 2  # a power of 2, so that all cores get equally many parts
    if examples == "summed":  # all parts must run at the same time
        parts = min(parts, 1 << backend.workers.bit_length() - 1)
    return math.ceil(n / parts)


def needs(
    net: Layer,
    state: State,
    backend: Backend,
    input_shape: Shape,
    micro_batch: int | None = None,
    networks: int = 1,
) -> tuple[list[summary.Row], summary.StepMemory]:
    """The rows of the summary and the memory of a training step for a batch of `input_shape`, on each device.

    The rows are of one network; the memory is of so many that train at once, with a batch for each.

    Raises ShapeError if the shape does not fit, ConfigError for a batch without examples.
    """
    n, *example = input_shape
    require_integer("summary", "batch_size", n)
    net.output_shape(("n", *example))
    in_training = faster(net, backend).training_mode(Key(None))
    at_once = examples_at_once(in_training, tuple(example), n, backend, networks=networks)
    size = min(n, micro_batch or at_once)
    parts = math.ceil(n / size)
    at_once = math.ceil(min(n, size * backend.workers) / backend.n_devices)
    rows = summary.rows(net, state.params, input_shape, backend.dtype_name, at_once)
    parameters = networks * summary.count(state.params) * backend.itemsize
    shape = at_once, *example
    workspace = max(
        cost.workspace(in_training, shape), cost.backward_workspace(in_training, state.params, shape)
    )
    return rows, summary.StepMemory(
        parameters=parameters,
        # One tree for each running part, and one partial sum for each power of 2 (see `PairwiseSum`).
        gradients=parameters * min(parts, backend.workers + parts.bit_length() - 1),
        optimizer_state=networks * summary.count(state.optimizer) * backend.itemsize,
        saved_activations=networks * sum(row.saved for row in rows),
        workspace=networks * workspace * backend.itemsize,
    )
