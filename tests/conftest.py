"""Where the tests run: every array library that is installed, on every kind of device that is there."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext

import pytest

from xpnet import backend
from xpnet.backend import Backend
from xpnet.errors import BackendError

PLACES = {
    "numpy": ("numpy", None),
    "strict": ("array-api-strict", None),
    "strict-device1": ("array-api-strict", "device1"),  # a stand-in for a GPU
    "torch": ("torch", None),
    "jax": ("jax", None),
    "cupy": ("cupy", None),
    "torch-cuda": ("torch", "cuda"),
}
ON_GPU = ("cupy", "torch-cuda")

MakeBackend = Callable[[str], Backend]


@pytest.fixture(params=[pytest.param(p, marks=pytest.mark.gpu) if p in ON_GPU else p for p in PLACES])
def place(request: pytest.FixtureRequest) -> Iterator[tuple[str, str | None]]:
    """The name and the device of each backend; a test that asks for it runs on all of them."""
    name, device = PLACES[request.param]
    try:
        backend.get(name, device)
    except BackendError as error:
        pytest.skip(str(error))
    flags: object = nullcontext()
    if request.param == "strict-device1":
        import array_api_strict

        # What a compiled or lazy library cannot do either.
        flags = array_api_strict.ArrayAPIStrictFlags(boolean_indexing=False, data_dependent_shapes=False)
    with flags:  # type: ignore[attr-defined]
        yield name, device


@pytest.fixture
def make_backend(place: tuple[str, str | None]) -> MakeBackend:
    """Makes the place's backend in a dtype: `make_backend("float64")`."""
    return lambda dtype: backend.get(*place, dtype=dtype)
