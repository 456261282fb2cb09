"""Fused functions as passes over the arrays, one for each operation, which use memory again."""

from collections.abc import Callable, Mapping
from typing import Any

from xpnet.backend._formula import COMPARISONS, Formula, Symbol, define, python


def passes(
    formula: Formula,
    overwrites: int,
    words: Mapping[str, Callable[..., Any]],
    scalars: Mapping[str, Callable[..., Any]],
) -> Callable[..., Any]:
    """A function of the formula's arguments that calls a word for each operation.

    Arguments:
        formula: the formula.
        overwrites: see `Fused`.
        words: the function for each operation on arrays, which takes the array to write to as `out`.
        scalars: functions of scalars, by the names of operations.
    """
    names = {operation: f"word_{i}" for i, operation in enumerate(words)}
    scope = {name: words[operation] for operation, name in names.items()}
    return define(formula.names, _Places(formula, overwrites).lines(names), {**scalars, **scope})


class _Places:
    """Where the result of each operation goes: into a new array, a temporary one, or an argument.

    Arguments:
        formula: the formula.
        overwrites: see `Fused`.
    """

    def __init__(self, formula: Formula, overwrites: int) -> None:
        self.formula = formula
        # The last operation that reads each symbol. Nothing may overwrite a result.
        self.last = {operand: i for i, each in enumerate(formula.operations) for operand in each.symbols}
        returned = [*formula.results, *[operand for each in formula.sums for operand in each.symbols]]
        self.last |= dict.fromkeys(returned, len(formula.operations))
        self.target = dict(zip(formula.results, formula.names[:overwrites], strict=False))
        self.result = {name: result for result, name in self.target.items()}
        self.place = {symbol: name for name, symbol in formula.arguments.items()}
        self.free: list[str] = []
        self.n_temporaries = 0

    def lines(self, words: Mapping[str, str]) -> list[str]:
        """The body of the function, with the names of the words."""
        lines = []
        for i, symbol in enumerate(self.formula.operations):
            operands = ", ".join([python(each, self.place) for each in symbol.operands])
            out, is_new = self._out(i, symbol)
            call = f"{words[symbol.operation]}({operands}"
            lines.append(f"{out} = {call})" if is_new else f"{call}, out={out})")
            read = {
                self.place[each] for each in symbol.symbols if self.last[each] == i and each in self.place
            }
            self.place[symbol] = out
            self.free += [name for name in read - {out} if name.startswith("temporary_")]
        return [*lines, f"return {', '.join([python(each, self.place) for each in self.formula.results])}"]

    def _out(self, i: int, symbol: Symbol) -> tuple[str, bool]:
        """The name of the array for the result of operation i, and whether it is a new array."""
        if symbol.operation in COMPARISONS:
            return f"condition_{i}", True
        target = self.target.get(symbol)
        if target is not None and self._is_free(target, i):
            return target, False
        for operand in symbol.symbols:
            name = self.place.get(operand, "")
            if self.last[operand] == i and name.startswith("temporary_"):
                return name, False
        # The argument to be overwritten by the next operation.
        readers = [each for each in self.formula.operations if symbol in each.symbols]
        target = self.target.get(readers[0]) if len(readers) == 1 else None
        if target is not None and self._is_free(target, i):
            return target, False
        if self.free:
            return self.free.pop(), False
        self.n_temporaries += 1
        return f"temporary_{self.n_temporaries}", True

    def _is_free(self, name: str, i: int) -> bool:
        """Whether no operation after i reads the array with this name."""
        return all(self.last.get(each, -1) <= i for each, place in self.place.items() if place == name)
