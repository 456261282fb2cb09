"""Backends: finding libraries, errors of one line, and placing and fetching arrays."""

import math
import operator
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import threadpoolctl

import xpnet
from conftest import MakeBackend
from xpnet import backend, losses, nn, optim, train, tree
from xpnet._training import step
from xpnet.backend import Backend, NumPy, device, namespace
from xpnet.backend._parts import PairwiseSum
from xpnet.errors import BackendError, ConfigError, DivergedError
from xpnet.train import experiment


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_there_and_back(dtype: str, make_backend: MakeBackend) -> None:
    place = make_backend(dtype)
    for host in (
        np.arange(6.0).reshape(2, 3),
        np.float32(3.5),
        [[1, 2], [3, 4]],
        np.arange(3, dtype=np.uint8),
    ):
        array = place.asarray(host)
        assert namespace(array) is place.xp
        assert device(array) == place.device
        back = place.to_numpy(array)
        assert isinstance(back, np.ndarray)
        np.testing.assert_array_equal(back, host)
        assert back.dtype == (dtype if np.asarray(host).dtype.kind == "f" else np.dtype(back.dtype))
        assert place.asarray(array) is array
    assert place.asarray([1, 2], real=True).dtype == place.dtype
    assert place.asarray(np.arange(3, dtype=np.uint8)).dtype == place.index_dtype
    assert place.asarray(place.asarray([1, 2]), real=True).dtype == place.dtype


def test_takes_read_only_memory(make_backend: MakeBackend) -> None:
    host = np.arange(3, dtype=np.float32)
    host.flags.writeable = False
    place = make_backend("float32")
    np.testing.assert_array_equal(place.to_numpy(place.asarray(host) + 1), [1, 2, 3])


@pytest.mark.parametrize("shape", [(3,), (4, 3), (4, 20), (2, 4, 3)])
def test_a_copy_is_a_copy(make_backend: MakeBackend, shape: tuple[int, ...]) -> None:
    """Both a copy of an array and a copy of the copy."""
    place = make_backend("float32")
    host = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    first = place.copy(place.asarray(host))
    second = place.copy(first)
    np.testing.assert_array_equal(place.to_numpy(second), host)
    first += 1
    second += 1
    np.testing.assert_array_equal(place.to_numpy(first), host + 1)
    np.testing.assert_array_equal(place.to_numpy(second), host + 1)


def test_pytorch_s_narrow_weights_lie_by_columns_and_stay_so(tmp_path: Path) -> None:
    """The layout survives steps, copies, files and divergence: products may round differently with it."""
    pytest.importorskip("torch", reason="PyTorch is not installed")

    def layout(model: xpnet.Model) -> list[tuple[int, ...]]:
        state = model.state.params, model.state.optimizer
        return [leaf.stride() for leaf in tree.leaves(state) if leaf.ndim == 2]

    net = nn.Sequential(nn.Linear(6, 20), nn.Linear(20, 3), nn.Linear(3, 1))
    for optimizer in (optim.SGD(0.1, momentum=0.9), optim.Adam()):
        model = xpnet.Model(net, losses.MeanSquaredError(), optimizer, "torch")
        expected = layout(model)
        assert expected[:3] == [(20, 1), (1, 20), (1, 1)]
        x, y = np.ones((8, 6)), np.ones((8, 1))
        model.fit(x, y, epochs=2, batch_size=4)
        assert layout(model) == expected
        model.save_checkpoint(tmp_path / "file")
        model.load_checkpoint(tmp_path / "file")
        assert layout(model) == expected
        with pytest.raises(DivergedError):
            model.fit(x * np.inf, y, epochs=1, batch_size=4)
        assert layout(model) == expected
        model.restore(model.snapshot())
        assert layout(model) == expected


def test_compiled_step_does_what_the_step_does(make_backend: MakeBackend) -> None:
    place = make_backend("float64")

    def step(state, batch):
        return {"sum": state["sum"] + batch, "count": state["count"] + 1}, batch * 2

    compiled = place.compile(step)
    state = {"sum": place.asarray([0.0, 0.0]), "count": place.asarray(0)}
    for value in ([1.0, 2.0], [3.0, 4.0]):
        state, metrics = compiled(state, place.asarray(value))
    place.synchronize()
    np.testing.assert_array_equal(place.to_numpy(state["sum"]), [4, 6])
    assert int(state["count"]) == 2
    np.testing.assert_array_equal(place.to_numpy(metrics), [6, 8])


def test_available_tells_why_not() -> None:
    reasons = backend.available()
    assert list(reasons) == ["numpy", "cupy", "torch", "jax", "dask", "array-api-strict"]
    assert reasons["numpy"] is None
    assert all(reason is None or ("\n" not in reason and reason) for reason in reasons.values())


def test_an_old_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import array_api_strict

    for version in ("2.10", "2.5+local.2"):
        monkeypatch.setattr(array_api_strict, "__version__", version)
        assert backend.get("array-api-strict").version == version
    for version in ("2.4.1", "1.10", "unknown"):
        monkeypatch.setattr(array_api_strict, "__version__", version)
        assert backend.available()["array-api-strict"] == (
            f"expected version 2.5 or later, got {version}; pip install -U array-api-strict"
        )


def test_a_run_records_the_version_of_its_library(make_any_backend: MakeBackend) -> None:
    place = make_any_backend("float32")
    assert experiment.versions(place)[place.name][0].isdigit()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nonsense",), "unknown backend 'nonsense': expected one of numpy, cupy, torch, jax, dask, array-api-strict"),
        (("numpy", "cuda"), "backend 'numpy': expected device 'cpu', got 'cuda'"),
        (("numpy", None, "float16"), "backend 'numpy': expected dtype float32 or float64, got 'float16'"),
        (("array-api-strict", "gpu"), "backend 'array-api-strict': expected device 'CPU_DEVICE', 'device1' or 'device2', got 'gpu'"),
    ],
)  # fmt: skip
def test_refuses_what_there_is_not(arguments: tuple, message: str) -> None:
    with pytest.raises(BackendError) as error:
        backend.get(*arguments)
    assert str(error.value) == message


@pytest.mark.parametrize("wrong", ["abacus", "cpu:x", "cuda:99"])
@pytest.mark.parametrize("name", ["torch", "jax"])
def test_refuses_devices_there_are_not(name: str, wrong: str) -> None:
    pytest.importorskip(name, reason=f"{name} is not installed")
    with pytest.raises(BackendError, match=f"backend '{name}': expected device .*, got '{wrong}'") as error:
        backend.get(name, wrong)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["cupy", "torch", "jax", "dask", "array-api-strict"])
def test_a_library_that_is_not_installed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = backend.BACKENDS[name].module
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BackendError) as error:
        backend.get(name)
    assert str(error.value).startswith(f"backend '{name}': {module} is not installed; pip install ")


class Abacus(NumPy):
    """A library of one's own."""

    name = "abacus"


@mock.patch.dict(backend.BACKENDS)
def test_a_backend_of_ones_own_is_registered_and_then_trains() -> None:
    arguments = nn.Linear(4, 3), losses.CrossEntropy(), optim.SGD(0.1)
    for given in (Abacus, Abacus()):
        with pytest.raises(ConfigError, match=r'register\(Abacus\), and write backend="abacus"$'):
            xpnet.Model(*arguments, backend=given)
    assert backend.register(Abacus) is Abacus
    with pytest.raises(ConfigError, match=r'got the class .*Abacus; write backend="abacus"$'):
        xpnet.Model(*arguments, backend=Abacus)
    assert type(xpnet.Model(*arguments, backend="abacus").backend) is Abacus
    assert train.Config(backend="abacus").backend == "abacus"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("abacus", "register: expected a class derived from Backend, got 'abacus'"),
        (Abacus, "register: expected a class derived from Backend, got <xpnet backend abacus, cpu, float32>"),
        (Backend, 'register: expected Backend to have name = "…", got none'),
        (NumPy, "register: expected a new name, got 'numpy', a backend of xpnet"),
    ],
)
def test_what_cannot_be_registered(given: object, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        backend.register(given() if given is Abacus else given)  # type: ignore[operator, arg-type]
    assert str(error.value) == message
    assert "abacus" not in backend.BACKENDS


def fake_cupy(devices: int | str) -> types.ModuleType:
    """The part of CuPy that finds devices. `devices` is their number, or the error message of the runtime."""

    class CUDARuntimeError(RuntimeError):
        pass

    def get_device_count() -> int:
        if isinstance(devices, str):
            raise CUDARuntimeError(devices)
        return devices

    module = types.ModuleType("cupy")
    module.cuda = types.SimpleNamespace(  # type: ignore[attr-defined]
        runtime=types.SimpleNamespace(CUDARuntimeError=CUDARuntimeError, getDeviceCount=get_device_count),
        Device=type("Device", (), {}),
    )
    return module


@pytest.mark.parametrize(
    ("devices", "device", "message"),
    [
        ("cudaErrorNoDevice: no CUDA-capable\ndevice is detected", None, "backend 'cupy': expected an NVIDIA GPU and its driver, got none (cudaErrorNoDevice: no CUDA-capable device is detected); backend 'numpy'"),
        (2, "cuda:2", "backend 'cupy': expected device 'cuda' or 'cuda:N', got 'cuda:2' (there are 2)"),
        (2, "cuda:x", "backend 'cupy': expected device 'cuda' or 'cuda:N', got 'cuda:x'"),
        (2, "cpu", "backend 'cupy': expected device 'cuda' or 'cuda:N', got 'cpu'"),
    ],
)  # fmt: skip
def test_cupy_without_its_gpu(
    devices: int | str, device: str | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(devices))
    monkeypatch.setattr(backend.CuPy, "find_namespace", lambda self: np)
    with pytest.raises(BackendError) as error:
        backend.get("cupy", device)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_the_device_of_an_array_is_a_device_of_its_backend(place: tuple[str, str | None]) -> None:
    x = backend.get(*place).asarray([1.0])
    name = backend.owner(x)
    assert name == place[0]
    assert backend.get(name, backend.device(x)).device == backend.device(x)
    assert backend.owner([1.0]) is None


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_parts_on_several_cores_give_the_bits_of_one(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts of a step give the same in parallel as one after the other."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 40, 40, 3)), rng.integers(3, size=64)

    def train() -> dict[str, np.ndarray]:
        net = nn.Sequential(
            nn.Conv2d(3, 8, 5, padding="same"),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Conv2d(8, 4, 5),
            nn.GlobalAvgPool(),
        )
        model = xpnet.Model(net, losses.CrossEntropy(), optim.SGD(0.1, 0.9))
        assert step.examples_at_once(net, x.shape[1:], 64, model.backend) <= 32
        model.fit(x, y, epochs=2, batch_size=64)
        return dict(tree.items(model.params))

    monkeypatch.setattr(NumPy, "workers", workers)
    with monkeypatch.context() as patch, threadpoolctl.threadpool_limits(1):
        patch.setattr(NumPy, "map_reduce", Backend.map_reduce)
        expected = train()
    with ThreadPoolExecutor(workers) as pool:
        monkeypatch.setattr("xpnet.backend._numpy._threads", lambda workers: pool)
        found = train()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize(
    ("n", "workers", "parts"),
    [(64, 1, 2), (64, 2, 2), (64, 5, 8), (64, 64, 8), (1000, 1, 32), (1000, 12, 32), (8, 64, 1)],
)
def test_large_work_is_shared_and_small_is_not(
    n: int, workers: int, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each image needs an array of 480 kB; parts are at most 16 MiB, or 4 MiB if cores would be idle."""
    monkeypatch.setattr(NumPy, "workers", workers)
    net = nn.Sequential(nn.Conv2d(3, 8, 5, padding="same"), nn.GlobalAvgPool())
    at_once = step.examples_at_once(net, (40, 40, 3), n, backend.get("numpy"))
    assert at_once == math.ceil(n / parts)


def test_an_error_in_a_part_is_the_caller_s() -> None:
    def fail(part: float, common: float) -> float:
        return np.divide(common, part)

    def run(*parts: float) -> list[float]:
        return backend.get("numpy").map_reduce(
            lambda part, common: [fail(part, common)], operator.add, [np.float64(part) for part in parts], 1.0
        )

    for parts in ((1, 0), (0, 1)):
        with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
            run(*parts)
    with np.errstate(divide="ignore"):
        assert run(0, 2) == [np.inf, 0.5]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13])
def test_terms_are_added_in_pairs_whenever_they_come(count: int) -> None:
    def paired(terms: list[str]) -> str:
        """The expected sum of the terms in their order."""
        while len(terms) > 1:
            pairs = [terms[i : i + 2] for i in range(0, len(terms), 2)]
            terms = [f"({pair[0]}{pair[1]})" if len(pair) > 1 else pair[0] for pair in pairs]
        return terms[0]

    for seed in range(20):
        total = PairwiseSum(lambda a, b: f"({a}{b})", count)
        for i in np.random.default_rng(seed).permutation(count):
            assert total.result is None
            total.put(int(i), "abcdefghijklm"[i])
        assert total.result == paired(list("abcdefghijklm"[:count]))


def fake_switches(new: bool) -> types.SimpleNamespace:
    """`torch.backends` with the switches of PyTorch 2.9, or of those before it."""
    if new:
        conv = types.SimpleNamespace(fp32_precision="tf32")
        matmul, cudnn = types.SimpleNamespace(fp32_precision="none"), types.SimpleNamespace(conv=conv)
    else:
        matmul, cudnn = types.SimpleNamespace(allow_tf32=False), types.SimpleNamespace(allow_tf32=True)
    return types.SimpleNamespace(cuda=types.SimpleNamespace(matmul=matmul), cudnn=cudnn)


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("tf32", [True, False])
def test_steps_of_pytorch_on_a_gpu_run_in_the_precision_that_was_asked_for(new: bool, tf32: bool) -> None:
    """Products and convolutions in float32, or both in TF32; afterwards the switches are as before."""
    switches = fake_switches(new)

    def found() -> tuple:
        matmul, cudnn = switches.cuda.matmul, switches.cudnn
        if new:
            return matmul.fp32_precision, cudnn.conv.fp32_precision
        return matmul.allow_tf32, cudnn.allow_tf32

    before = found()
    torch = object.__new__(backend.Torch)
    torch.library = types.SimpleNamespace(backends=switches, no_grad=nullcontext)
    torch.device, torch.tf32 = types.SimpleNamespace(type="cuda"), tf32
    expected = ("tf32" if tf32 else "ieee") if new else tf32
    assert torch.compile(lambda: found())() == (expected, expected)
    with pytest.raises(ZeroDivisionError):
        torch.compile(lambda: 1 / 0)()
    assert found() == before


@pytest.mark.parametrize(("tf32", "name"), [(True, "HIGH"), (False, "HIGHEST")])
def test_steps_of_jax_on_a_gpu_are_traced_in_the_precision_that_was_asked_for(tf32: bool, name: str) -> None:
    """JAX's name for TF32 is HIGH. On a CPU products have one precision, and none is asked for."""
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    found = backend.get("jax", tf32=tf32)

    def traced() -> str:
        step = found.compile(lambda state, batch: (state @ state, batch))
        return str(jax.make_jaxpr(step)(np.ones((2, 2), np.float32), 0))

    assert "Precision" not in traced()
    found.device = types.SimpleNamespace(platform="gpu")
    assert f"(Precision.{name}, Precision.{name})" in traced()
