"""Random numbers, the same ones on every array library.

On the host, for initial weights and the order of the examples: `generator`. Every use has a stream of its
own, told by a name and by counters. What one of them draws does not depend on how much the others drew.

On the device, inside a training step, for dropout, noise and augmentation: `bits`, `uniform` and `normal`.
They hash a counter, the position of each element, with a `Key`; so they have no state that a compiled step
would have to carry along, and draw again what they drew when they are given the same key again.
"""

import math
import zlib
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import device, namespace
from xpnet.tree import Array

Generator = np.random.Generator


def generator(seed: int, stream: str, *counters: int) -> Generator:
    """NumPy's PCG64 generator for one use, say `generator(seed, "shuffle", epoch)`."""
    return Generator(np.random.PCG64([seed, zlib.crc32(stream.encode()), *counters]))


class Key(NamedTuple):
    """What a random array depends on beside its shape.

    Fields:
        step: int32 (1,), on the device: the number of the training step.
        stream: which use of random numbers, a 32-bit number on the host.
        first: the row of a larger array that the first row here is: what is drawn for a part of a batch
            is that part of what is drawn for the batch.
    """

    step: Any
    stream: int = 0
    first: int = 0

    def child(self, i: int) -> "Key":
        """The key for the i-th part of what this key is for: for the i-th layer of a network, say."""
        return Key(self.step, (self.stream * 0x9E3779B1 + i + 1) & 0xFFFFFFFF, self.first)

    def part(self, first: int) -> "Key":
        """The key for the part of the batch that starts with that example."""
        return Key(self.step, self.stream, first)


def stream(seed: int, name: str) -> int:
    """The `Key.stream` for one use of random numbers."""
    return int(generator(seed, name).integers(1 << 32))


def bits(key: Key, shape: tuple[int, ...]) -> Array:
    """int32 of that shape, all 2³² values equally likely: h(position + h(step + stream))."""
    xp = namespace(key.step)
    start = _hash(key.step + _signed(key.stream))
    count = math.prod(shape)
    offset = key.first * math.prod(shape[1:])
    position = xp.arange(offset, offset + count, dtype=xp.int32, device=device(key.step))
    return xp.reshape(_hash(position + start), shape)


def uniform(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
    """U[0, 1) of that shape and dtype: multiples of 2⁻²⁴, which float32 can hold."""
    u = namespace(key.step).astype(_shift(bits(key, shape), 8), dtype)
    u *= 2**-24
    return u


def normal(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
    """N(0, 1) of that shape and dtype: √(-2 log u) cos(2πv), for uniform u and v (Box and Muller, 1958)."""
    xp = namespace(key.step)
    u, v = uniform(key.child(0), shape, dtype), uniform(key.child(1), shape, dtype)
    u += 2**-24  # U(0, 1]
    z = xp.sqrt(-2 * xp.log(u))
    z *= xp.cos(2 * math.pi * v)
    return z


def _hash(x: Array) -> Array:
    """Each of the 2³² integers to another one, a change of any bit changing half of all bits.

    The constants are those of "lowbias32" (C. Wellons, "Prospecting for hash functions", 2018), for
    unsigned integers; signed ones, which all libraries can multiply, wrap around to the same bits.
    """
    x = x ^ _shift(x, 16)
    x *= 0x7FEB352D
    x ^= _shift(x, 15)
    x *= _signed(0x846CA68B)
    x ^= _shift(x, 16)
    return x


def _shift(x: Array, count: int) -> Array:
    """x >> count with zeros shifted in, as if x had no sign."""
    x = x >> count
    x &= (1 << (32 - count)) - 1
    return x


def _signed(x: int) -> int:
    """The signed 32-bit integer with the same bits."""
    return x - (1 << 32) if x >= 1 << 31 else x
