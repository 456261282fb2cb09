"""NVIDIA's own compiler, which needs no GPU: whether it takes the kernels that CuPy would give it.

`python -m cuda_on_cpu.nvrtc` prints what it said so far.
"""

import ctypes
import functools
import hashlib
import importlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

OWN = "xpnet"  # how the names of xpnet's own kernels begin
DEFAULT = "90"  # the compute capability that `device.py` claims
LAYOUT = re.compile(r"(CArray<\w+|CIndexer<)[^>]*")
NOTHING_TO_SAY = re.compile(r"ptxas( info +:| +\.)|\S*: (creating|using) precompiled|\s*$")
FACTS = re.compile(
    r"entry function '(?P<name>\w+)'.*?(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads.*?Used (?P<registers>\d+) registers(?P<more>[^\n]*)",
    re.DOTALL,
)


class RefusedError(Exception):
    """A kernel that NVRTC does not compile, or xpnet's own that it warns of or cannot keep in registers."""


class Kernel(NamedTuple):
    """What ptxas says of a kernel: registers of a thread; bytes of a thread's memory; bytes of a block's."""

    name: str
    registers: int
    spilled: int
    stack: int
    shared: int


def kernels(log: str) -> Iterator[Kernel]:
    """What a log says of the kernels in it."""
    for each in FACTS.finditer(log):
        shared = re.search(r"(\d+) bytes smem", each["more"])
        spilled = int(each["stores"]) + int(each["loads"])
        yield Kernel(
            each["name"], int(each["registers"]), spilled, int(each["stack"]), int(shared[1]) if shared else 0
        )


def warnings(log: str) -> str:
    """The lines of a log that are more than ptxas's facts."""
    return "\n".join(line for line in log.splitlines() if not NOTHING_TO_SAY.match(line))


@functools.cache
def library() -> ctypes.CDLL:
    """NVRTC of NVIDIA's wheel or of a toolkit; ImportError if there is none."""
    pathfinder: Any = importlib.import_module("cuda.pathfinder")
    try:
        return ctypes.CDLL(pathfinder.load_nvidia_dynamic_lib("nvrtc").abs_path)
    except pathfinder.DynamicLibNotFoundError:
        raise ImportError("expected NVRTC, got none: pip install nvidia-cuda-nvrtc") from None


@functools.cache
def version() -> str:
    major, minor = ctypes.c_int(), ctypes.c_int()
    library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return f"{major.value}.{minor.value}"


def compile_source(
    source: str, options: list[str], expressions: list[str], capability: str
) -> tuple[str, bytes]:
    """NVRTC's log, and the cubin; RefusedError with the log if there is none.

    Arguments:
        source: CUDA C++.
        options: of NVRTC.
        expressions: of kernels that are templates: the instances.
        capability: of the device, "90".
    """
    program, call = ctypes.c_void_p(), library()
    given = [each for each in options if not each.startswith("-arch=")]
    given += [f"-arch=sm_{capability}", "--ptxas-options=-v"]
    call.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None)
    try:
        for each in expressions:
            call.nvrtcAddNameExpression(program, each.encode())
        strings = (ctypes.c_char_p * len(given))(*[each.encode() for each in given])
        failed = call.nvrtcCompileProgram(program, len(given), strings)
        log = _result(program, "ProgramLog").rstrip(b"\0").decode()
        if failed:
            raise RefusedError(log)
        return log, _result(program, "CUBIN")
    finally:
        call.nvrtcDestroyProgram(ctypes.byref(program))


def _result(program: ctypes.c_void_p, name: str) -> bytes:
    size = ctypes.c_size_t()
    getattr(library(), f"nvrtcGet{name}Size")(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    getattr(library(), f"nvrtcGet{name}")(program, buffer)
    return buffer.raw


def folder() -> Path:
    """Where the logs and cubins are, a pair for each source and device."""
    return Path(os.environ["CUPY_CACHE_DIR"], "nvrtc")


def check(source: str, options: list[str], expressions: list[str], capability: str, key: str) -> None:
    """Have NVRTC compile a source; RefusedError if it is not as it should be.

    Arguments:
        source, options, expressions, capability: see `compile_source`.
        key: what stands for the source: of those with the same key, one is compiled, once for all processes.
    """
    given = json.dumps([key, options, expressions, capability, version()])
    file = folder() / f"{hashlib.sha256(given.encode()).hexdigest()[:24]}.json"
    if file.exists():
        return
    log, cubin = compile_source(source, options, expressions, capability)
    for each in kernels(log):
        if each.name.startswith(OWN) and (each.spilled or each.stack or warnings(log)):
            raise RefusedError(
                f"for sm_{capability}: {each}; expected registers alone; {warnings(log)}\n{source}"
            )
    told = {"source": source, "log": log, "capability": capability, "version": version()}
    folder().mkdir(parents=True, exist_ok=True)
    for content, path in ((cubin, file.with_suffix(".cubin")), (json.dumps(told).encode(), file)):
        unfinished = file.with_suffix(f".{os.getpid()}")
        unfinished.write_bytes(content)
        unfinished.replace(path)


def watch() -> None:
    """Check every source that CuPy compiles from now on, or finds in its cache, for the devices that
    $CUDA_ON_CPU_NVRTC names by compute capability, such as "75 80 90 120".

    By default, where NVRTC is installed, xpnet's own kernels for one device: those with float32, and of those
    that differ in the layouts of arrays only one.
    """
    given = os.environ.get("CUDA_ON_CPU_NVRTC")
    try:
        library()
    except ImportError:
        if given:
            raise
        return
    capabilities = [DEFAULT] if given is None else given.split()
    compiler: Any = importlib.import_module("cupy.cuda.compiler")
    compile_with_cache: Callable[..., Any] = compiler._compile_with_cache_cuda

    def checked(
        source: str,
        options: Any,
        arch: Any,
        extra: Any,
        backend: Any,
        cooperative: Any,
        names: Any,
        *more: Any,
    ) -> Any:
        flags = [*options, "-ftz=true", "--device-as-default-execution-space"]
        try:
            if given is not None or (f"void {OWN}_" in source and "typedef double" not in source):
                key = source if given is not None else LAYOUT.sub(r"\1", source)
                for each in capabilities:
                    check(source, flags, list(names or []), each, key)
        except RefusedError as error:
            raise compiler.CompileException(str(error), source, "kernel.cu", flags) from None
        return compile_with_cache(source, options, arch, extra, backend, cooperative, names, *more)

    compiler._compile_with_cache_cuda = checked


def main() -> None:
    """Print, for each device, how many kernels there are, and what is noteworthy of any."""
    reports = [json.loads(file.read_text()) for file in sorted(folder().glob("*.json"))]
    for title in sorted({(each["version"], int(each["capability"])) for each in reports}):
        mine = [each for each in reports if (each["version"], int(each["capability"])) == title]
        found = [kernel for each in mine for kernel in kernels(each["log"])]
        own = [each for each in found if each.name.startswith(OWN)]
        most = max(each.registers for each in own) if own else 0
        print(
            f"NVRTC {title[0]}, sm_{title[1]}: {len(found)} kernels; xpnet's own: {len(own)}, {most} registers at most"
        )
        noteworthy = {str(each) for each in found if each.spilled or each.stack or each.shared > 24 << 10}
        noteworthy.update(line for each in mine for line in warnings(each["log"]).splitlines())
        for line in sorted(noteworthy):
            print("   ", line)


if __name__ == "__main__":
    sys.exit(main())
