"""NVIDIA's compiler beside the stand-in for CUDA: it sees what the host's compiler takes and a GPU would not."""

import importlib

import pytest

import cuda_on_cpu

if not cuda_on_cpu.is_installed():
    pytest.skip("needs the stand-in for CUDA: CUDA_ON_CPU=1 pytest", allow_module_level=True)

cupy = importlib.import_module("cupy")
nvrtc = importlib.import_module("cuda_on_cpu.nvrtc")
try:
    nvrtc.library()
except ImportError as error:
    pytest.skip(str(error), allow_module_level=True)
pytestmark = pytest.mark.gpu

KERNEL = 'extern "C" __global__ void xpnet_{name}(float* x, int n) {{ {body} }}'
ONLY_ON_A_HOST = {
    "infinity": ("*x = INFINITY;", 'identifier "INFINITY" is undefined'),
    "function": ("*x = strlen((const char*)x);", 'identifier "strlen" is undefined'),
    "shared": (
        "__shared__ float y[12289]; for (int i = 0; i < n; i++) y[i] = x[n - i]; *x = y[n];",
        "too much",
    ),
}
NOT_AS_IT_SHOULD_BE = {
    "warning": ("int unused; *x = n;", "declared but never referenced"),
    "memory": ("float y[99] = {}; for (int i = 0; i < n; i++) y[int(x[i])] = i; *x = y[n];", "stack=400"),
}


@pytest.mark.parametrize("name", [*ONLY_ON_A_HOST, *NOT_AS_IT_SHOULD_BE])
def test_refused(name):
    body, reason = {**ONLY_ON_A_HOST, **NOT_AS_IT_SHOULD_BE}[name]
    kernel = cupy.RawKernel(KERNEL.format(name=name, body=body), f"xpnet_{name}")
    with pytest.raises(cupy.cuda.compiler.CompileException, match=reason):
        kernel((1,), (1,), (cupy.zeros(9, "float32"), cupy.int32(0)))


def test_one_source_of_a_key_is_compiled(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(nvrtc, "folder", lambda: tmp_path)
    for source in (KERNEL.format(name="first", body="*x = n;"), "nonsense"):
        nvrtc.check(source, [], [], "80", "the same")
    nvrtc.main()
    assert f"NVRTC {nvrtc.version()}, sm_80: 1 kernels; xpnet's own: 1, " in capsys.readouterr().out


def test_what_it_says_of_a_kernel():
    source = KERNEL.format(name="one", body="__shared__ float y[8]; y[n] = 1; *x = y[0];")
    log, cubin = nvrtc.compile_source(source, [], [], "75")
    (kernel,) = nvrtc.kernels(log)
    assert (kernel.name, kernel.shared, kernel.stack, kernel.spilled) == ("xpnet_one", 32, 0, 0)
    assert 0 < kernel.registers < 20
    assert cubin[:4] == b"\x7fELF"
