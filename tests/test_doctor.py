"""`scripts/doctor.py` as a user runs it: the report, the JSON file and the exit status."""

import functools
import json
import os
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import MISSING, run_script
from xpnet import backend, nn
from xpnet._util import files
from xpnet.backend import Ops
from xpnet.backend._cupy import CuPy
from xpnet.backend._facts import Facts
from xpnet.backend._jax import JAX
from xpnet.backend._strict import Strict, StrictOps
from xpnet.backend._torch import Torch
from xpnet.train.doctor import checks, finding, machine, report
from xpnet.train.doctor.finding import Finding

SCRIPT = Path(__file__).parents[1] / "scripts" / "doctor.py"
main = functools.partial(run_script, SCRIPT)
BOTH = ("--backend", "numpy", "array-api-strict")


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without new processes, and without measuring the speed."""
    monkeypatch.setattr(finding, "examine_apart", finding.examine)
    monkeypatch.setattr(checks, "images_per_second", lambda place: 2000.0 if place[0] == "numpy" else 500.0)


def rows(out: str) -> dict[str, list[str]]:
    """The cells of the table, by backend."""
    table = next(part for part in out.split("\n\n") if part.startswith("backend "))
    return {line.split()[0]: line.split()[1:] for line in table.splitlines()}


def section(out: str, title: str) -> str:
    """A section in one line."""
    found = [part for part in out.split("\n\n") if part.startswith(f"{title}\n")]
    return " ".join(found[0].split()) if found else ""


def test_right_backends_are_status_0(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    status, out, err = main(monkeypatch, capsys, *BOTH)
    assert (status, err) == (0, "")
    assert max(map(len, out.splitlines())) < 100
    table = rows(out)
    assert list(table) == ["backend", "numpy", "array-api-strict"]
    assert table["numpy"][0] == np.__version__
    for name, speed in (("numpy", ["2,000", "1.00"]), ("array-api-strict", ["500", "0.25"])):
        float64, float32, compiled, repeatable = table[name][2:6]
        assert float(float64) < 1e-13
        assert 1e-9 < float(float32) < 1e-5
        assert float(compiled) < 1e-13
        assert repeatable == "ok"
        assert table[name][6:] == speed
    assert "All numbers are right: numpy, array-api-strict (" in out.splitlines()[-1]
    assert section(out, "WRONG") == ""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("torch", marks=pytest.mark.skipif("torch" in MISSING, reason="needs PyTorch")),
        pytest.param(
            "jax", marks=[pytest.mark.slow, pytest.mark.skipif("jax" in MISSING, reason="needs JAX")]
        ),
        pytest.param(
            "cupy", marks=[pytest.mark.gpu, pytest.mark.skipif("cupy" in MISSING, reason="needs a GPU")]
        ),
    ],
)
def test_other_libraries(name: str) -> None:
    for found in finding.examine(name):
        assert found.faults == []
        assert found.warnings == []
        assert found.reduced_precision == []
        assert found.facts["version"][0].isdigit()


def wrong_slope(monkeypatch: pytest.MonkeyPatch) -> None:
    where_positive = Ops.where_positive
    monkeypatch.setattr(
        StrictOps, "where_positive", lambda *args: where_positive(*args) * 1.001, raising=False
    )


def lost_step(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_loop = Strict.compile_loop

    def short(self: Strict, step: Any) -> Any:
        loop = compile_loop(self, step)
        return lambda state, constants, rows, start, stop: loop(state, constants, rows, start, stop - 1)

    monkeypatch.setattr(Strict, "compile_loop", short)
    monkeypatch.setattr(Strict, "steps_at_once", 16)


def noise(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, positive_part = np.random.default_rng(), Ops.positive_part

    def noisy(self: Ops, x: Any) -> Any:
        y = positive_part(self, x)
        return y * (1 + 1e-6 * rng.random()) if "float32" in str(x.dtype) else y

    monkeypatch.setattr(StrictOps, "positive_part", noisy, raising=False)


def crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> None:
        raise RuntimeError("the driver\nis gone")

    monkeypatch.setattr(Strict, "from_host", broken)


@pytest.mark.parametrize(
    ("damage", "wrong", "words"),
    [
        (wrong_slope, "float64", "float64: the losses of the MLP differ from NumPy's in float64 by "),
        (lost_step, "float64 float32 compiled", "compiled: the losses of the MLP differ from those of steps by hand by "),
        (noise, "repeatable", "repeatable: two trainings of the CNN from one seed end in different "),
        (crash, "", "RuntimeError: the driver is gone"),
    ],
)  # fmt: skip
def test_a_wrong_backend_is_status_1_and_named(
    damage: Any, wrong: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    damage(monkeypatch)
    status, out, err = main(monkeypatch, capsys, "--backend", "array-api-strict", "numpy")
    assert (status, err) == (1, "")
    told = section(out, "WRONG")
    assert told.startswith("WRONG array-api-strict ")
    assert "numpy" not in told.replace("NumPy", "")
    assert words in told
    assert out.splitlines()[-1].startswith("WRONG numbers or errors: array-api-strict (")
    [found] = finding.examine("array-api-strict")
    assert [check.name for check in found.checks if not check.ok] == wrong.split()
    assert "ok" in rows(out)["numpy"]
    assert rows(out)["array-api-strict"].count("WRONG") == len(wrong.split())


def test_numpy_itself_is_checked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setitem(checks.LAST_LOSS, "CNN", checks.LAST_LOSS["CNN"] * (1 + 1e-9))
    status, out, _ = main(monkeypatch, capsys, "--backend", "numpy")
    assert status == 1
    assert "the last loss of the CNN differ from the known one by 1.0e-09" in section(out, "WRONG")


def test_a_missing_library_is_explained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(Strict, "module", "no_such_library")
    status, out, _ = main(monkeypatch, capsys, *BOTH)
    assert status == 0
    assert list(rows(out)) == ["backend", "numpy"]
    told = section(out, "Missing")
    assert "array-api-strict no_such_library is not installed; pip install array-api-strict" in told
    status, out, _ = main(monkeypatch, capsys, "--backend", "array-api-strict")
    assert status == 0
    assert "Nothing to check" in out.splitlines()[-1]


def test_a_library_that_breaks_while_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Strict) -> None:
        raise OSError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setattr(Strict, "import_library", broken)
    [found] = finding.examine("array-api-strict")
    assert found.status == finding.WRONG
    assert found.faults == ["OSError: libcudart.so.13: cannot open shared object file"]


def test_json_holds_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(Torch, "module", "no_such_library")
    path = tmp_path / "doctor.json"
    path.write_text("old")
    status, out, _ = main(monkeypatch, capsys, *BOTH, "torch", "--json", str(path))
    assert status == 0
    values = json.loads(path.read_text())
    assert list(values) == ["machine", "backends", "seconds"]
    found = [Finding.from_dict(each) for each in values["backends"]]
    assert [(each.name, each.status) for each in found] == [
        ("numpy", "right"), ("array-api-strict", "right"), ("torch", "missing"),
    ]  # fmt: skip
    assert [each.to_dict() for each in found] == values["backends"]
    here = machine.Machine(**values["machine"])
    assert here.python == ".".join(map(str, sys.version_info[:3]))
    assert report.text(here, found, values["seconds"]).splitlines() == out.splitlines()
    assert [file.name for file in tmp_path.iterdir()] == ["doctor.json"]


def test_json_is_written_where_numbers_are_infinite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    by_fit = checks.by_fit

    def diverged(*args: Any) -> checks.Curve:
        return by_fit(*args)._replace(losses=np.array([np.nan, 1.0]))

    monkeypatch.setattr(checks, "by_fit", diverged)
    path = tmp_path / "doctor.json"
    status, out, _ = main(monkeypatch, capsys, "--backend", "numpy", "--json", str(path))
    assert status == 1
    assert "differ from NumPy's in float64 by inf, expected at most 1e-10; got nan for" in section(
        out, "WRONG"
    )
    [found] = json.loads(path.read_text())["backends"]
    assert found["checks"][0]["difference"] is None


def test_json_that_cannot_be_written_is_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "replacing", full)
    path = tmp_path / "doctor.json"
    status, out, err = main(monkeypatch, capsys, "--backend", "numpy", "--json", str(path))
    assert status == 2
    assert "All numbers are right: numpy" in out
    assert err == "doctor.py: [Errno 28] No space left on device\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--backend", "abacus"], "--backend: expected some of numpy, cupy, torch, jax, dask, array-api-strict, got 'abacus'"),
        (["--backend"], "--backend"),
        (["--no-such-option"], "--no-such-option"),
        (["--json", "missing/doctor.json"], "--json: expected a file in a folder that exists, got missing/doctor.json"),
        (["--json", "."], "--json: expected a file in a folder that exists, got ."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_a_mistake_is_one_line_and_status_2(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = main(monkeypatch, capsys, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("doctor.py: ")
    assert len(err.splitlines()) == 1
    assert words in err


class TestOwnProcess:
    """`examine_apart`, which the other tests replace."""

    @pytest.fixture(autouse=True)
    def in_this_process(self) -> None:
        """Not here."""

    def test_numpy(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
        [found] = finding.examine_apart("numpy")
        assert found.faults == []
        assert found.images_per_second > 0
        assert [check.name for check in found.checks] == ["float64", "float32", "compiled", "repeatable"]

    @pytest.mark.skipif(os.name != "posix", reason="a shell script stands in for Python")
    @pytest.mark.parametrize(
        ("script", "words"),
        [
            ("echo CUDA error >&2; kill -SEGV $$", "the process of the checks ended with status -11: CUDA error"),
            ("exit 3", "the process of the checks ended with status 3: without a message"),
            ("exec sleep 60", "the checks did not end within 0.5 seconds"),
        ],
    )  # fmt: skip
    def test_a_process_that_dies(
        self, script: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        python = tmp_path / "python"
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(python))
        monkeypatch.setattr(finding, "TIME_LIMIT", 0.5)
        [found] = finding.examine_apart("numpy")
        assert found.status == finding.WRONG
        assert found.faults == [words]


def test_the_speed_is_measured_over_longer_epochs_where_steps_are_fast(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(checks, "SECONDS", 0.02)
    assert checks.images_per_second(("numpy", None)) > 0
    measured = []

    def speed(rate: float, place: checks.Place, batches: int, seconds: float) -> float:
        measured.append(batches)
        return rate

    monkeypatch.setattr(checks, "SECONDS", 1.0)
    for rate, batches in ((300.0, [4]), (20_000.0, [4, 50]), (5e6, [4, 256])):
        measured.clear()
        monkeypatch.setattr(checks, "speed", functools.partial(speed, rate))
        assert checks.images_per_second(("numpy", None)) == rate
        assert measured == batches


def test_tf32_is_found_by_its_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    place = ("array-api-strict", None)
    assert checks.reduced_precision(place) == []
    for layer, what in ((nn.Linear, "products"), (nn.Conv2d, "convolutions")):
        with monkeypatch.context() as patch:
            forward = layer.forward

            def rounded(self: Any, params: Any, x: Any, forward: Any = forward) -> Any:
                bits = (np.array(x).view(np.int32) + 0x1000) & ~0x1FFF  # 10 bits of the mantissa
                return forward(self, params, backend.namespace(x).asarray(bits.view(np.float32)))

            patch.setattr(layer, "forward", rounded)
            assert checks.reduced_precision(place) == [what]


def test_steps_that_could_not_be_captured_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def warn(place: checks.Place) -> float:
        for _ in range(2):
            warnings.warn(
                f"{finding.NOT_CAPTURED}, got an error\n(out of luck)", RuntimeWarning, stacklevel=1
            )
        return 1.0

    monkeypatch.setattr(checks, "images_per_second", warn)
    found = finding.examine_device("numpy", None)
    assert found.status == finding.RIGHT
    assert found.facts["steps"] == "kernel by kernel"
    assert found.warnings == [f"{finding.NOT_CAPTURED}, got an error (out of luck)"]


HERE = machine.Machine("1.0", "/xpnet", "3.12.1", "/python", "Linux", "CPU X", 8, 2**34, 0.1, "openblas 0.3, 8 threads", (), {})  # fmt: skip
GPU = Facts("14.2.0", "NVIDIA H100", 80 << 30, "driver for CUDA 13.0, runtime 13.0", "CUDA graph")


def test_a_report_of_a_machine_with_a_gpu() -> None:
    facts = GPU._replace(
        steps="kernel by kernel", advice="pip install 'nvmath-python[cu13]' makes steps faster"
    )
    cupy = Finding("cupy", facts=facts._asdict(), reduced_precision=["convolutions"], images_per_second=1e6)
    torch = Finding("torch", facts=Facts("2.13.0+cpu", gpu_advice="this PyTorch has no CUDA")._asdict())
    here = machine.Machine(**{**HERE.to_dict(), "gpus": ("NVIDIA H100, 81559 MiB, driver 580.65",)})
    out = report.text(here, [cupy, torch], 20.0)
    assert "GPU     NVIDIA H100, 81559 MiB, driver 580.65" in out
    assert (
        section(out, "Devices")
        == "Devices cupy NVIDIA H100, 80.0 GiB of memory, driver for CUDA 13.0, runtime 13.0, "
        "TF32 or less for convolutions"
    )
    assert section(out, "Advice") == (
        "Advice cupy pip install 'nvmath-python[cu13]' makes steps faster torch this PyTorch has no CUDA"
    )
    without = report.text(HERE, [torch], 20.0)
    assert "no NVIDIA GPU found" in without
    assert section(without, "Advice") == ""


def test_torch_on_a_gpu_needs_no_other_build() -> None:
    found = [
        Finding("torch", facts=Facts("2.13.0", gpu_advice="never shown")._asdict()),
        Finding("torch", "cuda", facts=GPU._asdict()),
    ]
    here = machine.Machine(**{**HERE.to_dict(), "gpus": ("NVIDIA H100",)})
    out = report.text(here, found, 20.0)
    assert "never shown" not in out
    assert [line.split("  ")[0] for line in out.splitlines() if line.startswith("torch")] == [
        "torch",
        "torch cuda",
    ]


def test_a_gpu_that_nothing_uses_and_a_busy_machine() -> None:
    here = machine.Machine(
        **{**HERE.to_dict(), "gpus": ("NVIDIA H100",), "load": 7.5, "environment": {"CUPY_TF32": "1"}}
    )
    out = report.text(here, [Finding("numpy", facts=Facts("2.4.6")._asdict(), images_per_second=1.0)], 1.0)
    told = section(out, "Advice")
    assert "GPU none of these backends uses it; see xpnet/docs/gpu.md" in told
    assert (
        "speed the machine is busy (load 7.5, 8 cores): speeds are too low; where it is always so, OPENBLAS"
        in told
    )
    assert "set     CUPY_TF32=1" in out
    assert "busy" not in report.text(here, [Finding("cupy", status=finding.MISSING, reason="no GPU")], 1.0)


@pytest.mark.skipif(os.name != "posix", reason="a shell script stands in for nvidia-smi")
@pytest.mark.parametrize(
    ("script", "gpus"),
    [
        ("echo 'NVIDIA H100 80GB HBM3, 81559 MiB, 580.65.06'", ("NVIDIA H100 80GB HBM3, 81559 MiB, driver 580.65.06",)),
        ("echo 'NVIDIA-SMI has failed'", ()),
        ("echo 'a, b, c'; exit 9", ()),
    ],
)  # fmt: skip
def test_gpus_by_nvidia_smi(
    script: str, gpus: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f"#!/bin/sh\n{script}\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.nvidia_gpus() == gpus
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    assert machine.nvidia_gpus() == ()


def fake(cls: type, **attributes: Any) -> Any:
    """A backend of that class without its library."""
    made = cls.__new__(cls)
    vars(made).update(attributes)
    return made


def test_facts_of_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = types.SimpleNamespace(
        driverGetVersion=lambda: 13000,
        runtimeGetVersion=lambda: 12090,
        memGetInfo=lambda: (1 << 30, 80 << 30),
        getDeviceProperties=lambda number: {"name": f"NVIDIA H100 number {number}".encode()},
    )
    library = types.SimpleNamespace(
        __version__="14.2.0", cuda=types.SimpleNamespace(runtime=runtime, Device=lambda n: None)
    )
    monkeypatch.setitem(sys.modules, "cupy", library)
    for name in ("nvmath", "nvmath.bindings", "nvmath.bindings.cublas"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    cupy = fake(CuPy, library=library, device=types.SimpleNamespace(id=1))
    found = cupy.facts()
    assert found == Facts(
        "14.2.0", "NVIDIA H100 number 1", 80 << 30, "driver for CUDA 13.0, runtime 12.9", "CUDA graph"
    )
    monkeypatch.setitem(sys.modules, "nvmath.bindings.cublas", None)
    found = cupy.facts()
    assert found.steps == "kernel by kernel"
    assert found.advice.startswith("pip install 'nvmath-python[cu12]' makes steps faster, as CUDA graphs (")


def test_facts_of_torch_and_jax_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    properties = types.SimpleNamespace(name="NVIDIA H100", total_memory=80 << 30)
    torch = types.SimpleNamespace(
        __version__="2.13.0",
        version=types.SimpleNamespace(cuda="13.0"),
        backends=types.SimpleNamespace(cudnn=types.SimpleNamespace(version=lambda: 91002)),
        cuda=types.SimpleNamespace(
            get_device_properties=lambda device: properties, is_available=lambda: True
        ),
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    made = fake(Torch, library=torch, device=types.SimpleNamespace(type="cuda"))
    assert made.facts() == Facts("2.13.0", "NVIDIA H100", 80 << 30, "CUDA 13.0, cuDNN 91002", "CUDA graph")
    assert made.other_devices() == ("cuda",)
    made.device = types.SimpleNamespace(type="cpu")
    assert made.facts() == Facts("2.13.0")
    torch.version.cuda = None
    assert made.facts().gpu_advice.startswith(
        "this PyTorch has no CUDA: pip install torch --index-url https:"
    )

    monkeypatch.setitem(sys.modules, "jax", types.SimpleNamespace(__version__="0.10.2"))
    device = types.SimpleNamespace(
        platform="gpu",
        device_kind="NVIDIA H100",
        memory_stats=lambda: {"bytes_limit": 60 << 30},
        client=types.SimpleNamespace(platform_version="PJRT C API\ncuda 13000"),
    )
    assert fake(JAX, device=device).facts() == Facts(
        "0.10.2", "NVIDIA H100", 60 << 30, "PJRT C API cuda 13000", "XLA"
    )


@pytest.mark.parametrize(
    "name", [name for name in backend.BACKENDS if name not in MISSING and name != "cupy"]
)
def test_facts_of_a_cpu(name: str) -> None:
    made = backend.get(name)
    assert made.facts().device == "CPU"
    assert made.facts().memory is None
    assert made.facts().version in (sys.modules[made.module.partition(".")[0]].__version__,)
