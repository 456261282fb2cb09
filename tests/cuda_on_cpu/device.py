"""The device: memory, streams, capture, graphs and events, as functions of CUDA's runtime and driver.

Memory is the host's. Work is done when it is asked for, in that order; or, where `lazy`, as late as CUDA
allows: a stream's when somebody waits for it, and other streams' only so far as it has to come before. What a
program forgets to wait for is then still undone. A stream that is capturing records its work, and what may
not be done meanwhile is refused with CUDA's errors.

Functions have the names and arguments of `cupy_backends.cuda.api.runtime` and `.driver`.
"""

import collections
import ctypes
import itertools
import threading
from collections.abc import Callable
from typing import Any, NoReturn

from cuda_on_cpu import compiler

# CUDA's errors
INVALID_VALUE, MEMORY_ALLOCATION, INVALID_CONFIGURATION, INVALID_DEVICE = 1, 2, 9, 101
INVALID_RESOURCE_HANDLE, ILLEGAL_STATE, NOT_FOUND = 400, 401, 500
CAPTURE_UNSUPPORTED, CAPTURE_INVALIDATED, CAPTURE_UNMATCHED, CAPTURE_UNJOINED = 900, 901, 903, 904
CAPTURE_IMPLICIT, CAPTURED_EVENT = 906, 907
LEGACY, PER_THREAD = 1, 2
NON_BLOCKING = 1
RELAXED = 2
DEVICE, HOST = 2, 1
FROM_HOST, TO_HOST = 1, 2
COPIES = {FROM_HOST: "copy from the host", TO_HOST: "copy to the host"}
POISON = 0xFF  # not a number in float32 and float64, and -1 in integers
GUARD = 512
ALIGNMENT = 512
TOTAL = 8 << 30  # bytes
DEVICES = 2  # that share the memory and the legacy stream

libc = ctypes.CDLL(None)
libc.aligned_alloc.restype = ctypes.c_void_p
libc.aligned_alloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]


class CorruptMemory(AssertionError):
    """A kernel or copy wrote beyond its memory."""


class Work:
    """Something that a stream is to do, after other things."""

    __slots__ = ("before", "done", "run")

    def __init__(self, run: Callable[[], None], before: list["Work"]) -> None:
        self.run: Callable[[], None] | None = run
        self.before = before
        self.done = False

    def force(self) -> None:
        """Do it, and first what has to come before it."""
        with lock:
            stack = [self]
            while stack:
                work = stack[-1]
                waiting = [other for other in work.before if not other.done]
                if waiting:
                    stack.extend(waiting)
                    continue
                stack.pop()
                run, work.run, work.before, work.done = work.run, None, [], True
                if run is not None:
                    run()


class Capture:
    """What streams that are capturing together record."""

    def __init__(self, origin: int, mode: int) -> None:
        self.origin = origin
        self.mode = mode
        self.work: list[tuple[str, Callable[[], None]]] = []
        self.streams = {origin}
        self.joined = {origin}
        self.valid = True


class State:
    """All that there is on the device."""

    def __init__(self) -> None:
        self.is_installed = False
        self.handles = itertools.count(1 << 20, 16)
        self.flags: dict[int, int] = {}  # of each stream
        self.devices: dict[int, int] = {}  # of each stream
        self.captures: dict[int, Capture] = {}  # of each stream that is capturing
        self.last: dict[int, Work] = {}  # of each stream's work
        self.waits: dict[int, list[Work]] = {}  # for which a stream's next work has to wait
        self.events: dict[int, Capture | Work | None] = {}
        self.graphs: dict[int, list[tuple[str, Callable[[], None]]]] = {}
        self.memory: dict[int, int] = {}  # bytes at each address
        self.host_memory: dict[int, int] = {}
        self.used = 0
        self.modules: dict[int, ctypes.CDLL] = {}
        self.functions: dict[int, compiler.Kernel] = {}
        self.counts: collections.Counter[str] = collections.Counter()  # work done or recorded, by kind


state = State()
lock = threading.RLock()  # one thread's work at a time
thread = threading.local()  # the device of each thread
lazy = False
error_type: Any = RuntimeError  # CuPy's, once it is there


def fail(error: int) -> NoReturn:
    raise error_type(error)


def _stream(stream: int) -> int:
    return LEGACY if stream == 0 else stream


def _is_blocking(stream: int) -> bool:
    return not state.flags.get(stream, 0) & NON_BLOCKING


def do(stream: int, kind: str, work: Callable[[], None]) -> None:
    """Do this work, or record it if the stream is capturing."""
    stream = _stream(stream)
    capture = state.captures.get(stream)
    if capture is not None:
        if not capture.valid:
            fail(CAPTURE_INVALIDATED)
        state.counts[f"captured {kind}"] += 1
        capture.work.append((kind, work))
        return
    if stream == LEGACY:
        _refuse_legacy()
    with lock:
        state.counts[kind] += 1
        if lazy:
            _enqueue(stream, work)
        else:
            work()


def _enqueue(stream: int, run: Callable[[], None]) -> Work:
    """Work after all that this stream has to do, and, of it and the legacy stream, one after the other."""
    before = [stream]
    if stream == LEGACY:
        before += filter(_is_blocking, state.last)
    elif _is_blocking(stream):
        before.append(LEGACY)
    works = [work for of in before if (work := state.last.get(of)) is not None and not work.done]
    state.last[stream] = work = Work(run, works + state.waits.pop(stream, []))
    return work


def _nothing() -> None:
    pass


def finish(stream: int) -> None:
    """Do all that was asked of this stream."""
    if lazy:
        with lock:
            _enqueue(_stream(stream), _nothing).force()


def finish_all() -> None:
    for work in list(state.last.values()):
        work.force()


def is_capturing(stream: int) -> bool:
    return _stream(stream) in state.captures


def _refuse_legacy() -> None:
    """The legacy stream waits for all streams but the non-blocking ones, and they for it."""
    for stream, capture in state.captures.items():
        if _is_blocking(stream):
            _break(capture, CAPTURE_IMPLICIT)


def _refuse_unsafe() -> None:
    """What may wait for the device is refused while streams capture in another mode than the relaxed one."""
    for capture in state.captures.values():
        if capture.mode != RELAXED:
            _break(capture, CAPTURE_UNSUPPORTED)


def _refuse_waiting(stream: int) -> None:
    state.counts["wait"] += 1
    capture = state.captures.get(_stream(stream))
    if capture is not None:
        _break(capture, CAPTURE_UNSUPPORTED)
    if _stream(stream) == LEGACY:
        _refuse_legacy()


def _break(capture: Capture, error: int) -> NoReturn:
    capture.valid = False
    fail(error)


# Device


ATTRIBUTES = {
    1: 1024, 8: 48 << 10, 10: 32, 12: 65536, 16: 132, 39: 2048, 75: 9, 76: 0, 81: 228 << 10, 97: 227 << 10,
}  # fmt: skip


def driverGetVersion() -> int:
    return 13000


runtimeGetVersion = driverGetVersion


def getDeviceCount() -> int:
    return DEVICES


def getDevice() -> int:
    return getattr(thread, "device", 0)


ctxGetDevice = getDevice


def setDevice(device: int) -> None:
    if not 0 <= device < DEVICES:
        fail(INVALID_DEVICE)
    thread.device = device


def deviceGetAttribute(attribute: int, device: int) -> int:
    return ATTRIBUTES.get(attribute, 1)


def getDeviceProperties(device: int) -> dict[str, Any]:
    return {
        "name": b"CUDA on a CPU", "major": 9, "minor": 0, "totalGlobalMem": TOTAL, "multiProcessorCount": 132,
        "warpSize": 32, "maxThreadsPerBlock": 1024, "sharedMemPerBlock": 48 << 10, "regsPerBlock": 65536,
        "maxThreadsPerMultiProcessor": 2048, "sharedMemPerMultiprocessor": 228 << 10, "l2CacheSize": 50 << 20,
    }  # fmt: skip


def deviceCanAccessPeer(device: int, peer: int) -> int:
    return 0


def deviceSynchronize() -> None:
    state.counts["wait"] += 1
    for capture in state.captures.values():
        _break(capture, CAPTURE_UNSUPPORTED)
    finish_all()


def _ensure_context() -> None:
    pass


def ctxGetCurrent() -> int:
    return 1


# Memory


def malloc(size: int) -> int:
    _refuse_unsafe()
    state.counts["allocation"] += 1
    if state.used + size > TOTAL:
        fail(MEMORY_ALLOCATION)
    room = (size + GUARD + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
    address = int(libc.aligned_alloc(ALIGNMENT, room))
    # The guard behind it, too; of large memory only the ends, since filling it all would make it real.
    ctypes.memset(address, POISON, min(room, 1 << 26))
    ctypes.memset(address + size, POISON, room - size)
    state.memory[address] = size
    state.used += size
    return address


def free(address: int) -> None:
    if address == 0:
        return
    _refuse_unsafe()
    if address not in state.memory:
        fail(INVALID_VALUE)
    finish_all()
    size = state.memory.pop(address)
    state.used -= size
    guard = ctypes.string_at(address + size, GUARD)
    ctypes.memset(address, POISON, min(size, 1 << 26))
    libc.free(address)
    if guard.count(POISON) != GUARD:
        raise CorruptMemory(f"something wrote behind the {size} bytes at {address:#x}")


def mallocAsync(size: int, stream: int) -> int:
    if is_capturing(stream):
        raise NotImplementedError("cuda_on_cpu: cudaMallocAsync in a capture")
    return malloc(size)


def freeAsync(address: int, stream: int) -> None:
    if is_capturing(stream):
        raise NotImplementedError("cuda_on_cpu: cudaFreeAsync in a capture")
    free(address)


def memGetInfo() -> tuple[int, int]:
    return TOTAL - state.used, TOTAL


def hostAlloc(size: int, flags: int) -> int:
    address = int(libc.aligned_alloc(ALIGNMENT, (size + ALIGNMENT) // ALIGNMENT * ALIGNMENT))
    state.host_memory[address] = size
    return address


def freeHost(address: int) -> None:
    finish_all()
    if state.host_memory.pop(address, None) is None:
        fail(INVALID_VALUE)
    libc.free(address)


def _is_in(memory: dict[int, int], address: int) -> bool:
    return any(start <= address < start + size for start, size in memory.items())


def pointerGetMemoryType(address: int) -> int:
    return DEVICE if _is_in(state.memory, address) else HOST if _is_in(state.host_memory, address) else 0


def memcpy(target: int, source: int, size: int, kind: int) -> None:
    _refuse_unsafe()
    state.counts["wait"] += 1
    do(LEGACY, COPIES.get(kind, "memcpy"), lambda: _move(target, source, size))
    finish(LEGACY)


def memcpyAsync(target: int, source: int, size: int, kind: int, stream: int) -> None:
    """Memory of the host that is not pinned is read before this returns, and written, too."""
    name = COPIES.get(kind, "memcpy")
    if lazy and not is_capturing(stream):
        if kind == FROM_HOST and not _is_in(state.host_memory, source):
            staged = ctypes.create_string_buffer(ctypes.string_at(source, size), size)
            do(stream, name, lambda: _move(target, ctypes.addressof(staged), size))
            return
        if kind == TO_HOST and not _is_in(state.host_memory, target):
            do(stream, name, lambda: _move(target, source, size))
            finish(stream)
            return
    do(stream, name, lambda: _move(target, source, size))


def _move(target: int, source: int, size: int) -> None:
    ctypes.memmove(target, source, size)


def memcpyPeerAsync(target: int, to: int, source: int, of: int, size: int, stream: int) -> None:
    memcpyAsync(target, source, size, 3, stream)


def memset(target: int, value: int, size: int) -> None:
    _refuse_unsafe()
    memsetAsync(target, value, size, LEGACY)


def memsetAsync(target: int, value: int, size: int, stream: int) -> None:
    do(stream, "memset", lambda: _set(target, value, size))


def _set(target: int, value: int, size: int) -> None:
    ctypes.memset(target, value, size)


# Streams and events


def streamCreateWithFlags(flags: int) -> int:
    stream = next(state.handles)
    state.flags[stream] = flags
    state.devices[stream] = getDevice()
    return stream


def streamCreateWithPriority(flags: int, priority: int) -> int:
    return streamCreateWithFlags(flags)


def streamCreate() -> int:
    return streamCreateWithFlags(0)


def streamGetFlags(stream: int) -> int:
    return state.flags.get(stream, 0)


def streamGetPriority(stream: int) -> int:
    return 0


def streamDestroy(stream: int) -> None:
    if state.flags.pop(stream, None) is None:
        fail(INVALID_RESOURCE_HANDLE)


def streamSynchronize(stream: int) -> None:
    _refuse_waiting(stream)
    finish(stream)


def streamQuery(stream: int) -> int:
    """CUDA's status; a stream may have come to its end just now."""
    return _status(streamSynchronize, stream)


def _status(function: Callable[[int], None], argument: int) -> int:
    try:
        function(argument)
    except error_type as error:
        return int(error.status)
    return 0


def eventCreateWithFlags(flags: int) -> int:
    event = next(state.handles)
    state.events[event] = None
    return event


def eventCreate() -> int:
    return eventCreateWithFlags(0)


def eventDestroy(event: int) -> None:
    state.events.pop(event)


def eventRecord(event: int, stream: int) -> None:
    capture = state.captures.get(_stream(stream))
    state.events[event] = capture
    if capture is None:
        do(stream, "event", _nothing)
        state.events[event] = state.last.get(_stream(stream))
    elif not capture.valid:
        fail(CAPTURE_INVALIDATED)
    elif _stream(stream) != capture.origin:
        capture.joined.discard(_stream(stream))


def eventSynchronize(event: int) -> None:
    state.counts["wait"] += 1
    recorded = state.events[event]
    if isinstance(recorded, Capture):
        _break(recorded, CAPTURED_EVENT)
    elif recorded is not None:
        recorded.force()


def eventQuery(event: int) -> int:
    return _status(eventSynchronize, event)


def eventElapsedTime(start: int, stop: int) -> float:
    eventSynchronize(stop)
    return 0.001


def streamWaitEvent(stream: int, event: int, flags: int = -1) -> None:
    """With a captured event, the stream captures too, until the first one waits for an event of it."""
    stream, capture = _stream(stream), state.events[event]
    if not isinstance(capture, Capture):
        do(stream, "wait", _nothing)
        if lazy and capture is not None and not capture.done:
            state.waits.setdefault(stream, []).append(capture)
    elif stream == LEGACY:
        _break(capture, CAPTURE_IMPLICIT)
    elif stream == capture.origin:
        capture.joined = set(capture.streams)
    else:
        capture.streams.add(stream)
        state.captures[stream] = capture


# Capture and graphs


def streamBeginCapture(stream: int, mode: int = -1) -> None:
    stream = _stream(stream)
    if stream == LEGACY:
        fail(CAPTURE_UNSUPPORTED)
    if stream in state.captures:
        fail(ILLEGAL_STATE)
    state.captures[stream] = Capture(stream, RELAXED if mode == -1 else mode)


def streamIsCapturing(stream: int) -> int:
    if _stream(stream) == LEGACY and any(map(_is_blocking, state.captures)):
        fail(CAPTURE_IMPLICIT)
    capture = state.captures.get(_stream(stream))
    if capture is not None and not capture.valid:
        raise RuntimeError("the stream was capturing, but an error has invalidated the capture sequence")
    return int(capture is not None)


def streamEndCapture(stream: int) -> int:
    capture = state.captures.get(_stream(stream))
    if capture is None:
        return fail(ILLEGAL_STATE)
    if capture.origin != _stream(stream):
        _break(capture, CAPTURE_UNMATCHED)
    for other in capture.streams:
        state.captures.pop(other, None)
    state.events = {event: None if of is capture else of for event, of in state.events.items()}
    if not capture.valid:
        fail(CAPTURE_INVALIDATED)
    if capture.joined != capture.streams:
        fail(CAPTURE_UNJOINED)
    graph = next(state.handles)
    state.graphs[graph] = capture.work
    return graph


def graphInstantiate(graph: int) -> int:
    executable = next(state.handles)
    state.graphs[executable] = state.graphs[graph]
    return executable


def graphLaunch(graph: int, stream: int) -> None:
    work = state.graphs[graph]

    def replay() -> None:
        for _, step in work:
            step()

    do(stream, "graph", replay)


def graphUpload(graph: int, stream: int) -> None:
    do(stream, "upload", _nothing)


def graphDestroy(graph: int) -> None:
    del state.graphs[graph]


graphExecDestroy = graphDestroy


# Modules and kernels


def moduleLoadData(image: bytes) -> int:
    module = next(state.handles)
    state.modules[module] = compiler.load_library(image)
    return module


def moduleUnload(module: int) -> None:
    del state.modules[module]  # graphs may still hold its kernels, so it stays loaded


def moduleGetFunction(module: int, name: str) -> int:
    try:
        kernel = compiler.Kernel(state.modules[module], name)
    except AttributeError:
        fail(NOT_FOUND)
    function = next(state.handles)
    state.functions[function] = kernel
    return function


def moduleGetGlobal(module: int, name: str) -> int:
    return ctypes.addressof(ctypes.c_char.in_dll(state.modules[module], name))


MOST_BLOCKS, MOST_THREADS = (2**31 - 1, 65_535, 65_535), (1024, 1024, 64)


def launchKernel(
    function: int, grid_x: int, grid_y: int, grid_z: int, block_x: int, block_y: int, block_z: int,
    shared: int, stream: int, parameters: int, extra: int,
) -> None:  # fmt: skip
    if state.devices.get(stream, getDevice()) != getDevice():
        fail(INVALID_RESOURCE_HANDLE)
    kernel, grid, block = state.functions[function], (grid_x, grid_y, grid_z), (block_x, block_y, block_z)
    pairs = zip(grid + block, MOST_BLOCKS + MOST_THREADS, strict=True)
    if not all(1 <= given <= most for given, most in pairs):
        fail(INVALID_CONFIGURATION)
    if not lazy and not is_capturing(stream):
        do(stream, kernel.name, lambda: _launch(kernel, grid, block, shared, parameters))
        return
    arguments = kernel.copy_arguments(parameters)
    do(stream, kernel.name, lambda: _launch(kernel, grid, block, shared, arguments))


def _launch(
    kernel: compiler.Kernel, grid: tuple[int, ...], block: tuple[int, ...], shared: int, arguments: Any
) -> None:
    if not kernel.launch(grid, block, shared, arguments):
        fail(INVALID_CONFIGURATION)


def funcGetAttribute(attribute: int, function: int) -> int:
    return {0: 1024}.get(attribute, 32)


def funcSetAttribute(function: int, attribute: int, value: int) -> None:
    pass


def occupancyMaxActiveBlocksPerMultiprocessor(function: int, block: int, shared: int) -> int:
    return 8


def occupancyMaxPotentialBlockSize(function: int, shared: int, limit: int) -> tuple[int, int]:
    return 132, 256


def replacements(offered: list[str]) -> dict[str, Callable[..., Any]]:
    """Of the functions that a module offers, those that are here, and refusals in the place of all others."""
    return {name: globals().get(name) or missing(name) for name in offered}


def missing(name: str) -> Callable[..., Any]:
    """In the place of a function that is not here."""

    def function(*arguments: Any) -> Any:
        raise NotImplementedError(f"cuda_on_cpu has no {name}")

    return function
