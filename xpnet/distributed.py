"""Several processes, on one machine or many, that train one model: each runs the same program.

Call `initialize()` first in each process. A `Model(…, backend="jax")` then trains on the devices of all
processes. Every process calls `fit`, `evaluate` and `predict` in the same order, with the same data, and gets
the same result. `Checkpoints` writes in process 0 only. `jax.distributed` does the work.
`xpnet/docs/devices.md` has more on the use of it.
"""

import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from xpnet.backend import _jax_processes as processes
from xpnet.errors import ConfigError

__all__ = ["initialize", "num_processes", "process_id"]  # the others are for xpnet itself

VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


def initialize(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    timeout: int = 300,
) -> None:
    """Join the other processes. Waits until all of them are there.

    What is None comes from the environment variable JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES or
    JAX_PROCESS_ID; else JAX finds it out, under SLURM, Open MPI, Kubernetes or on a Cloud TPU.

    Arguments:
        coordinator_address: "HOST:PORT" of process 0, with a free port, the same in all processes.
        num_processes: the number of processes.
        process_id: the number of this process, from 0.
        timeout: the seconds to wait for the others. If they do not come, JAX ends process 0.

    Raises ConfigError for a missing or wrong value, a port that is taken, or an address without process 0;
    BackendError if JAX is missing or was used before, or if processes have different numbers of devices.
    """
    address, count, number = (os.environ.get(name) for name in VARIABLES)
    address = coordinator_address or address
    total = _whole("num_processes", VARIABLES[1], num_processes, count, least=1)
    own = _whole("process_id", VARIABLES[2], process_id, number, least=0)
    if address is not None and not (
        (found := re.fullmatch(r"\S+:(\d{1,5})", address)) and 0 < int(found[1]) < 1 << 16
    ):
        raise ConfigError(f"initialize: expected coordinator_address to be HOST:PORT, got {address!r}")
    if total is not None and own is not None and own >= total:
        raise ConfigError(f"initialize: expected process_id to be below num_processes, {total}, got {own}")
    processes.join(address, total, own, timeout)


def _whole(name: str, variable: str, given: int | None, found: str | None, least: int) -> int | None:
    """The argument, or else the environment variable, as a number."""
    if given is None and found is None:
        return None
    what = f"initialize: expected {name}" if given is not None else f"expected the variable {variable}"
    try:
        value = int(found if given is None else given)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        value = least - 1
    if value < least or isinstance(given, bool | float):
        got = repr(found if given is None else given)
        raise ConfigError(f"{what} to be an integer of at least {least}, got {got}")
    return value


def process_id() -> int:
    """The number of this process, from 0; 0 without `initialize`."""
    return processes.index()


def num_processes() -> int:
    """The number of processes; 1 without `initialize`."""
    return processes.count()


def leave() -> None:
    """Part from the other processes. Waits until all of them do so."""
    processes.leave()


def is_lost(error: BaseException) -> bool:
    """Whether the error is that another process does not answer any more."""
    return processes.is_lost(error)


def largest(value: int) -> int:
    """The largest of the integers that the processes pass. Waits for all of them."""
    return processes.largest(value)


def require_same(what: str, settings: Mapping[str, object]) -> None:
    """ConfigError that begins with `what`, unless these settings are the same in all processes."""
    processes.require_same(what, settings)


def broadcast(content: bytes) -> bytes:
    """What process 0 passes, in every process. Waits for all of them."""
    return processes.broadcast(content)


def files_of_first(paths: Iterable[Path]) -> Iterator[Path]:
    """The files of process 0, in every process: the others get copies, and pass nothing. Waits for all."""
    if num_processes() == 1:
        yield from paths
        return
    if process_id() == 0:
        for path in paths:
            processes.broadcast(path.read_bytes())
            yield path
        processes.broadcast(b"")
        return
    with tempfile.TemporaryDirectory(prefix="xpnet-") as folder:
        while content := processes.broadcast(b""):
            copy = Path(folder, "copy")
            copy.write_bytes(content)
            yield copy


@contextmanager
def first_alone() -> Iterator[None]:
    """Within the block process 0 goes first and the others follow: a download is made once."""
    if process_id() > 0:
        processes.largest(0)
    yield
    if process_id() == 0 and num_processes() > 1:
        processes.largest(0)
