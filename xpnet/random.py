"""Random numbers that are drawn on the host: initial weights and the order of the examples.

Every use has a stream of its own, told by a name and by counters. What one of them draws does not
depend on how much the others drew, and one seed means the same run on every backend.
"""

import zlib

import numpy as np

Generator = np.random.Generator


def generator(seed: int, stream: str, *counters: int) -> Generator:
    """NumPy's PCG64 generator for one use, say `generator(seed, "shuffle", epoch)`."""
    return Generator(np.random.PCG64([seed, zlib.crc32(stream.encode()), *counters]))
