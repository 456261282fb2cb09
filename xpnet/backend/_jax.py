"""JAX: arrays on any device of XLA."""

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from xpnet.backend._facts import Facts
from xpnet.backend._reading import one_line
from xpnet.backend.backends import Backend, row
from xpnet.backend.ops import Ops

Array = Any  # a JAX array with all of its methods


class JAX(Backend):
    """JAX. XLA compiles the training steps, many at a time."""

    name = "jax"
    module = "jax"
    install = "pip install jax"
    devices = "'cpu', 'gpu', 'tpu' or one of these with ':N'"
    steps_at_once = 16  # the least of 1, 4, 8, 16, 32, 64 that is as fast as a whole epoch

    def find_namespace(self) -> Any:
        if self.dtype_name == "float64":
            # Without this switch, which is global, JAX silently turns float64 into float32.
            self.library.config.update("jax_enable_x64", True)
        return importlib.import_module("jax.numpy")

    def find_device(self, device: Any) -> Any:
        if isinstance(device, self.library.Device):
            return device
        platform, _, number = str(device or "").partition(":")
        try:
            return self.library.devices(platform or None)[int(number or 0)]
        except (RuntimeError, ValueError, IndexError) as error:
            self.refuse(device, error)

    def synchronize(self) -> None:
        self.library.block_until_ready(self.library.live_arrays())

    def free_bytes(self) -> int | None:
        statistics = self.device.memory_stats()  # None on a CPU
        return statistics and statistics["bytes_limit"] - statistics["bytes_in_use"]

    def facts(self) -> Facts:
        facts = super().facts()._replace(steps="XLA")
        if self.device.platform == "cpu":
            return facts._replace(gpu_advice="this JAX has no GPU: pip install 'jax[cuda13]'")
        statistics = self.device.memory_stats()
        return facts._replace(
            device=self.device.device_kind,
            memory=statistics and statistics["bytes_limit"],
            driver=one_line(self.device.client.platform_version),
        )

    def is_out_of_memory(self, error: BaseException) -> bool:
        return "RESOURCE_EXHAUSTED" in str(error) or super().is_out_of_memory(error)

    def precision(self) -> AbstractContextManager[Any]:
        """On a GPU or TPU, XLA rounds float32 in products unless told not to."""
        if self.device.platform == "cpu":
            return super().precision()
        return self.library.default_matmul_precision("tensorfloat32" if self.tf32 else "highest")

    def compile(self, step: Callable[..., Any]) -> Callable[..., Any]:
        return self.library.jit(self._precise(step), donate_argnums=0)

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
                return step(state, (*constants, *row(rows, i)))[0]

            return jax.lax.fori_loop(start, stop, body, state)

        return jax.jit(self._precise(loop), donate_argnums=0)


class JAXOps(Ops, library="jax"):
    """Functional updates: JAX arrays are immutable."""

    def set_at(self, x: Array, index: Any, value: Array) -> Array:
        return x.at[index].set(value)

    def add_at(self, x: Array, index: Any, value: Array) -> Array:
        return x.at[index].add(value)
