"""The formula of an elementwise function: what it computes from its arguments, step by step."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

OPERATORS = {each: f"({{}} {each} {{}})" for each in ("+", "-", "*", "/", ">", "<")} | {"negative": "(-{})"}
COMPARISONS = (">", "<")
REDUCTIONS = ("row_sum", "row_max", "row_argmax")
SUMS = ("sum_of_rows", "sum_of_products")  # one number for each column


class Symbol:
    """A value in a formula: an argument, or an operation on other values. Equal operations are one symbol.

    Attributes:
        operation: "argument", an operator such as "+", or the name of a function.
        operands: the name of the argument, or the symbols and numbers that the operation takes.
        kind: "array" (n, d); "row" (n, 1), one for each row; "column" (d,), one for each column; "scalar",
            any other array that broadcasts; or "number".
    """

    def __init__(
        self, operation: str, operands: tuple[Any, ...], kind: str, table: "dict[Any, Symbol]"
    ) -> None:
        self.operation = operation
        self.operands = operands
        self.kind = kind
        self.table = table

    @property
    def symbols(self) -> list["Symbol"]:
        """The operands without the numbers."""
        return [each for each in self.operands if isinstance(each, Symbol)]

    def __add__(self, other: Any) -> Any:
        return _sum(self, other)

    def __radd__(self, other: Any) -> Any:
        return _sum(other, self)

    def __sub__(self, other: Any) -> Any:
        return self if _is(other, 0) else apply("-", self, other)

    def __rsub__(self, other: Any) -> Any:
        return apply("-", other, self)

    def __mul__(self, other: Any) -> Any:
        return _product(self, other)

    def __rmul__(self, other: Any) -> Any:
        return _product(other, self)

    def __truediv__(self, other: Any) -> Any:
        return self if _is(other, 1) else apply("/", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return 0 if _is(other, 0) else apply("/", other, self)

    def __neg__(self) -> Any:
        return apply("negative", self)

    def __gt__(self, other: Any) -> Any:
        return apply(">", self, other)

    def __lt__(self, other: Any) -> Any:
        return apply("<", self, other)

    def __bool__(self) -> bool:
        raise TypeError("expected no condition on an argument in a fused function, got one")


def _is(value: Any, number: int) -> bool:
    return not isinstance(value, Symbol) and bool(value == number)


def _sum(left: Any, right: Any) -> Any:
    if _is(left, 0):
        return right
    return left if _is(right, 0) else apply("+", left, right)


def _product(left: Any, right: Any) -> Any:
    if _is(left, 0) or _is(right, 0):
        return 0
    if _is(left, 1):
        return right
    return left if _is(right, 1) else apply("*", left, right)


def apply(operation: str, *operands: Any) -> Symbol:
    """The symbol of an operation, at least one of whose operands is a symbol."""
    table = next(each.table for each in operands if isinstance(each, Symbol))
    key = operation, *operands
    if key not in table:
        table[key] = Symbol(operation, operands, _kind_of(operation, operands), table)
    return table[key]


def _kind_of(operation: str, operands: tuple[Any, ...]) -> str:
    kinds = {each.kind for each in operands if isinstance(each, Symbol)}
    if any(isinstance(each, Symbol) and each.operation in SUMS for each in operands):
        raise TypeError("expected a sum of rows to be a result of a fused function, got an operation on one")
    if operation in REDUCTIONS:
        return "row"
    if operation in SUMS:
        return "column"
    if operation == "one_hot" or {"row", "column"} <= kinds:
        return "array"
    return next(each for each in ("array", "row", "column", "scalar", "number") if each in kinds)


def kinds(arguments: tuple[Any, ...]) -> tuple[str, ...]:
    """The kind of each argument, for `trace`, by its shape: the first is an array."""
    shape = arguments[0].shape
    most = "array" if shape else "scalar"  # also operations on 0-d arrays
    return tuple(
        [
            most if (own := getattr(argument, "shape", None)) == shape else _other_kind(argument, own, shape)
            for argument in arguments
        ]
    )


def _other_kind(argument: Any, own: tuple[int, ...] | None, shape: tuple[int, ...]) -> str:
    """The kind of an argument of another shape than the first one, or of a number, which has none."""
    if own is None:
        return "0" if argument == 0 else "1" if argument == 1 else "number"
    if not shape or own == ():
        return "scalar"
    if len(shape) > 1 and own == shape[-1:]:
        return "column"
    return "row" if own == (*shape[:-1], 1) else "scalar"


@dataclass(frozen=True)
class Formula:
    """What a fused function computes.

    Arguments:
        names: the names of all arguments.
        arguments: the symbols of the arguments, by name, without numbers 0 and 1.
        results: the results, in order.
        steps: the operations that the results need and that are arrays or rows, each after its operands.
    """

    names: tuple[str, ...]
    arguments: dict[str, Symbol]
    results: tuple[Symbol, ...]
    steps: tuple[Symbol, ...]

    @property
    def operations(self) -> tuple[Symbol, ...]:
        """The operations on arrays."""
        return tuple([each for each in self.steps if each.kind == "array"])

    @property
    def sums(self) -> tuple[Symbol, ...]:
        """The results that are sums of rows."""
        return tuple([each for each in self.results if each.operation in SUMS])

    @property
    def has_rows(self) -> bool:
        """Whether something is one for each row: an argument, or computed from the elements of a row."""
        return any(each.kind == "row" for each in (*self.arguments.values(), *self.steps))

    @property
    def has_columns(self) -> bool:
        """Whether something is one for each column: an argument, or a sum of rows."""
        return any(each.kind == "column" for each in (*self.arguments.values(), *self.results))

    @property
    def reduces_rows(self) -> bool:
        """Whether an element depends on others of its row."""
        return any(each.operation in REDUCTIONS for each in self.steps)

    @property
    def is_elementwise(self) -> bool:
        """Whether no result depends on more than one element of each array."""
        return not self.reduces_rows and not self.sums


def trace(function: Callable[..., Any], names: tuple[str, ...], kinds: tuple[str, ...]) -> Formula:
    """The formula of a function for arguments of these kinds; see `Fused.formula`."""
    table: dict[Any, Symbol] = {}
    arguments = {
        name: Symbol("argument", (name,), kind, table)
        for name, kind in zip(names, kinds, strict=True)
        if kind not in ("0", "1")
    }
    found = function(
        *[arguments.get(name, int(kind in "1")) for name, kind in zip(names, kinds, strict=True)]
    )
    given = found if isinstance(found, tuple) else (found,)
    results = tuple([_fresh(each, arguments[names[0]]) for each in given])
    return Formula(names, arguments, results, steps_of(results))


def steps_of(results: tuple[Symbol, ...]) -> tuple[Symbol, ...]:
    """The operations that the results need and that are arrays or rows, each after its operands."""
    steps: dict[Symbol, None] = {}

    def visit(symbol: Symbol) -> None:
        if symbol.operation != "argument" and symbol not in steps:
            for operand in symbol.symbols:
                visit(operand)
            if symbol.kind in ("array", "row"):
                steps[symbol] = None

    for result in results:
        visit(result)
    return tuple(steps)


def _fresh(result: Any, first: Symbol) -> Symbol:
    """The result as an array of its own, which the caller may overwrite, also of an argument or a number."""
    if not isinstance(result, Symbol):
        return apply("filled", first, result)
    return apply("copy", result) if result.operation == "argument" else result


def python(value: Any, names: Mapping[Any, str] = MappingProxyType({})) -> str:
    """The Python expression of a number or of a symbol, in terms of arguments and of symbols with `names`."""
    if not isinstance(value, Symbol):
        return repr(value) if math.isfinite(value) else f'float("{value}")'
    if value in names:
        return names[value]
    if value.operation == "argument":
        return str(value.operands[0])
    operands = [python(each, names) for each in value.operands]
    if value.operation in OPERATORS:
        return OPERATORS[value.operation].format(*operands)
    return f"{value.operation}({', '.join(operands)})"


def define(names: tuple[str, ...], lines: list[str], scope: Mapping[str, Any]) -> Callable[..., Any]:
    """A Python function of arguments with these names, whose body is `lines`."""
    made = dict(scope)
    exec("\n    ".join([f"def function({', '.join(names)}):", *lines]), made)
    found: Callable[..., Any] = made["function"]
    return found


def as_written(formula: Formula, functions: Mapping[str, Any]) -> Callable[..., Any]:
    """The formula as a Python function of its arguments, with `functions` by the names of operations."""
    lines: list[str] = []
    names: dict[Any, str] = {}
    for i, symbol in enumerate(formula.steps):
        lines.append(f"x_{i} = {python(symbol, names)}")
        names[symbol] = f"x_{i}"
    results = ", ".join([python(each, names) for each in formula.results])
    return define(formula.names, [*lines, f"return {results}"], functions)
