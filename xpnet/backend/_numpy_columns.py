"""Fused functions with columns on NumPy: many short rows, joined to longer ones.

Neither NumPy nor Numba is fast on short rows: what they do once for each row takes as long as the row itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from xpnet.backend._formula import SUMS, Formula, Symbol, define, python, steps_of
from xpnet.backend._numpy_rows import joined, repeated, rows_to_join

Program = Callable[..., Any]


def with_sums_after(
    formula: Formula, compile: Callable[[Formula], Program], scalars: Mapping[str, Any]
) -> Program:
    """A function of the formula's arguments that computes sums of rows after the compiled rest of it.

    Arguments:
        formula: the formula.
        compile: makes a program of a formula without sums.
        scalars: functions of arrays, by the names of operations.
    """
    operands = [operand for each in formula.sums for operand in each.symbols]
    arrays = [each for each in (*formula.results, *operands) if each.operation not in (*SUMS, "argument")]
    wanted = tuple(dict.fromkeys(arrays))
    found = {symbol: f"found_{i}" for i, symbol in enumerate(wanted)}
    lines = [f"return {', '.join([python(each, found) for each in formula.results])}"]
    if wanted:
        lines.insert(0, f"{', '.join(found.values())} = program({', '.join(formula.names)})")
        scalars = {**scalars, "program": compile(replace(formula, results=wanted, steps=steps_of(wanted)))}
    return define(formula.names, lines, scalars)


def of_joined_rows(
    formula: Formula, compile: Callable[[Formula], Program], length: int, scalars: Mapping[str, Any]
) -> Program:
    """A function of the formula's arguments that gives the compiled one rows of about `length` numbers.

    What depends on columns alone is computed once, before.

    Arguments:
        formula: a formula with columns, and without rows.
        compile: makes a program of a formula.
        length: the length of a joined row.
        scalars: functions of columns, scalars and numbers, by the names of operations.
    """
    inner, columns = _with_columns_as_arguments(formula)
    arrays = [name for name, each in inner.arguments.items() if each.kind == "array"]
    first = arrays[0]
    apart, together = (
        f"program({', '.join([one.format(name) if name in arrays else name for name in inner.names])})"
        for one in ("{}", "joined({}, k)")
    )
    found = [f"found_{i}" for i in range(len(formula.results))]
    results = [
        f"{name}.reshape(k, -1).sum(axis=0)" if each.operation in SUMS else f"{name}.reshape({first}.shape)"
        for name, each in zip(found, formula.results, strict=True)
    ]
    fit = [f"{name}.flags.c_contiguous" for name in arrays]
    fit += [f"not {name}.ndim" for name, each in inner.arguments.items() if each.kind == "scalar"]
    fit += [f"{first}.ndim == 2"] * bool(formula.sums)
    lines = [
        *[f"{name} = {source}" for name, source in columns.items() if name != source],
        f"k = rows_to_join({length}, {first}) if {' and '.join(fit)} else 1",
        "if k == 1:",
        f"    return {apart}",
        *[f"{name} = repeated({name}, k)" for name in columns],
        f"{', '.join(found)} = {together}",
        f"return {', '.join(results)}",
    ]
    scope = {"program": compile(inner), "joined": joined, "repeated": repeated, "rows_to_join": rows_to_join}
    return define(formula.names, lines, {**scalars, **scope})


def _with_columns_as_arguments(formula: Formula) -> tuple[Formula, dict[str, str]]:
    """The formula with an argument for what is computed of columns alone; the sources of its columns."""
    made: dict[Symbol, Symbol] = {}
    columns: dict[str, str] = {}

    def rewritten(symbol: Any) -> Any:
        if not isinstance(symbol, Symbol) or symbol.kind in ("scalar", "number"):
            return symbol
        if symbol not in made:
            made[symbol] = _one(symbol)
        return made[symbol]

    def _one(symbol: Symbol) -> Symbol:
        if symbol.kind == "column" and symbol.operation not in SUMS:
            is_argument = symbol.operation == "argument"
            name = symbol.operands[0] if is_argument else f"column_{len(formula.names) + len(columns)}"
            columns[name] = python(symbol)
            return symbol if is_argument else Symbol("argument", (name,), "column", symbol.table)
        if symbol.operation == "argument":
            return symbol
        operands = tuple([rewritten(each) for each in symbol.operands])
        return Symbol(symbol.operation, operands, symbol.kind, symbol.table)

    results = tuple([rewritten(each) for each in formula.results])
    others = {name: each for name, each in formula.arguments.items() if each.kind != "column"}
    arguments = others | {each.operands[0]: each for each in made.values() if each.operands[0] in columns}
    names = [name for name in formula.names if name in others or name not in formula.arguments]
    inner = replace(
        formula, names=(*names, *columns), arguments=arguments, results=results, steps=steps_of(results)
    )
    return inner, columns
