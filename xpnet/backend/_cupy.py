"""CuPy: an NVIDIA GPU."""

import importlib
from typing import Any

import numpy as np

from xpnet.backend._backend import Backend, one_line
from xpnet.errors import BackendError
from xpnet.tree import Array


class CuPy(Backend):
    name = "cupy"
    module = "cupy"
    install = "pip install '.[cuda13]', or '.[cuda12]' for a CUDA 12 driver; backend 'numpy' needs no GPU"
    devices = "'cuda' or 'cuda:N'"

    def find_namespace(self) -> Any:
        return importlib.import_module("array_api_compat.cupy")

    def find_device(self, device: Any) -> Any:
        runtime = self.library.cuda.runtime
        try:
            count = runtime.getDeviceCount()
        except runtime.CUDARuntimeError as error:
            raise BackendError(
                f"backend 'cupy': no CUDA device ({one_line(error)}); it needs an NVIDIA GPU and its "
                "driver, backend 'numpy' needs neither"
            ) from error
        try:
            number = int(str(device).removeprefix("cuda:")) if device not in (None, "cuda") else None
        except ValueError:
            self.refuse(device)
        if number is None:
            return self.library.cuda.Device()
        if not 0 <= number < count:
            self.refuse(device, f"there are {count}")
        # CuPy works on the thread's current device; arrays of another one cannot be mixed in.
        self.library.cuda.Device(number).use()
        return self.library.cuda.Device(number)

    def to_numpy(self, x: Array) -> np.ndarray:
        return self.library.asnumpy(x)

    def synchronize(self) -> None:
        self.library.cuda.get_current_stream().synchronize()

    def free_bytes(self) -> int | None:
        in_pool = self.library.get_default_memory_pool().free_bytes()
        return self.library.cuda.runtime.memGetInfo()[0] + in_pool
