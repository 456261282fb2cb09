"""JAX: arrays on any device of XLA, or on many of them at once.

On many devices each array is replicated, except in a compiled step: `shard` gives each device its part of the
batch, and XLA inserts the sums over the devices. So all arrays outside of compiled steps are whole.
"""

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from xpnet.backend import _jax_processes as processes
from xpnet.backend._facts import Facts
from xpnet.backend._reading import one_line
from xpnet.backend.backends import Backend
from xpnet.backend.ops import Ops

Array = Any  # a JAX array with all of its methods

EXAMPLES = "examples"  # the axis of the mesh of devices


class JAX(Backend):
    """JAX. XLA compiles the training steps, many at a time."""

    name = "jax"
    module = "jax"
    install = "pip install jax"
    oldest = "0.7"  # `distributed.initialize` has a heartbeat
    devices = "'cpu', 'gpu', 'tpu' or one of these with ':N' or ':all'"
    stacks_convolutions = True  # it compiles once for all networks
    steps_at_once = 16  # the least of 1, 4, 8, 16, 32, 64 that is as fast as a whole epoch

    def find_namespace(self) -> Any:
        if self.dtype_name == "float64":
            # Without this switch, which is global, JAX silently turns float64 into float32.
            self.library.config.update("jax_enable_x64", True)
        return importlib.import_module("jax.numpy")

    def find_device(self, device: Any) -> Any:
        """A device; for many devices, the sharding that replicates an array on each of them."""
        jax = self.library
        if isinstance(device, jax.Device):
            return device
        if isinstance(device, jax.sharding.Sharding):
            return self._replicated(device.device_set)
        kind, _, number = str(device or "").partition(":")
        try:
            if number == "all" or (device is None and jax.process_count() > 1):
                return self._replicated(jax.devices(kind or None))
            return jax.local_devices(backend=kind or None)[int(number or 0)]
        except (RuntimeError, ValueError, IndexError) as error:
            self.refuse(device, error)

    def _replicated(self, devices: Any) -> Any:
        """The sharding that replicates an array on these devices; of one device, the device."""
        by_process = sorted(devices, key=lambda each: (each.process_index, each.id))
        if len(by_process) == 1:
            return by_process[0]
        sharding = self.library.sharding
        return sharding.NamedSharding(sharding.Mesh(np.array(by_process), (EXAMPLES,)), self._axes())

    def _axes(self, *names: str | None) -> Any:
        return self.library.sharding.PartitionSpec(*names)

    @property
    def is_sharded(self) -> bool:
        """Whether there are many devices."""
        return isinstance(self.device, self.library.sharding.Sharding)

    @property
    def n_devices(self) -> int:  # type: ignore[override]
        return int(self.device.num_devices) if self.is_sharded else 1

    @property
    def spans_processes(self) -> bool:  # type: ignore[override]
        return self.is_sharded and not self.device.is_fully_addressable

    @property
    def device_name(self) -> str:
        if not self.is_sharded:
            return super().device_name
        n = processes.count() if self.spans_processes else 1
        return f"{self.n_devices} {self._one().platform} devices" + f" of {n} processes" * (n > 1)

    def _own(self) -> list[Any]:
        """The devices of this process."""
        own = getattr(self.device, "addressable_devices", None)  # of a sharding
        return [self.device] if own is None else sorted(own, key=lambda each: each.id)

    def _one(self) -> Any:
        """A device of this process; all of them are alike."""
        return self._own()[0]

    def asarray(self, x: Any, real: bool = False) -> Array:
        if self.spans_processes and self.owns(x) and x.is_fully_addressable:
            x = np.asarray(x)  # JAX moves no array of one process to the devices of another
        return super().asarray(x, real)

    def from_host(self, x: np.ndarray) -> Array:
        """A NumPy array on all devices. BackendError if that of another process differs."""
        if not self.spans_processes:
            return super().from_host(x)
        processes.require_equal(x)
        return self._from_process(self.device, x, x.shape)

    def _from_process(self, sharding: Any, x: np.ndarray, shape: tuple[int, ...]) -> Array:
        """The array of this shape of which x is the part, or the whole, on the devices of this process."""
        x = x.astype(self.library.dtypes.canonicalize_dtype(x.dtype), copy=False)
        return self.library.make_array_from_process_local_data(sharding, x, shape)

    def shard(self, batch: Any, axis: int = 0) -> Any:
        jax = self.library
        if not self.is_sharded or not isinstance(jax.tree.leaves(batch)[0], jax.core.Tracer):
            return batch
        rows = jax.sharding.NamedSharding(self.device.mesh, self._axes(*[None] * axis, EXAMPLES))
        return jax.lax.with_sharding_constraint(batch, rows)

    def own_examples(self, batch_size: int) -> slice | None:
        if not self.is_sharded:
            return None
        devices = list(self.device.mesh.devices.flat)
        share, rest = divmod(batch_size, len(devices))
        if rest:  # arrays outside of a step have equal parts only: every device gets the whole batch
            return slice(0, batch_size)
        own = [i for i, each in enumerate(devices) if each in self.device.addressable_devices]
        return slice(own[0] * share, (own[-1] + 1) * share)

    def from_batches(self, x: np.ndarray, batch_size: int) -> Array:
        even = batch_size % self.n_devices == 0
        axes = self._axes(None, EXAMPLES) if even else self._axes()
        sharding = self.library.sharding.NamedSharding(self.device.mesh, axes)
        return self._from_process(sharding, x, (x.shape[0], batch_size, *x.shape[2:]))

    def any_process(self, flag: bool) -> bool:
        return bool(processes.largest(flag)) if self.spans_processes else flag

    def any_process_each(self, flags: Sequence[bool]) -> list[bool]:
        if not self.spans_processes:
            return list(flags)
        return list(map(any, processes.gathered(np.array(flags)).T.tolist()))

    def require_same(self, what: str, settings: Mapping[str, object]) -> None:
        if self.spans_processes:
            processes.require_same(what, settings)

    def lost_process(self, error: BaseException) -> bool:
        return processes.is_lost(error)

    @functools.cached_property
    def _any(self) -> Callable[[Array], Array]:
        return self.library.jit(self.xp.any, out_shardings=self.device)

    def agreement(self) -> Callable[[bool], bool]:
        if not self.spans_processes:
            return super().agreement()
        jax, before = self.library, None
        rows = jax.sharding.NamedSharding(self.device.mesh, self._axes(EXAMPLES))

        def agreed(flag: bool) -> bool:
            nonlocal before
            flags = np.full(len(self.device.addressable_devices), flag)
            asked = self._any(jax.make_array_from_process_local_data(rows, flags))
            result, before = before is not None and bool(before), asked
            return result

        return agreed

    def synchronize(self) -> None:
        self.library.block_until_ready(self.library.live_arrays())

    def free_bytes(self) -> int | None:
        found = [each.memory_stats() for each in self._own()]  # None on a CPU
        return min((each["bytes_limit"] - each["bytes_in_use"] for each in found if each), default=None)

    def facts(self) -> Facts:
        facts = super().facts()._replace(steps="XLA")
        if self._one().platform == "cpu":
            return facts._replace(gpu_advice="this JAX has no GPU: pip install 'jax[cuda13]'")
        statistics = self._one().memory_stats()
        return facts._replace(
            device=self._one().device_kind,
            memory=statistics and statistics["bytes_limit"],
            driver=one_line(self._one().client.platform_version),
        )

    def is_out_of_memory(self, error: BaseException) -> bool:
        return "RESOURCE_EXHAUSTED" in str(error) or super().is_out_of_memory(error)

    def precision(self) -> AbstractContextManager[Any]:
        """On a GPU or TPU, XLA rounds float32 in products unless told not to."""
        if self._one().platform == "cpu":
            return super().precision()
        return self.library.default_matmul_precision("tensorfloat32" if self.tf32 else "highest")

    def for_products(self, x: Array, networks: int) -> Array:
        """K copies on a CPU, where XLA makes a wide product of one x and transposes it.

        A step of 32 of 20-32-10 takes 1.25 times as long so, one of 8 of 784-128-10 1.4 times. Without the
        barrier, XLA sees that the copies are equal.
        """
        if x.shape[0] == networks or self._one().platform != "cpu":
            return x
        return self.library.lax.optimization_barrier(self.xp.broadcast_to(x, (networks, *x.shape[1:])))

    def compile(self, step: Callable[..., Any]) -> Callable[..., Any]:
        return self._jit(step)

    def _jit(self, function: Callable[..., Any]) -> Callable[..., Any]:
        whole = {"out_shardings": self.device} if self.is_sharded else {}
        return self.library.jit(self._precise(function), donate_argnums=0, **whole)

    def _precise(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, traced with the products' precision."""

        def traced(*arguments: Any) -> Any:
            with self.precision():
                return function(*arguments)

        return traced

    def compile_loop(self, step: Callable[..., Any]) -> Callable[..., Any]:
        jax = self.library

        def loop(state: Any, constants: tuple[Any, ...], rows: tuple[Any, ...], start: int, stop: int) -> Any:
            def body(i: Any, state: Any) -> Any:
                row = jax.tree.map(lambda array: array[i, ...], rows)  # also of batches with weights
                state, _ = step(state, (*constants, *row))
                return jax.lax.with_sharding_constraint(state, self.device) if self.is_sharded else state

            return jax.lax.fori_loop(start, stop, body, state)

        return self._jit(loop)


class JAXOps(Ops, library="jax"):
    """Functional updates: JAX arrays are immutable."""

    def take_in_each(self, x: Array, index: Array) -> Array:
        """XLA sees that a device needs no examples of the others."""
        return self.xp.take_along_axis(x, index.reshape(*index.shape, *[1] * (x.ndim - 2)), axis=1)

    def set_at(self, x: Array, index: Any, value: Array) -> Array:
        return x.at[index].set(value)

    def add_at(self, x: Array, index: Any, value: Array) -> Array:
        return x.at[index].add(value)
