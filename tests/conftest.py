"""The places where tests run: every installed array library, on every kind of device available."""

import os
import runpy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores; before anything imports NumPy
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
if os.environ.get("CUDA_ON_CPU"):  # before anything imports CuPy
    import cuda_on_cpu

    cuda_on_cpu.install()

import numpy as np
import threadpoolctl

# For scikit-learn's array API support; SciPy reads it when it is imported.
os.environ.setdefault("SCIPY_ARRAY_API", "1")

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


def registered() -> dict[str, "Place"]:
    """A place for each backend that a plugin registers: `pytest -p my_backend`."""
    return {name: (name, None) for name in backend.BACKENDS if name not in dict(PLACES.values())}


PLACES |= registered()
ON_GPU = ("cupy", "torch-cuda")
# Files whose tests share trainings that take long: with pytest-xdist, one worker runs them, and trains once.
TOGETHER = tuple(
    f"test_{name}.py" for name in ("network_studies", "search", "studies_by_hand", "training_studies")
)
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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """The order of tests with `pytest -n`: first the files in `TOGETHER`, then the other tests, one by one."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return file if file.endswith(TOGETHER) else nodeid

    return Scheduling(config, log) if config.getoption("dist") == "load" else None


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


@pytest.fixture
def rng() -> np.random.Generator:
    """A test's own random numbers: the same whatever ran before it, in this process or another."""
    return np.random.default_rng(0)


@pytest.fixture
def two_threads() -> Iterator[None]:
    """BLAS, and so the parts of a batch, may use two threads, whatever the environment says."""
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        yield


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
