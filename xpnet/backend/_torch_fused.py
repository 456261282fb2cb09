"""Fused functions on PyTorch: its own operations of three arguments, which need fewer passes."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from xpnet.backend._formula import Formula, Symbol, steps_of


def with_three_arguments(formula: Formula) -> Formula:
    """The formula with three operations more, each with a number s.

    add_scaled(x, y, s) is x + s y; addcmul(x, y, z, s) is x + s y z, addcdiv(x, y, z, s) is x + s y / z. A
    factor that is a tensor stays one: as a number it would go to the host.
    """
    readers: dict[Symbol, int] = {}
    for each in (*formula.operations, *[Symbol("", (result,), "", {}) for result in formula.results]):
        for operand in each.symbols:
            readers[operand] = readers.get(operand, 0) + 1
    made: dict[Symbol, Symbol] = {}

    def is_once(symbol: Any, *operations: str) -> bool:
        """Whether the symbol is one of these operations on arrays, and only one other operation reads it."""
        return (
            isinstance(symbol, Symbol)
            and symbol.kind == "array"
            and symbol.operation in operations
            and readers[symbol] == 1
        )

    def split(symbol: Any) -> tuple[Any, Any]:
        """(s, y) with s y = the symbol and a number s."""
        if is_once(symbol, "*"):
            for s, y in (symbol.operands, symbol.operands[::-1]):
                if not isinstance(s, Symbol) or s.kind == "number":
                    return s, y
        return 1, symbol

    def combine(x: Any, term: Any, negative: bool) -> Symbol | None:
        """x + term, or x - term, in one operation."""
        s, y = split(term)
        s = _negative(s) if negative else s
        if is_once(y, "*", "/") and all(map(_is_tensor, y.operands)):
            operation = "addcmul" if y.operation == "*" else "addcdiv"
            if operation == "addcdiv" and not all(map(_is_array, y.operands)):
                return None
            left, right = y.operands if _is_array(y.operands[0]) else y.operands[::-1]
            return Symbol(operation, (rewritten(x), rewritten(left), rewritten(right), s), "array", {})
        if s in (1, -1) and not isinstance(s, Symbol):
            return None
        return Symbol("add_scaled", (rewritten(x), rewritten(y), s), "array", {})

    def rewritten(symbol: Any) -> Any:
        if not isinstance(symbol, Symbol) or symbol.kind != "array" or symbol.operation == "argument":
            return symbol
        if symbol not in made:
            found = one_operation(symbol)
            if found is None:
                operands = tuple([rewritten(each) for each in symbol.operands])
                found = Symbol(symbol.operation, operands, "array", {})
            made[symbol] = found
        return made[symbol]

    def one_operation(symbol: Symbol) -> Symbol | None:
        if symbol.operation not in "+-" or not all(map(_is_array, symbol.operands)):
            return None
        x, term = symbol.operands
        found = combine(x, term, symbol.operation == "-")
        return combine(term, x, False) if found is None and symbol.operation == "+" else found

    results = tuple([rewritten(each) for each in formula.results])
    return replace(formula, results=results, steps=steps_of(results))


def _negative(s: Any) -> Any:
    return Symbol("negative", (s,), "number", {}) if isinstance(s, Symbol) else -s


def _is_tensor(operand: Any) -> bool:
    return isinstance(operand, Symbol) and operand.kind != "number"


def _is_array(operand: Any) -> bool:
    return isinstance(operand, Symbol) and operand.kind == "array"


def do_nothing(*arguments: Any) -> None:
    """The form of a loop for arguments that it cannot take."""


def in_a_loop(program: Callable[..., Any], loop: Callable[..., Any], formula: Formula) -> Callable[..., Any]:
    """A function that overwrites tensors on a CPU by a loop of NumPy, which shares their memory.

    Arguments:
        program: the same function of tensors, for what the loop cannot take.
        loop: a function of NumPy's arrays; returns None if it did nothing.
        formula: the formula, whose results all overwrite arguments.
    """
    if loop is do_nothing:
        return program
    n = len(formula.results)

    def function(*arguments: Any) -> Any:
        if not arguments[0].is_cpu:
            return program(*arguments)
        arrays = [each.numpy() if hasattr(each, "is_cpu") else each for each in arguments]
        if loop(*arrays) is None:
            return program(*arguments)
        return arguments[:n] if n > 1 else arguments[0]

    return function


def words(torch: Any) -> Mapping[str, Callable[..., Any]]:
    """The function for each operation; see `passes`. The left operand may be a number or a 0-d tensor."""

    def either_way(operation: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x, y, out=None: operation(*((x, y) if torch.is_tensor(x) else (y, x)), out=out)

    def subtract(x: Any, y: Any, out: Any = None) -> Any:
        return torch.sub(x, y, out=out) if torch.is_tensor(x) else torch.neg(y, out=out).add_(x)

    def divide(x: Any, y: Any, out: Any = None) -> Any:
        return torch.div(x, y, out=out) if torch.is_tensor(x) else torch.reciprocal(y, out=out).mul_(x)

    def where(condition: Any, x: Any, y: Any, out: Any = None) -> Any:
        result = torch.where(condition, x, y)
        return result if out is None else out.copy_(result)

    return {
        "+": either_way(torch.add),
        "-": subtract,
        "*": either_way(torch.mul),
        "/": divide,
        ">": torch.gt,
        "<": torch.lt,
        "negative": torch.neg,
        "copy": lambda x, out=None: x.clone() if out is None else out.copy_(x),
        "filled": lambda x, value, out=None: torch.full_like(x, value) if out is None else out.fill_(value),
        "sqrt": torch.sqrt,
        "exp": torch.exp,
        "log": torch.log,
        "maximum": either_way(lambda x, y, out: torch.clamp(x, min=y, out=out)),
        "minimum": either_way(lambda x, y, out: torch.clamp(x, max=y, out=out)),
        "where": where,
        "sign": torch.sign,
        "add_scaled": lambda x, y, s, out=None: torch.add(x, y, alpha=s, out=out),
        "addcmul": lambda x, y, z, s, out=None: torch.addcmul(x, y, z, value=s, out=out),
        "addcdiv": lambda x, y, z, s, out=None: torch.addcdiv(x, y, z, value=s, out=out),
    }
