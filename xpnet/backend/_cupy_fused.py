"""Fused functions on CuPy: one kernel."""

from collections.abc import Callable, Mapping
from typing import Any

from xpnet.backend._formula import OPERATORS, Formula, Symbol, define, python

WORDS = {
    **OPERATORS,
    "copy": "{}",
    "sqrt": "sqrt({})",
    "exp": "exp({})",
    "log": "log({})",
    "sign": "({0} > 0 ? T(1) : {0} < 0 ? T(-1) : {0})",
    "maximum": "({0} > {1} || {0} != {0} ? {0} : {1})",
    "minimum": "({0} < {1} || {0} != {0} ? {0} : {1})",
    "where": "({0} ? {1} : {2})",
}


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
    numbers: dict[str, str] = {}
    names: dict[Symbol, str] = {each: name for name, each in formula.arguments.items()}
    lines: list[str] = []

    def value(operand: Any) -> str:
        """The C++ name of an operand; adds the lines that compute it."""
        if not isinstance(operand, Symbol) or operand.kind == "number":
            return numbers.setdefault(python(operand), f"number_{len(numbers)}")
        if operand not in names:
            expression = WORDS[operand.operation].format(*[value(each) for each in operand.operands])
            names[operand] = f"x_{len(lines)}"
            lines.append(f"T {names[operand]} = {expression};")
        return names[operand]

    results = [value(result) for result in formula.results]
    outputs = [f"result_{i}" for i in range(len(results))]
    lines += [f"{output} = {result};" for output, result in zip(outputs, results, strict=True)]
    arrays = [each for each, symbol in formula.arguments.items() if symbol.kind != "number"]
    compiled = cupy.ElementwiseKernel(
        ", ".join([f"T {each}" for each in [*arrays, *numbers.values()]]),
        ", ".join([f"T {each}" for each in outputs]),
        "\n".join(lines),
        f"xpnet_{name}",
    )
    new = [f"empty_like({formula.names[0]})" for _ in outputs[overwrites:]]
    targets = [*formula.names[: len(outputs)][:overwrites], *new]
    call = f"return compiled({', '.join([*arrays, *numbers, *targets])})"
    return define(formula.names, [call], {**scalars, "compiled": compiled, "empty_like": cupy.empty_like})
