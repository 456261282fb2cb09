"""The places where tests run: every installed array library, on every kind of device available."""

import os
import runpy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

if os.environ.get("CUDA_ON_CPU"):  # before anything imports CuPy
    import cuda_on_cpu

    cuda_on_cpu.install()

from xpnet import backend
from xpnet.backend import Backend
from xpnet.errors import BackendError

PLACES = {
    "numpy": ("numpy", None),
    "strict": ("array-api-strict", None),
    "strict-device1": ("array-api-strict", "device1"),  # a stand-in for a GPU
    "torch": ("torch", None),
    "jax": ("jax", None),
    "dask": ("dask", None),
    "cupy": ("cupy", None),
    "torch-cuda": ("torch", "cuda"),
}
ON_GPU = ("cupy", "torch-cuda")
BY_ITSELF = ("dask",)  # slow, a millisecond per call: tested in `test_dask.py` and `test_ops.py` only

Place = tuple[str, str | None]
MakeBackend = Callable[[str], Backend]


def why_not(place: str) -> str | None:
    """The reason why a place cannot be used on this machine; None if it can."""
    try:
        backend.get(*PLACES[place])
    except BackendError as error:
        return str(error)
    return None


MISSING = {place: reason for place in PLACES if (reason := why_not(place))}


def params(places: list[str]) -> list:
    return [pytest.param(place, marks=pytest.mark.gpu) if place in ON_GPU else place for place in places]


@contextmanager
def at(place: str) -> Iterator[Place]:
    """The name and the device of the place's backend, with the settings of the backend for it."""
    flags: object = nullcontext()
    if place == "strict-device1":
        import array_api_strict

        # Compiled and lazy libraries cannot do these either.
        flags = array_api_strict.ArrayAPIStrictFlags(boolean_indexing=False, data_dependent_shapes=False)
    with flags:  # type: ignore[attr-defined]
        yield PLACES[place]


@pytest.fixture(params=params([place for place in PLACES if place not in (*MISSING, *BY_ITSELF)]))
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """The name and the device of a backend. A test with this fixture runs on each available backend.

    `test_places.py` skips each missing backend once, with the reason.
    """
    with at(request.param) as place:
        yield place


@pytest.fixture
def make_backend(place: Place) -> MakeBackend:
    """Makes the place's backend in a dtype: `make_backend("float64")`."""
    return lambda dtype: backend.get(*place, dtype=dtype)


@pytest.fixture(params=params([place for place in PLACES if place not in MISSING]))
def make_any_backend(request: pytest.FixtureRequest) -> Iterator[MakeBackend]:
    """`make_backend`, also on slow backends."""
    with at(request.param) as place:
        yield lambda dtype: backend.get(*place, dtype=dtype)


def run_script(
    script: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, *arguments: str
) -> tuple[int, str, str]:
    """Run a script in this process: its exit status, standard output and standard error."""
    monkeypatch.setattr(sys, "argv", [script.name, *arguments])
    with pytest.raises(SystemExit) as exit_:
        runpy.run_path(str(script), run_name="__main__")
    out, err = capsys.readouterr()
    return exit_.value.code or 0, out, err  # type: ignore[return-value]


@pytest.fixture(scope="session")
def quick(tmp_path_factory: pytest.TempPathFactory) -> object:
    """The `QuickStudies` of all tests, in whatever processes they run."""
    from quick_studies import QuickStudies  # here: it imports Matplotlib

    base = tmp_path_factory.getbasetemp()
    return QuickStudies((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "studies")
