"""Fused functions with sums of rows on CuPy: one kernel, and a second one that adds up its parts."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from xpnet.backend._cupy_fused import ElementCode
from xpnet.backend._formula import SUMS, as_written, define

THREADS = 256  # in a block
WIDEST = 32  # threads side by side, on neighbouring columns: a warp
EACH = 64  # rows that a thread adds up
MOST = 65_535  # parts: CUDA's limit

# A block adds up rows start, ..., stop - 1 of some columns: its threads at y take each blockDim.y-th row.
KERNEL = """\
extern "C" __global__ void {name}({parameters}) {{
  typedef {dtype} T;
  __shared__ T sums[{count}][{threads}];
  const int j = blockIdx.x * blockDim.x + threadIdx.x;
  const int thread = threadIdx.y * blockDim.x + threadIdx.x;
  const long long start = (long long)blockIdx.y * rows + threadIdx.y;
  const long long stop = min(n, (long long)(blockIdx.y + 1) * rows);
  T sum[{count}] = {{}};
  if (j < d) for (long long i = start; i < stop; i += blockDim.y) {{
    {body}
  }}
  for (int k = 0; k < {count}; k++) sums[k][thread] = sum[k];
  __syncthreads();
  if (threadIdx.y == 0 && j < d) for (int k = 0; k < {count}; k++) {{
    for (int y = 1; y < blockDim.y; y++) sum[k] += sums[k][y * blockDim.x + threadIdx.x];
    parts[((long long)blockIdx.y * {count} + k) * d + j] = sum[k];
  }}
}}
"""


class ColumnsKernel(ElementCode):
    """A kernel for a formula with sums of rows (n, d)."""

    def function(self, scalars: Mapping[str, Any]) -> Callable[..., Any]:
        """The function of the formula's arguments."""
        body: list[str] = []
        names: dict[Any, str] = {}
        for output, result in zip(self.outputs, self.formula.results, strict=True):
            if result.operation in SUMS:
                factors = [self.of_element(each, names, body) for each in result.operands]
                body.append(f"sum[{self.formula.sums.index(result)}] += {' * '.join(factors)};")
            else:
                body.append(f"{output}[i * d + j] = {self.of_element(result, names, body)};")
        self.lines = body
        given, values = ", ".join(self.arguments), ", ".join(self.numbers)
        first = next(name for name, each in self.arguments.items() if each.kind == "array")
        unfit = [f"{name}.ndim" for name, each in self.arguments.items() if each.kind == "scalar"]
        lines = [
            f"if {' or '.join([f'{first}.ndim != 2', *unfit])}:",
            f"    return otherwise({', '.join(self.formula.names)})",
            f"return launch([{given}], [{values}])",
        ]
        scope = {**scalars, "launch": self._launch, "otherwise": as_written(self.formula, scalars)}
        return define(self.formula.names, lines, scope)

    def _launch(self, arrays: list[Any], numbers: list[Any]) -> Any:
        cupy, first = self.cupy, arrays[0]
        (n, d), count = first.shape, len(self.formula.sums)
        width = min(WIDEST, 1 << max(d - 1, 0).bit_length())
        rows = max(THREADS // width * EACH, -(-n // MOST))
        n_parts = max(1, -(-n // rows))
        parts = cupy.empty((n_parts, count, d), first.dtype)
        results = [cupy.empty_like(first) for each in self.formula.results if each.kind == "array"]
        if d:
            given = [np.int64(n), np.int32(d), np.int64(rows), parts]
            self.run((-(-d // width), n_parts), (width, THREADS // width), given, arrays, numbers, results)
        sums = parts.sum(axis=0) if n_parts > 1 else parts[0]
        found = [
            sums[self.formula.sums.index(each)] if each.operation in SUMS else results.pop(0)
            for each in self.formula.results
        ]
        return tuple(found) if len(found) > 1 else found[0]

    def source(self, dtype: str, parameters: list[str]) -> str:
        own = ["const long long n", "const int d", "const long long rows", f"{dtype}* parts"]
        return KERNEL.format(
            name=self.name,
            parameters=", ".join([*own, *parameters]),
            dtype=dtype,
            count=len(self.formula.sums),
            threads=THREADS,
            body="\n    ".join(self.lines),
        )
