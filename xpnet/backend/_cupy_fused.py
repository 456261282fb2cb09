"""Fused functions on CuPy: one kernel."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from xpnet.backend._formula import OPERATORS, REDUCTIONS, SUMS, Formula, Symbol, as_written, define, python

WORDS = {
    **OPERATORS,
    "copy": "{}",
    "filled": "T({1})",
    "sqrt": "sqrt({})",
    "exp": "exp({})",
    "log": "log({})",
    "sign": "({0} > 0 ? T(1) : {0} < 0 ? T(-1) : {0})",
    "maximum": "({0} > {1} || {0} != {0} ? {0} : {1})",
    "minimum": "({0} < {1} || {0} != {0} ? {0} : {1})",
    "where": "({0} ? {1} : {2})",
    "one_hot": "T({0} == j)",
}

INFINITY = "__int_as_float(0x7f800000)"  # NVIDIA's compiler has no <math.h>
TYPES = {"f": "float", "d": "double", "i": "int", "l": "long long", "q": "long long"}


def kernel(
    formula: Formula, name: str, overwrites: int, cupy: Any, scalars: Mapping[str, Any]
) -> Callable[..., Any]:
    """A function of the formula's arguments that launches one kernel.

    What depends on numbers alone is computed on the host, in double precision.

    Arguments:
        formula: the formula.
        name: the name of the function.
        overwrites: see `Fused`.
        cupy: the module `cupy`.
        scalars: functions of numbers, by the names of operations.
    """
    if not formula.is_elementwise:
        return _Rows(formula, f"xpnet_{name}", cupy).function(as_written(formula, scalars), scalars)
    numbers: dict[str, str] = {}
    names: dict[Symbol, str] = {each: name for name, each in formula.arguments.items()}
    lines: list[str] = []

    def value(operand: Any) -> str:
        """The C++ name of an operand; adds the lines that compute it."""
        if type(operand) is int:
            return str(operand)  # as it is, it makes no real number of an integer
        if type(operand) is float and math.isinf(operand):
            return INFINITY if operand > 0 else f"-{INFINITY}"  # not in the dtype of the first argument
        if not isinstance(operand, Symbol) or operand.kind == "number":
            return numbers.setdefault(python(operand), f"number_{len(numbers)}")
        if operand not in names:
            expression = WORDS[operand.operation].format(*[value(each) for each in operand.operands])
            names[operand] = f"x_{len(lines)}"
            lines.append(f"const auto {names[operand]} = {expression};")
        return names[operand]

    results = [value(result) for result in formula.results]
    outputs = [f"result_{i}" for i in range(len(results))]
    lines += [f"{output} = {result};" for output, result in zip(outputs, results, strict=True)]
    arrays = [each for each, symbol in formula.arguments.items() if symbol.kind != "number"]
    types = dict(zip(arrays, "TUVWXYZABCDEFGHIJKLMNOPQRS", strict=False)) | dict.fromkeys(
        numbers.values(), "T"
    )
    overwritten = formula.names[: len(outputs)][:overwrites]
    new = [f"empty_like({formula.names[0]})" for _ in outputs[overwrites:]]
    types |= {output: types[name] for output, name in zip(outputs, overwritten, strict=False)}
    compiled = cupy.ElementwiseKernel(
        ", ".join([f"{types[each]} {each}" for each in [*arrays, *numbers.values()]]),
        ", ".join([f"{types.get(each, 'T')} {each}" for each in outputs]),
        "\n".join(lines),
        f"xpnet_{name}",
    )
    call = f"return compiled({', '.join([*arrays, *numbers, *overwritten, *new])})"
    return define(formula.names, [call], {**scalars, "compiled": compiled, "empty_like": cupy.empty_like})


WARP = 32  # threads that work on a row
ROWS = 4  # in a block
START = {"row_sum": "T(0)", "row_max": f"-{INFINITY}", "row_argmax": f"-{INFINITY}"}
MORE = {
    "row_sum": "{0} += {1};",
    "row_max": "if ({1} > {0} || {1} != {1}) {0} = {1};",
    "row_argmax": "if ({1} > {0} || ({1} == {0} && {2} < {0}_at)) {{ {0} = {1}; {0}_at = {2}; }}",
}
KERNEL = """\
extern "C" __global__ void {name}({parameters}) {{
  typedef {dtype} T;
  const long long i = (long long)blockIdx.x * {rows} + threadIdx.x / {warp};
  if (i >= n) return;
  const int lane = threadIdx.x % {warp};
  {body}
}}
"""


class ElementCode:
    """The C++ code of a formula's elements (i, j), and the kernel that it stands in.

    Arguments:
        formula: the formula.
        name: the name of the kernel.
        cupy: the module `cupy`.
    """

    def __init__(self, formula: Formula, name: str, cupy: Any) -> None:
        self.formula = formula
        self.name = name
        self.cupy = cupy
        self.numbers: dict[str, str] = {}
        self.names: dict[Symbol, str] = {}  # of what is computed once for each row
        self.lines: list[str] = []
        self.arguments = {name: each for name, each in formula.arguments.items() if each.kind != "number"}
        self.outputs = [f"result_{i}" for i in range(len(formula.results))]
        self.programs: dict[Any, Any] = {}

    def of_row(self, symbol: Any) -> str:
        """The C++ name of what is one for each row, or a scalar; adds the lines that compute it."""
        if not isinstance(symbol, Symbol) or symbol.kind == "number":
            return self.numbers.setdefault(python(symbol), f"number_{len(self.numbers)}")
        if symbol in self.names:
            return self.names[symbol]
        if symbol.operation == "argument":
            (name,) = symbol.operands
            return f"{name}[{'i' if symbol.kind == 'row' else '0'}]"
        return self.computed_of_row(symbol)

    def computed_of_row(self, symbol: Symbol) -> str:
        """The C++ expression of an operation on scalars."""
        return WORDS[symbol.operation].format(*[self.of_row(each) for each in symbol.operands])

    def of_element(self, symbol: Any, names: dict[Symbol, str], loop: list[str]) -> str:
        """The C++ name of what is one for each element; adds the lines in the loop that compute it."""
        if not isinstance(symbol, Symbol) or symbol.kind in ("number", "scalar", "row"):
            return self.of_row(symbol)
        if symbol.operation == "argument":
            (name,) = symbol.operands
            return f"{name}[{'j' if symbol.kind == 'column' else 'i * d + j'}]"
        if symbol not in names:
            operands = [self.of_element(each, names, loop) for each in symbol.operands]
            names[symbol] = f"x_{len(names)}"
            loop.append(f"const T {names[symbol]} = {WORDS[symbol.operation].format(*operands)};")
        return names[symbol]

    def run(
        self, grid: tuple[int, ...], block: tuple[int, ...], own: list[Any], arrays: list[Any],
        numbers: list[Any], results: list[Any],
    ) -> None:  # fmt: skip
        """Launch the kernel.

        Arguments:
            grid, block: the numbers of blocks, and of threads in a block.
            own: the arguments that stand before those of the formula, as `source` says.
            arrays, numbers: the formula's arguments.
            results: where to write the results.
        """
        arrays = [self.cupy.ascontiguousarray(each) for each in arrays]
        key = tuple([each.dtype.char for each in arrays])
        if key not in self.programs:
            self.programs[key] = self.cupy.RawKernel(self._source(arrays), self.name)
        number = arrays[0].dtype.type
        self.programs[key](grid, block, (*own, *arrays, *map(number, numbers), *results))

    def _source(self, arrays: list[Any]) -> str:
        dtype = TYPES[arrays[0].dtype.char]
        parameters = [
            f"const {TYPES[each.dtype.char]}* {name}"
            for name, each in zip(self.arguments, arrays, strict=True)
        ]
        parameters += [f"const {dtype} {each}" for each in self.numbers.values()]
        written = zip(self.outputs, self.formula.results, strict=True)
        parameters += [f"{dtype}* {name}" for name, each in written if each.operation not in SUMS]
        return self.source(dtype, parameters)

    def source(self, dtype: str, parameters: list[str]) -> str:
        """The C++ source of the kernel with these parameters, after those of its own."""
        raise NotImplementedError


class _Rows(ElementCode):
    """A kernel in which the threads of a warp work on a row (n, d), once for each level of reductions.

    Each loop over the row computes anew what it needs of the elements: that is cheaper than to keep it.
    """

    def function(self, otherwise: Callable[..., Any], scalars: Mapping[str, Any]) -> Callable[..., Any]:
        """The function of the formula's arguments; `otherwise` for a scalar that is one for each network."""
        for output, result in zip(self.outputs, self.formula.results, strict=True):
            if result.kind == "row":
                value = self.of_row(result)
                self.lines.append(f"if (lane == 0) {output}[i] = {value};")
        for output, result in zip(self.outputs, self.formula.results, strict=True):
            if result.kind == "array":
                loop: list[str] = []
                value = self.of_element(result, {}, loop)
                self._loop([*loop, f"{output}[i * d + j] = {value};"])
        given = ", ".join([*self.arguments])
        values = ", ".join(self.numbers)
        body = [f"return launch([{given}], [{values}])"]
        several = [f"{name}.ndim" for name, each in self.arguments.items() if each.kind == "scalar"]
        if several:
            body = [
                f"if {' or '.join(several)}:",
                f"    return otherwise({', '.join(self.formula.names)})",
                *body,
            ]
        scope = {**scalars, "launch": self._launch, "otherwise": otherwise}
        return define(self.formula.names, body, scope)

    def _loop(self, lines: list[str]) -> None:
        self.lines += [f"for (int j = lane; j < d; j += {WARP}) {{", *[f"  {line}" for line in lines], "}"]

    def computed_of_row(self, symbol: Symbol) -> str:
        if symbol.operation not in REDUCTIONS:
            operands = [self.of_row(each) for each in symbol.operands]
            self.names[symbol] = name = f"y_{len(self.names)}"
            self.lines.append(f"const T {name} = {WORDS[symbol.operation].format(*operands)};")
            return name
        loop: list[str] = []
        value = self.of_element(symbol.operands[0], {}, loop)
        name, more = f"y_{len(self.names)}", MORE[symbol.operation]
        at = [f"int {name}_at = 0;"] if symbol.operation == "row_argmax" else []
        self.lines += [f"T {name} = {START[symbol.operation]};", *at]
        self._loop([*loop, more.format(name, value, "j")])
        other = [f"const T other = __shfl_xor_sync(~0u, {name}, o);"]
        other += [f"const int other_at = __shfl_xor_sync(~0u, {name}_at, o);" for _ in at]
        combine = " ".join([*other, more.format(name, "other", "other_at")])
        self.lines.append(f"for (int o = {WARP // 2}; o > 0; o >>= 1) {{ {combine} }}")
        self.names[symbol] = f"{name}_at" if at else name
        return self.names[symbol]

    def _launch(self, arrays: list[Any], numbers: list[Any]) -> Any:
        cupy, first = self.cupy, arrays[0]
        *batch, d = first.shape
        shapes = {"array": first.shape, "row": (*batch, 1)}
        results = [cupy.empty(shapes[each.kind], first.dtype) for each in self.formula.results]
        n = first.size // d if d else 0
        if n:
            blocks, own = -(-n // ROWS), [np.int64(n), np.int32(d)]
            self.run((blocks,), (ROWS * WARP,), own, arrays, numbers, results)
        return tuple(results) if len(results) > 1 else results[0]

    def source(self, dtype: str, parameters: list[str]) -> str:
        return KERNEL.format(
            name=self.name,
            parameters=", ".join(["const long long n", "const int d", *parameters]),
            dtype=dtype,
            rows=ROWS,
            warp=WARP,
            body="\n  ".join(self.lines),
        )
