"""Several processes of JAX, on one machine or many, that compute together: `jax.distributed`."""

import importlib
import json
import os
import re
import socket
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from xpnet._util.text import shortened
from xpnet.backend._reading import one_line
from xpnet.errors import BackendError, ConfigError, Error

LOST = re.compile("Gloo|NCCL|coordination service|Socket closed|heartbeat", re.IGNORECASE)
HEARTBEAT = 30  # seconds without a sign of life after which a process counts as lost
ADDRESS = re.compile(" at 0x[0-9a-f]+")  # in the text of an object without one of its own


def library() -> Any:
    """JAX, if its processes are joined, by xpnet or by the user; else None."""
    jax = sys.modules.get("jax")
    # No `is_initialized`: another thread is importing JAX, or it is too old for its backend.
    joined = getattr(getattr(jax, "distributed", None), "is_initialized", None)
    return jax if joined is not None and joined() else None


def index() -> int:
    """The number of this process, from 0."""
    jax = library()
    return 0 if jax is None else int(jax.process_index())


def count() -> int:
    """The number of processes."""
    jax = library()
    return 1 if jax is None else int(jax.process_count())


def gathered(values: np.ndarray) -> np.ndarray:
    """The arrays of all processes, of one shape, along a new first axis. Waits for all processes."""
    if count() == 1:
        return values[None]
    tools = importlib.import_module("jax.experimental.multihost_utils")
    found: np.ndarray = tools.process_allgather(values)
    return found


def largest(value: int) -> int:
    """The largest of these integers, below 2³¹, over all processes. Waits for all of them."""
    return int(gathered(np.array([value], np.int32)).max())


def broadcast(content: bytes) -> bytes:
    """The content of process 0, in every process. Waits for all of them."""
    if count() == 1:
        return content
    tools = importlib.import_module("jax.experimental.multihost_utils")
    high, low = gathered(np.array(divmod(len(content), 1 << 30), np.int32))[0].tolist()
    size = (high << 30) + low
    sent = np.frombuffer(content, np.uint8) if index() == 0 else np.zeros(size, np.uint8)
    return np.asarray(tools.broadcast_one_to_all(sent)).tobytes() if size else b""


def require_equal(x: np.ndarray) -> None:
    """BackendError unless all processes have the same array; a number is not checked.

    Other arrays would be parts of what seems to be one array, and other shapes would hang the processes.
    """
    if x.ndim == 0:
        return
    content = zlib.crc32(f"{x.dtype} {x.shape}".encode())
    content = zlib.crc32(np.ascontiguousarray(x).reshape(-1).view(np.uint8).data, content)
    found = gathered(np.array([content], np.uint32))[:, 0]
    if (found != found[0]).any():
        other = int(np.argmax(found != found[0]))
        raise BackendError(
            f"backend 'jax': expected the same arrays in all processes, got an array of shape {x.shape} "
            f"whose values differ in processes 0 and {other}; pass the whole data and the same seed in each"
        )


def require_same(what: str, settings: Mapping[str, object]) -> None:
    """ConfigError naming the first setting whose text is not the same in all processes. Waits for them."""
    if count() == 1:
        return
    texts = {name: ADDRESS.sub("", str(value)) for name, value in settings.items()}
    content = json.dumps(texts).encode()
    if len(set(gathered(np.array([zlib.crc32(content)], np.uint32))[:, 0].tolist())) == 1:
        return
    lengths = gathered(np.array([len(content)], np.int32))[:, 0]
    padded = np.frombuffer(content.ljust(int(lengths.max())), np.uint8)
    first, *others = (json.loads(row.tobytes()) for row in gathered(padded))
    for number, other in enumerate(others, 1):
        for name in first:
            if first[name] != other[name]:
                one, another = _where_they_differ(first[name], other[name])
                raise ConfigError(
                    f"{what}expected the same {name} in all processes, got {one} in process 0 and "
                    f"{another} in process {number}"
                )


def _where_they_differ(one: str, other: str) -> tuple[str, ...]:
    """Both texts, shortened, from a little before their first difference."""
    same = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    start = max(same - 30, 0)
    return tuple(shortened("…" * (start > 0) + text[start:]) for text in (one, other))


def join(address: str | None, total: int | None, number: int | None, timeout: int) -> None:
    """Join the processes; see `xpnet.distributed.initialize`."""
    try:
        jax = importlib.import_module("jax")
    except ImportError as error:
        raise BackendError(
            f"initialize: jax cannot be imported ({one_line(error)}); pip install jax"
        ) from error
    if jax.distributed.is_initialized():
        raise BackendError("initialize: expected one call in a process, got another one")
    if address is not None and number is not None:
        if number == 0:
            _require_free(address)
        else:
            _require_answer(address, timeout)
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM for itself
    try:
        jax.distributed.initialize(
            address, total, number, initialization_timeout=timeout, heartbeat_timeout_seconds=HEARTBEAT
        )
    except (ValueError, TypeError) as error:  # nothing was found out
        raise ConfigError(
            f"initialize: expected coordinator_address, num_processes and process_id, "
            f"got {address}, {total} and {number} ({one_line(error)})"
        ) from error
    except RuntimeError as error:
        raise BackendError(f"initialize: the processes were not joined ({one_line(error)})") from error
    require_alike(jax.devices())


def require_alike(devices: Iterable[Any]) -> None:
    """BackendError unless each process has as many of these devices: all get equal parts."""
    found = Counter(each.process_index for each in devices)
    for number, n in sorted(found.items()):
        if n != found[0]:
            raise BackendError(
                f"initialize: expected as many devices in each process, got {found[0]} in process 0 and "
                f"{n} in process {number}"
            )


def _require_free(address: str) -> None:
    """ConfigError if process 0 cannot listen there. JAX would share the port with another training."""
    port = int(address.rpartition(":")[2])
    try:
        socket.create_server(("", port)).close()
    except OSError as error:
        raise ConfigError(
            f"initialize: expected coordinator_address to have a port that is free here, got {address!r} "
            f"({os.strerror(error.errno or 0)})"
        ) from error


def _require_answer(address: str, timeout: int) -> None:
    """Wait for process 0. ConfigError if nothing answers there in this time; JAX would end the process."""
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
            return
        except OSError as error:
            if time.monotonic() >= deadline:
                raise ConfigError(
                    f"initialize: expected process 0 at {address!r}, got no answer in {timeout} seconds "
                    f"({one_line(error)})"
                ) from error
        time.sleep(0.1)


def leave() -> None:
    """Part from the other processes. Waits until all of them do so."""
    jax = library()
    if jax is not None:
        jax.distributed.shutdown()


def is_lost(error: BaseException | None) -> bool:
    """Whether the error is that another process does not answer any more."""
    if error is None or count() == 1:
        return False
    of_jax = isinstance(error, RuntimeError | ValueError) and not isinstance(error, Error)
    return (of_jax and bool(LOST.search(str(error)))) or is_lost(error.__cause__)
