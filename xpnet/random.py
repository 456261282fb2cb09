"""Random numbers, the same on every array library.

On the host, `generator` draws initial weights and the order of the examples. Each use has its own stream,
with a name and counters, so it draws the same numbers whatever other streams draw.

On the device, inside a training step, `bits`, `uniform` and `normal` draw for dropout, noise and
augmentation. They hash the position of each element with a `Key`. So a compiled step carries no random state,
and the same key gives the same numbers again.
"""

import math
import zlib
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import device, namespace, ops
from xpnet.tree import Array

Generator = np.random.Generator
MASK = 0xFFFFFFFF
CHILD = 0x9E3779B1  # odd, so that no two streams have the same child


def generator(seed: int, stream: str, *counters: int) -> Generator:
    """NumPy's PCG64 generator for one stream, for example `generator(seed, "shuffle", epoch)`."""
    return Generator(np.random.PCG64([seed, zlib.crc32(stream.encode()), *counters]))


class Key(NamedTuple):
    """The key of a random array: key and shape together determine its numbers.

    Fields:
        step: the number of the training step, int32 (1,) on the device.
        stream: a 32-bit number on the host, one for each use of random numbers.
        first: the position in the batch of the first row: a part of a batch gets the same numbers as in the
            whole batch.
    """

    step: Any
    stream: int = 0
    first: int = 0

    def child(self, i: int) -> "Key":
        """The key for the i-th use of this key, such as the i-th layer of a network."""
        return Key(self.step, (self.stream * CHILD + i + 1) & MASK, self.first)

    def part(self, first: int) -> "Key":
        """The key for the part of the batch that starts at the example `first`."""
        return Key(self.step, self.stream, first)

    def network(self, k: int) -> "Key":
        """The key of network k: this one for all; with `Keys`, each has its own."""
        return self


class Streams(NamedTuple):
    """The streams of K networks: nₖ · factor + offset modulo 2³² for the k-th number."""

    numbers: tuple[int, ...]
    factor: int = 1
    offset: int = 0


class Keys(Key):
    """The keys of K networks: arrays drawn with them have a leading axis of K networks.

    Row k of an array (K, n, ...) is what `network(k)` alone draws in the shape (n, ...).

    Fields:
        step: int32 (1,), or (K,) for networks with different numbers of steps, on the device.
        stream: the `Streams` of the networks.
        first: as in `Key`.
    """

    stream: Streams  # type: ignore[assignment]

    __slots__ = ()

    def child(self, i: int) -> "Keys":
        numbers, factor, offset = self.stream
        streams = Streams(numbers, factor * CHILD & MASK, (offset * CHILD + i + 1) & MASK)
        return Keys(self.step, streams, self.first)  # type: ignore[arg-type]

    def part(self, first: int) -> "Keys":
        return Keys(self.step, self.stream, first)  # type: ignore[arg-type]

    def network(self, k: int) -> Key:
        numbers, factor, offset = self.stream
        step = self.step if self.step.shape[0] == 1 else self.step[k : k + 1]
        return Key(step, (numbers[k] * factor + offset) & MASK, self.first)

    def starts(self) -> Array:
        """step + stream for each network, int32 (K, 1)."""
        numbers, factor, offset = self.stream
        streams = tuple([_signed((number * factor + offset) & MASK) for number in numbers])
        return (self.step + ops(self.step).constant(streams, like=self.step))[:, None]


def stream(seed: int, name: str) -> int:
    """The number `Key.stream` of the stream with this name."""
    return int(generator(seed, name).integers(1 << 32))


def bits(key: Key, shape: tuple[int, ...]) -> Array:
    """int32 of this shape, all 2³² values equally likely: h(position + h(step + stream)) with a hash h."""
    xp = namespace(key.step)
    if isinstance(key, Keys):
        start, (_, *one_network) = _hash(key.starts()), shape
    else:
        start, one_network = _hash(key.step + _signed(key.stream)), list(shape)
    count = math.prod(one_network)
    offset = key.first * math.prod(one_network[1:])
    position = xp.arange(offset, offset + count, dtype=xp.int32, device=device(key.step))
    return xp.reshape(_hash(position + start), shape)


def uniform(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
    """U[0, 1) of this shape and dtype: multiples of 2⁻²⁴, which are exact in float32."""
    u = namespace(key.step).astype(_shift(bits(key, shape), 8), dtype)
    u *= 2**-24
    return u


def normal(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
    """N(0, 1) of this shape and dtype: √(-2 log u) cos(2πv), with uniform u and v.

    (Box and Muller, "A note on the generation of random normal deviates", 1958.)
    """
    xp = namespace(key.step)
    u, v = uniform(key.child(0), shape, dtype), uniform(key.child(1), shape, dtype)
    u += 2**-24  # U(0, 1]
    z = xp.sqrt(-2 * xp.log(u))
    z *= xp.cos(2 * math.pi * v)
    return z


def _hash(x: Array) -> Array:
    """A bijection of the 2³² integers: a change of one input bit changes about half of the output bits.

    This is "lowbias32", defined for unsigned integers. Signed ones, which all libraries can multiply, wrap
    around to the same bits.

    (Wellons, "Prospecting for hash functions", 2018.)
    """
    x = x ^ _shift(x, 16)
    x *= 0x7FEB352D
    x ^= _shift(x, 15)
    x *= _signed(0x846CA68B)
    x ^= _shift(x, 16)
    return x


def _shift(x: Array, count: int) -> Array:
    """x >> count as for an unsigned integer: zeros are shifted in."""
    x = x >> count
    x &= (1 << (32 - count)) - 1
    return x


def _signed(x: int) -> int:
    """The signed 32-bit integer with the same bits."""
    return x - (1 << 32) if x >= 1 << 31 else x
