"""What a library reports of itself and of its device."""

from typing import NamedTuple


class Facts(NamedTuple):
    """A library and its device, for a report.

    Fields:
        version: the version of the library.
        device: the name of the device, such as "CPU" or "NVIDIA H100 80GB HBM3".
        memory: the bytes of the device's own memory; None if it uses the host's.
        driver: the versions of the driver and the runtime, such as "driver for CUDA 13.0, runtime 12.9"; or
            empty.
        steps: how `fit` runs training steps: "eager", "XLA", "CUDA graph" or "kernel by kernel".
        advice: what to install for more speed; or empty.
        gpu_advice: what to install to use an NVIDIA GPU that the machine may have; or empty.
    """

    version: str
    device: str = "CPU"
    memory: int | None = None
    driver: str = ""
    steps: str = "eager"
    advice: str = ""
    gpu_advice: str = ""


def cuda_version(number: int) -> str:
    """CUDA's version from its number: "12.9" for 12090."""
    return f"{number // 1000}.{number % 1000 // 10}"
