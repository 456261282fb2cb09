"""The contestants: xpnet on each backend, other libraries as their users write it, and the limit.

All train the same network from the same weights, in the same precision, on the same batches in the same
order (scikit-learn draws its own), and sum the training loss as `Model.fit` does. Each is written in the fast
way that its documentation recommends, with data and parameters on the device from the start. An epoch ends
when the device has finished it.

On CUDA each runs in float32, and again with products in TF32.
"""

from bench.contestants._contestant import Contestant, Unavailable
from bench.contestants._jax import JAX, ScannedJAX
from bench.contestants._products import Products
from bench.contestants._sklearn import ScikitLearn
from bench.contestants._torch import CompiledPyTorch, PyTorch
from bench.contestants._xpnet import XPNet

__all__ = ["CONTESTANTS", "REFERENCES", "Contestant", "Unavailable"]


def on_cuda(precision: str) -> dict[str, Contestant]:
    where = "cuda", precision
    return {
        "xpnet on CuPy": XPNet("cupy", *where),
        "xpnet on PyTorch": XPNet("torch", *where),
        "xpnet on JAX": XPNet("jax", *where),
        "PyTorch eager": PyTorch(*where),
        "PyTorch eager, channels last": PyTorch(*where, channels_last=True),
        "PyTorch eager, not fused": PyTorch(*where, fused=False),
        "torch.compile": CompiledPyTorch(*where),
        "torch.compile, channels last": CompiledPyTorch(*where, channels_last=True),
        "torch.compile, reduce-overhead": CompiledPyTorch(*where, mode="reduce-overhead"),
        "torch.compile, channels last, reduce-overhead": CompiledPyTorch(
            *where, channels_last=True, mode="reduce-overhead"
        ),
        "JAX jit": JAX(*where),
        "JAX scan": ScannedJAX(*where),
        "limit: products": Products("cupy", *where),
    }


ON_CPU = {
    "xpnet on NumPy": XPNet("numpy"),
    "xpnet on NumPy with Numba": XPNet("numpy", numba=True),
    "xpnet on PyTorch": XPNet("torch"),
    "xpnet on JAX": XPNet("jax"),
    "PyTorch eager": PyTorch(),
    "PyTorch eager, channels last": PyTorch(channels_last=True),
    "PyTorch eager, not fused": PyTorch(fused=False),
    "torch.compile": CompiledPyTorch(),
    "JAX jit": JAX(),
    "JAX scan": ScannedJAX(),
    "scikit-learn": ScikitLearn(),
    "limit: products": Products("numpy"),
}

CONTESTANTS: dict[str, Contestant] = {
    name + contestant.place: contestant
    for group in (ON_CPU, on_cuda("float32"), on_cuda("tf32"))
    for name, contestant in group.items()
}

# The references: contestants in the same place are compared with the one of these whose median is lowest.
REFERENCES = {
    "PyTorch": ("PyTorch eager", "PyTorch eager, channels last"),
    "JAX": ("JAX jit", "JAX scan"),
    "limit": ("limit: products",),
}
